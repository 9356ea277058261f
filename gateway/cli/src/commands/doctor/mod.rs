//! `penstock doctor`: looks at everything that a gateway needs and says what is wrong, and what to do about it. Changes nothing.
//!
//! Each check is a function that adds findings; none of them stops another. Deliberately absent: repairs, which are `penstock provision`'s and people's.

mod access;
mod finding;
mod folders;
mod host;
mod models;
mod ports;

use std::process::ExitCode;

use clap::Args;
use gateway_invoker::LambdaInvoker;
use gateway_invoker::inspect::Inspector;
use gateway_server::config::{ConfigError, Loaded, config_hash, load};

use self::finding::Findings;
use super::{ConfigArguments, fail};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Call no function. Without it each alias of a plan is called once with no items, which shows whether a worker of this protocol version answers;
    /// a cold one is started for it, and billed.
    #[arg(long)]
    no_invoke: bool,
    /// One JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

/// Looks, tells, and gives 1 if there is a problem.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let Arguments { config, no_invoke, json } = arguments;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let mut findings = Findings::default();
    host::version(&mut findings);
    match load(&config.source()) {
        Ok(loaded) => {
            findings.ok("configuration", format!("valid; hash {}", config_hash(&loaded.config)));
            runtime.block_on(look(&loaded, !no_invoke, &mut findings));
        }
        Err(error) => not_valid(&error, &mut findings),
    }
    if json {
        println!("{}", findings.json());
    } else {
        print!("{findings}");
    }
    if findings.problems() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn not_valid(error: &ConfigError, findings: &mut Findings) {
    const ADVICE: &str =
        "mend the file; `penstock check-config` tells when it is valid; nothing else was looked at";
    match error {
        ConfigError::Problems(problems) => {
            for problem in problems {
                findings.problem("configuration", problem.to_string(), ADVICE);
            }
        }
        ConfigError::Unreadable { .. } => findings.problem("configuration", error.to_string(), ADVICE),
    }
}

async fn look(loaded: &Loaded, invokes: bool, findings: &mut Findings) {
    host::look(loaded, findings);
    ports::look(loaded, findings);
    folders::look(loaded, findings);
    host::prices(loaded, findings);
    let aws = &loaded.settings.invoker;
    if !access::credentials(aws, findings).await {
        findings.warning(
            "aws",
            "functions were not looked at".to_owned(),
            "without credentials nothing of the account can be known",
        );
        return;
    }
    let inspector = Inspector::new(aws).await;
    let limits = access::account(&inspector, loaded, findings).await;
    let invoker = LambdaInvoker::new(aws).await;
    for model in &loaded.settings.models {
        models::look(&inspector, loaded, model, limits, findings).await;
        if invokes {
            models::invoke(&invoker, model, findings).await;
        }
    }
    access::clock(inspector.clock(), findings);
}

//! `penstock provision`: makes the memory aliases that plans and policies of a configuration need. It calls AWS's configuration
//! API with its own role; `serve` never does.

mod ladder;
mod table;
mod warnings;

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use gateway_invoker::provision::{
    AccountLimits, FunctionReport, Patience, Progress, ProvisionError, Provisioner, Prunes, RowResult, Stop,
    plan,
};
use gateway_server::config::{Loaded, load};

use super::{ConfigArguments, EXIT_CONFIG, fail};
use crate::stop::{self, EXIT_INTERRUPTED};
use ladder::Work;
use table::Table;

/// Wrong arguments, as clap has it.
const EXIT_USAGE: u8 = 2;

/// Arguments of `provision`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Only this model; may be repeated. Default: all models of the configuration.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// These memory sizes instead of those of the models' plans and policies, MiB.
    #[arg(long, value_name = "MIB,MIB,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory: Vec<u32>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Also delete `mem-…` aliases that are not wanted any more, with their versions. Asks first.
    #[arg(long)]
    prune: bool,
    /// Delete without asking.
    #[arg(long)]
    yes: bool,
}

/// Makes the aliases, or says what is missing.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let Arguments { config, models, memory, dry_run, prune, yes } = arguments;
    let loaded = match load(&config.source()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, EXIT_CONFIG),
    };
    let works = match ladder::works(&loaded, &models, &memory) {
        Ok(works) => works,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    if prune && !dry_run && !yes && !std::io::stdin().is_terminal() {
        return fail(&"`--prune` deletes: without a terminal to ask on it needs `--yes`", EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    runtime.block_on(async {
        let stop = Stop::default();
        if let Err(error) = stop::on_signals(
            {
                let stop = stop.clone();
                move || stop.ask()
            },
            "stopping; `$LATEST` gets its memory back first",
            "stopped at once: look at the memory of `$LATEST`",
        ) {
            return fail(&error, 1);
        }
        let provisioner = Provisioner::new(&loaded.settings.invoker, Patience::default(), stop.clone()).await;
        let mut session =
            Session { provisioner, dry_run, prune, yes, table: Table::default(), failed: false };
        session.run(&loaded, &works).await;
        match (stop.is_asked(), session.failed) {
            (true, _) => ExitCode::from(EXIT_INTERRUPTED),
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::SUCCESS,
        }
    })
}

/// One run of the command.
struct Session {
    provisioner: Provisioner,
    dry_run: bool,
    prune: bool,
    yes: bool,
    table: Table,
    failed: bool,
}

fn show(progress: Progress) {
    eprintln!("{progress}");
}

impl Session {
    async fn run(&mut self, loaded: &Loaded, works: &[Work]) {
        let limits = self.limits().await;
        let mut warnings = warnings::Warnings::new(loaded, limits);
        for work in works {
            work.notes.iter().for_each(|note| eprintln!("{}: {note}", work.function));
            match self.function(work, &mut warnings).await {
                Ok(()) => {}
                Err(ProvisionError::Stopped) => break,
                Err(error) => self.fail(&error),
            }
        }
        print!("{}", self.table);
        for warning in warnings.finish(works) {
            println!("warning: {warning}");
        }
        if self.dry_run {
            println!("dry run: nothing was changed");
        } else if !self.failed && self.table.is_unchanged() {
            println!("nothing to do");
        }
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.failed = true;
        eprintln!("penstock: {error}");
    }

    /// Limits only lead to warnings: without the permission to ask for them the aliases are made all the same.
    async fn limits(&mut self) -> Option<AccountLimits> {
        match self.provisioner.account_limits().await {
            Ok(limits) => {
                println!(
                    "account: {} sandboxes at a time, {} of them unreserved; {} requests/s",
                    limits.concurrency,
                    limits.unreserved_concurrency,
                    limits.requests_per_second()
                );
                Some(limits)
            }
            Err(error) => {
                eprintln!("penstock: the account's limits are unknown: {error}");
                None
            }
        }
    }

    async fn function(
        &mut self,
        work: &Work,
        warnings: &mut warnings::Warnings<'_>,
    ) -> Result<(), ProvisionError> {
        let state = self.provisioner.state(&work.function).await?;
        warnings.note_reserved(&work.function, state.reserved_concurrency);
        let plan = plan(state, &work.ladder);
        let (models, prunes) = (work.models.join(", "), &plan.prunes);
        if self.dry_run {
            self.table.add_plan(&models, &plan);
            if self.prune {
                self.table.add_prunes(&models, &work.function, prunes, "would delete");
            }
            return Ok(());
        }
        let report = self.provisioner.apply(&plan, &show).await;
        self.table.add_report(&models, &report);
        self.note_left_out(work, &report, warnings);
        if let Some(error) = report.error {
            return Err(error);
        }
        if self.prune && !prunes.is_empty() && self.is_confirmed(&work.function, prunes) {
            let pruned = self.provisioner.prune(&work.function, prunes, &show).await?;
            self.table.add_prunes(&models, &work.function, &pruned.deleted, "deleted");
            for version in pruned.in_use {
                eprintln!("{}: version {version} is in use and stays", work.function);
            }
        }
        Ok(())
    }

    /// A size that only a policy may choose is done without; one that was asked for, or that the plan needs, is a failure.
    fn note_left_out(&mut self, work: &Work, report: &FunctionReport, warnings: &mut warnings::Warnings<'_>) {
        if let Some(ceiling) = report.memory_ceiling {
            warnings.note_ceiling(ceiling);
        }
        for row in report.rows.iter().filter(|row| row.result == RowResult::LeftOut) {
            if work.needed.contains(&row.memory) {
                self.fail(&format!(
                    "`{}` needs {}, which this account does not allow",
                    work.function, row.memory
                ));
            }
        }
    }

    fn is_confirmed(&self, function: &str, prunes: &Prunes) -> bool {
        if self.yes {
            return true;
        }
        let aliases: Vec<&str> = prunes.aliases.iter().map(String::as_str).collect();
        let versions: Vec<String> = prunes.versions.iter().map(u64::to_string).collect();
        eprint!(
            "{function}: delete aliases [{}] and versions [{}]? [y/N] ",
            aliases.join(", "),
            versions.join(", ")
        );
        let mut answer = String::new();
        let _ = std::io::stderr().flush();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

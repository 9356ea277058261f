//! `penstock bulk`: a data set through a model. Arguments, progress bar and exit codes; jobs themselves are `gateway-bulk`'s.

mod arguments;
mod bar;
mod codec;
mod jobs;
mod plan;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use gateway_bulk::{BulkError, Store};

use crate::commands::fail;

/// Wrong arguments, as clap has it.
const EXIT_USAGE: u8 = 2;
/// The job goes on another time: it was stopped, or it failed for something that can be mended.
const EXIT_UNFINISHED: u8 = 75;

/// Arguments of `bulk`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a data set through a model; the same command again goes on where it was stopped. Exit code 75 if it can go on.
    Run(Box<arguments::RunArguments>),
    /// List jobs, the newest first.
    List(jobs::ListArguments),
    /// Show one job.
    Show(jobs::ShowArguments),
    /// Cancel a job: what was answered until then is put in place.
    Cancel(jobs::CancelArguments),
}

/// Where jobs are kept.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// Folder of the job database and of answers that are not in place yet.
    #[arg(long, value_name = "FOLDER", default_value = ".penstock-bulk", env = "PENSTOCK_BULK_STATE_DIR")]
    state_dir: PathBuf,
    /// Job database instead of the SQLite file in the state folder: `postgres://user@host/database` or `sqlite:PATH`.
    #[arg(long, value_name = "URL", env = "PENSTOCK_BULK_DATABASE")]
    database: Option<String>,
}

impl StoreArguments {
    async fn open(&self) -> Result<Store, BulkError> {
        std::fs::create_dir_all(&self.state_dir).map_err(|source| BulkError::Io {
            what: format!("make `{}`", self.state_dir.display()),
            source,
        })?;
        match &self.database {
            Some(url) => Store::open(url).await,
            None => Store::open_directory(&self.state_dir).await,
        }
    }

    fn spool(&self) -> PathBuf {
        self.state_dir.clone()
    }
}

/// Runs a subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(*arguments).await,
            Command::List(arguments) => jobs::list(&arguments).await,
            Command::Show(arguments) => jobs::show(&arguments).await,
            Command::Cancel(arguments) => jobs::cancel(&arguments).await,
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => {
            let is_usage = error.downcast_ref().is_some_and(|error| matches!(error, BulkError::Usage { .. }));
            fail(&format!("{error:#}"), if is_usage { EXIT_USAGE } else { 1 })
        }
    }
}

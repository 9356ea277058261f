//! `penstock profile`: what does each operating point of a function take, and which is best?
//!
//! The profiler decides what is run and writes it down; the simulator fits a law to it and computes what this machine cannot run. Here are the
//! folder of results, signals, the progress bar, the report and the exit code.

mod bar;
mod dry_run;
mod expect;
mod figures;
mod fit;
mod outputs;
mod recommend;
mod report;
mod simulated;
mod terminal;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use workers_profiler::session::{self, BudgetKind, Ending, Session, SessionError, Stop};
use workers_profiler::{Experiment, ExperimentError, Journal, JournalError, Lambda, VersionError};

use self::expect::Expectation;
use crate::commands::{EXIT_CONFIG, fail};
use crate::stop::{self, EXIT_INTERRUPTED};

/// The budget is used up before every point has its runs.
const EXIT_BUDGET: u8 = 75;

/// Arguments of `profile`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The experiment, TOML.
    #[arg(value_name = "EXPERIMENT")]
    experiment: PathBuf,
    /// Folder for journal, records, report and profiles; an interrupted experiment goes on from there. Default: `profile-NAME`.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Only say which points would be run, how often, and what that may take and cost. Calls nothing.
    #[arg(long)]
    dry_run: bool,
    /// Begin anew, although the folder has a journal; the old one is kept beside it.
    #[arg(long)]
    fresh: bool,
    /// Only write records and report of what the journal has. Calls nothing.
    #[arg(long, conflicts_with_all = ["dry_run", "fresh"])]
    report_only: bool,
    /// Only remove the versions that a killed session left behind, and give `$LATEST` its memory back.
    #[arg(long, conflicts_with_all = ["dry_run", "fresh", "report_only"])]
    remove_only: bool,
    /// Weight of cost against time in the balanced recommendation, 0 (time alone) to 1 (cost alone).
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    weight: f64,
    /// Instead of the experiment's endpoint, for example `http://127.0.0.1:9001` for the local Lambda.
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Sign as `test`/`test`, for the local Lambda.
    #[arg(long)]
    test_credentials: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must be within 0 to 1".to_owned()) }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("`{}`: {source}", path.display())]
    Experiment { path: PathBuf, source: ExperimentError },
    #[error(transparent)]
    Expectation(#[from] expect::ExpectError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("what the experiment made could not all be removed; `--remove-only` tries again: {0}")]
    NotRemoved(#[from] VersionError),
    #[error("cannot write `{}`: {reason}", path.display())]
    Output { path: PathBuf, reason: String },
    #[error("{0}")]
    Start(#[from] std::io::Error),
}

impl ProfileError {
    fn output(path: &Path, reason: &impl ToString) -> Self {
        Self::Output { path: path.to_path_buf(), reason: reason.to_string() }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Experiment { .. } | Self::Expectation(_) | Self::Session(SessionError::Input { .. }) => {
                EXIT_CONFIG
            }
            Self::Session(_)
            | Self::Journal(_)
            | Self::NotRemoved(_)
            | Self::Output { .. }
            | Self::Start(_) => 1,
        }
    }
}

/// Runs what is asked for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(profile(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&chain(&error), error.exit_code()),
    }
}

/// An error with what it is from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

async fn profile(arguments: &Arguments) -> Result<u8, ProfileError> {
    let path = &arguments.experiment;
    let mut experiment = Experiment::from_file(path)
        .map_err(|source| ProfileError::Experiment { path: path.clone(), source })?;
    if let Some(url) = &arguments.endpoint_url {
        experiment.connection.endpoint_url = Some(url.clone());
    }
    experiment.connection.has_test_credentials |= arguments.test_credentials;
    let expectation = Expectation::new(&experiment, path.parent().unwrap_or(Path::new("")))?;
    if arguments.dry_run {
        print!("{}", dry_run::text(&experiment, &expectation));
        return Ok(0);
    }
    let default = || PathBuf::from(format!("profile-{}", experiment.name));
    let folder = arguments.output.clone().unwrap_or_else(default);
    std::fs::create_dir_all(&folder).map_err(|error| ProfileError::output(&folder, &error))?;
    let mut journal = open_journal(&folder, &experiment, arguments.fresh)?;
    if arguments.report_only {
        outputs::write(&folder, &experiment, &expectation, &journal, arguments.weight)?;
        return Ok(0);
    }
    let lambda = Lambda::new(&experiment.connection).await;
    if arguments.remove_only {
        let removed = session::remove(&experiment, &lambda, &journal).await?;
        eprintln!("penstock: {removed} versions were removed");
        return Ok(0);
    }
    let ended = measure(&experiment, &expectation, &lambda, &mut journal).await;
    // Whatever happened: what the experiment made goes, and what it measured is written.
    let removed = session::remove(&experiment, &lambda, &journal).await;
    let ending = match ended {
        Ok(ending) => ending,
        Err(error) => {
            if let Err(left) = removed {
                eprintln!("penstock: {}", ProfileError::from(left));
            }
            return Err(error);
        }
    };
    removed?;
    outputs::write(&folder, &experiment, &expectation, &journal, arguments.weight)?;
    Ok(tell(ending))
}

fn open_journal(folder: &Path, experiment: &Experiment, is_fresh: bool) -> Result<Journal, ProfileError> {
    let path = folder.join("journal.jsonl");
    if is_fresh && path.exists() {
        let free = (1..).map(|n| folder.join(format!("journal-{n}.jsonl"))).find(|aside| !aside.exists());
        if let Some(aside) = free {
            std::fs::rename(&path, &aside).map_err(|error| ProfileError::output(&aside, &error))?;
        }
    }
    Ok(Journal::open(&path, &experiment.name, &session::identities(experiment)?)?)
}

async fn measure(
    experiment: &Experiment,
    expectation: &Expectation,
    lambda: &Lambda,
    journal: &mut Journal,
) -> Result<Ending, ProfileError> {
    let stop = Stop::default();
    stop::on_signals(
        {
            let stop = stop.clone();
            move || stop.ask()
        },
        "stopping after this run; then what was made on Lambda is removed",
        "stopped at once; `--remove-only` removes what is left on Lambda",
    )?;
    let mut bar = bar::Bar::new(std::io::stderr().is_terminal());
    let session = Session {
        experiment,
        lambda,
        prices: expectation.prices,
        predict: &|model, point| expectation.predict(model, point),
        stop,
        tell: &mut |progress| bar.tell(progress),
    };
    let ended = session::run(session, journal).await;
    bar.finish();
    Ok(ended?)
}

fn tell(ending: Ending) -> u8 {
    match ending {
        Ending::Finished => 0,
        Ending::Stopped => {
            eprintln!("penstock: stopped; the same command goes on from here");
            EXIT_INTERRUPTED
        }
        Ending::Budget(kind) => {
            let what = match kind {
                BudgetKind::Usd => "dollars",
                BudgetKind::Time => "minutes",
            };
            eprintln!(
                "penstock: the budget of {what} is used up; with more of it the same command goes on from here"
            );
            EXIT_BUDGET
        }
    }
}

//! `penstock bulk list`, `show` and `cancel`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use gateway_bulk::{BulkError, Engine, Job, JobId, JobState, Owner, cancel_unrun, stop_elsewhere};
use simulator::report::number::{dollars, duration};

use super::StoreArguments;
use super::run::executions;

/// Arguments of `bulk list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Jobs at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
}

/// Arguments of `bulk show`.
#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The job.
    #[arg(value_name = "JOB")]
    job: String,
}

/// Arguments of `bulk cancel`.
#[derive(Debug, Args)]
pub(super) struct CancelArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The job.
    #[arg(value_name = "JOB")]
    job: String,
}

fn id(text: &str) -> Result<JobId> {
    JobId::parse(text).with_context(|| format!("`{text}` is no job id"))
}

/// Lists jobs.
pub(super) async fn list(arguments: &ListArguments) -> Result<ExitCode> {
    let store = arguments.store.open().await?;
    for job in store.jobs(&Owner::local(), None, arguments.limit).await? {
        println!(
            "{}  {:<11} {:<16} {:>9}/{:<9} {:>10}  {}",
            job.id,
            job.state,
            job.spec.model,
            job.counts.completed + job.counts.failed,
            job.counts.total,
            dollars(job.cost.usd),
            job.spec.input.location
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a job.
pub(super) async fn show(arguments: &ShowArguments) -> Result<ExitCode> {
    let store = arguments.store.open().await?;
    print!("{}", describe(&store.job(&Owner::local(), &id(&arguments.job)?).await?));
    Ok(ExitCode::SUCCESS)
}

/// Cancels a job. If nobody runs it, it is ended here.
pub(super) async fn cancel(arguments: &CancelArguments) -> Result<ExitCode> {
    let store = arguments.store.open().await?;
    let (owner, id) = (Owner::local(), id(&arguments.job)?);
    let mut job = store.cancel(&owner, &id).await?;
    if job.state == JobState::Cancelling
        && let Some(executions) = executions(&job.spec.engine).await?
    {
        stop_elsewhere(&id, &*executions).await?;
        println!(
            "{id}: no further chunk begins in the state machine; the job's own command puts in place what was answered"
        );
        return Ok(ExitCode::SUCCESS);
    }
    if job.state == JobState::Cancelling {
        job = match cancel_unrun(&store, &owner, &id, &arguments.store.spool()).await {
            Ok(job) => job,
            Err(BulkError::Busy { .. }) => {
                println!("{id} is being run; it ends when the invocations under way have ended");
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error.into()),
        };
    }
    print!("{}", describe(&job));
    Ok(ExitCode::SUCCESS)
}

/// A job for people.
pub(super) fn describe(job: &Job) -> String {
    let (counts, cost) = (job.counts, job.cost);
    let mut text = format!(
        "job {}: {}\n  lines   {} answered, {} failed, {} in all; {} items\n  cost    {}{} in {} invocations, {} of them cold; {:.1} GB-s\n  \
         time    {}\n  plan    {} items, {} processes of {} MiB (`{}`), {} at a time\n  output  {}\n  errors  {}\n",
        job.id,
        job.state.name().replace('_', " "),
        counts.completed,
        counts.failed,
        counts.total,
        counts.items,
        dollars(cost.usd),
        if cost.is_estimate { " (partly estimated)" } else { "" },
        cost.invocations,
        cost.cold_starts,
        cost.gb_seconds,
        duration(job.active.as_secs_f64()),
        job.spec.chunk.max_items,
        job.spec.point.process_count,
        job.spec.point.memory_mib,
        job.spec.point.qualifier,
        job.spec.parallelism,
        job.spec.output.location,
        job.spec.errors
    );
    if let Some(why) = &job.spec.why {
        text.push_str(&format!("  chosen  {why}\n"));
    }
    if let Engine::StepFunctions(to) = &job.spec.engine {
        text.push_str(&format!("  engine  {}, executions `{}-N`\n", to.state_machine, job.id));
    }
    if counts.unknown_outcomes > 0 {
        text.push_str(&format!(
            "  twice   {} invocations had an unknown outcome and were run once more\n",
            counts.unknown_outcomes
        ));
    }
    if let Some(failure) = &job.failure {
        text.push_str(&format!("  failed  {}: {}\n", failure.code, failure.message));
        for problem in failure.problems.iter().take(10) {
            text.push_str(&format!("          line {}: {}\n", problem.line, problem.message));
        }
    }
    text
}

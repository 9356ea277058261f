//! `penstock bulk run`: finds or makes the job, runs it with a progress bar, says how it ended.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use gateway_bulk::estimate::sketch;
use gateway_bulk::{
    BulkError, Engine, Executions, Job, JobId, JobSpec, JobState, Owner, Progress, RunContext, Store,
    Unshared, run as run_job, unix_millis,
};
use gateway_invoker::{LambdaInvoker, StateMachine};
use gateway_server::config::{Loaded, ModelSettings, load};
use tokio::sync::watch;

use super::arguments::RunArguments;
use super::jobs::describe;
use super::plan::choose;
use super::{EXIT_UNFINISHED, EXIT_USAGE, bar, codec};
use crate::commands::{EXIT_CONFIG, fail};

/// What lines of the command line are.
const KIND: &str = "bulk";
/// Jobs that are looked through for one to go on with.
const LOOK_BACK: u32 = 1000;

/// Runs a job.
pub(super) async fn run(arguments: RunArguments) -> Result<ExitCode> {
    let loaded = match load(&arguments.config.clone().source()) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(fail(&error, EXIT_CONFIG)),
    };
    let Some(model) = loaded.settings.models.iter().find(|model| model.name == arguments.model) else {
        let text = format!("the configuration has no model `{}`", arguments.model);
        return Ok(fail(&text, EXIT_USAGE));
    };
    let manifest = Arc::new(model.manifest.clone());
    let input = arguments.input(&manifest)?;
    let codec = codec::codec(&input, model, &manifest, &loaded.settings.http)?;
    let engine = arguments.engine()?;
    if arguments.dry_run {
        let sketch = sketch(&input, &manifest, codec).await?;
        let chosen = choose(&arguments, &loaded, model, &manifest, Some(&sketch))?;
        println!("{}dry run: nothing was invoked", chosen.text(&sketch));
        return Ok(ExitCode::SUCCESS);
    }
    let store = arguments.store.open().await?;
    let owner = Owner::local();
    let job = match find(&arguments, &store, &owner, model).await? {
        Some(job) => {
            eprintln!("job {} goes on: {} of {} lines are done", job.id, done(&job), job.counts.total);
            job
        }
        None => create(&arguments, &store, &owner, &loaded, model, engine).await?,
    };
    let executions = executions(&job.spec.engine).await?;
    let on_stop = if executions.is_some() {
        "stopping; what the state machine runs goes on, and the same command takes it in"
    } else {
        "stopping when the invocations under way have ended; the same command goes on"
    };
    let (stop, stopped) = watch::channel(false);
    let progress = Arc::new(Progress::default());
    let context = RunContext {
        holder: None,
        manifest,
        codec,
        prices: Arc::new(loaded.settings.prices.clone()),
        architecture: model.architecture,
        executions,
        capacity: Arc::new(Unshared),
        progress: Arc::clone(&progress),
        spool: arguments.store.spool(),
        stop: stopped,
    };
    let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
    // Without signals the job runs to its end.
    let _unheard = crate::stop::on_signals(
        move || {
            stop.send_replace(true);
        },
        on_stop,
        "stopped at once; the same command goes on",
    );
    let showing = tokio::spawn(bar::show(Arc::clone(&progress), std::io::stderr().is_terminal()));
    let ended = run_job(&store, &owner, &job.id, invoker, context).await;
    showing.abort();
    let _aborted = showing.await;
    if let Some(plan) = progress.take_plan() {
        eprintln!("{plan}"); // it was chosen after the bar's last look
    }
    let job = ended?;
    store.close().await;
    print!("{}", describe(&job));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&summary(&job))?;
        std::fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(match job.state {
        JobState::Completed => ExitCode::SUCCESS,
        JobState::Expired | JobState::Cancelled => ExitCode::FAILURE,
        JobState::Failed
        | JobState::Validating
        | JobState::InProgress
        | JobState::Finalizing
        | JobState::Cancelling => ExitCode::from(EXIT_UNFINISHED),
    })
}

/// The state machine of a job that has one.
pub(super) async fn executions(engine: &Engine) -> Result<Option<Arc<dyn Executions>>, BulkError> {
    Ok(match engine {
        Engine::Local => None,
        Engine::StepFunctions(to) => Some(Arc::new(StateMachine::new(&to.state_machine).await?)),
    })
}

const fn done(job: &Job) -> u64 {
    job.counts.completed + job.counts.failed
}

fn summary(job: &Job) -> serde_json::Value {
    serde_json::json!({
        "job": job.id, "state": job.state, "counts": job.counts, "cost": job.cost, "failure": job.failure,
        "seconds": job.active.as_secs_f64(), "point": job.spec.point, "chunk": job.spec.chunk,
        "parallelism": job.spec.parallelism, "why": job.spec.why,
    })
}

/// The job to go on with: the one that was named, or the newest of the same model, input and output that has not ended well.
async fn find(
    arguments: &RunArguments,
    store: &Store,
    owner: &Owner,
    model: &ModelSettings,
) -> Result<Option<Job>> {
    if let Some(id) = &arguments.resume {
        let id = JobId::parse(id).with_context(|| format!("`{id}` is no job id"))?;
        let mut job = store.job(owner, &id).await?;
        let max_usd = arguments.max_usd.or(job.spec.max_usd);
        let finish_within = arguments.finish_within.or(job.spec.finish_within);
        if (finish_within, max_usd) != (job.spec.finish_within, job.spec.max_usd) {
            job = store.set_wish(owner, &id, finish_within, max_usd).await?;
        }
        return Ok(Some(job));
    }
    if arguments.new {
        return Ok(None);
    }
    let (input, output) = (arguments.input(&model.manifest)?, arguments.output()?);
    let is_same = |job: &Job| {
        let spec = &job.spec;
        spec.kind == KIND && spec.model == model.name && spec.input == input && spec.output == output
    };
    let found = store.jobs(owner, None, LOOK_BACK).await?.into_iter().find(is_same);
    let can_go_on = |job: &Job| !job.state.is_final() || (job.state == JobState::Failed && job.can_go_on());
    let Some(mut job) = found.filter(can_go_on) else { return Ok(None) };
    if (arguments.finish_within, arguments.max_usd) != (job.spec.finish_within, job.spec.max_usd) {
        job = store.set_wish(owner, &job.id, arguments.finish_within, arguments.max_usd).await?;
    }
    Ok(Some(job))
}

async fn create(
    arguments: &RunArguments,
    store: &Store,
    owner: &Owner,
    loaded: &Loaded,
    model: &ModelSettings,
    engine: Engine,
) -> Result<Job> {
    let manifest = Arc::new(model.manifest.clone());
    let input = arguments.input(&manifest)?;
    let sketch = if arguments.profile.is_some() {
        let codec = codec::codec(&input, model, &manifest, &loaded.settings.http)?;
        Some(sketch(&input, &manifest, codec).await?)
    } else {
        None
    };
    let chosen = choose(arguments, loaded, model, &manifest, sketch.as_ref())?;
    if let Some(sketch) = &sketch {
        eprint!("{}", chosen.text(sketch));
    }
    let expires_in = arguments.expires_in.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let spec = JobSpec {
        model: model.name.clone(),
        kind: KIND.to_owned(),
        point: chosen.point,
        chunk: chosen.chunk,
        parallelism: chosen.parallelism,
        engine,
        learn: chosen.learn,
        why: None,
        input,
        output: arguments.output()?,
        errors: arguments.errors()?,
        finish_within: arguments.finish_within,
        max_usd: arguments.max_usd,
        expires_at: expires_in.map(|millis| unix_millis().saturating_add(millis)),
        is_strict: false,
        metadata: BTreeMap::new(),
    };
    let job = store.create_job(owner, &spec).await?;
    eprintln!("job {}", job.id);
    Ok(job)
}

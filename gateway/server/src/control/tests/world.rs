//! A fleet with the real driver and engine, an invoker whose service law is known, and tuners that do as they are told.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PlanRevision, Rung, ServiceObservation, ServingPlan, WindowStats,
};
use gateway_invoker::{Invocation, InvocationReply, InvokeError, Metering, RefusedCause};
use optimizer_tuner::settings::SettingsError;
use optimizer_tuner::surface::Surface;
use optimizer_tuner::{
    Command, Economics, Refit, Refitted, StateError, Tuner, TunerEvent, TunerReport, TunerSettings,
    TunerState,
};
use tokio::task::JoinHandle;
use workers_protocol::{Answer, ItemShapes, ProcessReport, Report, Request, TensorChunks};

use crate::config::{Source, load_text};
use crate::control::decide::{Decide, MakeTuner, tuner};
use crate::control::handle::ControlHandle;
use crate::control::supervisor::{Parts, spawn_with};
use crate::http::Readiness;
use crate::inference::{Completed, InferError, Inference, InputTensor, Submission};
use crate::lifecycle::Fleet;
use crate::telemetry::Catalogue;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lambda with a law: a batch of n items takes 20 ms + 5 ms · n on 1,024 MiB, and half of that on twice the memory.
#[derive(Clone, Default)]
pub(super) struct Lambda(Arc<Mutex<LambdaState>>);

#[derive(Default)]
pub(super) struct LambdaState {
    /// Alias, items and start of each call.
    pub(super) calls: Vec<(String, usize, tokio::time::Instant)>,
    /// Aliases that are not there.
    pub(super) missing: BTreeSet<String>,
    /// The worker speaks another protocol version.
    pub(super) is_foreign: bool,
}

impl Lambda {
    pub(super) fn state(&self) -> MutexGuard<'_, LambdaState> {
        self.0.lock().unwrap()
    }

    /// Calls to an alias with items (`false`: without).
    pub(super) fn calls(&self, alias: &str, with_items: bool) -> Vec<tokio::time::Instant> {
        let state = self.state();
        let calls = state.calls.iter().filter(|(to, items, _)| to == alias && (*items > 0) == with_items);
        calls.map(|&(_, _, at)| at).collect()
    }
}

impl tower::Service<Invocation> for Lambda {
    type Response = InvocationReply;
    type Error = InvokeError;
    type Future = Pin<Box<dyn Future<Output = Result<InvocationReply, InvokeError>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), InvokeError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        let request = Request::decode(&invocation.payload).unwrap();
        let alias = invocation.qualifier.to_string();
        let (is_missing, is_foreign) = {
            let mut state = self.state();
            state.calls.push((alias.clone(), request.ids.len(), tokio::time::Instant::now()));
            (state.missing.contains(&alias), state.is_foreign)
        };
        let refused = |cause| Err(InvokeError::Refused { cause, message: "scripted".to_owned() });
        Box::pin(async move {
            if is_missing {
                return refused(RefusedCause::NotFound);
            }
            if is_foreign {
                return refused(RefusedCause::ProtocolMismatch);
            }
            let memory: u32 = alias.trim_start_matches("mem-").parse().unwrap();
            let items = u32::try_from(request.ids.len()).unwrap();
            let time = (ms(20) + ms(5) * items).mul_f64(1024.0 / f64::from(memory));
            tokio::time::sleep(time).await;
            Ok(answer(&request, time, memory))
        })
    }
}

fn answer(request: &Request, time: Duration, memory: u32) -> InvocationReply {
    let items = request.ids.len();
    let outputs: Vec<_> = request
        .inputs
        .iter()
        .map(|input| TensorChunks {
            name: "y",
            datatype: input.datatype,
            item_shapes: ItemShapes::from_shapes(&vec![&[1_u32][..]; items]),
            chunks: vec![&input.data],
        })
        .collect();
    let process = ProcessReport {
        items: u32::try_from(items).unwrap(),
        work_units: items as u64,
        padded_units: items as u64,
        ..ProcessReport::default()
    };
    let handler_us = u64::try_from(time.as_micros()).unwrap();
    let report = Report { handler_us, processes: vec![process], ..Report::default() };
    let payload = Answer::encode(request.header.batch, &request.ids, &outputs, &[], &report);
    let billed = ms(u64::try_from(time.as_millis()).unwrap());
    let metering = Metering { billed, memory: Some(Mebibytes(memory)), ..Metering::default() };
    InvocationReply { payload: payload.into(), executed_version: None, request_id: None, metering }
}

/// What a scripted tuner is told and does. Shared by all tuners of a world.
#[derive(Default)]
pub(super) struct Script {
    pub(super) made: usize,
    pub(super) restored: usize,
    pub(super) observations: Vec<ServiceObservation>,
    pub(super) windows: Vec<WindowStats>,
    pub(super) commands: Vec<Command>,
    pub(super) settings: Vec<TunerSettings>,
    /// Plans to give out at the next window.
    pub(super) plans: VecDeque<ServingPlan>,
    pub(super) report: TunerReport,
    pub(super) surface: Option<Surface>,
    pub(super) surfaces_made: usize,
    /// To be told at the next window.
    pub(super) events: VecDeque<TunerEvent>,
    pub(super) panics_at_window: bool,
    pub(super) refuses_state: bool,
}

struct Scripted {
    script: Arc<Mutex<Script>>,
    real: Tuner,
    revision: PlanRevision,
    plans: VecDeque<ServingPlan>,
}

impl Decide for Scripted {
    fn revision(&self) -> PlanRevision {
        self.revision
    }
    fn handle_observation(&mut self, observation: &ServiceObservation) {
        self.script.lock().unwrap().observations.push(observation.clone());
    }
    fn handle_window(&mut self, stats: &WindowStats) {
        let mut script = self.script.lock().unwrap();
        script.windows.push(stats.clone());
        let panics = std::mem::take(&mut script.panics_at_window);
        self.plans.append(&mut script.plans);
        drop(script);
        assert!(!panics, "scripted");
    }
    fn handle_command(&mut self, command: Command) {
        if let Command::Pin(plan) = &command {
            let revision = PlanRevision(self.revision.0 + 1);
            self.plans.push_back(ServingPlan { revision, parent: Some(self.revision), ..(**plan).clone() });
        }
        self.script.lock().unwrap().commands.push(command);
    }
    fn handle_settings(
        &mut self,
        settings: TunerSettings,
        _: ServingPlan,
        _: Economics,
    ) -> Result<(), SettingsError> {
        self.script.lock().unwrap().settings.push(settings);
        Ok(())
    }
    fn poll_plan(&mut self) -> Option<ServingPlan> {
        let plan = self.plans.pop_front()?;
        self.revision = plan.revision;
        Some(plan)
    }
    fn poll_event(&mut self) -> Option<TunerEvent> {
        self.script.lock().unwrap().events.pop_front()
    }
    fn start_refit(&mut self) -> Option<Refit> {
        None
    }
    fn finish_refit(&mut self, _: Refitted) {}
    fn save(&self) -> TunerState {
        self.real.save()
    }
    fn restore(&mut self, state: TunerState) -> Result<(), StateError> {
        let mut script = self.script.lock().unwrap();
        if script.refuses_state {
            return Err(StateError("scripted".to_owned()));
        }
        script.restored += 1;
        self.real.restore(state)
    }
    fn report(&self) -> TunerReport {
        self.script.lock().unwrap().report.clone()
    }
    fn surface(&self) -> Option<Surface> {
        let mut script = self.script.lock().unwrap();
        script.surfaces_made += 1;
        script.surface.clone()
    }
}

static WORLDS: AtomicUsize = AtomicUsize::new(0);

/// A fleet and its control loop.
pub(super) struct World {
    pub(super) lambda: Lambda,
    pub(super) fleet: Arc<Fleet>,
    pub(super) control: ControlHandle,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) readiness: Readiness,
    pub(super) script: Arc<Mutex<Script>>,
    source: Source,
    tasks: Vec<JoinHandle<()>>,
}

const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [1] }]
outputs = [{ name = "y", datatype = "FP32", shape = [1] }]
"#;

/// The configuration of a world, with more lines at its end, which are of `[models.echo.policy]` first.
pub(super) fn configuration(more: &str) -> String {
    format!(
        "[models.echo]\nmanifest = \"model.toml\"\nfunction = \"f\"\n\
         [models.echo.plan]\nmemory_mib = 1024\npacking = \"fifo\"\nmax_batch_size = 4\nmax_queue_delay_ms = 10\n\
         [models.echo.policy]\nmemory_mib = [1024, 2048]\n{more}\n"
    )
}

impl World {
    /// Starts one in `folder` with scripted tuners.
    pub(super) fn start(folder: &std::path::Path, more: &str, script: Script) -> Self {
        Self::start_on(folder, more, script, Lambda::default())
    }

    pub(super) fn start_on(folder: &std::path::Path, more: &str, script: Script, lambda: Lambda) -> Self {
        let script = Arc::new(Mutex::new(script));
        Self::start_with(folder, more, script.clone(), lambda, scripted(script))
    }

    /// Starts one with real tuners.
    pub(super) fn start_real(folder: &std::path::Path, more: &str) -> Self {
        Self::start_with(folder, more, Arc::default(), Lambda::default(), Arc::new(tuner))
    }

    fn start_with(
        folder: &std::path::Path,
        more: &str,
        script: Arc<Mutex<Script>>,
        lambda: Lambda,
        make: Arc<MakeTuner>,
    ) -> Self {
        std::fs::write(folder.join("model.toml"), MANIFEST).unwrap();
        let source = Source { path: Some(folder.join("gateway.toml")), ..Source::default() };
        let loaded = load_text(&configuration(more), &source).unwrap();
        let catalogue = Arc::new(Catalogue::new().unwrap());
        let (fleet, _, driver) = Fleet::start(Arc::new(loaded.settings), lambda.clone(), &catalogue).unwrap();
        let fleet = Arc::new(fleet);
        let readiness = Readiness::ready();
        let parts = Parts {
            fleet: fleet.clone(),
            invoker: lambda.clone(),
            catalogue: catalogue.clone(),
            readiness: readiness.clone(),
            identity: Arc::from(format!("world {}", WORLDS.fetch_add(1, Ordering::Relaxed))),
        };
        let (control, task) = spawn_with(parts, make);
        let tasks = vec![driver, task];
        Self { lambda, fleet, control, catalogue, readiness, script, source, tasks }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Puts another configuration into force.
    pub(super) fn reload(&self, more: &str) {
        let loaded = load_text(&configuration(more), &self.source).unwrap();
        self.fleet.reload(Arc::new(loaded.settings)).unwrap();
        self.control.reload();
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> ServingPlan {
        self.fleet.registry().load().get("echo").unwrap().plan.clone()
    }

    /// The plan in force with another rung.
    pub(super) fn plan_on(&self, revision: u64, memory: u32) -> ServingPlan {
        let plan = self.plan();
        let rung = Rung {
            max_items: plan.max_batch_size,
            qualifier: format!("mem-{memory}"),
            memory_mib: Mebibytes(memory),
            process_count: 1,
        };
        ServingPlan {
            revision: PlanRevision(revision),
            parent: Some(plan.revision),
            rungs: vec![rung],
            ..plan
        }
    }

    /// Sends one item and waits for the answer.
    pub(super) fn send(&self) -> impl Future<Output = Result<Completed, InferError>> + Send + use<> {
        let driver = self.fleet.driver().clone();
        let tensor = InputTensor {
            item_shape: [1].into_iter().collect(),
            data: 1.0_f32.to_le_bytes().to_vec().into(),
            item_ends: None,
        };
        let submission = Submission {
            model: ModelId(0),
            items: 1,
            inputs: vec![tensor],
            priority: 0,
            timeout: None,
            trace: None,
        };
        async move { driver.infer(submission).await }
    }

    /// A metric with its labels, as in the exposition; 0 if it is not there.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.catalogue.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0.0)
    }

    /// Ends it as `kill -9` would.
    pub(super) fn vanish(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    pub(super) async fn stop(self) {
        self.control.stop().await;
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn scripted(script: Arc<Mutex<Script>>) -> Arc<MakeTuner> {
    Arc::new(move |settings: TunerSettings, base: ServingPlan, economics: Economics| {
        script.lock().unwrap().made += 1;
        let revision = base.revision;
        let real = Tuner::new(settings, base, economics)?;
        Ok(Box::new(Scripted { script: script.clone(), real, revision, plans: VecDeque::new() })
            as Box<dyn Decide>)
    })
}

/// Whether this happens within ten seconds of paused time.
pub(super) async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if holds() {
            return true;
        }
        tokio::time::sleep(ms(10)).await;
    }
    false
}

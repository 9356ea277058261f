//! A function that is scripted invocation by invocation, and a folder with a job database in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use gateway_bulk::{
    ChunkPlan, ColumnCodec, DataFormat, Engine, InputSpec, Job, JobSpec, Location, OperatingPoint,
    OutputSpec, Owner, Progress, RunContext, Store, Unshared, run,
};
use gateway_contract::{Architecture, Mebibytes, PriceTable};
use gateway_invoker::{Invocation, InvocationReply, InvokeError, Metering};
use tokio::sync::watch;
use workers_protocol::{Answer, ItemError, ModelManifest, ProcessReport, Report, Request, TensorChunks};

use crate::postgres::Server;

/// What the function does with one invocation.
pub(crate) enum Act {
    /// Gives each input back; these ids fail.
    Echo(Vec<ItemError>),
    /// Fails before or instead of an answer.
    Fail(InvokeError),
}

/// The `n`th invocation, from 0.
pub(crate) struct Call {
    pub(crate) n: usize,
    pub(crate) request: Request,
}

impl Call {
    /// The texts of its items.
    pub(crate) fn texts(&self) -> Vec<String> {
        let tensor = &self.request.inputs[0];
        let ranges = tensor.item_ranges(self.request.ids.len()).unwrap();
        ranges.into_iter().map(|range| String::from_utf8(tensor.data[range][4..].to_vec()).unwrap()).collect()
    }
}

type Script = dyn Fn(&Call) -> Act + Send + Sync;

/// A scripted function.
#[derive(Clone)]
pub(crate) struct Function {
    script: Arc<Script>,
    takes: Duration,
    /// What an item is said to take.
    says: Option<Duration>,
    pub(crate) calls: Arc<AtomicUsize>,
    /// Items of each invocation.
    pub(crate) sizes: Arc<Mutex<Vec<usize>>>,
    pub(crate) running: Arc<AtomicUsize>,
    pub(crate) most_running: Arc<AtomicUsize>,
}

impl Function {
    pub(crate) fn new(script: impl Fn(&Call) -> Act + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            takes: Duration::ZERO,
            says: None,
            calls: Arc::default(),
            sizes: Arc::default(),
            running: Arc::default(),
            most_running: Arc::default(),
        }
    }

    pub(crate) fn echo() -> Self {
        Self::new(|_| Act::Echo(Vec::new()))
    }

    pub(crate) fn taking(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    /// Says that each item takes so long, and the first invocation a second of INIT more; none does.
    pub(crate) fn saying(self, item: Duration) -> Self {
        Self { says: Some(item), ..self }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn invoke(self, invocation: Invocation) -> Result<InvocationReply, InvokeError> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let call = Call { n, request: Request::decode(&invocation.payload).expect("a valid batch") };
        self.sizes.lock().unwrap().push(call.request.ids.len());
        tokio::time::sleep(self.takes).await;
        let act = (self.script)(&call);
        self.running.fetch_sub(1, Ordering::SeqCst);
        match act {
            Act::Fail(error) => Err(error),
            Act::Echo(errors) => Ok(match self.says {
                None => echo(&call.request, &errors, &Report::default(), metering()),
                Some(item) => {
                    let items = u32::try_from(call.request.ids.len()).unwrap();
                    let handler = Duration::from_millis(5) + item * items;
                    let init = if n == 0 { Duration::from_secs(1) } else { Duration::ZERO };
                    let work = ProcessReport {
                        items,
                        work_units: items.into(),
                        padded_units: items.into(),
                        ..ProcessReport::default()
                    };
                    let report = Report {
                        cold: n == 0,
                        init_us: init.as_micros() as u64,
                        handler_us: handler.as_micros() as u64,
                        processes: vec![work],
                        ..Report::default()
                    };
                    let metering =
                        Metering { billed: handler + init, init: (n == 0).then_some(init), ..metering() };
                    echo(&call.request, &errors, &report, metering)
                }
            }),
        }
    }
}

/// What one invocation is billed here.
pub(crate) const BILLED: Duration = Duration::from_millis(100);

pub(crate) fn metering() -> Metering {
    Metering { billed: BILLED, memory: Some(Mebibytes(1024)), ..Metering::default() }
}

pub(crate) fn usd_per_invocation() -> f64 {
    let prices = PriceTable::default();
    prices.duration_usd(Architecture::X86_64, Mebibytes(1024), BILLED) + prices.request_usd()
}

fn echo(request: &Request, errors: &[ItemError], report: &Report, metering: Metering) -> InvocationReply {
    let kept: Vec<usize> = (0..request.ids.len())
        .filter(|&at| !errors.iter().any(|error| error.id == request.ids[at]))
        .collect();
    let ids: Vec<u64> = kept.iter().map(|&at| request.ids[at]).collect();
    let ranges = request.inputs[0].item_ranges(request.ids.len()).unwrap();
    let output = TensorChunks {
        name: "y",
        datatype: request.inputs[0].datatype,
        item_shapes: request.inputs[0].item_shapes.clone(),
        chunks: kept.iter().map(|&at| &request.inputs[0].data[ranges[at].clone()]).collect(),
    };
    let payload = Answer::encode(request.header.batch, &ids, &[output], errors, report);
    InvocationReply { payload: payload.into(), executed_version: None, request_id: None, metering }
}

impl tower_service::Service<Invocation> for Function {
    type Response = InvocationReply;
    type Error = InvokeError;
    type Future = Pin<Box<dyn Future<Output = Result<InvocationReply, InvokeError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        Box::pin(self.clone().invoke(invocation))
    }
}

pub(crate) const TEXTS: &str = "name = 'echo'\nversion = '1'\nengine = 'identity'\n\
    inputs = [{ name = 'x', datatype = 'BYTES', shape = [1] }]\n\
    outputs = [{ name = 'y', datatype = 'BYTES', shape = [1] }]";

/// A folder, a store and a model.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) manifest: Arc<ModelManifest>,
    pub(crate) progress: Arc<Progress>,
    _server: Option<Server>,
}

/// A world on SQLite.
pub(crate) async fn world() -> World {
    world_of(TEXTS, None).await
}

/// A world with this model, on this server if one is given.
pub(crate) async fn world_of(manifest: &str, server: Option<Server>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = match &server {
        Some(server) => Store::open(&server.url()).await.unwrap(),
        None => Store::open_directory(folder.path()).await.unwrap(),
    };
    let manifest = Arc::new(ModelManifest::parse(manifest).unwrap());
    World { folder, store, manifest, progress: Arc::default(), _server: server }
}

impl World {
    /// The world of another process, whose folder is not ours to remove: only its store and model.
    pub(crate) fn at(store: Store, manifest: &str) -> Self {
        let manifest = Arc::new(ModelManifest::parse(manifest).unwrap());
        Self {
            folder: tempfile::tempdir().unwrap(),
            store,
            manifest,
            progress: Arc::default(),
            _server: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `lines` plain lines: ids `i0…`, texts `text 0…`.
    pub(crate) fn input(&self, lines: usize) -> PathBuf {
        let text: String =
            (0..lines).map(|line| format!("{{\"id\":\"i{line}\",\"text\":\"text {line}\"}}\n")).collect();
        let path = self.path("in.jsonl");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn spec(&self, input: &Path) -> JobSpec {
        let format =
            |path: &Path| DataFormat::from_name(path.extension().unwrap().to_str().unwrap()).unwrap();
        JobSpec {
            model: "echo".to_owned(),
            kind: "test".to_owned(),
            point: OperatingPoint {
                function: "f".to_owned(),
                qualifier: String::new(),
                memory_mib: 1024,
                process_count: 1,
            },
            chunk: ChunkPlan { max_items: 10, max_request_bytes: 1 << 20 },
            parallelism: 4,
            engine: Engine::Local,
            learn: None,
            why: None,
            input: InputSpec {
                location: Location::Local(input.to_owned()),
                format: format(input),
                id_field: "id".to_owned(),
                columns: BTreeMap::from([("x".to_owned(), vec!["text".to_owned()])]),
            },
            output: OutputSpec {
                location: Location::Local(self.path("out.jsonl")),
                format: DataFormat::Jsonl,
                is_sorted: false,
            },
            errors: Location::Local(self.path("errors.jsonl")),
            finish_within: None,
            max_usd: None,
            expires_at: None,
            is_strict: false,
            metadata: BTreeMap::new(),
        }
    }

    pub(crate) fn context(&self, spec: &JobSpec, stop: watch::Receiver<bool>) -> RunContext {
        self.context_in(self.folder.path(), spec, stop)
    }

    pub(crate) fn context_in(&self, spool: &Path, spec: &JobSpec, stop: watch::Receiver<bool>) -> RunContext {
        let codec =
            ColumnCodec::new(self.manifest.clone(), &spec.input.id_field, &spec.input.columns).unwrap();
        RunContext {
            holder: None,
            manifest: self.manifest.clone(),
            codec: Arc::new(codec),
            prices: Arc::new(PriceTable::default()),
            architecture: Architecture::X86_64,
            executions: None,
            capacity: Arc::new(Unshared),
            progress: self.progress.clone(),
            spool: spool.to_owned(),
            stop,
        }
    }

    pub(crate) async fn create(&self, spec: &JobSpec) -> Job {
        self.store.create_job(&Owner::local(), spec).await.unwrap()
    }

    /// Runs a job to where it ends.
    pub(crate) async fn run(&self, job: &Job, function: &Function) -> Job {
        let (_stop, stopped) = watch::channel(false);
        let context = self.context(&job.spec, stopped);
        run(&self.store, &Owner::local(), &job.id, function.clone(), context).await.unwrap()
    }

    /// Creates and runs.
    pub(crate) async fn run_new(&self, spec: &JobSpec, function: &Function) -> Job {
        let job = self.create(spec).await;
        self.run(&job, function).await
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Lines of the output, sorted.
    pub(crate) fn sorted_output(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.read("out.jsonl").lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// Lines of the error file as (line, id, code).
    pub(crate) fn errors(&self) -> Vec<(u64, String, String)> {
        let read = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| value[key].as_str().unwrap().to_owned();
            (value["line"].as_u64().unwrap(), text("id"), text("code"))
        };
        let mut errors: Vec<_> = self.read("errors.jsonl").lines().map(read).collect();
        errors.sort_unstable();
        errors
    }
}

/// What the output holds when lines `0..lines` but `without` are answered, sorted.
pub(crate) fn expected(lines: usize, without: &[usize]) -> Vec<String> {
    let mut expected: Vec<String> = (0..lines)
        .filter(|line| !without.contains(line))
        .map(|line| format!("{{\"id\":\"i{line}\",\"y\":[\"text {line}\"]}}"))
        .collect();
    expected.sort_unstable();
    expected
}

//! How many lines a second everything but the model takes, and whether memory stays flat.
//!
//! Hypothesis: memory does not grow with the input, since every queue is bounded and ids are checked on disk. Baseline: none; the figure is what a model has
//! to be slower than. A function in this process gives each text back at once; the CPU time that it takes itself is measured and shown beside.
//!
//! `cargo bench -p gateway-bulk --bench lines -- --lines 10000000 --json FILE`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tells its result")]

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gateway_bulk::{
    ChunkPlan, ColumnCodec, DataFormat, Engine, InputSpec, JobSpec, JobState, Location, OperatingPoint,
    OutputSpec, Owner, Progress, RunContext, Store, Unshared, run,
};
use gateway_contract::{Architecture, PriceTable};
use gateway_invoker::{Invocation, InvocationReply, InvokeError, Metering};
use workers_protocol::{Answer, ModelManifest, Report, Request, TensorChunks};

const MANIFEST: &str = "name = 'echo'\nversion = '1'\nengine = 'identity'\n\
    inputs = [{ name = 'x', datatype = 'BYTES', shape = [1] }]\n\
    outputs = [{ name = 'y', datatype = 'BYTES', shape = [1] }]";

/// Answers at once, in this process.
#[derive(Clone, Default)]
struct Instantly {
    nanos: Arc<AtomicU64>,
}

impl tower_service::Service<Invocation> for Instantly {
    type Response = InvocationReply;
    type Error = InvokeError;
    type Future = Ready<Result<InvocationReply, InvokeError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        let begun = Instant::now();
        let request = Request::decode(&invocation.payload).unwrap();
        let input = &request.inputs[0];
        let output = TensorChunks {
            name: "y",
            datatype: input.datatype,
            item_shapes: input.item_shapes.clone(),
            chunks: vec![&input.data],
        };
        let payload = Answer::encode(request.header.batch, &request.ids, &[output], &[], &Report::default());
        self.nanos.fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
        let metering = Metering::estimate(Duration::from_millis(1));
        ready(Ok(InvocationReply {
            payload: payload.into(),
            executed_version: None,
            request_id: None,
            metering,
        }))
    }
}

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next().and_then(|_| arguments.next())
}

/// Lines of about 90 bytes with ids in no order.
fn generate(path: &Path, lines: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    for line in 0..lines {
        let id = line.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        writeln!(
            file,
            "{{\"id\":\"{id:016x}\",\"text\":\"a short review, number {line}, of a film that was seen\"}}"
        )
        .unwrap();
    }
    file.flush().unwrap();
}

fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / f64::from(1 << 20)
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: Vec<f64> =
        text.rsplit(") ").next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // Of the fields behind the name the first is a letter; utime and stime are the 11th and 12th numbers.
    (ticks[10] + ticks[11]) / 100.0
}

/// Largest resident set by tenths of the job.
fn watch_memory(progress: Arc<Progress>, done: Arc<AtomicBool>) -> std::thread::JoinHandle<[f64; 10]> {
    std::thread::spawn(move || {
        let mut peaks = [0.0_f64; 10];
        while !done.load(Ordering::Relaxed) {
            let counts = progress.snapshot().counts;
            let tenth = (counts.completed * 10 / counts.total.max(1)).min(9);
            let peak = &mut peaks[usize::try_from(tenth).unwrap()];
            *peak = peak.max(resident_mib());
            std::thread::sleep(Duration::from_millis(20));
        }
        peaks
    })
}

fn spec(input: PathBuf, folder: &Path) -> JobSpec {
    JobSpec {
        model: "echo".to_owned(),
        kind: "bench".to_owned(),
        point: OperatingPoint {
            function: "f".to_owned(),
            qualifier: String::new(),
            memory_mib: 1024,
            process_count: 1,
        },
        chunk: ChunkPlan { max_items: 1000, max_request_bytes: 4 << 20 },
        parallelism: 8,
        engine: Engine::Local,
        learn: None,
        why: None,
        input: InputSpec {
            location: Location::Local(input),
            format: DataFormat::Jsonl,
            id_field: "id".to_owned(),
            columns: BTreeMap::from([("x".to_owned(), vec!["text".to_owned()])]),
        },
        output: OutputSpec {
            location: Location::Local(folder.join("out.jsonl")),
            format: DataFormat::Jsonl,
            is_sorted: false,
        },
        errors: Location::Local(folder.join("errors.jsonl")),
        finish_within: None,
        max_usd: None,
        expires_at: None,
        is_strict: false,
        metadata: BTreeMap::new(),
    }
}

#[tokio::main]
async fn main() {
    let lines: u64 = option("--lines").map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    generate(&input, lines);
    let bytes = std::fs::metadata(&input).unwrap().len();
    let store = Store::open_directory(folder.path()).await.unwrap();
    let manifest = Arc::new(ModelManifest::parse(MANIFEST).unwrap());
    let spec = spec(input, folder.path());
    let codec = ColumnCodec::new(manifest.clone(), "id", &spec.input.columns).unwrap();
    let progress = Arc::new(Progress::default());
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let context = RunContext {
        holder: None,
        manifest,
        codec: Arc::new(codec),
        prices: Arc::new(PriceTable::default()),
        architecture: Architecture::X86_64,
        executions: None,
        capacity: Arc::new(Unshared),
        progress: progress.clone(),
        spool: folder.path().to_owned(),
        stop: stopped,
    };
    let owner = Owner::local();
    let job = store.create_job(&owner, &spec).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let memory = watch_memory(progress, done.clone());
    let before_mib = resident_mib();
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let function = Instantly::default();
    let job = run(&store, &owner, &job.id, function.clone(), context).await.unwrap();
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    done.store(true, Ordering::Relaxed);
    let peaks = memory.join().unwrap();
    assert_eq!((job.state, job.counts.completed), (JobState::Completed, lines), "{:?}", job.failure);
    let validated = job.reached[&JobState::InProgress] - job.reached[&JobState::Validating];
    #[expect(clippy::cast_precision_loss, reason = "milliseconds and counts far below 2^53")]
    let (count, validated_s) = (lines as f64, validated as f64 / 1e3);
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    let function_s = function.nanos.load(Ordering::Relaxed) as f64 / 1e9;
    let report = serde_json::json!({
        "lines": lines, "input_bytes": bytes, "seconds": took, "lines_per_second": count / took,
        "validation_seconds": validated_s, "answer_lines_per_second": count / (took - validated_s),
        "cpu_seconds": cpu, "of_it_the_functions": function_s,
        "resident_mib_before": before_mib, "peak_resident_mib_by_tenths": peaks,
    });
    let report = serde_json::to_string_pretty(&report).unwrap();
    println!("{report}");
    if let Some(path) = option("--json") {
        std::fs::write(path, report).unwrap();
    }
}

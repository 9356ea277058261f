//! The servers under measurement. Each prints its address, serves until its input ends, and answers `report` with a line.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::routing::post;
use gateway_contract::{ModelId, PlanRevision};
use gateway_server::config::{PlanConfig, Source, load};
use gateway_server::http::{
    HttpConfig, HttpState, NoTelemetry, PublicApplication, Readiness, Shutdown, serve,
};
use gateway_server::inference::{Completed, InferError, Inference, OutputTensor, Receipt, Submission};
use gateway_server::lifecycle::Gateway;
use gateway_server::registry::{Registry, ServedModel};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use workers_protocol::{Datatype, ModelManifest};

use crate::instant_worker::InstantWorker;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// axum as it comes: the body is given back.
    Echo,
    /// The HTTP side alone: reads, validates, writes; no driver.
    Http,
    /// The whole gateway, each request an invocation.
    Unbatched,
    /// The whole gateway with batches of up to 32.
    Batched,
}

const MANIFEST: &str = r#"name = "identity"
version = "1"
engine = "identity"
platform = "penstock_identity"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [16]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [16]
"#;

impl Kind {
    pub const ALL: [Self; 4] = [Self::Echo, Self::Http, Self::Unbatched, Self::Batched];

    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http => "http",
            Self::Unbatched => "unbatched",
            Self::Batched => "batched",
        }
    }

    pub fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("no server `{name}`"))
    }
}

/// Runs a server in this process until its input ends.
pub fn run(kind: Kind, threads: usize) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads).enable_all().build().unwrap();
    match kind {
        Kind::Echo => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let echo = axum::Router::new().route("/v2/models/identity/infer", post(async |body: Bytes| body));
            runtime.spawn(async move { axum::serve(listener, echo).await });
            converse(&address.to_string(), || json!({}));
        }
        Kind::Http => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let registry = Arc::new(ArcSwap::from_pointee(Registry::new([identity()])));
            let (config, telemetry) = (HttpConfig::default(), Arc::new(NoTelemetry));
            let state =
                HttpState::new(Instantly, registry, Readiness::ready(), config.clone(), telemetry.clone());
            let application = PublicApplication::new(state);
            runtime.spawn(async move {
                serve(listener, application, &config, Shutdown::default(), telemetry).await
            });
            converse(&address.to_string(), || json!({}));
        }
        Kind::Unbatched | Kind::Batched => run_gateway(&runtime, kind),
    }
}

fn run_gateway(runtime: &tokio::runtime::Runtime, kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let packing = if kind == Kind::Batched { "deadline" } else { "none" };
    let config = format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
         [models.identity]\nmanifest = \"model.toml\"\nfunction = \"identity\"\n\
         [models.identity.plan]\npacking = \"{packing}\"\nmax_batch_size = 32\nmax_queue_delay_ms = 1\n\
         service_time_upper_ms = [[1, 1]]\n"
    );
    let path = folder.path().join("penstock.toml");
    std::fs::write(&path, config).unwrap();
    let source = Source { path: Some(path), ..Source::default() };
    let loaded = load(&source).unwrap_or_else(|error| panic!("{error}"));
    let worker = InstantWorker::default();
    let used = Arc::clone(&worker.used);
    let gateway = runtime.block_on(Gateway::start(loaded, source, worker)).unwrap();
    converse(&gateway.public_address().to_string(), || {
        json!({
            "invocations": used.invocations.swap(0, Ordering::Relaxed),
            "items": used.items.swap(0, Ordering::Relaxed),
            "worker_ns": used.nanos.swap(0, Ordering::Relaxed),
        })
    });
    runtime.block_on(gateway.shutdown());
}

/// Prints the address, then answers each line of input.
fn converse(address: &str, report: impl Fn() -> Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}").unwrap();
    for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
        writeln!(out, "{}", report()).unwrap();
    }
}

fn identity() -> ServedModel {
    ServedModel {
        id: ModelId(0),
        name: "identity".to_owned(),
        manifest: ModelManifest::parse(MANIFEST).unwrap(),
        plan: PlanConfig::default().plan(ModelId(0), PlanRevision(1)).unwrap(),
        statistics: Arc::default(),
        tokens: Arc::default(),
    }
}

/// Answers in place of a driver.
#[derive(Clone, Copy)]
struct Instantly;

impl Inference for Instantly {
    async fn infer(&self, submission: Submission) -> Result<Completed, InferError> {
        let outputs = submission.inputs.into_iter().map(|input| OutputTensor {
            datatype: Datatype::Fp32,
            item_shape: input.item_shape,
            data: input.data,
        });
        Ok(Completed { outputs: outputs.collect(), failed: Vec::new(), receipt: Receipt::default() })
    }
}

//! A listener with a stand-in behind it, and a client that sees raw HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_contract::{
    ItemFailure, Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable,
    ServingPlan,
};
use gateway_policy::Rejection;
use gateway_server::http::{
    HttpConfig, HttpState, HttpTelemetry, PublicApplication, Readiness, RequestRecord, Shutdown, serve,
};
use gateway_server::inference::{
    Completed, FailedItem, InferError, Inference, InputTensor, OutputTensor, Receipt, Submission,
};
use gateway_server::registry::{Registry, ServedModel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workers_protocol::{Datatype, ModelManifest};

/// What the stand-in does with a request, by its first byte of data; everything else is given back.
pub mod orders {
    /// The item fails.
    pub const FAIL: u8 = 201;
    /// The handler panics.
    pub const PANIC: u8 = 202;
    /// It never answers.
    pub const HANG: u8 = 203;
    /// Refused: queue full.
    pub const SHED: u8 = 204;
    /// The deadline passes.
    pub const LATE: u8 = 205;
}

/// Gives each input back as the output of the same position. Model `orders` obeys [`orders`].
#[derive(Clone, Default)]
pub struct StandIn {
    pub seen: Arc<Mutex<Vec<Submission>>>,
    pub waiting: Arc<AtomicUsize>,
    manifests: Arc<Vec<ModelManifest>>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inference for StandIn {
    async fn infer(&self, submission: Submission) -> Result<Completed, InferError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(Arc::clone(&self.waiting));
        self.seen.lock().unwrap().push(submission.clone());
        let manifest = &self.manifests[usize::from(submission.model.0)];
        let mut failed = Vec::new();
        if manifest.name == "orders" {
            let input = &submission.inputs[0];
            for item in 0..submission.items {
                match input.data[input.item_range(item, submission.items).start] {
                    orders::FAIL => failed.push(FailedItem {
                        item,
                        failure: if item == 0 { ItemFailure::InvalidInput } else { ItemFailure::ProcessDied },
                        message: Some("said the worker".to_owned()),
                    }),
                    orders::PANIC => panic!("as ordered"),
                    orders::HANG => std::future::pending().await,
                    orders::SHED => {
                        let retry_after = Duration::from_millis(2500);
                        return Err(InferError::Rejected(Rejection::QueueFull { retry_after }));
                    }
                    orders::LATE => return Err(InferError::DeadlineExceeded),
                    _ => {}
                }
            }
        }
        let outputs = manifest.outputs.iter().zip(submission.inputs);
        let outputs = outputs.map(|(spec, input)| match manifest.name.as_str() {
            "embedder" => vectors(&input, submission.items),
            _ => OutputTensor { datatype: spec.datatype, item_shape: input.item_shape, data: input.data },
        });
        let receipt = Receipt {
            queue_wait: Duration::from_micros(1500),
            invoke: Duration::from_micros(7000),
            compute: Duration::from_micros(5000),
            cost_usd: 2.5e-7,
            batch_items: 4,
            cold: true,
        };
        let outputs = if failed.is_empty() { outputs.collect() } else { Vec::new() };
        Ok(Completed { outputs, failed, receipt })
    }
}

/// Of each text its length, its first byte, and two numbers that JSON writes long.
fn vectors(input: &InputTensor, items: u32) -> OutputTensor {
    let data = (0..items).flat_map(|item| {
        let text = &input.data[input.item_range(item, items)][4..];
        [text.len() as f32, f32::from(text[0]), 0.1, -1.0 / 3.0].into_iter().flat_map(f32::to_le_bytes)
    });
    OutputTensor {
        datatype: Datatype::Fp32,
        item_shape: [4].into_iter().collect(),
        data: data.collect::<Vec<u8>>().into(),
    }
}

/// Counts what it hears.
#[derive(Default)]
pub struct Counts {
    pub codes: Mutex<BTreeMap<&'static str, usize>>,
    pub open: AtomicUsize,
    pub refused: AtomicUsize,
    pub cancelled: AtomicUsize,
    pub panics: AtomicUsize,
}

impl HttpTelemetry for Counts {
    fn connection_opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn connection_closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn connection_refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    fn request_finished(&self, record: &RequestRecord<'_>) {
        *self.codes.lock().unwrap().entry(record.code).or_default() += 1;
    }

    fn request_cancelled(&self, _model: Option<&str>) {
        self.cancelled.fetch_add(1, Ordering::SeqCst);
    }

    fn handler_panicked(&self) {
        self.panics.fetch_add(1, Ordering::SeqCst);
    }
}

fn model(id: u16, name: &str, tensors: &[(&str, Datatype, &[i64])]) -> ServedModel {
    let mut text = format!(
        "name = \"{name}\"\nversion = \"1\"\nengine = \"identity\"\nplatform = \"penstock_identity\"\n"
    );
    for (list, prefix) in [("inputs", "in_"), ("outputs", "out_")] {
        for (tensor, datatype, shape) in tensors {
            text += &format!(
                "[[{list}]]\nname = \"{prefix}{tensor}\"\ndatatype = \"{datatype}\"\nshape = {shape:?}\n"
            );
        }
    }
    let plan = ServingPlan {
        model: ModelId(id),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Fifo,
        max_batch_size: 32,
        max_queue_delay: Duration::from_millis(2),
        max_in_flight: 4,
        queue_capacity_items: 1000,
        queue_capacity_bytes: 1 << 24,
        max_request_payload_bytes: 1 << 22,
        max_response_payload_bytes: 1 << 22,
        slo_latency: Duration::from_millis(500),
        deadline_margin: Duration::from_millis(10),
        service_time_upper: ServiceTimeTable::new(vec![(1, Duration::from_millis(10))]).unwrap(),
        rungs: vec![Rung {
            max_items: 32,
            qualifier: "live".to_owned(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits {
            budget_ratio: 0.2,
            budget_min_per_second: 1.0,
            max_attempts: 3,
            max_unknown_outcome_retries: 1,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
        },
    };
    ServedModel {
        id: ModelId(id),
        name: name.to_owned(),
        manifest: ModelManifest::parse(&text).unwrap(),
        plan,
        statistics: Arc::default(),
        tokens: Arc::default(),
    }
}

/// One text in, four numbers out.
fn embedder() -> ServedModel {
    let text = "name = \"embedder\"\nversion = \"1\"\nengine = \"onnxruntime\"\nfile = \"m\"\nsha256 = \"";
    let tensors = "\"\ninputs = [{ name = \"text\", datatype = \"BYTES\", shape = [1] }]\n\
                   outputs = [{ name = \"vector\", datatype = \"FP32\", shape = [4] }]\n";
    let manifest = ModelManifest::parse(&format!("{text}{}{tensors}", "0".repeat(64))).unwrap();
    ServedModel { manifest, ..model(6, "embedder", &[("text", Datatype::Bytes, &[1])]) }
}

/// Models of the stand-in; tensor `x` goes in as `in_x` and comes out as `out_x`.
pub fn models() -> Vec<ServedModel> {
    let all = Datatype::ALL.map(|datatype| (datatype.name().to_lowercase(), datatype));
    let all: Vec<(&str, Datatype, &[i64])> =
        all.iter().map(|(name, datatype)| (name.as_str(), *datatype, &[-1][..])).collect();
    vec![
        model(0, "identity", &[("x", Datatype::Fp32, &[16])]),
        model(1, "text", &[("text", Datatype::Bytes, &[1])]),
        model(2, "two", &[("a", Datatype::Int32, &[2, 2]), ("b", Datatype::Fp64, &[])]),
        model(3, "orders", &[("x", Datatype::Uint8, &[1])]),
        model(4, "all", &all),
        model(5, "variable", &[("x", Datatype::Int16, &[-1, 2])]),
        embedder(),
    ]
}

/// A running listener.
pub struct Gateway {
    pub address: SocketAddr,
    pub stand_in: StandIn,
    pub counts: Arc<Counts>,
    pub readiness: Readiness,
    pub state: HttpState<StandIn>,
    pub shutdown: Shutdown,
    pub server: tokio::task::JoinHandle<()>,
}

impl Gateway {
    pub async fn start() -> Self {
        Self::start_with(HttpConfig::default()).await
    }

    pub async fn start_with(config: HttpConfig) -> Self {
        let models = models();
        let manifests = Arc::new(models.iter().map(|model| model.manifest.clone()).collect());
        let stand_in = StandIn { manifests, ..StandIn::default() };
        let counts = Arc::new(Counts::default());
        let readiness = Readiness::ready();
        let registry = Arc::new(ArcSwap::from_pointee(Registry::new(models)));
        let telemetry: Arc<dyn HttpTelemetry> = counts.clone();
        let state =
            HttpState::new(stand_in.clone(), registry, readiness.clone(), config.clone(), telemetry.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let (stop, application) = (shutdown.clone(), PublicApplication::new(state.clone()));
        let server =
            tokio::spawn(async move { serve(listener, application, &config, stop, telemetry).await });
        Self { address, stand_in, counts, readiness, state, shutdown, server }
    }

    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.connect().await.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), b"").await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.connect().await.post(path, headers, body).await
    }

    pub async fn infer(&self, model: &str, json: &str) -> Reply {
        self.post(&format!("/v2/models/{model}/infer"), &[], json.as_bytes()).await
    }

    /// Sends JSON with binary data behind it.
    pub async fn infer_binary(&self, model: &str, json: &str, tail: &[u8]) -> Reply {
        let length = json.len().to_string();
        let body = [json.as_bytes(), tail].concat();
        self.post(
            &format!("/v2/models/{model}/infer"),
            &[("inference-header-content-length", &length)],
            &body,
        )
        .await
    }

    /// Whether all is as before: nothing held, nothing waiting, and a plain request is answered.
    pub async fn assert_unharmed(&self) {
        let reply = self.infer("two", TWO).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let quiet = wait_until(|| {
            self.state.inflight_body_bytes() == 0 && self.stand_in.waiting.load(Ordering::SeqCst) == 0
        });
        assert!(quiet.await, "held {} bytes", self.state.inflight_body_bytes());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A good request to model `two`.
pub const TWO: &str = r#"{"id":"7","inputs":[
    {"name":"in_a","datatype":"INT32","shape":[2,2,2],"data":[1,2,3,4,5,6,7,-8]},
    {"name":"in_b","datatype":"FP64","shape":[2],"data":[0.5,1e300]}]}"#;

/// Waits for a condition for at most 10 s.
pub async fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// One connection.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, head: &str, body: &[u8]) -> Reply {
        // The server may refuse and close before all is sent; what it said counts.
        let _ = self.0.write_all(&[head.as_bytes(), body].concat()).await;
        self.reply().await.expect("no answer")
    }

    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.send(&head, body).await
    }

    /// Reads one answer; `None` if the connection ends first.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
                let mut lines = head.lines();
                let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
                let headers: BTreeMap<String, String> = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length: usize =
                    headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                if bytes.len() >= end + 4 + length {
                    let body = Bytes::copy_from_slice(&bytes[end + 4..end + 4 + length]);
                    return Some(Reply { status, headers, body });
                }
            }
            let mut chunk = [0; 16 * 1024];
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read(&mut chunk))
                .await
                .expect("silence");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// JSON and binary data of an answer that has both.
    pub fn parts(&self) -> (serde_json::Value, Bytes) {
        let length: usize = self.headers["inference-header-content-length"].parse().unwrap();
        (serde_json::from_slice(&self.body[..length]).unwrap(), self.body.slice(length..))
    }

    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str, part_of_text: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert!(body["error"].as_str().unwrap().contains(part_of_text), "{body} lacks {part_of_text:?}");
    }
}

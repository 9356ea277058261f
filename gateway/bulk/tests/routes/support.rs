//! A service with a function that gives numbers back, and a caller.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use gateway_bulk::estimate::InputSketch;
use gateway_bulk::routes::{
    BodyCodec, BodyFault, BodyRequest, Endpoint, Gate, Gateway, JobProgress, JobTelemetry, NotServed,
    RouteSettings, Service, Target, start,
};
use gateway_bulk::{AnsweredTensor, ChunkPlan, Invoke, JobState, LineTensor, OperatingPoint, Store};
use gateway_contract::{Architecture, PriceTable};
use gateway_invoker::{Invocation, InvocationReply, InvokeError, Metering};
use gateway_policy::share::{LiveLoad, Share, ShareSettings};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use workers_protocol::{Answer, Datatype, ModelManifest, Report, TensorChunks};

pub const ENDPOINT: &str = "/v2/models/echo/infer";
const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [1] }]
outputs = [{ name = "y", datatype = "FP32", shape = [1] }]
"#;

/// A function that gives each number back after a while.
#[derive(Clone)]
pub struct Echo {
    pub takes: Duration,
    pub calls: Arc<AtomicUsize>,
}

impl Invoke for Echo {
    async fn invoke(self, invocation: Invocation) -> Result<InvocationReply, InvokeError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        let request = workers_protocol::Request::decode(&invocation.payload).unwrap();
        let input = &request.inputs[0];
        let outputs = [TensorChunks {
            name: "y",
            datatype: Datatype::Fp32,
            item_shapes: input.item_shapes.clone(),
            chunks: vec![&input.data],
        }];
        let payload = Answer::encode(request.header.batch, &request.ids, &outputs, &[], &Report::default());
        let metering = Metering { billed: Duration::from_millis(20), ..Metering::default() };
        Ok(InvocationReply { payload: payload.into(), executed_version: None, request_id: None, metering })
    }
}

/// A gateway that serves `echo`.
pub struct Served {
    pub ended: std::sync::Mutex<Vec<JobState>>,
    pub cancelled: AtomicUsize,
    pub lines: AtomicUsize,
    pub is_gone: AtomicBool,
    /// Items that suit an input of so many lines.
    pub suits: std::sync::Mutex<Option<(u64, u32)>>,
}

impl Gateway for Served {
    fn target(&self, _: &Endpoint, model: &str) -> Result<Target, NotServed> {
        if model != "echo" || self.is_gone.load(Ordering::SeqCst) {
            return Err(NotServed::Unknown(model.to_owned()));
        }
        Ok(Target {
            point: OperatingPoint {
                function: "f".to_owned(),
                qualifier: "live".to_owned(),
                memory_mib: 1024,
                process_count: 1,
            },
            chunk: ChunkPlan { max_items: 4, max_request_bytes: 1 << 20 },
            architecture: Architecture::Arm64,
            prices: Arc::new(PriceTable::default()),
            manifest: Arc::new(ModelManifest::parse(MANIFEST).unwrap()),
            codec: Arc::new(Number),
        })
    }

    fn chunk_items(&self, model: &str, target: &Target, sketch: &InputSketch) -> Option<u32> {
        let (lines, items) = (*self.suits.lock().unwrap())?;
        assert_eq!((model, target.point.qualifier.as_str(), sketch.lines), ("echo", "live", lines));
        Some(items)
    }

    fn telemetry(&self) -> &dyn JobTelemetry {
        self
    }
}

impl JobTelemetry for Served {
    fn jobs(&self, _: JobState, _: usize) {}

    fn progressed(&self, _: &str, progress: &JobProgress) {
        self.lines.fetch_add(usize::try_from(progress.completed).unwrap(), Ordering::SeqCst);
    }

    fn ended(&self, _: &str, state: JobState, _: Duration) {
        self.ended.lock().unwrap().push(state);
    }

    fn cancelled(&self, _: JobState) {
        self.cancelled.fetch_add(1, Ordering::SeqCst);
    }

    fn share(&self, _: Share, _: u32) {}
}

/// Bodies are numbers.
struct Number;

impl BodyCodec for Number {
    fn read(&self, body: &[u8]) -> Result<BodyRequest, BodyFault> {
        let number: f32 = serde_json::from_slice(body)
            .map_err(|error| BodyFault { code: "invalid_request", message: error.to_string() })?;
        let input = LineTensor {
            item_shape: vec![1],
            data: Bytes::copy_from_slice(&number.to_le_bytes()),
            item_ends: None,
        };
        Ok(BodyRequest { items: 1, inputs: vec![input], form: Vec::new() })
    }

    fn write(&self, _: &[u8], outputs: &[AnsweredTensor], _: u32) -> Result<Vec<u8>, BodyFault> {
        let number = f32::from_le_bytes(outputs[0].data[..4].try_into().unwrap());
        Ok(json!({ "number": number }).to_string().into_bytes())
    }
}

/// A running service.
pub struct World {
    pub folder: Arc<tempfile::TempDir>,
    pub router: Router,
    pub service: Service,
    pub gateway: Arc<Served>,
    pub function: Echo,
    pub token: &'static str,
}

pub fn settings(directory: PathBuf) -> RouteSettings {
    RouteSettings {
        directory,
        max_jobs: 2,
        max_parallelism: 2,
        max_file_bytes: 1 << 20,
        max_stored_bytes: 4 << 20,
        file_retention: Duration::from_secs(86_400),
        lease: Duration::from_secs(15),
        upload_patience: Duration::from_millis(300),
    }
}

impl World {
    pub async fn start(takes: Duration) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), takes).await
    }

    /// Like a process that starts where another one was.
    pub async fn start_in(folder: Arc<tempfile::TempDir>, takes: Duration) -> Self {
        Self::start_with(folder, takes, false).await
    }

    /// The same, whose model may be gone.
    pub async fn start_with(folder: Arc<tempfile::TempDir>, takes: Duration, is_gone: bool) -> Self {
        let gateway = Arc::new(Served {
            ended: std::sync::Mutex::default(),
            cancelled: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
            is_gone: AtomicBool::new(is_gone),
            suits: std::sync::Mutex::default(),
        });
        let gate = Gate::new(ShareSettings { capacity: 100, ..ShareSettings::default() });
        gate.live(&LiveLoad::default());
        let function = Echo { takes, calls: Arc::default() };
        let store = Store::open_directory(folder.path()).await.unwrap();
        let settings = settings(folder.path().to_owned());
        let (router, service) =
            start(store, settings, gateway.clone(), gate, function.clone()).await.unwrap();
        Self { folder, router, service, gateway, function, token: "sk-one" }
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: impl Into<Body>,
    ) -> (u16, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content)
            .body(body.into())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, body.to_vec())
    }

    pub async fn json(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.call(method, path, "application/json", body.to_string()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.json(Method::GET, path, &Value::Null).await
    }

    /// What the operator sees.
    pub async fn operator(&self) -> Value {
        let request = Request::builder().uri("/control/jobs").body(Body::empty()).unwrap();
        let response = self.service.operator_routes().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Sends a file as clients do.
    pub async fn upload(&self, purpose: &str, data: &[u8]) -> (u16, Value) {
        let (content, body) = form(&[("purpose", None, purpose.as_bytes()), ("file", Some("b.jsonl"), data)]);
        let (status, body) = self.call(Method::POST, "/v1/files", &content, body).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Uploads lines and makes a batch of them; gives its id.
    pub async fn batch(&self, lines: &[String]) -> String {
        let (status, file) = self.upload("batch", lines.join("\n").as_bytes()).await;
        assert_eq!(status, 200, "{file}");
        let (status, batch) = self.create(&json!({ "input_file_id": file["id"] })).await;
        assert_eq!(status, 200, "{batch}");
        batch["id"].as_str().unwrap().to_owned()
    }

    /// Creates a batch; `other` replaces fields of a good request.
    pub async fn create(&self, other: &Value) -> (u16, Value) {
        let mut body = json!({ "endpoint": ENDPOINT, "completion_window": "24h" });
        for (key, value) in other.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.json(Method::POST, "/v1/batches", &body).await
    }

    /// Waits until a batch has ended.
    pub async fn end(&self, id: &str) -> Value {
        self.wait(id, |batch| {
            ["completed", "failed", "expired", "cancelled"].contains(&batch["status"].as_str().unwrap())
        })
        .await
    }

    pub async fn wait(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1500 {
            let (status, batch) = self.get(&format!("/v1/batches/{id}")).await;
            assert_eq!(status, 200, "{batch}");
            if holds(&batch) {
                return batch;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not come: {}", self.get(&format!("/v1/batches/{id}")).await.1);
    }

    /// The lines of a file.
    pub async fn content(&self, id: &Value) -> Vec<Value> {
        let path = format!("/v1/files/{}/content", id.as_str().expect("a file"));
        let (status, body) = self.call(Method::GET, &path, "", Body::empty()).await;
        assert_eq!(status, 200);
        body.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// A line that asks for a number.
pub fn line(custom_id: &str, body: &Value) -> String {
    json!({ "custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body }).to_string()
}

/// A multipart form: content type and body.
pub fn form(fields: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "x-boundary-x";
    let mut body = Vec::new();
    for (name, file, data) in fields {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

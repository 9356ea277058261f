//! Parts of the black-box tests: a scripted Lambda endpoint on a raw socket, a gateway in front of it through the real SDK,
//! and a client that speaks plain HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_invoker::LambdaInvoker;
use gateway_server::config::{Source, load};
use gateway_server::lifecycle::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workers_protocol::{Answer, Datatype, ItemError, ItemShapes, Report, Request, TensorChunks};

/// What the endpoint does with one invocation.
pub(crate) enum Act {
    /// An HTTP answer: status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As `Http`, after a while.
    Later(Duration, Box<Act>),
    /// A TCP reset after the request was read.
    Reset,
}

/// A scripted Lambda endpoint.
pub(crate) struct FakeLambda {
    pub(crate) address: SocketAddr,
    pub(crate) calls: Arc<AtomicUsize>,
}

/// Parallel invocations, now and at most.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) now: usize,
    pub(crate) most: usize,
}

/// The `n`th invocation, from 0, and how many run with it.
pub(crate) struct Call {
    pub(crate) n: usize,
    pub(crate) running: usize,
    pub(crate) request: Request,
    pub(crate) qualifier: String,
}

impl FakeLambda {
    pub(crate) async fn start(script: impl Fn(Call) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Running::default())));
        let fake = Self { address, calls: calls.clone() };
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, script.clone(), calls.clone(), running.clone()));
            }
        });
        fake
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn connection(
    mut stream: TcpStream,
    script: Arc<impl Fn(Call) -> Act>,
    calls: Arc<AtomicUsize>,
    running: Arc<Mutex<Running>>,
) {
    while let Some((head, body)) = read_message(&mut stream).await {
        let n = calls.fetch_add(1, Ordering::SeqCst);
        let now = {
            let mut running = running.lock().unwrap();
            running.now += 1;
            running.most = running.most.max(running.now);
            running.now
        };
        let target = head.split(' ').nth(1).unwrap_or_default();
        let qualifier = target.split_once("Qualifier=").map(|(_, name)| name.to_owned()).unwrap_or_default();
        let request = Request::decode(&body).expect("the gateway sends valid batches");
        let mut act = script(Call { n, running: now, request, qualifier });
        while let Act::Later(after, next) = act {
            tokio::time::sleep(after).await;
            act = *next;
        }
        running.lock().unwrap().now -= 1;
        match act {
            Act::Http(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                head.push_str("\r\n");
                if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err()
                {
                    return;
                }
            }
            Act::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Act::Later(..) => unreachable!("unwrapped above"),
        }
    }
}

/// Head and body of one HTTP/1.1 message with a content length; `None` at the end of the connection.
async fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut data = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&data[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let mut body = data[end + 4..].to_vec();
            let length = length.unwrap_or(0);
            while body.len() < length {
                let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
                body.extend_from_slice(&buffer[..read]);
            }
            return Some((head, body));
        }
        let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        data.extend_from_slice(&buffer[..read]);
    }
}

/// A worker's answer that gives each input back; the ids in `errors` fail.
pub(crate) fn echo(request: &Request, errors: &[ItemError]) -> Act {
    echo_with(request, errors, &Report::default())
}

/// As [`echo`], with what the worker says of itself.
pub(crate) fn echo_with(request: &Request, errors: &[ItemError], report: &Report) -> Act {
    let no_items = request.ids.is_empty(); // a probe or warm-up
    let size = if no_items { 0 } else { request.inputs[0].data.len() / request.ids.len() };
    let kept: Vec<usize> = (0..request.ids.len())
        .filter(|&at| !errors.iter().any(|error| error.id == request.ids[at]))
        .collect();
    let ids: Vec<u64> = kept.iter().map(|&at| request.ids[at]).collect();
    let outputs = [TensorChunks {
        name: "y",
        datatype: Datatype::Fp32,
        item_shapes: request
            .inputs
            .first()
            .map_or_else(|| ItemShapes::Same(Vec::new()), |x| x.item_shapes.clone()),
        chunks: kept.iter().map(|&at| &request.inputs[0].data[at * size..(at + 1) * size]).collect(),
    }];
    let outputs = if no_items { &[][..] } else { &outputs[..] };
    let payload = Answer::encode(request.header.batch, &ids, outputs, errors, report);
    let report = "REPORT RequestId: r\tDuration: 1.2 ms\tBilled Duration: 10 ms\tMemory Size: 1024 MB\tMax Memory Used: 50 MB\t";
    let tail = base64_simd::STANDARD.encode_to_string(report);
    let headers = vec![
        ("x-amz-executed-version", "1".to_owned()),
        ("x-amzn-requestid", "request-1".to_owned()),
        ("x-amz-log-result", tail),
    ];
    Act::Http(200, headers, payload)
}

/// A function error with this `errorType`.
pub(crate) fn function_error(error_type: &str) -> Act {
    let body = json!({ "errorType": error_type, "errorMessage": "scripted" });
    Act::Http(200, vec![("x-amz-function-error", "Unhandled".to_owned())], body.to_string().into_bytes())
}

/// An error of Lambda itself.
pub(crate) fn service_error(status: u16, code: &str, body: &Value) -> Act {
    Act::Http(status, vec![("x-amzn-errortype", code.to_owned())], body.to_string().into_bytes())
}

/// 429 with a reason and `Retry-After`.
pub(crate) fn throttle(retry_after_seconds: &str) -> Act {
    let body =
        json!({ "Reason": "ConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded." });
    let headers = vec![
        ("x-amzn-errortype", "TooManyRequestsException".to_owned()),
        ("retry-after", retry_after_seconds.to_owned()),
    ];
    Act::Http(429, headers, body.to_string().into_bytes())
}

/// A gateway whose file stays on the disk, to be changed.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) lambda: FakeLambda,
}

/// Starts a gateway in front of a scripted endpoint. `plan` holds lines of `[models.echo.plan]`.
pub(crate) async fn world(plan: &str, script: impl Fn(Call) -> Act + Send + Sync + 'static) -> World {
    let lambda = FakeLambda::start(script).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, config(lambda.address, plan)).unwrap();
    let source = Source { path: Some(path), ..Source::default() };
    let loaded = load(&source).expect("a valid configuration");
    let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
    let gateway = Gateway::start(loaded, source, invoker).await.unwrap();
    World { gateway, folder, lambda }
}

const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [-1] }]
outputs = [{ name = "y", datatype = "FP32", shape = [-1] }]
"#;

pub(crate) fn config(lambda: SocketAddr, plan: &str) -> String {
    // Calls are counted: no probes, unless a test wants them.
    let probes = if plan.contains("[control]") { "" } else { "[control]\nprobe_interval_ms = 0\n" };
    format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
         [aws]\nendpoint_url = \"http://{lambda}\"\ncredentials = \"static-test\"\ninvoke_timeout_ms = 5000\n\
         [drain]\ndrain_delay_ms = 100\n{probes}\
         [models.echo]\nmanifest = \"model.toml\"\nfunction = \"f\"\n[models.echo.plan]\nmemory_mib = 1024\n{plan}\n"
    )
}

impl World {
    /// Sends one item; gives status and body.
    pub(crate) fn send(&self, value: f32) -> impl Future<Output = (u16, Value)> + Send + use<> {
        self.send_items(&[value], &json!({}))
    }

    /// Sends items of one element each, with request parameters.
    pub(crate) fn send_items(
        &self,
        values: &[f32],
        parameters: &Value,
    ) -> impl Future<Output = (u16, Value)> + Send + use<> {
        let body = json!({
            "parameters": parameters,
            "inputs": [{ "name": "x", "datatype": "FP32", "shape": [values.len(), 1], "data": values }]
        });
        let address = self.gateway.public_address();
        async move { request(address, "POST", "/v2/models/echo/infer", &body.to_string()).await }
    }

    /// The value of a metric line, by its full name with labels; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = raw_request(self.gateway.admin_address(), "GET", "/metrics", "").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0.0)
    }
}

/// The only output value of an answer.
pub(crate) fn value(body: &Value) -> f64 {
    body["outputs"][0]["data"][0].as_f64().unwrap_or_else(|| panic!("no output in {body}"))
}

pub(crate) async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = raw_request(address, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub(crate) async fn raw_request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, _, body) = request_with(address, method, path, "", body).await;
    (status, body)
}

/// Sends these header lines too, each with its end; gives status, head and body.
pub(crate) async fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
    let message = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

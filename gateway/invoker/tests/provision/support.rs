//! The real local Lambda behind a proxy that can answer some calls itself, as a busy, throttling or forbidding AWS would.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::{BehaviorVersion, Credentials as StaticCredentials, Region};
use aws_sdk_lambda::primitives::Blob;
use gateway_contract::Mebibytes;
use gateway_invoker::provision::{
    FunctionPlan, FunctionReport, Ladder, Patience, Progress, ProvisionError, Provisioner, RowResult, Stop,
    plan,
};
use gateway_invoker::{Credentials, InvokerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workers_emulator::{Emulator, EmulatorConfig};

/// Short pauses, so that tests take milliseconds; a long limit, so that a slow machine does not end them.
pub(crate) const PATIENCE: Patience = Patience {
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(50),
    limit: Duration::from_secs(30),
};

/// A call that the proxy answers, so many times.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    /// Begin of the request line, for example `PUT /2015-03-31/functions/f/configuration`.
    pub(crate) call: &'static str,
    /// How many matching calls are forwarded first.
    pub(crate) after: usize,
    /// How often.
    pub(crate) times: usize,
    /// HTTP status.
    pub(crate) status: u16,
    /// AWS's error type.
    pub(crate) error_type: &'static str,
    /// AWS's text.
    pub(crate) message: &'static str,
    /// Whether the call is carried out first and only its answer is lost.
    pub(crate) is_done: bool,
}

impl Scripted {
    pub(crate) fn new(call: &'static str, status: u16, error_type: &'static str) -> Self {
        Self { call, after: 0, times: 1, status, error_type, message: "scripted", is_done: false }
    }
}

type Hook = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Shared {
    scripts: Mutex<Vec<Scripted>>,
    seen: Mutex<Vec<String>>,
    hook: Mutex<Option<Hook>>,
}

/// A local Lambda with the function `f`, 512 MiB, behind the proxy.
pub(crate) struct Account {
    pub(crate) client: Client,
    pub(crate) provisioner: Provisioner,
    pub(crate) stop: Stop,
    pub(crate) config: InvokerConfig,
    shared: Arc<Shared>,
    _emulator: Emulator,
    _package: tempfile::TempDir,
}

impl Account {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines for the emulator's configuration.
    pub(crate) async fn start_with(more: &str) -> Self {
        let package = tempfile::tempdir().unwrap();
        std::fs::write(package.path().join("bootstrap"), "#!/bin/sh\n").unwrap();
        let text = format!(
            "listen = '127.0.0.1:0'\n{more}\n[metering]\nmode = 'none'\n[lifecycle]\nupdate_delay_ms = 20\n"
        );
        let emulator = Emulator::start(EmulatorConfig::from_toml_str(&text).unwrap()).await.unwrap();
        let shared = Arc::<Shared>::default();
        let address = proxy(emulator.address(), Arc::clone(&shared)).await;
        let config = InvokerConfig {
            endpoint_url: Some(format!("http://{address}")),
            credentials: Credentials::StaticTest,
            ..InvokerConfig::default()
        };
        let stop = Stop::default();
        let provisioner = Provisioner::new(&config, PATIENCE, stop.clone()).await;
        let client = client(emulator.address());
        create_function(&client).await;
        Self { client, provisioner, stop, config, shared, _emulator: emulator, _package: package }
    }

    /// Answers some of the calls that follow.
    pub(crate) fn script(&self, scripted: Scripted) {
        self.shared.scripts.lock().unwrap().push(scripted);
    }

    /// Sees the request line of each call that follows before it is answered.
    pub(crate) fn watch(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Request lines of the calls that change something, since the last time.
    pub(crate) fn changes(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        seen.into_iter().filter(|line| !line.starts_with("GET")).collect()
    }

    pub(crate) async fn plan(&self, sizes: &[u32]) -> FunctionPlan {
        plan(self.provisioner.state("f").await.unwrap(), &ladder(sizes))
    }

    /// Plans and applies.
    pub(crate) async fn provision(&self, sizes: &[u32]) -> FunctionReport {
        self.provisioner.apply(&self.plan(sizes).await, &quiet).await
    }

    /// Plans, applies and expects a failure, after which `$LATEST` is as it was.
    pub(crate) async fn fails(&self, sizes: &[u32]) -> ProvisionError {
        let error = self.provision(sizes).await.error.unwrap();
        assert_eq!(self.latest_memory().await, 512, "restored after: {error}");
        error
    }

    pub(crate) async fn latest_memory(&self) -> u32 {
        self.provisioner.state("f").await.unwrap().latest_memory.0
    }

    /// Memory and code behind an alias.
    pub(crate) async fn behind(&self, alias: &str) -> (i32, String) {
        let call = self.client.get_function_configuration().function_name("f").qualifier(alias);
        let seen = call.send().await.unwrap();
        (seen.memory_size().unwrap(), seen.code_sha256().unwrap().to_owned())
    }

    pub(crate) async fn aliases(&self) -> Vec<String> {
        self.provisioner.state("f").await.unwrap().aliases.into_keys().collect()
    }

    pub(crate) async fn versions(&self) -> Vec<u64> {
        self.provisioner.state("f").await.unwrap().versions.iter().map(|it| it.version).collect()
    }

    pub(crate) async fn deploy(&self, code: &str) {
        let call = self.client.update_function_code().function_name("f");
        call.zip_file(Blob::new(zip_of(code))).send().await.unwrap();
    }
}

pub(crate) fn ladder(sizes: &[u32]) -> Ladder {
    Ladder { sizes: sizes.iter().copied().map(Mebibytes).collect(), ..Ladder::default() }
}

pub(crate) fn quiet(_: Progress) {}

pub(crate) fn results(report: &FunctionReport) -> Vec<RowResult> {
    assert_eq!(report.error, None);
    report.rows.iter().map(|row| row.result).collect()
}

fn zip_of(code: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("bootstrap", zip::write::SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    writer.write_all(code.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

fn client(address: SocketAddr) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(StaticCredentials::new("test", "test", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .http_client(http);
    Client::from_conf(config.build())
}

async fn create_function(client: &Client) {
    let code = aws_sdk_lambda::types::FunctionCode::builder().zip_file(Blob::new(zip_of("#!/bin/sh\n")));
    let call =
        client.create_function().function_name("f").runtime("provided.al2023".into()).handler("bootstrap");
    let call = call.role("arn:aws:iam::000000000000:role/any").memory_size(512).code(code.build());
    call.send().await.unwrap();
}

async fn proxy(emulator: SocketAddr, shared: Arc<Shared>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                while let Some(request) = read_message(&mut stream).await {
                    let answer = answer(&request, emulator, &shared).await;
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn answer(request: &[u8], emulator: SocketAddr, shared: &Shared) -> Vec<u8> {
    let line = String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned();
    shared.seen.lock().unwrap().push(line.clone());
    if let Some(hook) = &*shared.hook.lock().unwrap() {
        hook(&line);
    }
    let scripted = take_script(&mut shared.scripts.lock().unwrap(), &line);
    if scripted.as_ref().is_none_or(|scripted| scripted.is_done) {
        let mut stream = TcpStream::connect(emulator).await.unwrap();
        stream.write_all(request).await.unwrap();
        let answer = read_message(&mut stream).await.unwrap();
        if scripted.is_none() {
            return answer;
        }
    }
    let Some(scripted) = scripted else { return Vec::new() };
    let body = format!(r#"{{"Type":"User","Message":"{0}","message":"{0}"}}"#, scripted.message);
    format!(
        "HTTP/1.1 {} X\r\ncontent-type: application/json\r\nx-amzn-errortype: {}\r\ncontent-length: {}\r\n\r\n{body}",
        scripted.status,
        scripted.error_type,
        body.len()
    )
    .into_bytes()
}

fn take_script(scripts: &mut [Scripted], line: &str) -> Option<Scripted> {
    let scripted = scripts.iter_mut().find(|it| it.times > 0 && line.starts_with(it.call))?;
    if scripted.after > 0 {
        scripted.after -= 1;
        return None;
    }
    scripted.times -= 1;
    Some(scripted.clone())
}

/// One HTTP message with its body.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        if let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&data[..end]).to_ascii_lowercase();
            let length = head
                .split_once("content-length:")
                .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            if data.len() >= end + 4 + length.unwrap_or(0_usize) {
                return Some(data);
            }
        }
        let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        data.extend_from_slice(&buffer[..read]);
    }
}

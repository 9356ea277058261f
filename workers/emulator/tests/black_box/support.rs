//! An emulator on a free port with the probe as its bootstrap, driven with plain HTTP.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use workers_emulator::{Emulator, EmulatorConfig};

/// A running emulator with its own runtime; ended when dropped.
pub(crate) struct Local {
    pub(crate) url: String,
    running: Option<(tokio::runtime::Runtime, Emulator)>,
    agent: ureq::Agent,
    _package: Option<tempfile::TempDir>,
}

/// An HTTP answer.
pub(crate) struct Got {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The decoded log tail.
    pub(crate) fn tail(&self) -> String {
        let tail = self.header("x-amz-log-result").expect("a log tail was asked for");
        String::from_utf8(base64_simd::STANDARD.decode_to_vec(tail).unwrap()).unwrap()
    }
}

impl Local {
    /// An emulator with the probe as function `probe` at 1769 MiB; `config` is appended to the function's table, and may
    /// open further tables.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with("", config)
    }

    /// The same, with `top` before the function's table.
    pub(crate) fn start_with(top: &str, function: &str) -> Self {
        let package = tempfile::tempdir().unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_lambda-probe"), package.path().join("bootstrap")).unwrap();
        let sizes = if function.contains("memory_mib") { "" } else { "memory_mib = [1769]" };
        let text = format!(
            "{top}\n[[function]]\nname = 'probe'\npackage_dir = '{}'\n{sizes}\n{function}\n",
            package.path().display()
        );
        let mut config = EmulatorConfig::from_toml_str(&text).unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let emulator = runtime.block_on(Emulator::start(config)).unwrap();
        let url = format!("http://{}", emulator.address());
        let mut local = Self::attach(&url);
        local.running = Some((runtime, emulator));
        local._package = Some(package);
        local
    }

    /// An emulator that runs elsewhere.
    pub(crate) fn attach(url: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Self { url: url.to_owned(), running: None, agent, _package: None }
    }

    /// Sends a request; transport failures are `None`.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Got> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.agent.run(request.body(body.to_vec()).unwrap()).ok()?;
        let (head, mut body) = answer.into_parts();
        let text = body.with_config().limit(64 << 20).read_to_string().ok()?;
        Some(Got { status: head.status.as_u16(), headers: head.headers, text })
    }

    /// A configuration call with a JSON body.
    pub(crate) fn call(&self, method: &str, path: &str, body: Value) -> Got {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, &[], &bytes).expect("the emulator answers")
    }

    /// Invokes `function` (with an optional qualifier behind `?Qualifier=`), asking for the log tail.
    pub(crate) fn invoke_on(&self, function: &str, event: Value) -> Got {
        self.try_invoke(function, &event.to_string()).expect("the emulator answers")
    }

    /// Invokes the probe.
    pub(crate) fn invoke(&self, event: Value) -> Got {
        self.invoke_on("probe", event)
    }

    /// Invokes `function` with raw text; `None` when the connection broke.
    pub(crate) fn try_invoke(&self, function: &str, text: &str) -> Option<Got> {
        let (name, query) = function
            .split_once('?')
            .map_or((function, String::new()), |(name, query)| (name, format!("?{query}")));
        let path = format!("/2015-03-31/functions/{name}/invocations{query}");
        self.send("POST", &path, &[("X-Amz-Log-Type", "Tail")], text.as_bytes())
    }

    /// The rows of `/_penstock/sandboxes`.
    pub(crate) fn sandboxes(&self) -> Vec<Value> {
        let body = self.call("GET", "/_penstock/sandboxes", Value::Null).json();
        body["sandboxes"].as_array().cloned().unwrap_or_default()
    }

    /// The bill.
    pub(crate) fn bill(&self) -> Value {
        self.call("GET", "/_penstock/bill", Value::Null).json()
    }

    /// Whether control groups meter this emulator; tests of limits that need them say so and end.
    pub(crate) fn has_groups(&self, test: &str) -> bool {
        let health = self.call("GET", "/_penstock/health", Value::Null).json();
        let permitted = health["metering"].as_str().is_some_and(|mode| mode.starts_with("cgroup"));
        if !permitted {
            eprintln!("NOT CHECKED: `{test}` needs control groups, which this machine does not permit");
        }
        permitted
    }

    /// A package of the probe in base64, for `ZipFile`.
    pub(crate) fn zip() -> String {
        use std::io::Write;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer
            .start_file("bootstrap", zip::write::SimpleFileOptions::default().unix_permissions(0o755))
            .unwrap();
        writer.write_all(&std::fs::read(env!("CARGO_BIN_EXE_lambda-probe")).unwrap()).unwrap();
        base64_simd::STANDARD.encode_to_string(writer.finish().unwrap().into_inner())
    }

    /// A `CreateFunction` body for the probe.
    pub(crate) fn create_body(name: &str) -> Value {
        json!({
            "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap",
            "Role": "arn:aws:iam::000000000000:role/any", "Code": { "ZipFile": Self::zip() }, "MemorySize": 1769,
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some((runtime, emulator)) = self.running.take() {
            runtime.block_on(emulator.shutdown());
        }
    }
}

/// Waits up to five seconds for `holds`.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The number before ` ms` after `key` in a REPORT line.
pub(crate) fn report_value(tail: &str, key: &str) -> Option<f64> {
    let report = tail.lines().find(|line| line.starts_with("REPORT"))?;
    let field = report.split('\t').find_map(|field| field.strip_prefix(key))?;
    field.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Whether a process is there (and no zombie).
pub(crate) fn is_alive(process_id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A folder that is never used.
pub(crate) fn absent() -> PathBuf {
    std::env::temp_dir().join(format!("penstock-absent-{}", std::process::id()))
}

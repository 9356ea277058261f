//! `/v1/batches` of a real gateway process that is killed again and again while it works.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::lambda::lambda;

#[path = "support/lambda.rs"]
mod lambda;

const LINES: usize = 1500;
const KILLS: usize = 5;

const MANIFEST: &str = r#"name = "identity"
version = "1"
engine = "identity"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [1]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [1]
"#;

struct Gateway {
    child: Child,
    public: String,
    admin: String,
}

impl Gateway {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args(["serve", "--config"])
            .arg(config)
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (public, admin) = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            let of = |name: &str| {
                let rest = line.split_once(name)?.1;
                rest.split_whitespace().next().map(str::to_owned)
            };
            if let (Some(public), Some(admin)) = (of("public_address="), of("admin_address=")) {
                break (public, admin);
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, public, admin }
    }

    fn send(&self, address: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer key\r\n")
            .unwrap();
        if head.contains("/v1/files") && !body.is_empty() {
            write!(stream, "content-type: multipart/form-data; boundary=b\r\n").unwrap();
        }
        write!(stream, "content-length: {length}\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    fn json(&self, head: &str, body: &[u8]) -> Value {
        let (status, answer) = self.send(&self.public, head, body);
        assert_eq!(status, 200, "{head}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    fn batch(&self, id: &str) -> Value {
        self.json(&format!("GET /v1/batches/{id}"), b"")
    }

    /// Waits until this many lines are done, or all.
    fn wait_for(&self, id: &str, lines: u64) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let batch = self.batch(id);
            let is_final = batch["status"] == "completed";
            assert!(batch["status"] != "failed", "{batch}");
            if is_final || batch["request_counts"]["completed"].as_u64().unwrap() >= lines {
                return batch;
            }
            assert!(Instant::now() < until, "{batch}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn form(lines: &str) -> Vec<u8> {
    let part =
        |head: &str, data: &str| format!("--b\r\ncontent-disposition: form-data; {head}\r\n\r\n{data}\r\n");
    let purpose = part("name=\"purpose\"", "batch");
    let file = part("name=\"file\"; filename=\"lines.jsonl\"", lines);
    format!("{purpose}{file}--b--\r\n").into_bytes()
}

fn submit(gateway: &Gateway) -> String {
    let url = "/v2/models/identity/infer";
    let line = |number: usize| {
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number] });
        let body = json!({ "inputs": [input] });
        json!({ "custom_id": format!("l{number}"), "method": "POST", "url": url, "body": body }).to_string()
    };
    let lines: Vec<String> = (0..LINES).map(line).collect();
    let file = gateway.json("POST /v1/files", &form(&lines.join("\n")));
    let asked = json!({ "input_file_id": file["id"], "endpoint": url, "completion_window": "24h" });
    let batch = gateway.json("POST /v1/batches", asked.to_string().as_bytes());
    batch["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_killed_gateway_goes_on_with_its_batches_and_answers_each_line_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let config = folder.path().join("gateway.toml");
    let lambda = lambda(Duration::from_millis(20));
    let text = format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://{lambda}\"\ncredentials = \"static-test\"\n\
         [drain]\ndrain_delay_ms = 10\n[bulk]\ndirectory = \"bulk\"\nmax_parallelism = 4\n\
         [models.identity]\nmanifest = \"model.toml\"\nfunction = \"identity\"\n\
         [models.identity.plan]\nmax_batch_size = 8\n"
    );
    std::fs::write(&config, text).unwrap();

    let mut gateway = Gateway::start(&config);
    let id = submit(&gateway);
    let mut done = 0;
    for _ in 0..KILLS {
        let batch = gateway.wait_for(&id, done + 100);
        gateway.kill();
        gateway = Gateway::start(&config);
        let after = gateway.batch(&id)["request_counts"]["completed"].as_u64().unwrap();
        done = batch["request_counts"]["completed"].as_u64().unwrap();
        assert!(after >= done, "{done} lines were told as done, then {after}");
    }
    let batch = gateway.wait_for(&id, u64::MAX);
    assert_eq!(batch["status"], "completed");
    assert_eq!(batch["request_counts"], json!({ "total": LINES, "completed": LINES, "failed": 0 }));
    let content = format!("GET /v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    let (status, output) = gateway.send(&gateway.public, &content, b"");
    assert_eq!(status, 200);
    let mut answers = BTreeMap::new();
    for line in String::from_utf8(output).unwrap().lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let number: f64 = answer["custom_id"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(answer["response"]["body"]["outputs"][0]["data"], json!([number]));
        assert!(answers.insert(answer["custom_id"].to_string(), ()).is_none(), "{line} stands there twice");
    }
    assert_eq!(answers.len(), LINES);

    let until = Instant::now() + Duration::from_secs(10);
    let metrics = loop {
        let (_, text) = gateway.send(&gateway.admin, "GET /metrics", b"");
        let text = String::from_utf8(text).unwrap();
        if text.contains("penstock_job_ends_total{model=\"identity\",state=\"completed\"} 1") {
            break text;
        }
        assert!(Instant::now() < until, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    for moved in ["job_lines_total", "job_cost_usd_total", "job_invocations_total", "job_allowed_invocations"]
    {
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("penstock_{moved}"))).unwrap_or(moved);
        assert!(
            line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok_and(|value| value > 0.0)),
            "{line}"
        );
    }
}

//! A gateway of a test that is asked over HTTP, and the jobs that are given to it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::process::Gateway;

/// One of the gateways.
pub(crate) struct Node {
    pub(crate) process: Gateway,
    pub(crate) public: String,
    pub(crate) admin: String,
}

impl Node {
    pub(crate) fn start(config: &Path, environment: &[(&str, String)]) -> Self {
        let mut command = Gateway::of(config);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = Gateway::start(&mut command);
        let line = process.said("gateway is serving");
        let of = |key: &str| line.split_once(key).unwrap().1.split_whitespace().next().unwrap().to_owned();
        Self { public: of("public_address="), admin: of("admin_address="), process }
    }

    /// Status and body.
    pub(crate) fn send(address: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        let form = if head.contains("/v1/files") && !body.is_empty() {
            "content-type: multipart/form-data; boundary=b\r\n"
        } else if head.contains("/control/") {
            "content-type: application/json\r\n"
        } else {
            ""
        };
        write!(stream, "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer key\r\n{form}content-length: {length}\r\n\r\n")
            .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[9..12]).parse().unwrap(), answer[end + 4..].to_vec())
    }

    /// What the public listener answers with 200.
    pub(crate) fn json(&self, head: &str, body: &[u8]) -> Value {
        let (status, answer) = Self::send(&self.public, head, body);
        assert_eq!(status, 200, "{head}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// Gives it a job of so many lines, each a number; gives the job's id.
    pub(crate) fn submit(&self, lines: usize) -> String {
        let url = "/v2/models/identity/infer";
        let line = |number: usize| {
            let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number] });
            let body = json!({ "inputs": [input] });
            json!({ "custom_id": format!("l{number}"), "method": "POST", "url": url, "body": body })
                .to_string()
        };
        let lines: Vec<String> = (0..lines).map(line).collect();
        let file = self.json("POST /v1/files", &form(&lines.join("\n")));
        let asked = json!({ "input_file_id": file["id"], "endpoint": url, "completion_window": "24h" });
        let batch = self.json("POST /v1/batches", asked.to_string().as_bytes());
        batch["id"].as_str().unwrap().to_owned()
    }

    /// A job that has not failed: whether it is done, and its lines that are.
    pub(crate) fn done(&self, job: &str) -> (bool, u64) {
        let batch = self.json(&format!("GET /v1/batches/{job}"), b"");
        assert!(batch["status"] != "failed", "{batch}");
        (batch["status"] == "completed", batch["request_counts"]["completed"].as_u64().unwrap())
    }

    /// Each line of a job that is done stands in the output once, with its own answer.
    pub(crate) fn answered_once(&self, job: &str, lines: usize) {
        let batch = self.json(&format!("GET /v1/batches/{job}"), b"");
        assert_eq!(batch["request_counts"], json!({ "total": lines, "completed": lines, "failed": 0 }));
        let content = format!("GET /v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
        let (status, output) = Self::send(&self.public, &content, b"");
        assert_eq!(status, 200);
        let mut answered = BTreeSet::new();
        for line in String::from_utf8(output).unwrap().lines() {
            let answer: Value = serde_json::from_str(line).unwrap();
            let number: f64 = answer["custom_id"].as_str().unwrap()[1..].parse().unwrap();
            assert_eq!(answer["response"]["body"]["outputs"][0]["data"], json!([number]));
            assert!(answered.insert(answer["custom_id"].to_string()), "{line} stands there twice");
        }
        assert_eq!(answered.len(), lines);
    }
}

fn form(lines: &str) -> Vec<u8> {
    let part =
        |head: &str, data: &str| format!("--b\r\ncontent-disposition: form-data; {head}\r\n\r\n{data}\r\n");
    let purpose = part("name=\"purpose\"", "batch");
    let file = part("name=\"file\"; filename=\"lines.jsonl\"", lines);
    format!("{purpose}{file}--b--\r\n").into_bytes()
}

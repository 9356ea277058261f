//! `/v1/batches` of a real gateway process that is killed again and again while it works.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use self::lambda::lambda;
use self::node::Node;
use self::process::MANIFEST;

#[path = "support/lambda.rs"]
mod lambda;
#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod process;

const LINES: usize = 1500;
const KILLS: usize = 5;

/// Waits until this many lines are done, or all.
fn wait_for(gateway: &Node, job: &str, lines: u64) -> u64 {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (is_done, completed) = gateway.done(job);
        if is_done || completed >= lines {
            return completed;
        }
        assert!(Instant::now() < until, "{completed} of {lines} lines");
        std::thread::sleep(Duration::from_millis(5));
    }
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

    let mut gateway = Node::start(&config, &[]);
    let job = gateway.submit(LINES);
    let mut done = 0;
    for _ in 0..KILLS {
        let told = wait_for(&gateway, &job, done + 100);
        drop(gateway); // killed
        gateway = Node::start(&config, &[]);
        let (_, after) = gateway.done(&job);
        assert!(after >= told, "{told} lines were told as done, then {after}");
        done = told;
    }
    wait_for(&gateway, &job, u64::MAX);
    gateway.answered_once(&job, LINES);

    let (status, body) = Node::send(&gateway.public, "DELETE /v1/batches", b"");
    let body = String::from_utf8(body).unwrap();
    assert!(status == 405 && body.contains("method_not_allowed"), "{status} {body}");

    let until = Instant::now() + Duration::from_secs(10);
    let metrics = loop {
        let (_, text) = Node::send(&gateway.admin, "GET /metrics", b"");
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

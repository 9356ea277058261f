//! `penstock serve` as a process: how it starts, reloads and ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workers_emulator::{Emulator, EmulatorConfig};

const MANIFEST: &str = r#"name = "identity"
version = "1"
engine = "identity"
platform = "penstock_identity"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [4]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [4]
"#;

/// Long against everything that a test waits for.
const DRAIN_DELAY_MS: u32 = 20_000;

/// Where nobody listens.
const NO_LAMBDA: &str = "127.0.0.1:9";

fn config(drain_delay_ms: u32, queue_capacity_items: u32, lambda: &str) -> String {
    format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://{lambda}\"\ncredentials = \"static-test\"\n\
         [drain]\ndrain_delay_ms = {drain_delay_ms}\n\
         [models.identity]\nmanifest = \"model.toml\"\nfunction = \"identity\"\n\
         [models.identity.plan]\nqueue_capacity_items = {queue_capacity_items}\n"
    )
}

struct Gateway {
    child: Child,
    admin: String,
}

impl Gateway {
    fn start(folder: &Path, drain_delay_ms: u32) -> Self {
        Self::start_with(folder, &config(drain_delay_ms, 100, NO_LAMBDA))
    }

    fn start_with(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("model.toml"), MANIFEST).unwrap();
        let path = folder.join("penstock.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args(["serve", "--config"])
            .arg(&path)
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let admin = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            if let Some((_, rest)) = line.split_once("admin_address=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // Whoever does not read the log must not stop the gateway.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, admin }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn wait_for(&self, path: &str, text: &str) {
        let until = Instant::now() + Duration::from_secs(15);
        while !self.get(path).contains(text) {
            assert!(Instant::now() < until, "`{text}` did not appear in {path}: {}", self.get(path));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_signal_drains_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(folder.path(), 10);
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(folder.path(), DRAIN_DELAY_MS);
    gateway.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(gateway.child.try_wait().unwrap().is_none(), "it drains");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended().code(), Some(130));
}

#[test]
fn a_changed_file_is_in_force_without_a_signal_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), 10);
    gateway.wait_for("/config", "queue_capacity_items = 100");
    std::fs::write(folder.path().join("penstock.toml"), config(10, 321, NO_LAMBDA)).unwrap();
    gateway.wait_for("/config", "queue_capacity_items = 321");
    std::fs::write(folder.path().join("penstock.toml"), config(10, 0, NO_LAMBDA)).unwrap();
    gateway.wait_for("/metrics", "config_last_reload_successful 0");
    gateway.wait_for("/config", "queue_capacity_items = 321");
}

#[test]
fn plans_count_on_no_more_sandboxes_than_the_account_has() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let text = "listen = '127.0.0.1:0'\nlimits = { account_concurrency = 300 }\n[metering]\nmode = 'none'\n";
    let account = EmulatorConfig::from_toml_str(text).unwrap();
    let emulator = runtime.block_on(Emulator::start(account)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_with(folder.path(), &config(10, 100, &emulator.address().to_string()));
    gateway.wait_for("/control/models/identity", "\"account_concurrency\":300");
    let lower = config(10, 100, &emulator.address().to_string()) + "[control]\naccount_concurrency = 50\n";
    std::fs::write(folder.path().join("penstock.toml"), lower).unwrap();
    gateway.wait_for("/control/models/identity", "\"account_concurrency\":50");
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let path = folder.path().join("penstock.toml");
    std::fs::write(&path, config(10, 5, NO_LAMBDA).replace("queue_capacity_items", "queue_capacity_itmes"))
        .unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_penstock")).args(["serve", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("queue_capacity_itmes"));
}

//! The whole of Penstock with real clients: tritonclient and openai against the gateway, the gateway against its OpenAPI document, boto3 and the `aws`
//! command against the emulator.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::{self, Binaries};
use crate::setup::Setup;
use crate::stack::{Emulator, ModelSpec, Ports, Stack, StackSpec};

/// Runs every client against a gateway and an emulator started for it.
///
/// # Errors
/// When something cannot be started, or a client finds what does not hold.
pub(crate) fn run(setup: &Setup, python: &Path) -> Result<()> {
    let binaries = build::binaries(setup.workspace())?;
    eprintln!("end to end: tritonclient against the gateway");
    tritonclient(setup, python, &binaries)?;
    eprintln!("end to end: openai against the gateway, killed in the middle of a batch");
    openai(setup, python, &binaries)?;
    eprintln!("end to end: boto3 and the aws command against the emulator");
    conformance(setup, python, &binaries)
}

fn tritonclient(setup: &Setup, python: &Path, binaries: &Binaries) -> Result<()> {
    let names = ["identity", "imdb-sentiment"];
    let folders = setup.models(&names)?;
    let plan = "max_batch_size = 16\nmax_queue_delay_ms = 5\nprocess_count = 1\nmax_in_flight = 4";
    let model = |(name, folder): (&&str, std::path::PathBuf)| ModelSpec {
        name: (*name).to_owned(),
        folder,
        memory_mib: 1769,
        plan: plan.to_owned(),
    };
    let spec = StackSpec {
        name: "tritonclient",
        ports: Ports::free()?,
        cpu_scale: 0.5,
        account_concurrency: 100,
        models: names.iter().zip(folders).map(model).collect(),
        emulator_extra: String::new(),
        listen_extra: String::new(),
        gateway_extra: String::new(),
    };
    let stack = Stack::start(setup, binaries, &spec)?;
    let mut client = Command::new(python);
    client.arg(setup.workspace().join("gateway/server/tests/clients/tritonclient_http.py"));
    client.args(["--url", &format!("127.0.0.1:{}", stack.ports.public), "--text-model", "imdb-sentiment"]);
    build::run(&mut client)?;
    stack.stop()
}

fn openai(setup: &Setup, python: &Path, binaries: &Binaries) -> Result<()> {
    let names = ["identity", "minilm"];
    let folders = setup.models(&names)?;
    let plan = "max_batch_size = 16\nmax_queue_delay_ms = 5\nprocess_count = 1\nmax_in_flight = 4\nslo_latency_ms = 5000";
    let model = |(name, folder): (&&str, std::path::PathBuf)| ModelSpec {
        name: (*name).to_owned(),
        folder,
        memory_mib: 1769,
        plan: plan.to_owned(),
    };
    let state = setup.cache().join("runs/openai/bulk");
    let _ = std::fs::remove_dir_all(&state); // an earlier run's jobs
    let spec = StackSpec {
        name: "openai",
        ports: Ports::free()?,
        cpu_scale: 0.5,
        account_concurrency: 100,
        models: names.iter().zip(folders).map(model).collect(),
        emulator_extra: String::new(),
        listen_extra: String::new(),
        gateway_extra: format!("\n[bulk]\ndirectory = {state:?}\nmax_parallelism = 4\n"),
    };
    let mut stack = Stack::start(setup, binaries, &spec)?;
    let url = format!("127.0.0.1:{}", stack.ports.public);
    let client = || {
        let mut client = Command::new(python);
        client.arg(setup.workspace().join("gateway/server/tests/clients/openai_client.py"));
        client.args(["--url", &url, "--model", "minilm"]);
        client
    };
    build::run(&mut client())?;
    eprintln!("end to end: both listeners against their OpenAPI document");
    let mut document = Command::new(python);
    document.arg(setup.workspace().join("gateway/server/tests/clients/openapi_document.py"));
    document.args(["--url", &url, "--admin", &format!("127.0.0.1:{}", stack.ports.admin)]);
    build::run(&mut document)?;
    let submitted = client().args(["--phase", "submit"]).output().context("the openai client")?;
    anyhow::ensure!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));
    let batch = String::from_utf8_lossy(&submitted.stdout).trim().to_owned();
    stack.kill_gateway(binaries)?;
    build::run(client().args(["--phase", "finish", "--batch", &batch]))?;
    stack.stop()
}

fn conformance(setup: &Setup, python: &Path, binaries: &Binaries) -> Result<()> {
    let probe = build::release_folder(setup.workspace())?.join("lambda-probe");
    let emulator = Emulator::start(setup, binaries)?;
    let mut suite = Command::new(python);
    suite.arg(setup.workspace().join("workers/emulator/conformance/conformance.py"));
    suite.args(["--endpoint", &emulator.endpoint]).arg("--bootstrap").arg(probe);
    suite.arg("--aws").arg(python.with_file_name("aws"));
    build::run(&mut suite)
}

//! `penstock profile` as a process, against the local Lambda with the real worker and the identity model: records and report, resuming after a kill,
//! the budget, and what is left on Lambda afterwards.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use workers_emulator::{Emulator, EmulatorConfig};

/// A local Lambda with the function `f`, and a folder for an experiment.
struct Bench {
    folder: tempfile::TempDir,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _emulator: Emulator,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (package, model) = support::function_in(folder.path());
        let text = format!(
            "listen = '127.0.0.1:0'\n[metering]\nmode = 'none'\n[lifecycle]\nupdate_delay_ms = 20\n\
             [[function]]\nname = 'f'\npackage_dir = {package:?}\nmemory_mib = [640]\nenvironment = {{ KEPT = 'yes' }}\nlinks = {{ model = {model:?} }}\n"
        );
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let emulator =
            runtime.block_on(Emulator::start(EmulatorConfig::from_toml_str(&text).unwrap())).unwrap();
        Self { address: emulator.address(), folder, _runtime: runtime, _emulator: emulator }
    }

    /// Writes the experiment: two memory sizes, two batches, and what is given.
    fn experiment(&self, rest: &str) -> PathBuf {
        let text = format!(
            "name = 'tiny'\n{rest}\n[aws]\nendpoint_url = 'http://{}'\ncredentials = 'static-test'\n\
             [grid]\nmemory_mib = [512, 1024]\nitems = [1, 4]\nconcurrency = [1, 3]\n\
             [[model]]\nname = 'identity'\nfunction = 'f'\nmanifest = 'model/model.toml'\nexpected = {{ init_ms = 50, item_ms = 0.1 }}\n",
            self.address
        );
        let path = self.folder.path().join("experiment.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, experiment: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.arg("profile").arg(experiment).arg("--output").arg(self.output());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, experiment: &Path) -> Output {
        self.command(experiment).output().unwrap()
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.output().join(file)).unwrap()
    }

    /// The journal's runs.
    fn runs(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.output().join("journal.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line.get("run").cloned()).collect()
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lambda\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap()
    }

    /// Versions that the experiment has published and not deleted.
    fn leftovers(&self) -> usize {
        let listed = self.get("/2015-03-31/functions/f/versions");
        let is_ours = |version: &&Value| {
            version["Description"].as_str().is_some_and(|text| text.starts_with("penstock profile"))
        };
        listed["Versions"].as_array().unwrap().iter().filter(is_ours).count()
    }

    /// Nothing is left, and `$LATEST` is as it was.
    fn assert_clean(&self) {
        assert_eq!(self.leftovers(), 0, "versions are left on Lambda");
        let latest = self.get("/2015-03-31/functions/f/configuration");
        assert_eq!(latest["MemorySize"], 640);
        let variables = &latest["Environment"]["Variables"];
        assert_eq!(variables["KEPT"], "yes");
        assert!(variables.get("PENSTOCK_PROFILE").is_none(), "{variables}");
    }

    fn wait_for_runs(&self, child: &mut Child, count: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.runs().len() < count {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            assert!(Instant::now() < until, "no {count} runs within a minute");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs that count, by point and kind.
fn counted(runs: &[Value]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for run in runs {
        *counts.entry((run["point"].to_string(), run["kind"].to_string())).or_default() += 1;
    }
    counts
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_experiment_leaves_records_a_report_and_a_profile_and_nothing_on_lambda() {
    let bench = Bench::start();
    let experiment =
        bench.experiment("runs = { per_point = 6, cold_share = 0.3, stop_width = 0, pause_ms = 0 }");
    let output = bench.run(&experiment);
    assert!(output.status.success(), "{}", told(&output));
    bench.assert_clean();
    let counts = counted(&bench.runs());
    for (kind, wanted) in [("\"cold\"", 2), ("\"warm\"", 4)] {
        let found: Vec<usize> =
            counts.iter().filter(|((_, of), _)| of == kind).map(|(_, count)| *count).collect();
        assert_eq!(found, [wanted; 8], "{kind}: two sizes, two batches, two concurrencies");
    }
    for run in bench.runs() {
        let invocations = run["invocations"].as_array().unwrap();
        assert_eq!(invocations.len() as u64, run["point"]["concurrency"].as_u64().unwrap());
        let started = invocations.iter().filter(|call| call["cold"] == true).count();
        match run["kind"].as_str().unwrap() {
            "cold" => assert!(started > 0 && invocations[0]["init_us"].as_u64() > Some(0), "{run}"),
            "warm" => assert_eq!(started, 0, "{run}"),
            _ => {}
        }
        assert!(invocations.iter().all(|call| call["cost_usd"].as_f64() > Some(1e-9)), "{run}");
    }
    let csv = bench.read("records.csv");
    let invocations: usize =
        bench.runs().iter().map(|run| run["invocations"].as_array().unwrap().len()).sum();
    assert_eq!(csv.lines().count(), 1 + invocations);
    assert_eq!(&std::fs::read(bench.output().join("records.parquet")).unwrap()[..4], b"PAR1");
    let report = bench.read("report.html");
    for heading in [
        "Recommendations",
        "Time and cost by memory",
        "Cold against warm",
        "Pareto front",
        "Concurrency against instances",
    ] {
        assert!(report.contains(heading), "{heading}");
    }
    let summary: Value = serde_json::from_str(&bench.read("summary.json")).unwrap();
    assert_eq!(summary["points"].as_array().unwrap().len(), 8);
    assert!(bench.read("profiles/identity.toml").contains("[service]"));
}

#[test]
fn a_killed_experiment_goes_on_where_it_was() {
    let bench = Bench::start();
    let experiment =
        bench.experiment("runs = { per_point = 10, cold_share = 0.2, stop_width = 0, pause_ms = 5 }");
    for seen in [5, 30, 55] {
        let mut child =
            bench.command(&experiment).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        bench.wait_for_runs(&mut child, seen);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = bench.runs();
    let output = bench.run(&experiment);
    assert!(output.status.success(), "{}", told(&output));
    bench.assert_clean();
    let runs = bench.runs();
    assert_eq!(runs[..before.len()], before[..], "what was done is kept");
    let ids: Vec<u64> = runs.iter().map(|run| run["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..runs.len() as u64).collect::<Vec<_>>(), "no run is lost or twice");
    let counts = counted(&runs);
    assert!(
        counts.iter().filter(|((_, kind), _)| kind == "\"cold\"").all(|(_, &count)| count == 2),
        "{counts:?}"
    );
    assert!(
        counts.iter().filter(|((_, kind), _)| kind == "\"warm\"").all(|(_, &count)| count >= 8),
        "{counts:?}"
    );
}

#[test]
fn a_signal_ends_it_in_order_and_a_second_run_finishes_it() {
    let bench = Bench::start();
    let experiment = bench.experiment("runs = { per_point = 10, stop_width = 0, pause_ms = 5 }");
    let mut child = bench.command(&experiment).spawn().unwrap();
    bench.wait_for_runs(&mut child, 10);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", told(&output));
    bench.assert_clean();
    assert!(bench.output().join("report.html").exists(), "what there is, is reported");
    assert!(bench.run(&experiment).status.success());
}

#[test]
fn the_budget_is_kept_and_more_of_it_goes_on() {
    let bench = Bench::start();
    let runs = "runs = { per_point = 8, stop_width = 0, pause_ms = 0 }";
    let output = bench.run(&bench.experiment(&format!("{runs}\nbudget = {{ usd = 0.00002 }}")));
    assert_eq!(output.status.code(), Some(75), "{}", told(&output));
    bench.assert_clean();
    let usd: f64 = bench
        .runs()
        .iter()
        .flat_map(|run| run["invocations"].as_array().unwrap().clone())
        .map(|call| call["cost_usd"].as_f64().unwrap())
        .sum();
    assert!(usd > 0.000_005 && usd < 0.000_03, "one run may be dearer than it was expected to be: {usd}");
    let done = bench.runs().len();
    let output = bench.run(&bench.experiment(&format!("{runs}\nbudget = {{ usd = 1 }}")));
    assert!(output.status.success() && bench.runs().len() > done, "{}", told(&output));
}

#[test]
fn after_a_failure_nothing_is_left_on_lambda() {
    let bench = Bench::start();
    let experiment = bench.experiment("runs = { per_point = 5, pause_ms = 0 }");
    // The function runs another model than the manifest says.
    std::fs::write(
        bench.folder.path().join("other.toml"),
        support::MANIFEST.replace("'identity'\nversion", "'other'\nversion"),
    )
    .unwrap();
    let text = std::fs::read_to_string(&experiment).unwrap().replace("model/model.toml", "other.toml");
    std::fs::write(&experiment, text).unwrap();
    let output = bench.run(&experiment);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("no point could be measured"), "{}", told(&output));
    bench.assert_clean();
}

#[test]
fn a_dry_run_says_what_it_would_take_and_calls_nothing() {
    let bench = Bench::start();
    let experiment = bench.experiment("machine = { vcpus = 0.5, concurrency = 2 }");
    let text =
        std::fs::read_to_string(&experiment).unwrap().replace(&bench.address.to_string(), "127.0.0.1:9");
    std::fs::write(&experiment, text).unwrap();
    let output = bench.command(&experiment).arg("--dry-run").output().unwrap();
    let text = told(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("8 points") && text.contains("(simulated)") && text.contains("in all: at most"),
        "{text}"
    );
    assert!(!bench.output().exists());
}

#[test]
fn an_experiment_that_cannot_be_is_named_before_anything_is_called() {
    let bench = Bench::start();
    let output = bench.run(&bench.experiment("runs = { per_point = 0 }"));
    assert_eq!(output.status.code(), Some(78));
    assert!(told(&output).contains("`runs.per_point`"), "{}", told(&output));
}

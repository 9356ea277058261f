//! `penstock bulk` as a process, against the local Lambda with the real worker and the identity model: killed again and again, planned without
//! a call, cancelled, and with its data in an object store.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may panic"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use workers_emulator::{Emulator, EmulatorConfig};

/// Chunks so small that a job takes a while.
const SMALL: [&str; 2] = ["--chunk-items", "20"];

/// A local Lambda with the function `f`, and a folder with a configuration for it.
struct World {
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    _emulator: Emulator,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (package, model) = support::function_in(folder.path());
        let text = format!(
            "listen = '127.0.0.1:0'\n[metering]\nmode = 'none'\n\
             [[function]]\nname = 'f'\npackage_dir = {package:?}\nmemory_mib = [640]\nlinks = {{ model = {model:?} }}\n"
        );
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let emulator =
            runtime.block_on(Emulator::start(EmulatorConfig::from_toml_str(&text).unwrap())).unwrap();
        let config = format!(
            "[aws]\nendpoint_url = 'http://{}'\ncredentials = 'static-test'\n\
             [models.identity]\nmanifest = 'model'\nfunction = 'f'\n\
             [models.identity.plan]\nmemory_mib = 640\nqualifier = ''\n",
            emulator.address()
        );
        std::fs::write(folder.path().join("penstock.toml"), config).unwrap();
        Self { folder, _runtime: runtime, _emulator: emulator }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Plain lines of four numbers.
    fn input(&self, lines: usize) -> PathBuf {
        let line = |n: usize| format!("{{\"id\":\"i{n}\",\"x\":[{n},{}.5,0.25,-1]}}\n", n * 3);
        let path = self.path("in.jsonl");
        std::fs::write(&path, (0..lines).map(line).collect::<String>()).unwrap();
        path
    }

    fn bulk(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.args(["bulk", subcommand, "--state-dir"]).arg(self.path("state"));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, input: impl AsRef<std::ffi::OsStr>, output: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.bulk("run");
        command
            .arg("--config")
            .arg(self.path("penstock.toml"))
            .args(["--model", "identity", "--column", "x"]);
        command.arg("--input").arg(input).arg("--output").arg(output);
        command.args(["--parallelism", "3"]);
        command
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn sorted(path: &Path) -> Vec<String> {
    let mut lines: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Kills; 20 by `PENSTOCK_KILLS=20`.
fn kills() -> u32 {
    std::env::var("PENSTOCK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn a_job_killed_at_random_moments_writes_what_an_undisturbed_one_writes() {
    let world = World::start();
    let input = world.input(20_000);
    let calm = world.path("calm.jsonl");
    let began = Instant::now();
    let output = world.run(&input, &calm).args(SMALL).output().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{}", text(&output));
    let expected = sorted(&calm);
    assert_eq!(expected.len(), 20_000);

    let killed = world.path("killed.jsonl");
    // Not cryptographic: the moments only have to differ from run to run.
    let mut seed = u64::try_from(began.elapsed().as_nanos()).unwrap() | 1;
    println!("seed {seed}, undisturbed {took:?}");
    let mut hit = 0;
    for _ in 0..kills() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut child = world
            .run(&input, &killed)
            .args(SMALL)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let share = f64::from(u32::try_from(seed % 1000).unwrap()) / 1000.0;
        std::thread::sleep(Duration::from_millis(20) + took.mul_f64(share * 2.0 / f64::from(kills())));
        hit += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(hit >= kills() / 2, "only {hit} kills met a process at work");
    let output = world.run(&input, &killed).args(SMALL).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(sorted(&killed), expected, "after {hit} kills");
    assert_eq!(std::fs::read_to_string(world.path("killed.jsonl.errors.jsonl")).unwrap(), "");
    println!("{hit} of {} kills met a process at work", kills());
}

#[test]
fn a_dry_run_says_what_it_would_take_and_invokes_nothing() {
    let world = World::start();
    let input = world.input(1500);
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulator/profiles/minilm-16.toml");
    let mut command = world.bulk("run");
    command.arg("--config").arg(world.path("penstock.toml")).args(["--model", "identity", "--column", "x"]);
    command.arg("--input").arg(&input).arg("--output").arg(world.path("out.jsonl"));
    command.args(["--memory", "1024,1769", "--finish-within", "5m", "--dry-run", "--profile"]).arg(&profile);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for part in ["1500 lines", "predicted: ", "invocations on", "nothing was invoked"] {
        assert!(text(&output).contains(part), "`{part}` in {}", text(&output));
    }
    assert!(!world.path("out.jsonl").exists() && !world.path("state").exists());
}

#[test]
fn a_job_without_a_profile_learns_its_plan() {
    let world = World::start();
    let input = world.input(6000);
    let dry = world.run(&input, world.path("out.jsonl")).arg("--dry-run").output().unwrap();
    assert!(dry.status.success(), "{}", text(&dry));
    for part in
        ["lines, 1.0 items a line", "the job's own first chunks", "`--profile`", "nothing was invoked"]
    {
        assert!(text(&dry).contains(part), "`{part}` in {}", text(&dry));
    }
    let report = world.path("report.json");
    let output = world
        .run(&input, world.path("out.jsonl"))
        .args(["--finish-within", "10m", "--json"])
        .arg(&report)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(sorted(&world.path("out.jsonl")).len(), 6000);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let why = report["why"].as_str().unwrap();
    assert!(why.starts_with("learned from ") && text(&output).contains(why), "{}", text(&output));
    assert!(report["parallelism"].as_u64().unwrap() <= 3, "no more than was allowed: {report}");
    assert!(report["chunk"]["max_items"].as_u64().unwrap() > 32, "cheap items want large chunks: {report}");
}

#[test]
fn wrong_engines_are_refused_by_name() {
    let world = World::start();
    let input = world.input(5);
    let arn = "arn:aws:states:us-east-1:1:stateMachine:m";
    for (words, part) in [
        (&["--work", "s3://w/jobs"][..], "needs `--state-machine`"),
        (&["--state-machine", arn], "needs `--work`"),
        (&["--state-machine", arn, "--work", "jobs"], "must be s3://bucket/prefix"),
        (&["--state-machine", arn, "--work", "s3://w/jobs", "--max-usd", "1"], "needs `--engine local`"),
    ] {
        let mut command = world.run(&input, world.path("out.jsonl"));
        let output = command.args(["--engine", "step-functions"]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(part), "`{part}` in {}", text(&output));
    }
    let mut command = world.run(&input, world.path("out.jsonl"));
    command.args(["--engine", "step-functions", "--state-machine", "m", "--work", "s3://w/jobs"]);
    let output = command.output().unwrap();
    assert!(text(&output).contains("`m` is no ARN of a state machine"), "{}", text(&output));
}

#[test]
fn whole_requests_are_answered_as_the_gateway_answers_them() {
    let world = World::start();
    let input = world.path("requests.jsonl");
    let request = |data: &str| {
        format!(
            "{{\"id\":\"r{}\",\"inputs\":[{{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[{},4],\"data\":[{data}]}}]}}\n",
            data.len(),
            (data.len() + 1) / 8
        )
    };
    let bad = "{\"id\":\"bad\",\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[1,2,3]}]}\n";
    std::fs::write(&input, request("1,2,3,4") + bad + &request("1,2,3,4,5,6,7,8")).unwrap();
    let mut command = world.bulk("run");
    command.arg("--config").arg(world.path("penstock.toml")).args(["--model", "identity", "--sorted"]);
    command.arg("--input").arg(&input).arg("--output").arg(world.path("out.jsonl"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let answers: Vec<serde_json::Value> = std::fs::read_to_string(world.path("out.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2, "{}", text(&output));
    assert_eq!(answers[0]["outputs"][0]["shape"], serde_json::json!([1, 4]));
    assert_eq!(answers[1]["outputs"][0]["data"], serde_json::json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
    assert_eq!(answers[1]["id"], "r15");
    let errors = std::fs::read_to_string(world.path("out.jsonl.errors.jsonl")).unwrap();
    assert!(
        errors.contains("\"line\":2") && errors.contains("\"id\":\"bad\"") && errors.contains("shape"),
        "{errors}"
    );
}

#[test]
fn a_job_is_listed_shown_and_cancelled_while_it_runs() {
    let world = World::start();
    let input = world.input(200_000);
    let mut child = world
        .run(&input, world.path("out.jsonl"))
        .args(SMALL)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let list = || text(&world.bulk("list").output().unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    while !list().contains("in_progress") {
        assert!(Instant::now() < until, "{}", list());
        std::thread::sleep(Duration::from_millis(100));
    }
    let listed = list();
    let id = listed.split_whitespace().find(|word| word.starts_with("batch_")).unwrap();
    let shown = text(&world.bulk("show").arg(id).output().unwrap());
    assert!(shown.contains("200000 in all"), "{shown}");
    let cancelled = world.bulk("cancel").arg(id).output().unwrap();
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    let mut ended = String::new();
    child.stdout.take().unwrap().read_to_string(&mut ended).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(ended.contains("cancelled"), "{ended}");
    let answered = sorted(&world.path("out.jsonl")).len();
    assert!(answered > 0 && answered < 200_000, "{answered}");
}

/// Objects by path, as a bucket keeps them.
type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// The part of S3's protocol that the job needs: HEAD, GET of ranges, PUT, and uploads in parts. Checks no signature.
fn bucket() -> (SocketAddr, Objects) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let objects = Arc::clone(&kept);
            std::thread::spawn(move || while answer(&stream, &objects).is_some() {});
        }
    });
    (address, objects)
}

fn answer(stream: &TcpStream, objects: &Objects) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let (mut first, mut length, mut range) = (String::new(), 0_usize, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            first = line;
        } else if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "range" => range = Some(value.trim().trim_start_matches("bytes=").to_owned()),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut objects = objects.lock().unwrap();
    let (mut status, mut head, mut answer) = (200, String::new(), Vec::new());
    match method {
        "PUT" => {
            let part = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
            let name = part.map_or(path.to_owned(), |part| format!("{path}#{:0>5}", part));
            objects.insert(name, body);
        }
        "POST" if query.contains("uploadId=") => {
            let prefix = format!("{path}#");
            let parts: Vec<String> =
                objects.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
            let whole = parts.iter().flat_map(|name| objects.remove(name).unwrap()).collect();
            objects.insert(path.to_owned(), whole);
            answer =
                b"<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>".to_vec();
        }
        "POST" => {
            answer = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
                .to_vec();
        }
        _ => match objects.get(path) {
            None => status = 404,
            Some(whole) => {
                let (from, to) = match range.as_deref().and_then(|range| range.split_once('-')) {
                    Some((from, to)) => (from.parse().ok()?, to.parse::<usize>().ok()? + 1),
                    None => (0, whole.len()),
                };
                answer = whole[from..to.min(whole.len())].to_vec();
                if range.is_some() {
                    status = 206;
                    head = format!(
                        "content-range: bytes {from}-{}/{}\r\n",
                        from + answer.len() - 1,
                        whole.len()
                    );
                }
            }
        },
    }
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: \"e\"\r\nlast-modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n{head}\r\n"
    );
    let mut writer = stream;
    writer.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        writer.write_all(&answer).ok()?;
    }
    Some(())
}

#[test]
fn input_and_output_may_lie_in_an_object_store() {
    let world = World::start();
    let (address, objects) = bucket();
    let long = "0".repeat(200); // so that the output is uploaded in parts
    let line = |n: usize| format!("{{\"id\":\"i{n}-{long}\",\"x\":[{n},0,0.5,1]}}\n");
    let input: String = (0..50_000).map(line).collect();
    assert!(input.len() > 9 << 20, "more than one range is read");
    objects.lock().unwrap().insert("/data/in/reviews.jsonl".to_owned(), input.into_bytes());
    let mut command = world.run("s3://data/in/reviews.jsonl", "s3://data/out/answers.jsonl");
    command.args(["--chunk-items", "2000"]);
    command.env("AWS_ENDPOINT_URL", format!("http://{address}")).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let objects = objects.lock().unwrap();
    let answers = String::from_utf8(objects["/data/out/answers.jsonl"].clone()).unwrap();
    let mut numbers: Vec<u64> = answers
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["y"][0].as_f64().unwrap() as u64)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..50_000).collect::<Vec<_>>());
    assert!(objects["/data/out/answers.jsonl.errors.jsonl"].is_empty());
}

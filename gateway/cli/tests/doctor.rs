//! `penstock doctor` against the local Lambda with the real worker, with things broken on purpose: each is named.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use workers_emulator::{Emulator, EmulatorConfig};

use self::lambda::read_message;

#[path = "support/lambda.rs"]
mod lambda;

/// A package with another `bootstrap`.
const OTHER_CODE: &str = "UEsDBBQAAAAAAAAAIVwdnfsECgAAAAoAAAAJAAAAYm9vdHN0cmFwIyEvYmluL3NoClBLAQIUAxQAAAAAAAAAIVwdnfsECgAAAAoAAAAJAAAAAAAAAAAAAADtgQAAAABib290c3RyYXBQSwUGAAAAAAEAAQA3AAAAMQAAAAAA";

/// A local Lambda with the function `f` and its aliases for 640 and 1024 MiB, and a folder.
struct World {
    folder: tempfile::TempDir,
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
    _emulator: Emulator,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (package, model) = support::function_in(folder.path());
        let text = format!(
            "listen = '127.0.0.1:0'\n[metering]\nmode = 'none'\n[limits]\naccount_concurrency = 300\n\
             [[function]]\nname = 'f'\npackage_dir = {package:?}\nmemory_mib = [640, 1024]\nlinks = {{ model = {model:?} }}\n"
        );
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let emulator =
            runtime.block_on(Emulator::start(EmulatorConfig::from_toml_str(&text).unwrap())).unwrap();
        let endpoint = format!("http://{}", emulator.address());
        Self { folder, endpoint, _runtime: runtime, _emulator: emulator }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A call of the configuration API, once no update is in progress; the local Lambda checks no signature.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (address, body) = (self.endpoint.trim_start_matches("http://"), body.to_string());
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address).unwrap();
            let length = body.len();
            write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
                .unwrap();
            let (status, answer) = read_message(&mut BufReader::new(stream)).unwrap();
            if status.contains(" 409") {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            assert!(status.contains(" 20"), "{status}: {}", String::from_utf8_lossy(&answer));
            return serde_json::from_slice(&answer).unwrap();
        }
        panic!("an update is in progress for ever")
    }

    /// Runs it on a configuration that is right but for what `change` makes of it.
    fn doctor(&self, change: impl FnOnce(String) -> String, arguments: &[&str]) -> Output {
        self.doctor_with_files(4096, change, arguments)
    }

    /// Where so many files may be open.
    fn doctor_with_files(
        &self,
        files: u32,
        change: impl FnOnce(String) -> String,
        arguments: &[&str],
    ) -> Output {
        let config = format!(
            "[listen]\npublic_address = '127.0.0.1:0'\nadmin_address = '127.0.0.1:0'\n\
             [limits]\nmax_connections = 64\n[control]\naccount_concurrency = 300\n[state]\ndirectory = 'state'\n\
             [aws]\nregion = 'us-east-1'\nendpoint_url = '{}'\ncredentials = 'static-test'\n\
             [models.identity]\nmanifest = 'model'\nfunction = 'f'\n\
             [models.identity.plan]\nmemory_mib = 640\nmax_in_flight = 8\n",
            self.endpoint
        );
        let path = self.path("penstock.toml");
        std::fs::write(&path, change(config)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]).arg(files.to_string());
        command.arg(env!("CARGO_BIN_EXE_penstock")).args(["doctor", "--json", "--config"]);
        command.arg(&path).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }
}

fn findings(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    report["findings"].as_array().unwrap().clone()
}

/// The one finding of this check; it has this level and these words, and says what to do.
fn expect(output: &Output, check: &str, level: &str, words: &str) {
    let findings = findings(output);
    let found = findings
        .iter()
        .find(|finding| finding["check"] == check && finding["level"] == level)
        .unwrap_or_else(|| panic!("no {level} of `{check}` in {findings:#?}"));
    assert!(found["text"].as_str().unwrap().contains(words), "`{words}` in {found}");
    assert!(level == "ok" || !found["advice"].as_str().unwrap().is_empty(), "{found}");
    assert_eq!(output.status.code(), Some(i32::from(findings.iter().any(|one| one["level"] == "problem"))));
}

#[test]
fn a_gateway_in_order_is_found_in_order_and_each_break_is_named() {
    let world = World::start();
    let output = world.doctor(|config| config, &[]);
    assert_eq!(output.status.code(), Some(0), "{:#?}", findings(&output));
    let unwell = |finding: &Value| {
        // The price table ages with the calendar, and a disk may be full: neither is broken here.
        finding["level"] != "ok" && finding["check"] != "prices" && finding["check"] != "state.directory"
    };
    assert!(!findings(&output).iter().any(unwell), "{:#?}", findings(&output));
    expect(&output, "models.identity.answer.mem-640", "ok", "cold start");
    expect(&output, "models.identity.alias.mem-640", "ok", "640 MiB");
    expect(&output, "clock", "ok", "the endpoint's");

    let changed = |from: &'static str, to: &str| {
        let to = to.to_owned();
        move |config: String| {
            assert!(config.contains(from), "{config}");
            config.replace(from, &to)
        }
    };
    let no_call = &["--no-invoke"][..];
    let output = world.doctor(changed("memory_mib = 640", "memory_mib = 2048"), &[]);
    expect(&output, "models.identity.alias.mem-2048", "problem", "has no alias");
    expect(&output, "models.identity.answer.mem-2048", "problem", "not found");

    let output =
        world.doctor(changed("memory_mib = 640", "memory_mib = 640\nqualifier = 'mem-1024'"), no_call);
    expect(&output, "models.identity.alias.mem-1024", "problem", "the plan counts on 640 MiB");

    let output = world.doctor(changed("function = 'f'", "function = 'g'"), no_call);
    expect(&output, "models.identity.function", "problem", "no function `g`");

    let output = world.doctor(changed("function = 'f'", "function = 'f'\narchitecture = 'arm64'"), no_call);
    expect(&output, "models.identity.architecture", "problem", "x86_64");

    let output = world.doctor(changed("account_concurrency = 300", "account_concurrency = 1000"), no_call);
    expect(&output, "aws.account", "warning", "300 sandboxes");

    let output = world.doctor(changed("max_in_flight = 8", "max_in_flight = 400"), no_call);
    expect(&output, "models.identity.concurrency", "warning", "400");

    let output = world.doctor_with_files(128, |config| config, no_call);
    expect(&output, "descriptors", "problem", "128 files");

    std::fs::write(world.path("file"), "x").unwrap();
    let output = world.doctor(changed("directory = 'state'", "directory = 'file'"), no_call);
    expect(&output, "state.directory", "problem", "cannot be made");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        if let Ok((mut stream, _)) = other.accept() {
            let _ = stream.write_all(b"220 mail\r\n");
        }
    });
    let output = world
        .doctor(changed("admin_address = '127.0.0.1:0'", &format!("admin_address = '{taken}'")), no_call);
    expect(&output, "listen.admin_address", "problem", "no gateway");
    answering.join().unwrap();

    let output = world.doctor(changed("[limits]", "hand_over = 'nowhere/x.sock'\n[limits]"), no_call);
    expect(&output, "listen.hand_over", "problem", "is not there");

    let output = world.doctor(changed("max_in_flight", "max_in_fligth"), no_call);
    expect(&output, "configuration", "problem", "max_in_fligth");

    let manifest = world.path("other");
    std::fs::create_dir(&manifest).unwrap();
    std::fs::write(manifest.join("model.toml"), support::MANIFEST.replace("version = '1'", "version = '2'"))
        .unwrap();
    let output = world.doctor(changed("manifest = 'model'", "manifest = 'other'"), &[]);
    expect(&output, "models.identity.answer.mem-640", "problem", "another model or version");
}

#[test]
fn a_model_file_that_was_changed_is_named() {
    let world = World::start();
    let folder = world.path("onnx");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), "weights").unwrap();
    let manifest = support::MANIFEST.replace(
        "engine = 'identity'",
        &format!("engine = 'onnxruntime'\nfile = 'model.onnx'\nsha256 = '{}'", "0".repeat(64)),
    );
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    let output =
        world.doctor(|config| config.replace("manifest = 'model'", "manifest = 'onnx'"), &["--no-invoke"]);
    expect(&output, "models.identity.manifest", "problem", "model.onnx");
}

#[test]
fn aliases_that_run_different_code_are_named() {
    let world = World::start();
    // As after a deployment that was followed by `provision` for one size only.
    world.call("PUT", "/2015-03-31/functions/f/code", &json!({ "ZipFile": OTHER_CODE }));
    world.call("PUT", "/2015-03-31/functions/f/configuration", &json!({ "MemorySize": 1024 }));
    let version = world.call("POST", "/2015-03-31/functions/f/versions", &json!({}))["Version"].clone();
    world.call("PUT", "/2015-03-31/functions/f/aliases/mem-1024", &json!({ "FunctionVersion": version }));
    let two = |config: String| {
        let rungs = "[[models.identity.plan.rungs]]\nmax_items = 4\nmemory_mib = 640\nprocess_count = 1\n\
             [[models.identity.plan.rungs]]\nmax_items = 8\nmemory_mib = 1024\nprocess_count = 1\n";
        config.replace(
            "memory_mib = 640\nmax_in_flight = 8\n",
            &format!("max_batch_size = 8\nmax_in_flight = 8\n{rungs}"),
        )
    };
    let output = world.doctor(two, &["--no-invoke"]);
    expect(&output, "models.identity.code", "problem", "mem-1024");
}

/// A Lambda that answers everything so.
fn answering(head: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while read_message(&mut reader).is_some() {
                    let length = body.len();
                    let _ = write!(writer, "HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
                }
            });
        }
    });
    address
}

#[test]
fn a_wrong_clock_a_wrong_key_and_no_way_to_aws_are_named() {
    let world = World::start();
    let at = |address: SocketAddr| {
        let endpoint = world.endpoint.clone();
        move |config: String| config.replace(&endpoint, &format!("http://{address}"))
    };
    let late = answering(
        "403 Forbidden\r\ndate: Tue, 01 Jan 2019 00:00:00 GMT\r\nx-amzn-errortype: InvalidSignatureException",
        r#"{"message":"Signature expired"}"#,
    );
    let output = world.doctor(at(late), &["--no-invoke"]);
    expect(&output, "clock", "problem", "ahead of the endpoint's");
    expect(&output, "aws.account", "problem", "InvalidSignatureException");

    let stranger = answering(
        "403 Forbidden\r\nx-amzn-errortype: UnrecognizedClientException",
        r#"{"message":"The security token included in the request is invalid"}"#,
    );
    let output = world.doctor(at(stranger), &["--no-invoke"]);
    expect(&output, "aws.account", "problem", "UnrecognizedClientException");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = world.doctor(at(nobody), &["--no-invoke"]);
    expect(&output, "aws.account", "problem", "cannot be reached");
}

#[test]
fn a_host_without_credentials_is_named() {
    let world = World::start();
    let path = world.path("penstock.toml");
    let config = "[aws]\nregion = 'us-east-1'\n[models.identity]\nmanifest = 'model'\nfunction = 'f'\n\
         [listen]\npublic_address = '127.0.0.1:0'\nadmin_address = '127.0.0.1:0'\n";
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(["doctor", "--json", "--config"]).arg(&path).stdin(Stdio::null());
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command.env("HOME", world.folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().unwrap();
    expect(&output, "aws.credentials", "problem", "there are none");
}

//! A real `bootstrap` and a small Runtime API for it, in this process. Shared by the integration tests and the benchmark.
//!
//! The Runtime API is the published one as far as a runtime uses it: next, response, error, init error. Deliberately absent:
//! Lambda's limits and metering (the emulator has those).
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "each user takes what it needs; a failure here is a failed test"
)]

mod runtime_api;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use runtime_api::{Reply, RuntimeApi};
use workers_protocol::{Answer, Datatype, ItemShapes, RequestHeader, TensorChunks};

/// A started sandbox; its processes end when it is dropped.
pub struct Sandbox {
    pub api: RuntimeApi,
    pub started: Instant,
    child: Child,
    model: String,
    next_batch: u64,
}

/// How to start one.
pub struct Start<'a> {
    pub model_dir: &'a Path,
    pub model: &'a str,
    pub memory_mib: u32,
    pub faults: bool,
    pub env: HashMap<&'static str, String>,
    /// Where its log goes; `None`: to the test's own.
    pub log: Option<std::fs::File>,
}

impl<'a> Start<'a> {
    pub fn new(model_dir: &'a Path, model: &'a str) -> Self {
        Self { model_dir, model, memory_mib: 3008, faults: false, env: HashMap::new(), log: None }
    }

    pub fn sandbox(self) -> Sandbox {
        let api = RuntimeApi::start();
        // Another build of the binary can be driven, for example an optimised one by an unoptimised benchmark.
        let bootstrap =
            std::env::var("PENSTOCK_BOOTSTRAP").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bootstrap").into());
        let mut command = Command::new(bootstrap);
        command
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", "worker")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory_mib.to_string())
            .env("PENSTOCK_MODEL_DIR", self.model_dir)
            .env("PENSTOCK_IDENTITY_FAULTS", if self.faults { "1" } else { "0" })
            .envs(self.env)
            .stdin(Stdio::null())
            .stderr(self.log.map_or_else(Stdio::inherit, Stdio::from));
        let started = Instant::now();
        let child = command.spawn().unwrap();
        Sandbox { api, started, child, model: self.model.to_owned(), next_batch: 1 }
    }
}

impl Sandbox {
    pub fn header(&mut self, process_count: u32) -> RequestHeader {
        self.next_batch += 1;
        RequestHeader {
            batch: self.next_batch,
            model: self.model.clone(),
            model_version: "1".into(),
            process_count,
            ..RequestHeader::default()
        }
    }

    /// Invokes with the given time left; panics if the sandbox ends or nothing comes back in time.
    pub fn invoke(&mut self, payload: Vec<u8>, time_left: Duration) -> Reply {
        self.api.offer(payload, time_left);
        let end = Instant::now() + time_left + Duration::from_secs(20);
        loop {
            if let Some(reply) = self.api.reply(Duration::from_millis(100)) {
                return reply;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Reply::Exited(status.code().unwrap_or(-1));
            }
            assert!(Instant::now() < end, "no answer in time");
        }
    }

    /// Invokes and checks that each id is answered exactly once.
    pub fn answer(&mut self, header: &RequestHeader, ids: &[u64], inputs: &[TensorChunks<'_>]) -> Answer {
        self.answer_within(header, ids, inputs, Duration::from_secs(30))
    }

    pub fn answer_within(
        &mut self,
        header: &RequestHeader,
        ids: &[u64],
        inputs: &[TensorChunks<'_>],
        time_left: Duration,
    ) -> Answer {
        match self.invoke(header.encode(ids, inputs), time_left) {
            Reply::Response(body) => {
                let answer = Answer::decode(&body).unwrap();
                answer.check_answers(header.batch, ids).unwrap();
                answer
            }
            other => panic!("no answer but {other:?}"),
        }
    }

    /// The reply to a start that is expected to fail.
    pub fn wait_for_end(&mut self) -> (Option<Reply>, i32) {
        let reply = self.api.reply(Duration::from_secs(20));
        (reply, self.child.wait().unwrap().code().unwrap_or(-1))
    }

    /// Waits for an end that nothing is said about.
    pub fn wait_for_end_quietly(&mut self) -> (Option<Reply>, i32) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (self.api.reply(Duration::ZERO), code)
    }

    /// Process id of the zygote.
    pub fn zygote(&self) -> u32 {
        self.child.id()
    }

    /// All processes of the sandbox: zygote first, then supervisor, then model processes by age.
    pub fn processes(&self) -> Vec<u32> {
        let zygote = self.child.id();
        let mut children = children(zygote);
        children.sort_unstable();
        [vec![zygote], children].concat()
    }

    /// Process ids of the model processes: all children of the zygote but the first, which is the supervisor.
    pub fn model_processes(&self) -> Vec<u32> {
        self.processes().split_off(2)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether something becomes true in time.
pub fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    holds()
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A model folder for the identity engine over `shape` of `datatype`.
pub fn identity_folder(datatype: &str, shape: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "name='identity'\nversion='1'\nengine='identity'\n[[inputs]]\nname='x'\ndatatype='{datatype}'\nshape={shape}\n\
         [[outputs]]\nname='y'\ndatatype='{datatype}'\nshape={shape}\n"
    );
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    folder
}

/// The folder of a built model, named by `PENSTOCK_TEST_MODELS`.
pub fn built_model(name: &str) -> PathBuf {
    let root = std::env::var("PENSTOCK_TEST_MODELS")
        .expect("PENSTOCK_TEST_MODELS must name the folder of built models; `cargo xtask test` builds them and sets it");
    assert!(
        std::env::var_os("ORT_DYLIB_PATH").is_some(),
        "ORT_DYLIB_PATH must name libonnxruntime.so; `cargo xtask test` sets it"
    );
    let folder = Path::new(&root).join(name);
    assert!(folder.join("model.toml").is_file(), "no model `{name}` in {root}");
    folder
}

pub fn byte_string(text: &[u8]) -> Vec<u8> {
    [u32::try_from(text.len()).unwrap().to_le_bytes().as_slice(), text].concat()
}

/// A tensor of equal items.
pub fn tensor<'a>(
    name: &'a str,
    datatype: Datatype,
    shape: &[u32],
    items: &'a [Vec<u8>],
) -> TensorChunks<'a> {
    TensorChunks {
        name,
        datatype,
        item_shapes: ItemShapes::Same(shape.to_vec()),
        chunks: items.iter().map(Vec::as_slice).collect(),
    }
}

/// Item `index` of an answer's first output, as bytes.
pub fn value_of(answer: &Answer, id: u64) -> Option<Vec<u8>> {
    let position = answer.ids.iter().position(|other| *other == id)?;
    let output = &answer.outputs[0];
    let range = output.item_ranges(answer.ids.len()).unwrap().swap_remove(position);
    Some(output.data[range].to_vec())
}

//! The zygote: loads the model once, then forks model processes off itself on demand and reaps them.
//!
//! It is the process that Lambda started, hence the parent of all others, so it sees every death and the sandbox ends with it:
//! when the supervisor dies it ends at once, and whatever it forked follows by parent-death signal. It has no thread of ours and
//! answers nothing but fork and kill orders. Deliberately absent: batches, the Runtime API (but for the start error).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};

use crate::control::{ControlSocket, Notice, Order, retry};
use crate::engine::{self, EngineError, EngineFiles, OnnxDecoder};
use crate::generate::Generator;
use crate::memory::Resident;
use crate::model::{CheckedFiles, ModelError, ModelFolder};
use crate::model_loop::ModelLoop;
use crate::settings::Settings;
use crate::shard::prepare::warm_up_shard;
use crate::shard::run::Runner;
use crate::shard::text::TextEncoder;
use crate::sys::{self, Fork};
use crate::{init_error, model_process};

/// Added to a model process's badness: if the kernel must kill for memory, then one of them and not the supervisor.
const OOM_SCORE_ADJUST: &str = "500";

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] ModelError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

/// Loads, then serves orders until the supervisor is gone. Gives the exit code.
pub(crate) fn run(settings: &Settings, folder: &ModelFolder, control: ControlSocket, supervisor: Pid) -> i32 {
    let model = match load(settings, folder) {
        Ok(model) => model,
        Err(error) => {
            init_error::report(&settings.runtime_api, "Runtime.ModelLoadFailed", &error.to_string());
            let _ = kill(supervisor, Signal::SIGKILL);
            return 1;
        }
    };
    let Some(signals) = child_signals() else { return 1 };
    let resident = Resident::of("self").unwrap_or_default();
    let ready =
        Notice::Ready { anonymous_bytes: resident.anonymous_bytes, resident_bytes: resident.all_bytes };
    if control.send_notice(ready).is_err() {
        return 1;
    }
    Zygote { model, control, signals, supervisor, children: BTreeMap::new() }.serve()
}

/// Loads and warms a model.
///
/// # Errors
/// Whatever is wrong with the folder or the model.
pub(crate) fn load(settings: &Settings, folder: &ModelFolder) -> Result<ModelLoop, LoadError> {
    let started = Instant::now();
    let files = folder.check_files()?;
    let checked = started.elapsed();
    let text = load_tokenizer(folder, &files)?;
    let tokenizer_loaded = started.elapsed();
    let mut model = load_model(settings, folder, files, text)?;
    let engine_loaded = started.elapsed();
    warm_up(&mut model);
    tracing::info!(
        check_files = ?checked,
        tokenizer = ?(tokenizer_loaded - checked),
        engine = ?(engine_loaded - tokenizer_loaded),
        warm_up = ?(started.elapsed() - engine_loaded),
        "model loaded"
    );
    Ok(model)
}

fn load_tokenizer(folder: &ModelFolder, files: &CheckedFiles) -> Result<Option<TextEncoder>, LoadError> {
    // A prompt that is too long is refused and not cut, so one token more must be seen.
    let one_more = u32::from(folder.manifest.generation.is_some());
    let max_length = folder.manifest.max_length.map(|length| length.saturating_add(one_more));
    let path = files.tokenizer.as_deref();
    path.map(|path| TextEncoder::load(path, max_length).map_err(LoadError::Tokenizer)).transpose()
}

fn load_model(
    settings: &Settings,
    folder: &ModelFolder,
    files: CheckedFiles,
    text: Option<TextEncoder>,
) -> Result<ModelLoop, LoadError> {
    let manifest = folder.manifest.clone();
    match (manifest.generation.clone(), text, &files.model) {
        (Some(spec), Some(text), Some(model)) => {
            let decoder = OnnxDecoder::load(model, &settings.onnx_runtime)?;
            Ok(ModelLoop::Generate(Box::new(Generator::new(manifest, spec, decoder, text))))
        }
        (Some(_), ..) => {
            Err(EngineError::Load("generation needs a tokenizer and a model file".into()).into())
        }
        (None, text, _) => {
            let engine_files = EngineFiles {
                model: files.model,
                onnx_runtime: settings.onnx_runtime.clone(),
                identity_faults: settings.identity_faults,
            };
            let engine = engine::load(&manifest, &engine_files)?;
            Ok(ModelLoop::Once(Box::new(Runner::new(manifest, engine, text)?)))
        }
    }
}

/// Runs the model once, so that pages which are touched late are shared by all processes that will be forked.
fn warm_up(model: &mut ModelLoop) {
    let shard = warm_up_shard(model.manifest());
    let _ = model.run(&shard, |part| {
        if let Some((_, _, why)) = part.errors.first() {
            tracing::warn!(why, "the model refused the warm-up item; it will be warm after its first batch");
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

fn child_signals() -> Option<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().ok()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()
}

struct Zygote {
    model: ModelLoop,
    control: ControlSocket,
    signals: SignalFd,
    supervisor: Pid,
    children: BTreeMap<u64, Pid>,
}

impl Zygote {
    fn serve(mut self) -> i32 {
        loop {
            // Also before the first wait: the supervisor may have died while the model was loading.
            if let Some(code) = self.reap() {
                return code;
            }
            let mut ready = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            if retry(|| poll(&mut ready, PollTimeout::NONE)).is_err() {
                return 1;
            }
            let [orders, deaths] = ready.map(|entry| entry.any().unwrap_or(true));
            if deaths {
                while let Ok(Some(_)) = self.signals.read_signal() {}
            }
            if orders {
                match self.control.receive_order() {
                    Ok(Some((Order::Fork { slot }, Some(socket)))) => self.fork(slot, socket),
                    Ok(Some((Order::Fork { slot }, None))) => self.fork_failed(slot, Errno::EBADF),
                    Ok(Some((Order::Kill { slot }, _))) => self.kill(slot),
                    Ok(None) | Err(_) => return self.supervisor_gone(),
                }
            }
        }
    }

    fn fork(&mut self, slot: u64, socket: OwnedFd) {
        let zygote = getpid();
        match sys::fork_single_threaded() {
            Ok(Fork::Parent(pid)) => {
                self.children.insert(slot, pid);
                let _ = self.control.send_notice(Notice::Forked { slot, pid: pid.as_raw() });
            }
            Ok(Fork::Child) => {
                let served =
                    become_model_process(zygote).and_then(|()| model_process::serve(&mut self.model, socket));
                if let Err(error) = &served {
                    tracing::error!(slot, %error, "model process ends");
                }
                sys::exit_now(i32::from(served.is_err()));
            }
            Err(errno) => self.fork_failed(slot, errno),
        }
    }

    fn fork_failed(&self, slot: u64, errno: Errno) {
        tracing::error!(slot, %errno, "no process could be forked");
        let _ = self.control.send_notice(Notice::ForkFailed { slot, errno: errno as i32 });
    }

    fn kill(&self, slot: u64) {
        if let Some(pid) = self.children.get(&slot) {
            let _ = kill(*pid, Signal::SIGKILL); // not reaped yet, so the id is still this process's
        }
    }

    /// Reaps all that have ended; an exit code when one of them was the supervisor.
    fn reap(&mut self) -> Option<i32> {
        loop {
            let (pid, signal, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, 0, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32, 1),
                Ok(_) | Err(_) => return None,
            };
            if pid == self.supervisor {
                tracing::error!(code, signal, "the supervisor has ended, and so does the sandbox");
                return Some(if code == 0 { 1 } else { code });
            }
            let slot = self.children.iter().find(|(_, child)| **child == pid).map(|(slot, _)| *slot);
            if let Some(slot) = slot {
                self.children.remove(&slot);
                let _ = self.control.send_notice(Notice::Exited { slot, signal });
            }
        }
    }

    fn supervisor_gone(&self) -> i32 {
        let _ = kill(self.supervisor, Signal::SIGKILL);
        1
    }
}

/// Turns a fresh fork into a model process: dies with its parent, has its signals back, is the kernel's first choice to kill.
fn become_model_process(zygote: Pid) -> std::io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != zygote {
        return Err(std::io::Error::other("the zygote died before the process began"));
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_unblock()?;
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUST); // a preference; works without
    Ok(())
}

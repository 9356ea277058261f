//! The Lambda worker. One binary, three kinds of process:
//!
//! * the **zygote**, which Lambda starts: loads the model once, forks model processes off itself, reaps them;
//! * the **supervisor**, forked off before the load: speaks the Runtime API, cuts batches over processes, merges answers;
//! * **model processes**, forked off the zygote: share its weights, run what they get, one thread each.
//!
//! See `README.md` for the diagram, the environment and what happens on which fault. Deliberately absent: threads of ours,
//! shared memory objects, and anything that knows the gateway beyond `workers-protocol`.

mod control;
pub mod engine;
mod generate;
mod handler;
mod init_error;
mod memory;
mod merge;
mod model;
mod model_loop;
mod model_process;
mod pool;
mod reference;
mod settings;
mod shard;
mod supervisor;
mod sys;
mod validate;
mod wire;
mod zygote;

use std::time::Instant;

pub use model::{CheckedFiles, ModelError, ModelFolder};
pub use settings::Settings;
pub use zygote::LoadError;

/// Runs the worker. Never returns: the process ends when the sandbox is of no more use, with a code other than 0.
pub fn run(settings: &Settings) -> ! {
    let started = Instant::now();
    start_log(settings);
    let folder = match ModelFolder::open(&settings.model_dir) {
        Ok(folder) => folder,
        Err(error) => {
            init_error::report(&settings.runtime_api, "Runtime.ModelLoadFailed", &error.to_string());
            sys::exit_now(1);
        }
    };
    let code = match fork_supervisor() {
        Ok((sys::Fork::Parent(supervisor), control, _)) => {
            zygote::run(settings, &folder, control, supervisor)
        }
        Ok((sys::Fork::Child, control, zygote)) => {
            supervisor::run(settings, &folder, control, zygote, started)
        }
        Err(errno) => {
            init_error::report(&settings.runtime_api, "Runtime.ForkFailed", errno.desc());
            1
        }
    };
    sys::exit_now(code)
}

/// Forks; each side gets its end of the channel, and the process id of the zygote-to-be.
fn fork_supervisor() -> nix::Result<(sys::Fork, control::ControlSocket, nix::unistd::Pid)> {
    let (supervisor_end, zygote_end) = control::ControlSocket::pair()?;
    let zygote = nix::unistd::getpid();
    // The end that is not returned closes here, so that each side notices when the other is gone.
    match sys::fork_single_threaded()? {
        parent @ sys::Fork::Parent(_) => Ok((parent, zygote_end, zygote)),
        sys::Fork::Child => Ok((sys::Fork::Child, supervisor_end, zygote)),
    }
}

fn start_log(settings: &Settings) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&settings.log_filter).unwrap_or_else(|_| "warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let _ = log.try_init(); // fails only if there is a log already
}

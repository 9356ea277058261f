//! The supervisor: waits for the load, then takes invocations from the Runtime API one at a time.
//!
//! A single-threaded tokio runtime drives `lambda_runtime`. The handler itself blocks: while an invocation runs there is nothing
//! else to do in this process, and waiting in one `poll` for all model processes costs less than waking tasks.
//! Deliberately absent: the model; this process is forked off before it is loaded and stays small.

use std::future::ready;
use std::time::Instant;

use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use serde_json::value::RawValue;

use crate::control::{ControlSocket, Notice};
use crate::handler::Handler;
use crate::model::ModelFolder;
use crate::pool::Pool;
use crate::settings::Settings;

/// Serves until the Runtime API or the zygote is gone. Gives the exit code.
pub(crate) fn run(
    settings: &Settings,
    folder: &ModelFolder,
    control: ControlSocket,
    zygote: Pid,
    started: Instant,
) -> i32 {
    if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != zygote {
        return 1;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return 1;
    };
    let Ok(Some(Notice::Ready { anonymous_bytes, resident_bytes })) = control.receive_notice() else {
        return 1;
    };
    let mut pool = Pool::new(control, zygote.as_raw(), anonymous_bytes, resident_bytes);
    pool.fork_first();
    let mut handler = Handler::new(folder.manifest.clone(), pool, settings.memory_mib, started.elapsed());
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| ready(handler.invoke(&event)));
    match runtime.block_on(Runtime::new(service).run()) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "the Runtime API is gone");
            1
        }
    }
}

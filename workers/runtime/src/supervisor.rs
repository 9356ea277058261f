//! The supervisor: waits for the load, then takes invocations from the Runtime API one at a time.
//!
//! A single-threaded tokio runtime drives `lambda_runtime`. The handler itself blocks: while a batch runs there is nothing
//! else to do in this process, and waiting in one `poll` for all model processes costs less than waking tasks.
//! Deliberately absent: the model; this process is forked off before it is loaded and stays small.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use serde_json::value::RawValue;

use crate::control::{ControlSocket, Notice};
use crate::handler::{Handler, diagnostic};
use crate::model::ModelFolder;
use crate::pool::Pool;
use crate::reference::Chunks;
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
    let handler = Handler::new(folder.manifest.clone(), pool, settings.memory_mib, started.elapsed());
    let worker =
        Rc::new(Worker { handler: RefCell::new(handler), chunks: Chunks::new(settings.chunks.as_deref()) });
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let worker = Rc::clone(&worker);
        async move { worker.invoke(&event).await }
    });
    match runtime.block_on(Runtime::new(service).run()) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "the Runtime API is gone");
            1
        }
    }
}

/// What answers invocations, one after the other.
struct Worker {
    handler: RefCell<Handler>,
    chunks: Chunks,
}

impl Worker {
    async fn invoke(&self, event: &LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Diagnostic> {
        let started = Instant::now();
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let payload = event.payload.get().as_bytes();
        // The handler is borrowed only while it runs, never over an await.
        let answer = |payload: &[u8], end| self.handler.borrow_mut().answer(payload, started, end);
        let answer = match self.chunks.reference(payload)? {
            None => answer(payload, started + left)?.payload,
            Some(reference) => self.chunks.answer(&reference, started, left, answer).await?,
        };
        let text =
            String::from_utf8(answer).map_err(|error| diagnostic("InternalError", error.to_string()))?;
        RawValue::from_string(text).map_err(|error| diagnostic("InternalError", error.to_string()))
    }
}

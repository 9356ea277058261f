//! The supervisor's side of the model processes: how many there are, and a batch through them.

mod dispatch;
mod lengths;
mod process;
mod timeline;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;

use crate::control::{ControlSocket, Notice, Order};
use crate::memory;

pub(crate) use dispatch::{Collected, Limits, Outcome};
pub(crate) use lengths::LengthGuess;
use process::ModelProcess;
pub(crate) use timeline::Timeline;

/// Why no batch can be run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    /// The zygote does not answer any more.
    #[error("the zygote is gone")]
    ZygoteGone,
    /// Forks fail and no process is left.
    #[error("no model process can be had: {0}")]
    NoProcess(Errno),
}

/// What the zygote said of forks.
#[derive(Debug, Default)]
struct Forks {
    /// Slot, and when it was ordered.
    done: Vec<(u64, Instant)>,
    failed: Vec<u64>,
}

/// All model processes of this sandbox.
#[derive(Debug)]
pub(crate) struct Pool {
    control: ControlSocket,
    zygote_pid: i32,
    zygote_anonymous_bytes: u64,
    zygote_resident_bytes: u64,
    processes: Vec<ModelProcess>,
    next_slot: u64,
    next_task: u64,
    /// Processes lost and not yet replaced.
    lost: u32,
    last_fork_error: Option<Errno>,
}

impl Pool {
    /// An empty pool over a zygote that has loaded its model.
    pub(crate) fn new(
        control: ControlSocket,
        zygote_pid: i32,
        anonymous_bytes: u64,
        resident_bytes: u64,
    ) -> Self {
        Self {
            control,
            zygote_pid,
            zygote_anonymous_bytes: anonymous_bytes,
            zygote_resident_bytes: resident_bytes,
            processes: Vec::new(),
            next_slot: 1,
            next_task: 1,
            lost: 0,
            last_fork_error: None,
        }
    }

    /// Forks the process that every batch needs, before the first batch asks.
    pub(crate) fn fork_first(&mut self) {
        let _ = self.spawn(); // the first batch tries again
    }

    /// Brings the pool into order at the start of an invocation: removes processes that died while nobody looked, and retires
    /// those above `process_count`. New ones are forked when there is work for them.
    pub(crate) fn tidy(&mut self, process_count: usize) {
        let before = self.processes.len();
        self.processes.retain(|process| !process.has_closed());
        self.lost += u32::try_from(before - self.processes.len()).unwrap_or(0);
        self.processes.truncate(process_count); // a closed socket is a process's order to end
        for process in &mut self.processes {
            process.start_invocation();
        }
    }

    /// Memory that a process may add to what it shares, bytes: an equal share of what the function has left.
    pub(crate) fn memory_share(&self, memory_mib: u64, process_count: usize) -> Option<u64> {
        const SUPERVISOR_AND_RESERVE_BYTES: u64 = 48 << 20;
        const LEAST_SHARE_BYTES: u64 = 32 << 20;
        let all = (memory_mib > 0).then_some(memory_mib << 20)?;
        let left = all.saturating_sub(self.zygote_resident_bytes + SUPERVISOR_AND_RESERVE_BYTES);
        Some((left / process_count.max(1) as u64).max(LEAST_SHARE_BYTES))
    }

    /// Proportional set size of supervisor, zygote and model processes, bytes. Milliseconds of work: to be asked rarely.
    pub(crate) fn proportional_bytes(&self) -> u64 {
        let own = ["self".to_owned(), self.zygote_pid.to_string()];
        let children = self.processes.iter().filter_map(|process| process.pid).map(|pid| pid.to_string());
        own.into_iter().chain(children).filter_map(|pid| memory::proportional_bytes(&pid)).sum()
    }

    fn spawn(&mut self) -> Result<(), PoolError> {
        let slot = self.next_slot;
        self.next_slot += 1;
        let (process, far_end) = ModelProcess::new(slot, self.lost > 0).map_err(PoolError::NoProcess)?;
        self.lost = self.lost.saturating_sub(1);
        let order = Order::Fork { slot };
        self.control.send_order(order, Some(far_end.as_fd())).map_err(|_| PoolError::ZygoteGone)?;
        self.processes.push(process);
        Ok(())
    }

    /// Takes all notices that are there.
    fn read_notices(&mut self) -> Result<Forks, PoolError> {
        let mut forks = Forks::default();
        loop {
            match self.control.try_receive_notice() {
                Ok(Some(Notice::Forked { slot, pid })) => {
                    if let Some(process) = self.processes.iter_mut().find(|process| process.slot == slot) {
                        process.pid = Some(pid);
                        forks.done.push((slot, process.ordered));
                    }
                }
                Ok(Some(Notice::ForkFailed { slot, errno })) => {
                    self.last_fork_error = Some(Errno::from_raw(errno));
                    forks.failed.push(slot);
                }
                Ok(Some(Notice::Exited { slot, signal })) if signal != 0 => {
                    tracing::warn!(slot, signal, "a model process was ended by a signal");
                }
                Ok(Some(Notice::Exited { .. } | Notice::Ready { .. })) => {}
                Err(Errno::EAGAIN) => return Ok(forks),
                Ok(None) | Err(_) => return Err(PoolError::ZygoteGone),
            }
        }
    }

    fn kill(&self, slot: u64) {
        let _ = self.control.send_order(Order::Kill { slot }, None); // fails only with the zygote, which ends all
    }

    fn control_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

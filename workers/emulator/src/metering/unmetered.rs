//! No metering: processes are found by their environment for freezing and ending, and nothing is limited.

use super::{Cell, CellSpec, Meter, MeterError, Usage, processes};
use crate::config::MeteringMode;
use crate::sync::lock;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// The absence of a mechanism.
pub(super) struct Unmetered;

impl Meter for Unmetered {
    fn open(&self, spec: &CellSpec) -> Result<Box<dyn Cell>, MeterError> {
        Ok(Box::new(SignalCell::new(spec)))
    }

    fn mechanism(&self) -> MeteringMode {
        MeteringMode::None
    }

    fn close(&self) {}
}

/// The processes of one sandbox, reached by signals.
pub(super) struct SignalCell {
    marker: String,
    peak: Mutex<u64>,
}

impl SignalCell {
    /// A cell whose processes carry the spec's marker.
    pub(super) fn new(spec: &CellSpec) -> Self {
        Self { marker: spec.marker.clone(), peak: Mutex::new(0) }
    }

    /// Every process of the sandbox.
    pub(super) fn processes(&self) -> Vec<u32> {
        processes::with_marker(&self.marker)
    }

    /// Sends `signal` to every process of the sandbox.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            processes::signal(pid, signal);
        }
    }
}

impl Cell for SignalCell {
    fn entry(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn started(&self, _pid: u32) {}

    fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn settle_every(&self) -> Option<Duration> {
        None
    }

    fn settle(&self) {}

    fn usage(&self) -> Usage {
        let cpu_ns = self.processes().into_iter().map(processes::cpu_ns).sum();
        Usage { cpu_ns, memory_peak_bytes: self.memory_peak_bytes(), ..Usage::default() }
    }

    /// The largest sum seen at the ends of invocations, not a true peak.
    fn memory_peak_bytes(&self) -> u64 {
        let now: u64 = self.processes().into_iter().map(processes::proportional_bytes).sum();
        let mut peak = lock(&self.peak);
        *peak = now.max(*peak);
        *peak
    }

    fn kill(&self) {
        // Twice, for a process that was forked during the first pass.
        self.signal(Signal::SIGKILL);
        self.signal(Signal::SIGKILL);
    }

    fn close(&self) {
        self.kill();
    }
}

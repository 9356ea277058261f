//! What the machine says of this process. Shared by the benches; each uses its part.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each bench uses its own part; a measurement may panic"
)]

use std::time::Duration;

/// Processor time of this thread, so that a busy machine does not count.
pub(crate) fn cpu_seconds() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(now).as_secs_f64()
}

pub(crate) fn resident_mib() -> f64 {
    status_mib("VmRSS:")
}

pub(crate) fn peak_mib() -> f64 {
    status_mib("VmHWM:")
}

fn status_mib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

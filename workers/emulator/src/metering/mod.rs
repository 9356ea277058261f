//! CPU share, memory limit and freezing of sandboxes. A [`Meter`] is chosen once; it opens a [`Cell`] per sandbox. What is
//! deliberately absent: isolation of files, network and users (a sandbox here is a set of metered processes), and any
//! promise of CPU: a quota is a ceiling.

mod duty_cycle;
mod group;
mod janitor;
mod leaves;
pub mod processes;
pub mod quota;
mod unmetered;
mod v1;
mod v2;

use crate::config::{MeteringConfig, MeteringMode};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use janitor::Janitor;
pub use quota::{Quota, vcpus, visible_cpus};

/// Why metering failed.
#[derive(Debug, thiserror::Error)]
pub enum MeterError {
    /// The machine does not permit the mechanism.
    #[error("{mechanism} is not permitted here: {reason}")]
    NotPermitted {
        /// `cgroup_v1` or `cgroup_v2`.
        mechanism: &'static str,
        /// What was tried and what the system answered.
        reason: String,
    },
    /// A file of a control group could not be used.
    #[error("`{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What a sandbox is granted.
#[derive(Debug, Clone)]
pub struct CellSpec {
    /// Unique within this emulator.
    pub name: String,
    /// Memory limit and, through it, the CPU share.
    pub memory_mib: u32,
    /// Environment entry that every process of the sandbox inherits and no other process has.
    pub marker: String,
}

/// What a sandbox has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// CPU time of all processes, ns.
    pub cpu_ns: u64,
    /// Quota periods in which something ran.
    pub periods: u64,
    /// Quota periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time that runnable threads were held back by the quota, ns.
    pub throttled_ns: u64,
    /// Largest memory use, bytes.
    pub memory_peak_bytes: u64,
    /// Processes killed for memory.
    pub memory_kills: u64,
}

/// One mechanism, ready to open cells.
pub trait Meter: Send + Sync {
    /// Opens the cell of a new sandbox; nothing runs in it yet.
    ///
    /// # Errors
    /// [`MeterError`] when the system refuses.
    fn open(&self, spec: &CellSpec) -> Result<Box<dyn Cell>, MeterError>;

    /// Name of the mechanism, for health reports.
    fn mechanism(&self) -> MeteringMode;

    /// Removes what the meter itself has made. All cells are closed before.
    fn close(&self);

    /// Groups that must be cleaned up by others when this process is killed.
    fn groups(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// The cell of one sandbox. Calls are short and do not wait, except [`Cell::close`].
pub trait Cell: Send + Sync {
    /// `cgroup.procs` files that the first process writes itself into before it becomes the bootstrap.
    fn entry(&self) -> Vec<PathBuf>;

    /// Tells the process id of the bootstrap.
    fn started(&self, pid: u32);

    /// Takes the CPU away until [`Cell::thaw`].
    fn freeze(&self);

    /// Gives the CPU back.
    fn thaw(&self);

    /// How often new processes must be looked for while the sandbox works; `None` where one process cannot exceed its
    /// own cap.
    fn settle_every(&self) -> Option<Duration>;

    /// Gives every new process its own cap.
    fn settle(&self);

    /// What was used so far.
    fn usage(&self) -> Usage;

    /// Largest memory use in bytes; cheaper than [`Cell::usage`].
    fn memory_peak_bytes(&self) -> u64;

    /// Ends all processes, also frozen ones.
    fn kill(&self);

    /// Waits up to a second for the processes to be gone and removes the cell.
    fn close(&self);
}

/// Chooses the mechanism of `config` and prepares it, with a loud note when the CPU share will be coarse or absent.
///
/// # Errors
/// [`MeterError::NotPermitted`] when a mechanism was asked for by name and the machine does not permit it.
pub fn open_meter(config: &MeteringConfig) -> Result<Box<dyn Meter>, MeterError> {
    let v1 = || v1::MeterV1::open(config).map(|meter| Box::new(meter) as Box<dyn Meter>);
    let v2 = || v2::MeterV2::open(config).map(|meter| Box::new(meter) as Box<dyn Meter>);
    match config.mode {
        MeteringMode::CgroupV1 => v1(),
        MeteringMode::CgroupV2 => v2(),
        MeteringMode::DutyCycle => Ok(Box::new(duty_cycle::DutyCycleMeter::new(config))),
        MeteringMode::None => {
            tracing::warn!("metering is off: sandboxes run at full speed and durations mean nothing");
            Ok(Box::new(unmetered::Unmetered))
        }
        MeteringMode::Auto => v1().or_else(|first| {
            v2().or_else(|second| {
                tracing::warn!(
                    v1 = %first, v2 = %second,
                    "control groups are NOT PERMITTED here: CPU shares come from stop and continue signals (coarse, costs \
                     some per cent of a core) and memory is only watched, not limited"
                );
                Ok(Box::new(duty_cycle::DutyCycleMeter::new(config)) as Box<dyn Meter>)
            })
        }),
    }
}

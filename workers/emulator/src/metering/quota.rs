//! CPU arithmetic: how much CPU a memory size buys. Pure.
//!
//! Source: 1,769 MiB buy one vCPU, linearly; the visible CPUs are a published step function of their own (a value that is
//! reported to the worker, not cores that exist here); throttling follows a CFS quota with a period of 20 ms.

/// Memory that buys one vCPU, MiB.
pub const MIB_PER_VCPU: f64 = 1769.0;

/// The kernel refuses a smaller CFS quota, µs.
const MINIMUM_QUOTA_US: u64 = 1_000;

/// The kernel refuses a longer CFS period, µs.
const MAXIMUM_PERIOD_US: u64 = 1_000_000;

/// A CFS bandwidth limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// CPU time granted per period, µs.
    pub quota_us: u64,
    /// Period, µs.
    pub period_us: u64,
}

/// vCPUs that `memory_mib` buys.
#[must_use]
pub fn vcpus(memory_mib: u32) -> f64 {
    f64::from(memory_mib) / MIB_PER_VCPU
}

/// CPUs that a function of `memory_mib` sees on AWS.
#[must_use]
pub fn visible_cpus(memory_mib: u32) -> u32 {
    match memory_mib {
        0..=3008 => 2,
        3009..=5307 => 3,
        5308..=7076 => 4,
        7077..=8845 => 5,
        8846.. => 6,
    }
}

impl Quota {
    /// The limit that grants `cores` with the given period, which is lengthened where the quota would be below the
    /// kernel's minimum (a small memory size and a small `cpu_scale` together).
    #[must_use]
    pub fn of_cores(cores: f64, period_us: u64) -> Self {
        let smallest_period = MINIMUM_QUOTA_US as f64 / cores;
        let period_us = period_us.max(whole(smallest_period.ceil())).min(MAXIMUM_PERIOD_US);
        Self { quota_us: whole((cores * period_us as f64).round()).max(MINIMUM_QUOTA_US), period_us }
    }

    /// Cores that this limit grants.
    #[must_use]
    pub fn cores(self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and bounded by the callers' ranges"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_size_buys_its_share_of_a_period() {
        assert_eq!(Quota::of_cores(vcpus(1769), 20_000), Quota { quota_us: 20_000, period_us: 20_000 });
        assert_eq!(Quota::of_cores(vcpus(1769) * 0.25, 20_000), Quota { quota_us: 5_000, period_us: 20_000 });
        assert_eq!(Quota::of_cores(vcpus(10_240), 20_000).quota_us, 115_772);
    }

    #[test]
    fn the_period_grows_where_the_kernel_would_refuse_the_quota() {
        let quota = Quota::of_cores(vcpus(128) * 0.25, 20_000);
        assert!(quota.quota_us >= 1_000 && quota.period_us > 20_000, "{quota:?}");
        assert!((quota.cores() / (vcpus(128) * 0.25) - 1.0).abs() < 0.01, "{quota:?}");
    }

    #[test]
    fn visible_cpus_step_as_published() {
        let edges = [
            (128, 2),
            (3008, 2),
            (3009, 3),
            (5307, 3),
            (5308, 4),
            (7076, 4),
            (7077, 5),
            (8846, 6),
            (10_240, 6),
        ];
        for (memory, cpus) in edges {
            assert_eq!(visible_cpus(memory), cpus, "{memory}");
        }
    }
}

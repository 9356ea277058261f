//! Warm service time from CPU work: what memory, visible CPUs and the quota make of it.
//!
//! Rule: a batch of n items on p processes is W = p·w0 + n·w1 of CPU work, of which the largest shard is done by one process alone. Up to
//! `visible` CPUs run side by side, so without a quota the batch takes `free` = max(largest shard, W / visible). Memory buys a credit of
//! memory/1769 CPU-seconds per second, handed out as a quota per 20 ms period; who uses W / `free` CPUs at once and has less
//! credit runs until the quota is used up and waits for the next period.
//! Why not W / credit: a batch that fits the first periods runs at full speed, and the last period ends with the work, not with the period.
//! Reference: AWS Lambda documentation (1,769 MB are one vCPU); published measurements of visible CPUs by memory and of the 20 ms period.

use gateway_contract::Mebibytes;

/// Length of a quota period in seconds.
pub const QUOTA_PERIOD_SECONDS: f64 = 0.020;

/// CPU work of one batch, by how it can be spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuWork {
    /// CPU seconds of all processes.
    pub total_seconds: f64,
    /// Seconds that the process with the most to do would take with a vCPU of its own.
    pub longest_shard_seconds: f64,
}

impl CpuWork {
    /// Seconds from a fresh quota until all is done.
    #[must_use]
    pub fn seconds(&self, memory: Mebibytes, is_quantised: bool) -> f64 {
        self.seconds_at(memory.vcpus(), f64::from(visible_cpus(memory)), is_quantised)
    }

    /// The same for a credit in vCPUs and a number of visible CPUs, for platforms that sell them apart.
    #[must_use]
    pub fn seconds_at(&self, credit: f64, visible: f64, is_quantised: bool) -> f64 {
        let free = self.longest_shard_seconds.max(self.total_seconds / visible);
        let parallel = self.total_seconds / free.max(1e-12);
        if credit >= parallel {
            return free;
        }
        if !is_quantised {
            return self.total_seconds / credit;
        }
        let quota = QUOTA_PERIOD_SECONDS * credit;
        let whole = (self.total_seconds / quota - 1e-9).floor().max(0.0);
        whole * QUOTA_PERIOD_SECONDS + (self.total_seconds - whole * quota) / parallel
    }
}

/// CPU work of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CreditModel {
    /// Seconds per invocation that no memory shortens, billed (runtime, decoding).
    pub fixed_seconds: f64,
    /// CPU seconds per process and batch.
    pub process_seconds: f64,
    /// CPU seconds per item.
    pub item_seconds: f64,
    /// Whether the quota comes in periods; otherwise the credit flows evenly.
    pub is_quantised: bool,
}

impl CreditModel {
    /// Billed seconds of a batch without noise.
    #[must_use]
    pub fn seconds(&self, items: u32, memory: Mebibytes, process_count: u32) -> f64 {
        let processes = process_count.min(items).max(1);
        let longest_shard_seconds =
            self.process_seconds + f64::from(items.div_ceil(processes)) * self.item_seconds;
        let total_seconds =
            f64::from(processes) * self.process_seconds + f64::from(items) * self.item_seconds;
        let work = CpuWork { total_seconds, longest_shard_seconds };
        self.fixed_seconds + work.seconds(memory, self.is_quantised)
    }
}

/// CPUs that a function of this memory sees.
#[must_use]
pub fn visible_cpus(memory: Mebibytes) -> u32 {
    match memory.0 {
        0..=3008 => 2,
        3009..=5307 => 3,
        5308..=7076 => 4,
        7077..=8845 => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: CreditModel =
        CreditModel { fixed_seconds: 0.0, process_seconds: 0.0, item_seconds: 0.0043, is_quantised: true };

    #[test]
    fn a_small_step_takes_whole_periods_at_128_mib() {
        // Published: 4.3 ms of work at 128 MB take 40, 60 or 80 ms, by the phase. From a fresh period: two waits and a rest.
        let seconds = MODEL.seconds(1, Mebibytes(128), 1);
        assert!((0.04..0.08).contains(&seconds), "{seconds}");
    }

    #[test]
    fn one_process_does_not_gain_beyond_one_vcpu() {
        let at = |memory, processes| MODEL.seconds(6, Mebibytes(memory), processes);
        assert!((at(10_240, 1) - 6.0 * 0.0043).abs() < 1e-12);
        assert!((at(10_240, 6) - 0.0043 * 6.0 / 5.788).abs() < 0.001);
        assert!(at(1769, 1) <= at(1024, 1));
    }

    #[test]
    fn long_work_gets_the_credit_and_no_more_than_the_visible_cpus() {
        let work = |total_seconds, shard| CpuWork { total_seconds, longest_shard_seconds: shard };
        let throttled = work(10.0, 10.0).seconds(Mebibytes(512), true);
        assert!((throttled / (10.0 * 1769.0 / 512.0) - 1.0).abs() < 0.002, "{throttled}");
        // Six processes at 3008 MiB see two CPUs and have a credit of 1.7.
        let crowded = work(6.0, 1.0).seconds(Mebibytes(3008), true);
        assert!((crowded / (6.0 * 1769.0 / 3008.0) - 1.0).abs() < 0.002, "{crowded}");
        assert!((work(6.0, 1.0).seconds_at(6.0, 2.0, true) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn more_credit_never_takes_longer() {
        for total in [0.001, 0.0043, 0.02, 0.3] {
            let work = CpuWork { total_seconds: total, longest_shard_seconds: total / 2.0 };
            let seconds: Vec<f64> = (1..=80).map(|step| work.seconds(Mebibytes(step * 128), true)).collect();
            assert!(seconds.windows(2).all(|pair| pair[1] <= pair[0] + 1e-12), "{total}: {seconds:?}");
        }
    }
}

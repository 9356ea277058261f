//! Warm service time from CPU work: what memory, visible CPUs and the quota make of it.
//!
//! Rule: a batch of n items on p processes is W = p·w0 + n·w1 of CPU work. Memory buys a credit of memory/1769 CPU-seconds per second, handed
//! out as a quota per 20 ms period; up to `visible` CPUs run until the quota is used up, then all wait for the next period.
//! Reference: AWS Lambda documentation (1,769 MB are one vCPU); published measurements of visible CPUs by memory and of the 20 ms period.

use gateway_contract::Mebibytes;

/// Length of a quota period in seconds.
const PERIOD: f64 = 0.020;

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
        let share = self.process_seconds + f64::from(items.div_ceil(processes)) * self.item_seconds;
        let work = f64::from(processes) * self.process_seconds + f64::from(items) * self.item_seconds;
        let parallel = f64::from(processes.min(visible_cpus(memory)));
        let credit = memory.vcpus();
        let by_credit = if credit >= parallel {
            work / parallel
        } else if self.is_quantised {
            let quota = PERIOD * credit;
            let whole = (work / quota - 1e-9).floor().max(0.0);
            whole * PERIOD + (work - whole * quota) / parallel
        } else {
            work / credit
        };
        self.fixed_seconds + by_credit.max(share)
    }
}

/// CPUs that a function of this memory sees.
fn visible_cpus(memory: Mebibytes) -> u32 {
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
}

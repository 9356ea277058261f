//! The CPU quota at work: short steps of computation run back to back at five memory sizes (published measurements of throttling on Lambda).
//!
//! Nothing is fitted. The steps, of their measured CPU time, run against a quota of 20 ms · memory/1769 per period of 20 ms that carries over from step to
//! step; compared are the share of time without CPU and the median time of a step that was throttled. Steps of the worlds begin with a fresh quota.

use gateway_contract::Mebibytes;

use super::{Columns, Comparison, whole};
use crate::lambda::QUOTA_PERIOD_SECONDS;
use crate::profile::{ProfileError, relative_errors};

/// Compares with the table of memory, CPU time, iterations, throttled ratio and median time of throttled iterations.
///
/// # Errors
/// Missing columns, values that are no numbers.
pub fn throttle(text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let rows = Columns::read(text).numbers([
        "memory_mb",
        "cpu_ms_used_in_test",
        "iterations",
        "measured_throttle_ratio",
        "median_wall_ms_of_throttled_iteration",
    ])?;
    let (mut runs, mut medians) = (Vec::new(), Vec::new());
    for [memory, cpu_ms, iterations, ratio, median_ms] in rows {
        let steps = back_to_back(Mebibytes(whole(memory)), cpu_ms / 1e3 / iterations, whole(iterations));
        // Running and waiting are compared as the share of time that the function ran.
        runs.push((steps.share_running, 1.0 - ratio));
        if let Some(median) = steps.median_throttled_seconds {
            medians.push((median, median_ms / 1e3));
        }
    }
    let comparison = |quantity: &str, pairs: Vec<(f64, f64)>, note| Comparison {
        source: "CPU throttling on Lambda".to_owned(),
        quantity: quantity.to_owned(),
        law: "20 ms periods, nothing fitted".to_owned(),
        errors: relative_errors(pairs),
        held_out: None,
        note,
    };
    Ok(vec![
        comparison(
            "share of time running, 128 to 1769 MB",
            runs,
            "at 256 MB the function got 9 % less than its credit",
        ),
        comparison(
            "median time of a throttled step",
            medians,
            "at 1769 MB nothing is throttled by the law: no row",
        ),
    ])
}

struct Steps {
    share_running: f64,
    median_throttled_seconds: Option<f64>,
}

/// So many steps of so many CPU seconds, one after another, on one thread.
fn back_to_back(memory: Mebibytes, cpu_seconds: f64, count: u32) -> Steps {
    let quota = (QUOTA_PERIOD_SECONDS * memory.vcpus()).min(QUOTA_PERIOD_SECONDS);
    let (mut now, mut left, mut period_end) = (0.0, quota, QUOTA_PERIOD_SECONDS);
    let mut throttled = Vec::new();
    for _ in 0..count {
        let (begun, mut work) = (now, cpu_seconds);
        while work > 1e-12 {
            let run = work.min(left).min(period_end - now);
            (now, left, work) = (now + run, left - run, work - run);
            if left <= 1e-12 || period_end - now <= 1e-12 {
                now = period_end;
                period_end += QUOTA_PERIOD_SECONDS;
                left = quota;
            }
        }
        if now - begun > cpu_seconds * 1.02 {
            throttled.push(now - begun);
        }
    }
    throttled.sort_unstable_by(f64::total_cmp);
    let median_throttled_seconds = throttled.get(throttled.len() / 2).copied();
    Steps { share_running: f64::from(count) * cpu_seconds / now, median_throttled_seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_get_their_credit_in_the_long_run() {
        for memory in [128, 512, 1024] {
            let steps = back_to_back(Mebibytes(memory), 0.004, 2_000);
            let credit = f64::from(memory) / 1769.0;
            assert!((steps.share_running / credit - 1.0).abs() < 0.01, "{memory}: {}", steps.share_running);
        }
        let free = back_to_back(Mebibytes(1769), 0.004, 100);
        assert!((free.share_running - 1.0).abs() < 1e-9 && free.median_throttled_seconds.is_none());
    }

    #[test]
    fn a_throttled_step_waits_for_the_next_period() {
        // 11.6 ms of quota hold three steps of 3.8 ms; the fourth waits out the other 8.4 ms of the period.
        let steps = back_to_back(Mebibytes(1024), 0.0038, 700);
        assert!((steps.median_throttled_seconds.unwrap() - 0.0122).abs() < 2e-4);
    }
}

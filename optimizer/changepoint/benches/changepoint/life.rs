//! Time and size of a step over a life of a million windows: both must be flat.

use crate::sampler::{Counts, Random};
use optimizer_changepoint::{DetectorKind, DetectorSettings};
use std::time::Instant;

const WINDOWS: usize = 1_000_000;
const SEGMENTS: usize = 10;

/// One detector's life.
pub(crate) struct Life {
    pub(crate) name: &'static str,
    pub(crate) step_us_p50: f64,
    pub(crate) step_us_p99: f64,
    pub(crate) step_us_max: f64,
    /// Median microseconds a step in each tenth of the life.
    pub(crate) segments_us: Vec<f64>,
    /// Bytes of the saved state as JSON after each tenth.
    pub(crate) state_bytes: Vec<usize>,
    /// Resident kibibytes of the process after each tenth.
    pub(crate) resident_kib: Vec<u64>,
}

pub(crate) fn run(seed: u64) -> Vec<Life> {
    [DetectorKind::Bocpd, DetectorKind::Cusum].into_iter().map(|kind| live(kind, seed)).collect()
}

fn live(kind: DetectorKind, seed: u64) -> Life {
    let mut detector = kind.build(&DetectorSettings::default());
    let laws = [Counts::new(20.0, 2.0), Counts::new(60.0, 2.0)];
    let mut random = Random::new(seed);
    // Written once beforehand, so that the samples' own memory does not look like growth.
    let mut all = vec![1.0_f64; WINDOWS];
    all.clear();
    let mut life = Life {
        name: detector.name(),
        step_us_p50: 0.0,
        step_us_p99: 0.0,
        step_us_max: 0.0,
        segments_us: Vec::new(),
        state_bytes: Vec::new(),
        resident_kib: Vec::new(),
    };
    for _ in 0..SEGMENTS {
        let start = all.len();
        for window in 0..WINDOWS / SEGMENTS {
            // A step every 5000 windows, so that alarms are part of the life.
            let count = laws[(window / 5000) % 2].draw(&mut random);
            let before = Instant::now();
            detector.observe(count);
            all.push(before.elapsed().as_secs_f64() * 1e6);
        }
        life.segments_us.push(middle(&all[start..]));
        life.state_bytes.push(serde_json::to_string(&detector.save()).expect("a state is JSON").len());
        life.resident_kib.push(resident_kib());
    }
    all.sort_by(f64::total_cmp);
    life.step_us_p50 = all[all.len() / 2];
    life.step_us_p99 = all[all.len() * 99 / 100];
    life.step_us_max = all[all.len() - 1];
    life
}

fn middle(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

pub(crate) fn print(lives: &[Life]) {
    for life in lives {
        println!(
            "{}: {WINDOWS} windows, step {:.1} µs median, {:.1} p99, {:.0} max; medians by tenth {:.1?}; state {:?} bytes; resident {:?} KiB",
            life.name,
            life.step_us_p50,
            life.step_us_p99,
            life.step_us_max,
            life.segments_us,
            life.state_bytes,
            life.resident_kib
        );
    }
}

//! The yardstick: a one-sided CUSUM that is told rate before, rate after and dispersion, with its threshold found by
//! simulation so that it, too, has one false alarm in 10,000 stationary windows.

use crate::delay::Delays;
use crate::sampler::{Counts, Random};
use optimizer_changepoint::likelihood::{divergence, ln_ratio};

const WINDOWS_PER_FALSE_ALARM: f64 = 10_000.0;
const CALIBRATION_WINDOWS: u32 = 400_000;
const REPETITIONS: u32 = 1000;

/// What theory and the oracle need for one step.
pub(crate) struct Yardstick {
    pub(crate) bound: f64,
    pub(crate) oracle: Delays,
}

pub(crate) fn measure(before: f64, after: f64, dispersion: f64, seed: u64) -> Yardstick {
    let divergence = divergence(before, after, dispersion);
    let bound = (WINDOWS_PER_FALSE_ALARM.ln() / divergence).ceil().max(1.0);
    let (old, new) = (Counts::new(before, dispersion), Counts::new(after, dispersion));
    let ratios: Vec<f64> = (0..old.len().max(new.len()))
        .map(|count| ln_ratio(count as f64, before, after, dispersion))
        .collect();
    let mut random = Random::new(seed);
    let threshold = calibrate(&old, &ratios, &mut random);
    let mut delays = Delays::default();
    for _ in 0..REPETITIONS {
        let mut sum = 0.0_f64;
        for _ in 0..300 {
            sum = (sum + ratios[index(&old, &mut random)]).max(0.0);
            if sum >= threshold {
                sum = 0.0;
            }
        }
        let limit = 20 * cells_limit(bound);
        let delay = (1..=limit).find(|_| {
            sum = (sum + ratios[index(&new, &mut random)]).max(0.0);
            sum >= threshold
        });
        delays.push(delay);
    }
    Yardstick { bound, oracle: delays }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds are below a thousand")]
fn cells_limit(bound: f64) -> u32 {
    bound as u32
}

fn index(counts: &Counts, random: &mut Random) -> usize {
    usize::try_from(counts.draw(random)).unwrap_or(0)
}

/// The least threshold with at most one alarm in 10,000 windows, by bisection on one stored sequence.
fn calibrate(old: &Counts, ratios: &[f64], random: &mut Random) -> f64 {
    let sequence: Vec<f64> = (0..CALIBRATION_WINDOWS).map(|_| ratios[index(old, random)]).collect();
    let allowed = f64::from(CALIBRATION_WINDOWS) / WINDOWS_PER_FALSE_ALARM;
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..16 {
        let threshold = 0.5 * (low + high);
        let (mut sum, mut alarms) = (0.0_f64, 0.0);
        for ratio in &sequence {
            sum = (sum + ratio).max(0.0);
            if sum >= threshold {
                sum = 0.0;
                alarms += 1.0;
            }
        }
        if alarms <= allowed { high = threshold } else { low = threshold }
    }
    high
}

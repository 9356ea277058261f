//! Slow ramps: not change-points, so few alarms are wanted along them, never one a window.

use crate::sampler::{Counts, Random};
use optimizer_changepoint::{DetectorKind, DetectorSettings};

/// Alarms along one ramp.
pub(crate) struct Ramp {
    pub(crate) what: &'static str,
    pub(crate) detector: &'static str,
    pub(crate) windows: u32,
    pub(crate) alarms: u32,
}

/// (name, windows, dispersion, rate at a share of the way)
type Shape = (&'static str, u32, f64, fn(f64) -> f64);

const SHAPES: [Shape; 4] = [
    ("20 to 200 a second in an hour, dispersion 2", 3600, 2.0, |x| 20.0 * 10_f64.powf(x)),
    ("20 to 200 a second in 10 minutes, dispersion 2", 600, 2.0, |x| 20.0 * 10_f64.powf(x)),
    ("day between 30 and 120 a second, dispersion 2", 86_400, 2.0, |x| {
        75.0 - 45.0 * (std::f64::consts::TAU * x).cos()
    }),
    ("day between 1800 and 7200 a minute, dispersion 5", 1440, 5.0, |x| {
        4500.0 - 2700.0 * (std::f64::consts::TAU * x).cos()
    }),
];

pub(crate) fn run(seed: u64) -> Vec<Ramp> {
    let kinds = [DetectorKind::Bocpd, DetectorKind::Cusum];
    SHAPES.iter().flat_map(|shape| kinds.map(|kind| one(kind, shape, seed))).collect()
}

fn one(kind: DetectorKind, (what, windows, dispersion, rate): &Shape, seed: u64) -> Ramp {
    let mut detector = kind.build(&DetectorSettings::default());
    let mut random = Random::new(seed);
    let start = Counts::new(rate(0.0), *dispersion);
    for _ in 0..2000 {
        detector.observe(start.draw(&mut random));
    }
    let mut alarms = 0;
    // One law for ten windows: building one is dear.
    for window in (0..*windows).step_by(10) {
        let law = Counts::new(rate(f64::from(window) / f64::from(*windows)), *dispersion);
        for _ in 0..10 {
            alarms += u32::from(detector.observe(law.draw(&mut random)).is_some());
        }
    }
    Ramp { what, detector: detector.name(), windows: *windows, alarms }
}

pub(crate) fn print(ramps: &[Ramp]) {
    for ramp in ramps {
        println!(
            "ramp {}: {} alarms in {} windows by {}",
            ramp.what, ramp.alarms, ramp.windows, ramp.detector
        );
    }
}

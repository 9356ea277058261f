//! What a detector promises on the traffic that it meets: steps, bursts, ramps, silence, absurd counts.
//! Bands, not exact values: the counts are seeded, the detectors are free to get better.

#[path = "../benches/changepoint/sampler.rs"]
#[expect(dead_code, reason = "the bench uses more of it")]
mod sampler;

use optimizer_changepoint::{ChangePoint, Detector, DetectorKind, DetectorSettings, Direction};
use sampler::{Counts, Random};

const ALARMING: [DetectorKind; 2] = [DetectorKind::Bocpd, DetectorKind::Cusum];

struct Traffic {
    random: Random,
    detector: Box<dyn Detector>,
}

impl Traffic {
    fn new(kind: DetectorKind, seed: u64) -> Self {
        Self { random: Random::new(seed), detector: kind.build(&DetectorSettings::default()) }
    }

    /// Shows `windows` windows and returns the alarms with their window, from 1.
    fn flow(&mut self, mean: f64, dispersion: f64, windows: u32) -> Vec<(u32, ChangePoint)> {
        let law = Counts::new(mean, dispersion);
        (1..=windows)
            .filter_map(|window| Some((window, self.detector.observe(law.draw(&mut self.random))?)))
            .collect()
    }

    fn show(&mut self, counts: &[u64]) -> usize {
        counts.iter().filter(|count| self.detector.observe(**count).is_some()).count()
    }
}

#[test]
fn fourfold_step_is_found_dated_and_measured() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 11);
        assert!(traffic.flow(20.0, 1.0, 500).is_empty(), "{}", kind.name());
        let (window, change) = traffic.flow(80.0, 1.0, 10)[0];
        assert!(window <= 2, "{}: found after {window}", kind.name());
        assert_eq!(change.windows_ago + 1, window, "{}: {change:?}", kind.name());
        assert_eq!(change.direction, Direction::Up);
        assert!(change.probability > 0.9 && change.probability <= 1.0);
        assert!((change.before.mean - 20.0).abs() < 4.0 * change.before.standard_error, "{change:?}");
        assert!((change.after.mean - 80.0).abs() < 4.0 * change.after.standard_error, "{change:?}");
    }
}

#[test]
fn fall_is_reported_as_down() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 12);
        traffic.flow(80.0, 2.0, 500);
        let (_, change) = traffic.flow(30.0, 2.0, 20)[0];
        assert_eq!(change.direction, Direction::Down, "{}", kind.name());
        assert!(change.after.mean < change.before.mean);
    }
}

#[test]
fn small_step_in_noisy_counts_is_found_within_its_bound() {
    // Bound of 20 -> 30 at dispersion 5: 23 windows. Five lives, so that luck does not decide.
    for seed in 0..5 {
        let mut traffic = Traffic::new(DetectorKind::Bocpd, seed);
        traffic.flow(20.0, 5.0, 3000);
        let alarms = traffic.flow(30.0, 5.0, 140);
        assert!(alarms.iter().any(|(_, change)| change.direction == Direction::Up), "seed {seed}");
    }
}

#[test]
fn stationary_counts_seldom_alarm_at_any_dispersion() {
    // One in 10,000 allowed: fewer than one expected in 8000; 6 are beyond luck.
    for kind in ALARMING {
        for (mean, dispersion) in [(5.0, 1.0), (20.0, 2.0), (80.0, 5.0), (5.0, 27.0), (500.0, 27.0)] {
            let alarms = Traffic::new(kind, 5).flow(mean, dispersion, 8000).len();
            assert!(alarms < 6, "{} at {mean}, dispersion {dispersion}: {alarms}", kind.name());
        }
    }
}

#[test]
fn dispersion_is_learned() {
    for (mean, dispersion) in [(5.0, 27.0), (80.0, 5.0), (500.0, 2.0), (20.0, 1.0)] {
        let mut traffic = Traffic::new(DetectorKind::Bocpd, 3);
        traffic.flow(mean, dispersion, 4000);
        let learned = traffic.detector.regime().dispersion;
        assert!((learned / dispersion - 1.0).abs() < 0.2, "{dispersion} learned as {learned}");
    }
}

#[test]
fn burst_of_seconds_leaves_the_regime_as_it_was() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 21);
        traffic.flow(50.0, 2.0, 1000);
        let before = traffic.detector.regime();
        traffic.flow(500.0, 2.0, 3);
        traffic.flow(50.0, 2.0, 10);
        let after = traffic.detector.regime();
        assert!((after.rate.mean / before.rate.mean - 1.0).abs() < 0.1, "{}: {after:?}", kind.name());
        assert!(after.dispersion < 2.0 * before.dispersion, "{}: {after:?}", kind.name());
        assert!(after.windows > 900, "{}: what was known is taken up again", kind.name());
    }
}

#[test]
fn slow_ramp_gives_few_alarms() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 31);
        traffic.flow(20.0, 2.0, 500);
        let alarms: usize = (0..360)
            .map(|part| traffic.flow(20.0 * 10_f64.powf(f64::from(part) / 360.0), 2.0, 10).len())
            .sum();
        assert!(alarms <= 15, "{}: {alarms} in 3600 windows", kind.name());
        assert!(traffic.detector.regime().rate.mean > 130.0, "{}: the regime follows", kind.name());
    }
}

#[test]
fn silence_is_a_regime_and_its_end_a_change() {
    // The one design ratio of `cusum` is next to nothing above silence: it needs far longer.
    for (kind, most) in [(DetectorKind::Bocpd, 3), (DetectorKind::Cusum, 60)] {
        let mut traffic = Traffic::new(kind, 41);
        assert_eq!(traffic.show(&[0; 2000]), 0, "{}", kind.name());
        let (window, change) = traffic.flow(20.0, 1.0, most)[0];
        assert_eq!(change.direction, Direction::Up, "{}: {window} {change:?}", kind.name());
        traffic.flow(20.0, 1.0, 300);
        assert!(traffic.show(&[0; 5]) > 0, "{}: silence after load is a change", kind.name());
        assert!(traffic.detector.regime().rate.standard_error > 0.0);
    }
}

#[test]
fn one_request_after_long_silence_is_not_a_change() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 42);
        traffic.show(&[0; 2000]);
        assert_eq!(traffic.show(&[1, 0, 0, 0, 0]), 0, "{}", kind.name());
    }
}

#[test]
fn absurd_jumps_are_changes_and_leave_every_number_finite() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 51);
        traffic.flow(20.0, 1.0, 300);
        for (level, direction) in
            [(50_000, Direction::Up), (0, Direction::Down), (u64::MAX, Direction::Up), (7, Direction::Down)]
        {
            let change = (0..40).find_map(|_| traffic.detector.observe(level));
            let change = change.unwrap_or_else(|| panic!("{} misses {level}", kind.name()));
            assert_eq!(change.direction, direction, "{} at {level}", kind.name());
            assert!(change.probability.is_finite() && change.after.mean.is_finite());
            assert!(change.after.standard_error.is_finite() && change.before.mean.is_finite());
            (0..40).for_each(|_| {
                traffic.detector.observe(level);
            });
        }
    }
}

#[test]
fn saved_state_does_not_grow_with_age() {
    for kind in [DetectorKind::Bocpd, DetectorKind::Cusum, DetectorKind::None] {
        let mut traffic = Traffic::new(kind, 61);
        let mut size = |windows| {
            traffic.flow(20.0, 2.0, windows);
            serde_json::to_string(&traffic.detector.save()).expect("a state is JSON").len()
        };
        let (young, old) = (size(2000), size(20_000));
        assert!(old < young + young / 5 && old < 64_000, "{}: {young} then {old}", kind.name());
    }
}

#[test]
fn none_never_alarms_and_still_knows_the_rate() {
    let mut traffic = Traffic::new(DetectorKind::None, 71);
    traffic.flow(20.0, 1.0, 300);
    assert!(traffic.flow(200.0, 1.0, 3000).is_empty());
    assert!((traffic.detector.regime().rate.mean - 200.0).abs() < 10.0);
}

#[test]
fn change_never_began_before_the_one_before_it() {
    for kind in ALARMING {
        let mut traffic = Traffic::new(kind, 81);
        let mut last_began = None;
        let mut now = 0;
        for mean in [100.0, 20.0, 100.0, 30.0, 110.0, 25.0] {
            for (window, change) in traffic.flow(mean, 5.0, 40) {
                let began = now + window - change.windows_ago;
                assert!(
                    last_began.is_none_or(|last| began >= last),
                    "{}: {began} after {last_began:?}",
                    kind.name()
                );
                last_began = Some(began);
            }
            now += 40;
        }
        assert!(
            last_began.is_some_and(|began| began >= 195),
            "{}: last step dated {last_began:?}",
            kind.name()
        );
    }
}

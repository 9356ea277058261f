//! One cell: one stationary law, its false alarms, and steps and pulses away from it.
//!
//! The stationary run is one long life of a detector; every [`FORK_EVERY`] windows its saved state is forked into one
//! life a step. So the steps meet a detector in the middle of its life, whatever state its last false alarm left it in.
//! A second set of steps starts from fresh detectors that have seen [`FRESH_WINDOWS`] windows only.

use crate::delay::Delays;
use crate::oracle::{self, Yardstick};
use crate::sampler::{Counts, Random};
use optimizer_changepoint::{
    ChangePoint, Detector, DetectorKind, DetectorSettings, DetectorState, Direction, restore,
};

pub(crate) const RATIOS: [f64; 6] = [1.5, 2.0, 4.0, 1.0 / 1.5, 0.5, 0.25];
pub(crate) const PULSES: [(f64, u32); 3] = [(1.5, 10), (2.0, 10), (4.0, 3)];
pub(crate) const KINDS: [DetectorKind; 2] = [DetectorKind::Bocpd, DetectorKind::Cusum];
pub(crate) const FRESH_WINDOWS: u32 = 300;
const FORK_EVERY: u64 = 1000;
const WARM_WINDOWS: u64 = 4000;
const FRESH_REPETITIONS: u32 = 100;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) dispersion: f64,
    pub(crate) rate: f64,
    pub(crate) windows: u64,
    pub(crate) seed: u64,
}

/// One detector in one cell.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) false_alarms: u64,
    pub(crate) dispersion_learned: f64,
    pub(crate) warm: Vec<Delays>,
    pub(crate) fresh: Vec<Delays>,
    pub(crate) onset_errors: Vec<Delays>,
    pub(crate) pulses: Vec<Pulse>,
}

/// What became of the pulses of one kind.
#[derive(Default)]
pub(crate) struct Pulse {
    pub(crate) found: Delays,
    pub(crate) end_found: Delays,
    pub(crate) regime_error: Errors,
}

/// Relative errors of the regime's mean, at least 30 windows after a pulse, one a repetition.
#[derive(Default)]
pub(crate) struct Errors(pub(crate) Vec<f64>);

/// One cell with all detectors.
pub(crate) struct Cell {
    pub(crate) plan: Plan,
    pub(crate) yardsticks: Vec<Yardstick>,
    pub(crate) outcomes: Vec<Outcome>,
}

pub(crate) fn run(plan: Plan) -> Cell {
    let yardsticks: Vec<Yardstick> = (0_u64..)
        .zip(RATIOS)
        .map(|(index, ratio)| {
            oracle::measure(plan.rate, plan.rate * ratio, plan.dispersion, plan.seed ^ (index << 32))
        })
        .collect();
    let outcomes = KINDS.iter().map(|kind| run_detector(*kind, plan, &yardsticks)).collect();
    Cell { plan, yardsticks, outcomes }
}

/// Reference delay of a step: the larger of bound and oracle.
pub(crate) fn reference(yardstick: &Yardstick) -> f64 {
    yardstick.bound.max(yardstick.oracle.median())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "references are below a thousand"
)]
fn limit(yardstick: &Yardstick) -> u32 {
    (20.0 * reference(yardstick)) as u32 + 50
}

fn run_detector(kind: DetectorKind, plan: Plan, yardsticks: &[Yardstick]) -> Outcome {
    let settings = DetectorSettings::default();
    let law = Counts::new(plan.rate, plan.dispersion);
    let after: Vec<Counts> =
        RATIOS.iter().map(|ratio| Counts::new(plan.rate * ratio, plan.dispersion)).collect();
    let mut outcome = Outcome {
        warm: vec![Delays::default(); RATIOS.len()],
        fresh: vec![Delays::default(); RATIOS.len()],
        onset_errors: vec![Delays::default(); RATIOS.len()],
        pulses: PULSES.iter().map(|_| Pulse::default()).collect(),
        ..Outcome::default()
    };
    let mut random = Random::new(plan.seed);
    let mut forked = Random::new(plan.seed ^ 0x5eed_f0f0);
    let mut detector = kind.build(&settings);
    for window in 0..WARM_WINDOWS + plan.windows {
        let alarm = detector.observe(law.draw(&mut random));
        outcome.false_alarms += u64::from(alarm.is_some() && window >= WARM_WINDOWS);
        if window >= WARM_WINDOWS && window % FORK_EVERY == 0 {
            let state = detector.save();
            for (index, yardstick) in yardsticks.iter().enumerate() {
                let mut copy = revive(kind, &settings, &state);
                let found = step(copy.as_mut(), &after[index], RATIOS[index], limit(yardstick), &mut forked);
                outcome.warm[index].push(found.map(|(delay, _)| delay));
                if let Some((delay, change)) = found {
                    outcome.onset_errors[index].push(Some((change.windows_ago + 1).abs_diff(delay)));
                }
            }
            for (index, pulse) in PULSES.iter().enumerate() {
                let mut copy = revive(kind, &settings, &state);
                run_pulse(
                    copy.as_mut(),
                    (&law, &after[index]),
                    *pulse,
                    plan.rate,
                    &mut forked,
                    &mut outcome.pulses[index],
                );
            }
        }
    }
    outcome.dispersion_learned = detector.regime().dispersion;
    fresh(kind, plan, yardsticks, &law, &after, &mut outcome);
    outcome
}

fn fresh(
    kind: DetectorKind,
    plan: Plan,
    yardsticks: &[Yardstick],
    law: &Counts,
    after: &[Counts],
    outcome: &mut Outcome,
) {
    let settings = DetectorSettings::default();
    let mut random = Random::new(plan.seed ^ 0xf4e5);
    for _ in 0..FRESH_REPETITIONS {
        let mut detector = kind.build(&settings);
        for _ in 0..FRESH_WINDOWS {
            detector.observe(law.draw(&mut random));
        }
        let state = detector.save();
        for (index, yardstick) in yardsticks.iter().enumerate() {
            let mut copy = revive(kind, &settings, &state);
            let found = step(copy.as_mut(), &after[index], RATIOS[index], limit(yardstick), &mut random);
            outcome.fresh[index].push(found.map(|(delay, _)| delay));
        }
    }
}

fn revive(kind: DetectorKind, settings: &DetectorSettings, state: &DetectorState) -> Box<dyn Detector> {
    restore(kind, settings, state).expect("a state that was just saved can be continued")
}

/// Windows until the first alarm in the right direction.
fn step(
    detector: &mut dyn Detector,
    after: &Counts,
    ratio: f64,
    limit: u32,
    random: &mut Random,
) -> Option<(u32, ChangePoint)> {
    let wanted = if ratio > 1.0 { Direction::Up } else { Direction::Down };
    (1..=limit).find_map(|delay| {
        let change = detector.observe(after.draw(random))?;
        (change.direction == wanted).then_some((delay, change))
    })
}

fn run_pulse(
    detector: &mut dyn Detector,
    (law, high): (&Counts, &Counts),
    (_, length): (f64, u32),
    rate: f64,
    random: &mut Random,
    pulse: &mut Pulse,
) {
    let found = step(detector, high, 2.0, length, random);
    pulse.found.push(found.map(|(delay, _)| delay));
    for _ in found.map_or(length, |(delay, _)| delay)..length {
        detector.observe(high.draw(random));
    }
    let end = step(detector, law, 0.5, 30, random).map(|(delay, _)| delay);
    if found.is_some() {
        pulse.end_found.push(end);
    }
    for _ in end.unwrap_or(30)..30 {
        detector.observe(law.draw(random));
    }
    pulse.regime_error.0.push((detector.regime().rate.mean / rate - 1.0).abs());
}

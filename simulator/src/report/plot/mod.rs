//! The plots of a report, each a figure with a caption that says how to read it, a legend, and axes with units.

mod axis;
mod break_even;
mod chart;
mod cost;
mod fills;
mod ink;
mod latency;
mod load;
mod plan;
mod split;

pub use self::axis::{Axis, Scale};
pub(super) use self::break_even::break_even;
pub use self::chart::{Chart, Dash, Line, Mark};
pub(super) use self::cost::cost;
pub(super) use self::fills::fills;
pub use self::ink::Hue;
pub(super) use self::latency::latency;
pub(super) use self::load::load;
pub(super) use self::plan::plan;
pub(super) use self::split::{month, split};

use super::data::{Detail, PolicyReport, Report, Role, Step};
use super::number::plain;
use super::summary::keeps_slo;

/// Width of a plot that fills the page, pixels.
pub const WIDE: u32 = 980;

/// Colour, dash and name in a legend.
#[derive(Clone, Debug)]
pub struct Key {
    /// Colour.
    pub hue: Hue,
    /// How the line is broken.
    pub dash: Dash,
    /// Name.
    pub label: String,
}

/// A figure of the page.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it answers, as a heading.
    pub heading: String,
    /// How to read it.
    pub caption: String,
    /// The legend.
    pub keys: Vec<Key>,
    /// Drawings, one below the other.
    pub drawings: Vec<String>,
}

/// A policy's label, with a cross where it misses the objective: being cheap is no merit then.
pub(crate) fn shown_label(report: &Report, policy: &PolicyReport) -> String {
    let cross = if keeps_slo(report, policy) { "" } else { " ✗" };
    format!("{}{cross}", policy.label)
}

/// The keys of all policies: one colour each in every plot.
pub(crate) fn keys(report: &Report) -> Vec<Key> {
    let (mut others, mut bounds) = (0, 0);
    let key = |policy: &PolicyReport| {
        let hue = match policy.role {
            Role::Chosen => Hue::Chosen,
            Role::Baseline => {
                others += 1;
                Hue::Other(others - 1)
            }
            Role::Bound => {
                bounds += 1;
                Hue::Bound(bounds - 1)
            }
        };
        let dash = match hue {
            Hue::Bound(place) if place % 2 == 1 => Dash::Dotted,
            Hue::Bound(_) => Dash::Dashed,
            Hue::Chosen | Hue::Other(_) | Hue::Part(_) | Hue::Limit => Dash::Solid,
        };
        Key { hue, dash, label: shown_label(report, policy) }
    };
    report.policies.iter().map(key).collect()
}

/// Seconds of the unit that a time axis is in, and its label.
fn time_unit(seconds: f64) -> (f64, &'static str) {
    match seconds {
        259_200.0.. => (86_400.0, "time since the start, days"),
        14_400.0.. => (3_600.0, "time since the start, hours"),
        240.0.. => (60.0, "time since the start, minutes"),
        _ => (1.0, "time since the start, seconds"),
    }
}

fn time_axis(report: &Report) -> (f64, Axis) {
    let (unit, label) = time_unit(report.seconds);
    (unit, Axis::fixed(label, (0.0, report.seconds / unit), plain))
}

/// A line of steps: each value holds until the next begins.
fn stairs(values: impl Iterator<Item = (f64, f64)>, end: f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, value) in values {
        if let Some(&(_, before)) = points.last() {
            points.push((at, before));
        }
        points.push((at, value));
    }
    if let Some(&(_, last)) = points.last() {
        points.push((end, last));
    }
    points
}

/// Steps joined until there are at most `most`: enough to see, few enough to draw.
fn joined(detail: &Detail, most: usize) -> Vec<Step> {
    let per = detail.steps.len().div_ceil(most).max(1);
    let join = |steps: &[Step]| {
        let start = Step { from_s: steps.first().map_or(0.0, |step| step.from_s), ..Step::default() };
        steps.iter().fold(start, |sum, step| Step {
            from_s: sum.from_s,
            length_s: sum.length_s + step.length_s,
            requests: sum.requests + step.requests,
            answered: sum.answered + step.answered,
            within_slo: sum.within_slo + step.within_slo,
            usd: sum.usd + step.usd,
        })
    };
    detail.steps.chunks(per).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_steps_lose_nothing() {
        let step =
            |n: u32| Step { from_s: f64::from(n), length_s: 1.0, requests: u64::from(n), ..Step::default() };
        let detail = Detail { steps: (0..1000).map(step).collect(), ..Detail::default() };
        let few = joined(&detail, 240);
        assert!(few.len() <= 240);
        assert_eq!(few.iter().map(|step| step.requests).sum::<u64>(), (0..1000).sum::<u64>());
        assert!((few.iter().map(|step| step.length_s).sum::<f64>() - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn stairs_hold_each_value_until_the_next() {
        let points = stairs([(0.0, 1.0), (5.0, 2.0)].into_iter(), 9.0);
        assert_eq!(points, [(0.0, 1.0), (5.0, 1.0), (5.0, 2.0), (9.0, 2.0)]);
    }
}

//! The plan of the chosen policy over time: one narrow chart for each of its numbers.

use super::axis::Axis;
use super::chart::{Chart, Dash, Line};
use super::ink::Hue;
use super::{Figure, Key, WIDE, stairs, time_axis};
use crate::report::data::{PlanPoint, Report};
use crate::report::number::plain;

type Number = (&'static str, fn(&PlanPoint) -> f64);

const NUMBERS: [Number; 4] = [
    ("batch size, items", |plan| f64::from(plan.max_batch_size)),
    ("processes", |plan| f64::from(plan.process_count)),
    ("memory, MiB", |plan| f64::from(plan.memory_mib)),
    ("queue delay, ms", |plan| plan.max_queue_delay_ms),
];

pub(crate) fn plan(report: &Report) -> Figure {
    let Some(chosen) = report.policies.first() else {
        return Figure {
            heading: "Plan".to_owned(),
            caption: String::new(),
            keys: Vec::new(),
            drawings: Vec::new(),
        };
    };
    let plans = &chosen.detail.plans;
    let draw = |&(label, number): &Number| {
        let (unit, x) = time_axis(report);
        let values = plans.iter().map(|plan| (plan.from_s / unit, number(plan)));
        let points = stairs(values, report.seconds / unit);
        let y = Axis::linear(label, points.iter().map(|point| point.1).chain([4.0]), plain).in_whole_steps();
        let chart = Chart {
            width: WIDE / 2,
            height: 210,
            x,
            y,
            lines: vec![Line { hue: Hue::Chosen, points, dash: Dash::Solid, width: 2 }],
            marks: Vec::new(),
            description: format!("{label} of the plan in force over time"),
        };
        chart.svg()
    };
    let changes = plans.len().saturating_sub(1);
    Figure {
        heading: "Plan over time".to_owned(),
        caption: format!(
            "What {} served with, in the run of the first seed; {changes} changes of plan. Batch size: most items in one invocation. \
             Processes and memory: of the environment that runs a full batch (small batches may run on a smaller one). Queue delay: \
             longest wait of a request for its batch to fill.",
            chosen.label
        ),
        keys: vec![Key { hue: Hue::Chosen, dash: Dash::Solid, label: "plan in force".to_owned() }],
        drawings: NUMBERS.iter().map(draw).collect(),
    }
}

//! Cost over time: the chosen policy against baselines and bounds.

use super::axis::Axis;
use super::chart::{Chart, Line, Mark};
use super::{Figure, WIDE, joined, keys, time_axis};
use crate::report::data::{Report, Role, Step};
use crate::report::number::{dollars, duration};

pub(crate) fn cost(report: &Report) -> Figure {
    let keys = keys(report);
    let (unit, x) = time_axis(report);
    let lines: Vec<Line> = report
        .policies
        .iter()
        .zip(&keys)
        .map(|(policy, key)| {
            let at = |step: &Step| (step.from_s + step.length_s / 2.0) / unit;
            let per_million = |step: &Step| step.usd / step.answered as f64 * 1e6;
            let steps = joined(&policy.detail, 90);
            // Where next to nothing was answered there is no cost of an answer.
            let told = steps.iter().filter(|step| step.answered >= 5 && step.usd > 0.0);
            Line {
                hue: key.hue,
                points: told.map(|step| (at(step), per_million(step))).collect(),
                dash: key.dash,
                width: if policy.role == Role::Chosen { 3 } else { 2 },
            }
        })
        .rev()
        .collect();
    let floor = report.floor_usd_per_million;
    let drawn = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let values: Vec<f64> = drawn.chain([floor, floor * 0.75]).collect();
    let each = report.policies.first().map(|policy| joined(&policy.detail, 90));
    let each = each.and_then(|steps| steps.first().map(|step| step.length_s)).unwrap_or_default();
    let chart = Chart {
        width: WIDE,
        height: 380,
        x,
        y: Axis::fitting("dollars per million requests", &values, dollars),
        lines,
        marks: vec![Mark {
            at: floor,
            words: format!("physical floor {}", dollars(floor)),
            is_on_x: false,
            words_at: 0.0,
        }],
        description: "Dollars per million answered requests over time, by policy".to_owned(),
    };
    Figure {
        heading: "Cost over time".to_owned(),
        caption: format!(
            "What Lambda charged for a million answered requests, mean of each {}, in the run of the first seed. Lower is better. \
             Learning, cold starts and warm-up are included; the gateway's host is not. Dashed and dotted: bounds that know the future. \
             Physical floor: the CPU work of the items alone, at the price of a vCPU-second. ✗: misses the SLO.",
            duration(each)
        ),
        keys,
        drawings: vec![chart.svg()],
    }
}

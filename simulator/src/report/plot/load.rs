//! The load, and where the chosen policy saw it change.

use super::axis::Axis;
use super::chart::{Chart, Line, Mark};
use super::ink::{Hue, Ink};
use super::{Figure, Key, WIDE, joined, stairs, time_axis};
use crate::report::data::Report;
use crate::report::number::{duration, plain};

pub(crate) fn load(report: &Report) -> Figure {
    let detail = report.policies.first().map(|policy| policy.detail.clone()).unwrap_or_default();
    let (unit, x) = time_axis(report);
    let steps = joined(&detail, 480);
    let rates = steps.iter().map(|step| (step.from_s / unit, step.requests as f64 / step.length_s.max(1e-9)));
    let points = stairs(rates, report.seconds / unit);
    let y = Axis::linear("requests per second", points.iter().map(|point| point.1), plain);
    let mark = |&at: &f64| Mark { at: at / unit, words: String::new(), is_on_x: true, ink: Ink::Limit };
    let marks: Vec<Mark> = detail.change_points_s.iter().map(mark).collect();
    let each = steps.first().map_or(0.0, |step| step.length_s);
    let changes = match marks.len() {
        0 => "No change-point was found.".to_owned(),
        1 => "One change-point was found: the dotted upright line.".to_owned(),
        count => format!("{count} change-points were found: the dotted upright lines."),
    };
    let chart = Chart {
        width: WIDE,
        height: 250,
        x,
        y,
        lines: vec![Line { hue: Hue::Chosen, points, is_dashed: false, width: 2, has_dots: false }],
        marks,
        description: format!("Requests per second over {}", duration(report.seconds)),
    };
    Figure {
        heading: "Load".to_owned(),
        caption: format!("Requests that arrived, mean of each {}. {changes}", duration(each)),
        keys: vec![Key { hue: Hue::Chosen, is_dashed: false, label: "requests per second".to_owned() }],
        drawings: vec![chart.svg()],
    }
}

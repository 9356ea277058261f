//! The load, and where the chosen policy saw it change.

use super::axis::Axis;
use super::chart::{Chart, Dash, Line, Mark};
use super::ink::Hue;
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
    let mark = |&at: &f64| Mark { at: at / unit, words: String::new(), is_on_x: true, words_at: 1.0 };
    let marks: Vec<Mark> = detail.change_points_s.iter().map(mark).collect();
    let each = steps.first().map_or(0.0, |step| step.length_s);
    let changes = match marks.len() {
        0 => "The policy saw no change-point.".to_owned(),
        1 => {
            "Dotted upright line: a change-point, where the policy saw that the law of arrivals had changed."
                .to_owned()
        }
        count => format!(
            "Dotted upright lines: {count} change-points, where the policy saw that the law of arrivals had changed."
        ),
    };
    let chart = Chart {
        width: WIDE,
        height: 250,
        x,
        y,
        lines: vec![Line { hue: Hue::Chosen, points, dash: Dash::Solid, width: 2 }],
        marks,
        description: format!("Requests per second over {}", duration(report.seconds)),
    };
    Figure {
        heading: "Load".to_owned(),
        caption: format!("Requests that arrived, mean of each {}. {changes}", duration(each)),
        keys: vec![
            Key { hue: Hue::Chosen, dash: Dash::Solid, label: "requests per second".to_owned() },
            Key { hue: Hue::Limit, dash: Dash::Dotted, label: "change-point".to_owned() },
        ],
        drawings: vec![chart.svg()],
    }
}

//! The distribution of latency against the objective: all of it, and its tail.

use super::axis::Axis;
use super::chart::{Chart, Line, Mark};
use super::{Figure, WIDE, keys};
use crate::report::data::{Report, Role};
use crate::report::number::{milliseconds, percent, plain};

pub(crate) fn latency(report: &Report) -> Figure {
    let keys = keys(report);
    let shown = || report.policies.iter().zip(&keys).filter(|(policy, _)| !policy.detail.latency.is_empty());
    let slo_ms = report.objective.slo_ms;
    let all = shown().flat_map(|(policy, _)| policy.detail.latency.iter().map(|point| point.0));
    // A few very late answers (cold starts) would push everything else into a corner.
    let x = Axis::log(
        "latency, ms, log scale",
        all.chain([slo_ms]).map(|ms| ms.clamp(slo_ms / 100.0, slo_ms * 30.0)),
        plain,
    );
    let chart = |y: Axis, what: &str, words_at: f64, of: fn(f64) -> f64| {
        let lines = shown().map(|(policy, key)| Line {
            hue: key.hue,
            points: policy
                .detail
                .latency
                .iter()
                .map(|&(ms, share)| (ms.clamp(x.range.0, x.range.1), of(share).clamp(y.range.0, y.range.1)))
                .collect(),
            dash: key.dash,
            width: if policy.role == Role::Chosen { 3 } else { 2 },
        });
        let lines = lines.collect::<Vec<_>>().into_iter().rev().collect();
        let slo =
            Mark { at: slo_ms, words: format!("SLO {}", milliseconds(slo_ms)), is_on_x: true, words_at };
        let share = of(report.objective.percentile);
        let words = format!("{} promised", percent(report.objective.percentile));
        let promised = Mark { at: share, words, is_on_x: false, words_at };
        let marks = vec![slo, promised];
        Chart { width: WIDE / 2, height: 330, x: x.clone(), y, lines, marks, description: what.to_owned() }
            .svg()
    };
    let body = Axis::fixed("answered within, % of requests", (0.0, 100.0), plain);
    let tail = Axis::log("answered later, % of requests, log scale", [0.01, 100.0].into_iter(), plain);
    Figure {
        heading: "Latency against the SLO".to_owned(),
        caption: format!(
            "From arrival to answer, of answered requests, in the run of the first seed. Left: share answered within a time; a policy keeps \
             the SLO if its line passes above the crossing of the two dotted lines. Right: the rest, share answered later than a \
             time; a policy keeps the SLO if its line passes below the crossing. Promise: {} within {}.",
            percent(report.objective.percentile),
            milliseconds(slo_ms)
        ),
        keys: shown().map(|(_, key)| key.clone()).collect(),
        drawings: vec![
            chart(body, "Share of requests answered within a time", 0.12, |share| share * 100.0),
            chart(tail, "Share of requests answered later than a time", 1.0, |share| (1.0 - share) * 100.0),
        ],
    }
}

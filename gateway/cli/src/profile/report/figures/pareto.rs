//! Cost against latency.

use simulator::report::draw::{Axis, Chart, Dash, Figure, Line, WIDE};
use simulator::report::number::{dollars, plain};

use super::series::{Series, figure, keys, models, of_model};
use crate::profile::figures::Figures;
use crate::profile::recommend::pareto_front;
use crate::profile::report::Report;

pub(super) fn pareto(report: &Report<'_>) -> Option<Figure> {
    let mut series = Vec::new();
    for (place, model) in models(report) {
        let points: Vec<&Figures> =
            of_model(report, model).into_iter().filter(|point| point.point.concurrency == 1).collect();
        let at = |point: &Figures| Some((point.handler_ms, point.cost_per_item_usd * 1e6));
        let front = pareto_front(&points);
        let mut all = Series::of(place, Dash::Dots, model.to_owned(), points.into_iter(), at);
        // Rings for the simulated ones only: their dots would hide what they are.
        all.points.retain(|point| !all.simulated.contains(point));
        series.push(all);
        let mut line = Series::of(place, Dash::Solid, format!("{model}, front"), front.into_iter(), at);
        line.simulated.clear();
        series.push(line);
    }
    let keys = keys(&series);
    let drawing = {
        let all: Vec<(f64, f64)> =
            series.iter().flat_map(|series| series.points.iter().chain(&series.simulated).copied()).collect();
        let (xs, ys): (Vec<f64>, Vec<f64>) = all.iter().copied().unzip();
        let line = |series: &Series| {
            let (dots, rings) = (series.points.clone(), series.simulated.clone());
            let width = if series.dash == Dash::Dots { 3 } else { 2 };
            [
                Line { hue: series.hue, points: dots, dash: series.dash, width },
                Line { hue: series.hue, points: rings, dash: Dash::Rings, width: 4 },
            ]
        };
        let chart = Chart {
            width: WIDE,
            height: 420,
            x: Axis::fitting("handler of a warm batch, ms", &xs, plain),
            y: Axis::fitting("dollars per million items", &ys, dollars),
            lines: series.iter().flat_map(line).filter(|line| !line.points.is_empty()).collect(),
            marks: Vec::new(),
            description: "Cost of an item against time of a batch, every point, with the front of each model"
                .to_owned(),
        };
        (all.len() > 1).then(|| chart.svg())
    };
    figure(
        "Cost against latency: the Pareto front",
        "Every point with one invocation at a time. On the line: nothing is both faster and cheaper.",
        keys,
        vec![drawing],
    )
}

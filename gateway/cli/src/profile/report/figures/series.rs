//! What every plot here is made of: series of one model, their legend, and charts of them.

use simulator::report::draw::{Axis, Chart, Dash, Figure, Hue, Key, Line};
use simulator::report::number::plain;

use crate::profile::figures::Figures;
use crate::profile::report::Report;

/// Height of a plot, pixels.
const HIGH: u32 = 340;

pub(super) const MEMORY_TICKS: [f64; 7] = [256.0, 512.0, 1024.0, 1769.0, 3008.0, 5120.0, 10_240.0];

/// Points of one line.
pub(super) struct Series {
    pub(super) hue: Hue,
    pub(super) dash: Dash,
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Which of them are simulated.
    pub(super) simulated: Vec<(f64, f64)>,
}

impl Series {
    pub(super) fn of<'a>(
        place: u8,
        dash: Dash,
        label: String,
        figures: impl Iterator<Item = &'a Figures>,
        at: impl Fn(&Figures) -> Option<(f64, f64)>,
    ) -> Self {
        let (mut points, mut simulated) = (Vec::new(), Vec::new());
        for figure in figures {
            if let Some(point) = at(figure) {
                points.push(point);
                if figure.simulated {
                    simulated.push(point);
                }
            }
        }
        Self { hue: hue(place), dash, label, points, simulated }
    }

    fn lines(&self) -> [Line; 3] {
        let line = |dash, points: Vec<(f64, f64)>, width| Line { hue: self.hue, points, dash, width };
        let measured = self.points.iter().copied().filter(|point| !self.simulated.contains(point)).collect();
        [
            line(self.dash, self.points.clone(), 2),
            line(Dash::Dots, measured, 3),
            line(Dash::Rings, self.simulated.clone(), 5),
        ]
    }
}

/// The colour of the model at this place.
fn hue(place: u8) -> Hue {
    if place == 0 { Hue::Chosen } else { Hue::Other(place - 1) }
}

pub(super) fn models<'a>(report: &'a Report<'_>) -> impl Iterator<Item = (u8, &'a str)> {
    (0..=u8::MAX).zip(report.experiment.models.iter().map(|model| model.name.as_str()))
}

pub(super) fn of_model<'a>(report: &'a Report<'_>, model: &str) -> Vec<&'a Figures> {
    report.points.iter().filter(|point| point.model == model).collect()
}

/// The single-process points of a model, one invocation at a time, at the number of items that most memory sizes share: the largest such, where the work
/// outweighs what surrounds it.
pub(super) fn ladder<'a>(report: &'a Report<'_>, model: &str) -> Option<(u32, Vec<&'a Figures>)> {
    let single = |point: &&Figures| point.point.process_count == 1 && point.point.concurrency == 1;
    let points: Vec<&Figures> = of_model(report, model).into_iter().filter(single).collect();
    let mut counts: Vec<(usize, u32)> = Vec::new();
    let mut items: Vec<u32> = points.iter().map(|point| point.point.items).collect();
    items.sort_unstable();
    items.dedup();
    for items in items {
        counts.push((points.iter().filter(|point| point.point.items == items).count(), items));
    }
    let most = counts.iter().map(|(count, _)| *count).max().filter(|&most| most > 1)?;
    let (_, items) = *counts.iter().rfind(|(count, _)| *count == most)?;
    Some((items, points.into_iter().filter(|point| point.point.items == items).collect()))
}

/// A chart of series; `None` with fewer than two points in all.
pub(super) fn chart(
    width: u32,
    x: &str,
    y: &str,
    text: fn(f64) -> String,
    series: &[Series],
    ticks: &[f64],
    description: &str,
) -> Option<String> {
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    if all().count() < 2 {
        return None;
    }
    let xs: Vec<f64> = all().map(|point| point.0).collect();
    let ys: Vec<f64> = all().map(|point| point.1).collect();
    let mut x = Axis::fitting(x, &xs, plain);
    if !ticks.is_empty() {
        x = x.with_ticks(ticks.iter().copied());
    }
    let chart = Chart {
        width,
        height: HIGH,
        x,
        y: Axis::fitting(y, &ys, text),
        lines: series.iter().flat_map(Series::lines).filter(|line| !line.points.is_empty()).collect(),
        marks: Vec::new(),
        description: description.to_owned(),
    };
    Some(chart.svg())
}

pub(super) fn keys(series: &[Series]) -> Vec<Key> {
    let shown = series.iter().filter(|series| !series.points.is_empty());
    let mut keys: Vec<Key> =
        shown.map(|series| Key { hue: series.hue, dash: series.dash, label: series.label.clone() }).collect();
    if series.iter().any(|series| !series.simulated.is_empty()) {
        keys.push(Key {
            hue: Hue::Limit,
            dash: Dash::Rings,
            label: "ring: simulated, not measured".to_owned(),
        });
    }
    keys
}

pub(super) fn figure(
    heading: &str,
    caption: &str,
    keys: Vec<Key>,
    drawings: Vec<Option<String>>,
) -> Option<Figure> {
    let drawings: Vec<String> = drawings.into_iter().flatten().collect();
    (!drawings.is_empty()).then(|| Figure {
        heading: heading.to_owned(),
        caption: caption.to_owned(),
        keys,
        drawings,
    })
}

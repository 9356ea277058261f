//! The plots of the report. A model has one colour in all of them; lines are measured, rings are simulated.

use simulator::report::draw::{Axis, Chart, Dash, Figure, Hue, Key, Line, WIDE};
use simulator::report::number::{dollars, plain};

use super::Report;
use crate::profile::figures::Figures;
use crate::profile::recommend::pareto_front;

/// Height of a plot, pixels.
const HIGH: u32 = 340;

/// All plots that have something to show.
pub(super) fn all(report: &Report<'_>) -> Vec<Figure> {
    let figures = [
        by_memory(report),
        by_items(report),
        cold_and_warm(report),
        concurrency(report),
        pareto(report),
        speed_up(report),
    ];
    figures.into_iter().flatten().collect()
}

/// Points of one line.
struct Series {
    hue: Hue,
    dash: Dash,
    label: String,
    points: Vec<(f64, f64)>,
    /// Which of them are simulated.
    simulated: Vec<(f64, f64)>,
}

impl Series {
    fn of<'a>(
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

fn models<'a>(report: &'a Report<'_>) -> impl Iterator<Item = (u8, &'a str)> {
    (0..=u8::MAX).zip(report.experiment.models.iter().map(|model| model.name.as_str()))
}

fn of_model<'a>(report: &'a Report<'_>, model: &str) -> Vec<&'a Figures> {
    report.points.iter().filter(|point| point.model == model).collect()
}

/// The single-process points of a model, one invocation at a time, at the number of items that most memory sizes share: the smallest such.
fn ladder<'a>(report: &'a Report<'_>, model: &str) -> Option<(u32, Vec<&'a Figures>)> {
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
    let (_, items) = *counts.iter().find(|(count, _)| *count == most)?;
    Some((items, points.into_iter().filter(|point| point.point.items == items).collect()))
}

/// A chart of series; `None` with fewer than two points in all.
fn chart(
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

fn keys(series: &[Series]) -> Vec<Key> {
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

fn figure(heading: &str, caption: &str, keys: Vec<Key>, drawings: Vec<Option<String>>) -> Option<Figure> {
    let drawings: Vec<String> = drawings.into_iter().flatten().collect();
    (!drawings.is_empty()).then(|| Figure {
        heading: heading.to_owned(),
        caption: caption.to_owned(),
        keys,
        drawings,
    })
}

const MEMORY_TICKS: [f64; 7] = [256.0, 512.0, 1024.0, 1769.0, 3008.0, 5120.0, 10_240.0];

fn by_memory(report: &Report<'_>) -> Option<Figure> {
    let series = |at: fn(&Figures) -> f64| -> Vec<Series> {
        let of = |(place, model): (u8, &str)| {
            let (items, points) = ladder(report, model)?;
            let at = |point: &Figures| Some((f64::from(point.point.memory_mib), at(point)));
            Some(Series::of(place, Dash::Solid, format!("{model}, {items} items"), points.into_iter(), at))
        };
        models(report).filter_map(of).collect()
    };
    let (times, costs) = (series(|point| point.handler_ms), series(|point| point.cost_per_item_usd * 1e6));
    figure(
        "Time and cost by memory",
        "Warm, one process, one invocation at a time, at the number of items in the legend. More memory is more CPU up to one vCPU (1,769 MiB); beyond it a \
         single process gains nothing and each millisecond is dearer.",
        keys(&times),
        vec![
            chart(
                WIDE / 2,
                "memory, MiB",
                "handler, ms",
                plain,
                &times,
                &MEMORY_TICKS,
                "Time by memory for each model",
            ),
            chart(
                WIDE / 2,
                "memory, MiB",
                "dollars per million items",
                dollars,
                &costs,
                &MEMORY_TICKS,
                "Cost of an item by memory for each model",
            ),
        ],
    )
}

fn by_items(report: &Report<'_>) -> Option<Figure> {
    let series = |at: fn(&Figures) -> f64| -> Vec<Series> {
        let of = |(place, model): (u8, &str)| {
            let points = of_model(report, model);
            let single = || {
                points.iter().filter(|point| point.point.concurrency == 1 && point.point.process_count == 1)
            };
            let cheapest = single().min_by(|a, b| a.cost_per_item_usd.total_cmp(&b.cost_per_item_usd))?;
            let memory = cheapest.point.memory_mib;
            let line = single().copied().filter(move |point| point.point.memory_mib == memory);
            let at = |point: &Figures| Some((f64::from(point.point.items), at(point)));
            Some(Series::of(place, Dash::Solid, format!("{model}, {memory} MiB"), line, at))
        };
        models(report).filter_map(of).filter(|series| series.points.len() > 1).collect()
    };
    let (costs, times) = (series(|point| point.cost_per_item_usd * 1e6), series(|point| point.handler_ms));
    figure(
        "What batching saves",
        "Warm, one process, at the memory in the legend: that of the model's cheapest point. The request's fee and what a batch costs by itself are shared \
         by more items.",
        keys(&costs),
        vec![
            chart(
                WIDE / 2,
                "items",
                "dollars per million items",
                dollars,
                &costs,
                &[],
                "Cost of an item by items of a batch",
            ),
            chart(WIDE / 2, "items", "handler, ms", plain, &times, &[], "Time by items of a batch"),
        ],
    )
}

fn cold_and_warm(report: &Report<'_>) -> Option<Figure> {
    let mut times = Vec::new();
    let mut inits = Vec::new();
    for (place, model) in models(report) {
        let Some((items, points)) = ladder(report, model) else { continue };
        let memory = |point: &Figures| f64::from(point.point.memory_mib);
        let warm = |point: &Figures| Some((memory(point), point.handler_ms));
        let cold = |point: &Figures| Some((memory(point), point.cold_ms()?));
        let init = |point: &Figures| Some((memory(point), point.init_ms?));
        times.push(Series::of(
            place,
            Dash::Solid,
            format!("{model}, {items} items, warm"),
            points.iter().copied(),
            warm,
        ));
        times.push(Series::of(
            place,
            Dash::Dashed,
            format!("{model}, {items} items, cold"),
            points.iter().copied(),
            cold,
        ));
        inits.push(Series::of(place, Dash::Solid, String::new(), points.iter().copied(), init));
    }
    if inits.iter().all(|series| series.points.is_empty()) {
        return None;
    }
    figure(
        "Cold against warm",
        "Left: the handler of a warm invocation (solid), and INIT with the handler of a cold one (dashed). Right: INIT alone. Each cold run ran in a version that \
         was published for it.",
        keys(&times),
        vec![
            chart(
                WIDE / 2,
                "memory, MiB",
                "until the answer, ms",
                plain,
                &times,
                &MEMORY_TICKS,
                "Cold and warm time by memory",
            ),
            chart(WIDE / 2, "memory, MiB", "INIT, ms", plain, &inits, &MEMORY_TICKS, "INIT by memory"),
        ],
    )
}

fn concurrency(report: &Report<'_>) -> Option<Figure> {
    let (mut times, mut instances) = (Vec::new(), Vec::new());
    for (place, model) in models(report) {
        let points = of_model(report, model);
        // The memory, processes and items at which most concurrencies were run.
        let shape = |point: &Figures| (point.point.memory_mib, point.point.process_count, point.point.items);
        let count = |wanted: (u32, u32, u32)| points.iter().filter(|point| shape(point) == wanted).count();
        let Some(best) = points.iter().map(|point| shape(point)).max_by_key(|&shape| count(shape)) else {
            continue;
        };
        if count(best) < 2 {
            continue;
        }
        let line = || points.iter().copied().filter(|point| shape(point) == best);
        let at_once = |point: &Figures| f64::from(point.point.concurrency);
        let label = format!("{model}, {} MiB, {} items each", best.0, best.2);
        times.push(Series::of(place, Dash::Solid, format!("{label}, warm"), line(), |point| {
            Some((at_once(point), point.total_ms))
        }));
        times.push(Series::of(place, Dash::Dashed, format!("{label}, cold"), line(), |point| {
            Some((at_once(point), point.cold_total_ms?))
        }));
        instances.push(Series::of(place, Dash::Solid, String::new(), line(), |point| {
            Some((at_once(point), point.instances_started?))
        }));
    }
    figure(
        "Concurrency against instances and total time",
        "As many invocations at once as the horizontal axis says, each with its own batch. Left: from the first sent to the last answered. Right: environments that a \
         cold run started; fewer than invocations means that a quick one had freed its environment already.",
        keys(&times),
        vec![
            chart(
                WIDE / 2,
                "invocations at once",
                "all of a run, ms",
                plain,
                &times,
                &[],
                "Total time by concurrency",
            ),
            chart(
                WIDE / 2,
                "invocations at once",
                "instances started",
                plain,
                &instances,
                &[],
                "Instances by concurrency",
            ),
        ],
    )
}

fn pareto(report: &Report<'_>) -> Option<Figure> {
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

fn speed_up(report: &Report<'_>) -> Option<Figure> {
    let (mut walls, mut shares) = (Vec::new(), Vec::new());
    for (place, model) in models(report) {
        let points: Vec<&Figures> =
            of_model(report, model).into_iter().filter(|point| point.point.concurrency == 1).collect();
        // The largest memory, and the most items there, at which several process counts were run.
        let shape = |point: &Figures| (point.point.memory_mib, point.point.items);
        let several = |wanted: (u32, u32)| points.iter().filter(|point| shape(point) == wanted).count() > 1;
        let Some(best) = points.iter().map(|point| shape(point)).filter(|&shape| several(shape)).max() else {
            continue;
        };
        let line = || points.iter().copied().filter(|point| shape(point) == best);
        let Some(one) = line().find(|point| point.point.process_count == 1) else { continue };
        let processes = |point: &Figures| f64::from(point.point.process_count);
        let label = format!("{model}, {} MiB, {} items", best.0, best.1);
        walls.push(Series::of(place, Dash::Solid, label, line(), |point| {
            Some((processes(point), one.handler_ms / point.handler_ms))
        }));
        shares.push(Series::of(place, Dash::Solid, String::new(), line(), |point| {
            Some((processes(point), point.cost_per_item_usd / one.cost_per_item_usd))
        }));
    }
    figure(
        "Speed-up by processes",
        "At the largest memory size of each model, against one process at the same size and items. Left: how many times faster. Right: cost of an item relative to one \
         process; below 1 the processes pay for themselves.",
        keys(&walls),
        vec![
            chart(WIDE / 2, "processes", "times faster", plain, &walls, &[], "Speed-up by process count"),
            chart(
                WIDE / 2,
                "processes",
                "cost of an item over that of one process",
                plain,
                &shares,
                &[],
                "Relative cost by process count",
            ),
        ],
    )
}

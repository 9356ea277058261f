//! By the shape of the work: items of a batch, invocations at once, processes.

use simulator::report::draw::{Dash, Figure, WIDE};
use simulator::report::number::{dollars, plain};

use super::series::{Series, chart, figure, keys, models, of_model};
use crate::profile::figures::Figures;
use crate::profile::report::{Report, items as items_of};

pub(super) fn by_items(report: &Report<'_>) -> Option<Figure> {
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

pub(super) fn concurrency(report: &Report<'_>) -> Option<Figure> {
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
        let label = format!("{model}, {} MiB, {} each", best.0, items_of(best.2));
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

pub(super) fn speed_up(report: &Report<'_>) -> Option<Figure> {
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
        let label = format!("{model}, {} MiB, {}", best.0, items_of(best.1));
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

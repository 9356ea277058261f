//! By memory: time and cost, cold against warm, and a token of models that generate.

use simulator::report::draw::{Dash, Figure, WIDE};
use simulator::report::number::{dollars, plain};

use super::series::{MEMORY_TICKS, Series, chart, figure, keys, ladder, models};
use crate::profile::figures::Figures;
use crate::profile::report::{Report, items as items_of};

pub(super) fn by_memory(report: &Report<'_>) -> Option<Figure> {
    let series = |at: fn(&Figures) -> f64| -> Vec<Series> {
        let of = |(place, model): (u8, &str)| {
            let (items, points) = ladder(report, model)?;
            let at = |point: &Figures| Some((f64::from(point.point.memory_mib), at(point)));
            Some(Series::of(
                place,
                Dash::Solid,
                format!("{model}, {}", items_of(items)),
                points.into_iter(),
                at,
            ))
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

pub(super) fn cold_and_warm(report: &Report<'_>) -> Option<Figure> {
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
            format!("{model}, {}, warm", items_of(items)),
            points.iter().copied(),
            warm,
        ));
        times.push(Series::of(
            place,
            Dash::Dashed,
            format!("{model}, {}, cold", items_of(items)),
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

pub(super) fn generation(report: &Report<'_>) -> Option<Figure> {
    let series = |at: fn(&Figures) -> Option<f64>| -> Vec<Series> {
        let of = |(place, model): (u8, &str)| {
            let (items, points) = ladder(report, model)?;
            let at = |point: &Figures| Some((f64::from(point.point.memory_mib), at(point)?));
            Some(Series::of(
                place,
                Dash::Solid,
                format!("{model}, {}", items_of(items)),
                points.into_iter(),
                at,
            ))
        };
        models(report).filter_map(of).collect()
    };
    let times = series(|point| point.ms_per_token);
    let costs = series(|point| point.ms_per_token.map(|_| point.cost_usd * 1e6 / point.generated_tokens));
    figure(
        "Generation: a token by memory",
        "Warm, one process, of models that write text. Left: handler's time over the tokens that each item got. Right: dollars per million tokens written.",
        keys(&times),
        vec![
            chart(
                WIDE / 2,
                "memory, MiB",
                "ms per token",
                plain,
                &times,
                &MEMORY_TICKS,
                "Time of a token by memory",
            ),
            chart(
                WIDE / 2,
                "memory, MiB",
                "dollars per million tokens",
                dollars,
                &costs,
                &MEMORY_TICKS,
                "Cost of a token by memory",
            ),
        ],
    )
}

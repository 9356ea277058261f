//! How full the batches were.

use plotters::prelude::*;

use super::axis::{Axis, Ruler};
use super::chart::{Dash, DrawResult, svg};
use super::ink::{Hue, Ink};
use super::{Figure, Key, WIDE};
use crate::report::data::Report;
use crate::report::number::plain;

/// Most bars side by side.
const MOST_BARS: u32 = 40;

/// A bar: fills from and to, and its share of invocations and of items, in percent.
struct Bar {
    from: u32,
    to: u32,
    invocations: f64,
    items: f64,
}

pub(crate) fn fills(report: &Report) -> Figure {
    let chosen = report.policies.first();
    let fills = chosen.map(|policy| policy.detail.fills.clone()).unwrap_or_default();
    let bars = bars(&fills);
    let first = Key { hue: Hue::Part(0), dash: Dash::Solid, label: "share of invocations".to_owned() };
    let second = Key { hue: Hue::Part(1), dash: Dash::Solid, label: "share of items".to_owned() };
    let label = chosen.map_or("", |policy| policy.label.as_str());
    let mean = chosen.map_or(0.0, |policy| policy.figures.mean_fill.mean);
    Figure {
        heading: "How full batches were".to_owned(),
        caption: format!(
            "Invocations of {label} by the number of items in them, in the run of the first seed; {} items on average.",
            plain(mean)
        ),
        keys: vec![first, second],
        drawings: vec![svg(WIDE, 270, "Share of invocations and of items by items per invocation", |area| {
            draw(area, &bars)
        })],
    }
}

fn bars(fills: &[(u32, u64)]) -> Vec<Bar> {
    let largest = fills.last().map_or(1, |fill| fill.0);
    let width = largest.div_ceil(MOST_BARS);
    let all: f64 = fills.iter().map(|fill| fill.1 as f64).sum::<f64>().max(1.0);
    let all_items: f64 =
        fills.iter().map(|&(items, count)| f64::from(items) * count as f64).sum::<f64>().max(1.0);
    let bar = |index: u32| {
        let (from, to) = (index * width + 1, (index + 1) * width);
        let within = fills.iter().filter(move |fill| (from..=to).contains(&fill.0));
        let count: f64 = within.clone().map(|fill| fill.1 as f64).sum();
        let items: f64 = within.map(|&(items, count)| f64::from(items) * count as f64).sum();
        Bar { from, to, invocations: count / all * 100.0, items: items / all_items * 100.0 }
    };
    (0..largest.div_ceil(width)).map(bar).collect()
}

fn draw(area: &super::chart::Area<'_>, bars: &[Bar]) -> DrawResult {
    let largest = bars.last().map_or(1, |bar| bar.to);
    let y = Axis::linear("share, %", bars.iter().flat_map(|bar| [bar.invocations, bar.items]), plain);
    let x_ticks = Axis::fixed("", (1.0, f64::from(largest)), plain).ticks;
    let ticks: Vec<f64> =
        std::iter::once(1.0).chain(x_ticks.into_iter().filter(|tick| tick.fract() == 0.0)).collect();
    let mut context = ChartBuilder::on(area)
        .margin_top(12)
        .margin_right(30)
        .x_label_area_size(46)
        .y_label_area_size(74)
        .build_cartesian_2d(Ruler { from: 0.4, to: f64::from(largest) + 0.6, ticks }, y.ruler())?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(Ink::Grid.color())
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Axis.color())
        .label_style(("sans-serif", 15).into_font().color(&Ink::Text.color()))
        .x_label_formatter(&|value| plain(*value))
        .y_label_formatter(&|value| plain(*value))
        .x_desc("items in an invocation")
        .y_desc(&y.label)
        .draw()?;
    for bar in bars {
        let (from, to) = (f64::from(bar.from) - 0.42, f64::from(bar.to) + 0.42);
        let middle = f64::midpoint(from, to);
        let left = Ink::Series(Hue::Part(0)).color().filled();
        let right = Ink::Series(Hue::Part(1)).color().filled();
        context.draw_series([Rectangle::new([(from, 0.0), (middle, bar.invocations)], left)])?;
        context.draw_series([Rectangle::new([(middle, 0.0), (to, bar.items)], right)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_all_invocations_and_items() {
        let fills: Vec<(u32, u64)> = (1..=130).map(|n| (n, u64::from(n) * 3)).collect();
        let bars = bars(&fills);
        assert!(bars.len() <= 40);
        assert!((bars.iter().map(|bar| bar.invocations).sum::<f64>() - 100.0).abs() < 1e-9);
        assert!((bars.iter().map(|bar| bar.items).sum::<f64>() - 100.0).abs() < 1e-9);
    }
}

//! Level bars by policy: what a million requests cost and for what, and what a month costs with its hosts.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Ruler};
use super::chart::{Area, Dash, DrawResult, svg};
use super::ink::{Hue, Ink};
use super::{Figure, Key, WIDE, shown_label};
use crate::report::data::{PolicyReport, Report};
use crate::report::number::dollars;
use crate::report::savings;

/// Pixels of a bar with the gap below it.
const BAR: u32 = 34;

struct Bar {
    label: String,
    parts: Vec<(Hue, f64)>,
}

const TIME: Hue = Hue::Part(0);
const FEE: Hue = Hue::Part(1);
const COLD: Hue = Hue::Part(2);
const HOST: Hue = Hue::Part(3);

fn key(hue: Hue, label: &str) -> Key {
    Key { hue, dash: Dash::Solid, label: label.to_owned() }
}

/// What a million requests cost, and for what.
pub(crate) fn split(report: &Report) -> Figure {
    let bar = |policy: &PolicyReport| {
        let figures = &policy.figures;
        let parts = vec![
            (TIME, figures.duration_usd_per_million.mean),
            (FEE, figures.fee_usd_per_million.mean),
            (COLD, figures.cold_usd_per_million.mean),
        ];
        Bar { label: shown_label(report, policy), parts }
    };
    let bars: Vec<Bar> = report.policies.iter().map(bar).collect();
    Figure {
        heading: "What a million requests cost, and for what".to_owned(),
        caption: format!(
            "Lambda's charges per million answered requests, mean of {}. Time: billed duration of warm batches × memory. Fee: per invocation. ✗: misses the SLO. \
             Cold starts: billed INIT, and environments started ahead.",
            seeds(report)
        ),
        keys: vec![
            key(TIME, "time of batches"),
            key(FEE, "fee per invocation"),
            key(COLD, "cold starts and warm-up"),
        ],
        drawings: vec![draw(
            "dollars per million requests",
            "Cost per million requests by policy and part",
            &bars,
        )],
    }
}

/// What a month costs with the hosts.
pub(crate) fn month(report: &Report) -> Figure {
    let bar = |policy: &PolicyReport| {
        let cost = savings::monthly(report, policy);
        Bar {
            label: shown_label(report, policy),
            parts: vec![(TIME, cost.lambda_usd), (HOST, cost.host_usd)],
        }
    };
    let bars: Vec<Bar> = report.policies.iter().map(bar).collect();
    Figure {
        heading: "What a month of this traffic costs, the gateway's host included".to_owned(),
        caption: format!(
            "The simulated traffic repeated for 730 hours, mean of {}. Host: {} × {} at {} an hour, for policies that form batches; without \
             batches callers can invoke the function themselves. ✗: misses the SLO.",
            seeds(report),
            report.gateway.count,
            report.gateway.name,
            dollars(report.gateway.usd_per_hour)
        ),
        keys: vec![key(TIME, "Lambda"), key(HOST, "gateway's host")],
        drawings: vec![draw("dollars per month", "Cost of a month by policy", &bars)],
    }
}

fn seeds(report: &Report) -> String {
    if report.seeds.len() == 1 { "one seed".to_owned() } else { format!("{} seeds", report.seeds.len()) }
}

fn draw(label: &str, description: &str, bars: &[Bar]) -> String {
    let count = u32::try_from(bars.len()).unwrap_or(1);
    svg(WIDE, count * BAR + 60, description, |area| draw_bars(area, label, bars))
}

fn draw_bars(area: &Area<'_>, label: &str, bars: &[Bar]) -> DrawResult {
    let totals = bars.iter().map(|bar| bar.parts.iter().map(|part| part.1).sum::<f64>());
    // Room for the sums behind the bars.
    let x = Axis::linear(label, totals.map(|total| total * 1.1), dollars);
    let rows = bars.len() as f64;
    let places: Vec<f64> = (0..bars.len()).map(|row| row as f64 + 0.5).collect();
    let mut context = ChartBuilder::on(area)
        .margin_top(4)
        .margin_right(30)
        .x_label_area_size(46)
        .y_label_area_size(300)
        .build_cartesian_2d(x.ruler(), Ruler { from: rows, to: 0.0, ticks: places })?;
    context
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(Ink::Grid.color())
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Axis.color())
        .label_style(("sans-serif", 15).into_font().color(&Ink::Text.color()))
        .x_label_formatter(&|value| dollars(*value))
        .y_label_formatter(&|place| {
            bars.iter()
                .enumerate()
                .find(|(row, _)| (*row as f64 + 0.5 - place).abs() < 0.01)
                .map_or(String::new(), |(_, bar)| shortened(&bar.label))
        })
        .x_desc(label)
        .draw()?;
    for (row, bar) in bars.iter().enumerate() {
        let (top, bottom) = (row as f64 + 0.18, row as f64 + 0.82);
        let mut from = 0.0;
        for &(hue, size) in &bar.parts {
            let style = Ink::Series(hue).color().filled();
            context.draw_series([Rectangle::new([(from, top), (from + size, bottom)], style)])?;
            from += size;
        }
        let style =
            ("sans-serif", 15).into_font().color(&Ink::Text.color()).pos(Pos::new(HPos::Left, VPos::Center));
        let words = format!(" {}", dollars(from));
        context.draw_series([Text::new(words, (from, row as f64 + 0.5), style)])?;
    }
    Ok(())
}

/// As much of a label as fits beside its bar.
fn shortened(label: &str) -> String {
    const MOST: usize = 40;
    if label.chars().count() <= MOST {
        return label.to_owned();
    }
    label.chars().take(MOST - 1).chain(['…']).collect()
}

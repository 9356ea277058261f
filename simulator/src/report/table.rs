//! The results as a table for the terminal.

use std::fmt::Write as _;

use super::data::{Report, Role, Spread};
use super::number::{about_percent, dollars, duration, milliseconds, percent, plain};
use super::savings::monthly;
use super::summary::{headlines, keeps_slo};

/// A table with one line for each policy, and the answer in short below it.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = format!(
        "{}\n{} of traffic, {} requests/s on average, {} in the busiest minute; SLO {} for {}; {} seed{}\n\n",
        report.title,
        duration(report.seconds),
        plain(report.mean_requests_per_s),
        plain(report.peak_requests_per_s),
        milliseconds(report.objective.slo_ms),
        percent(report.objective.percentile),
        report.seeds.len(),
        if report.seeds.len() == 1 { "" } else { "s" },
    );
    out.push_str(&grid(&rows(report)));
    out.push('\n');
    for headline in headlines(report) {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "{:>10} {}", headline.figure, headline.words);
    }
    if let Some(found) = &report.break_even {
        for crossing in &found.crossings {
            let _ = writeln!(out, "{:>10} {}", "", crossing.sentence());
        }
    }
    out
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let head =
        ["policy", "$/million", "±", "$/month", "in SLO", "p50", "p", "items/batch", "cold", "lost", "plans"];
    let mut head = head.map(str::to_owned).to_vec();
    head[6] = format!("p{}", plain(report.objective.percentile * 100.0));
    let mut rows = vec![head];
    for policy in &report.policies {
        let figures = &policy.figures;
        let mean = |spread: &Spread, text: fn(f64) -> String| text(spread.mean);
        let missed = if keeps_slo(report, policy) { "" } else { " !" };
        let bound = if policy.role == Role::Bound { " (bound)" } else { "" };
        rows.push(vec![
            format!("{}{bound}", policy.label),
            mean(&figures.usd_per_million, dollars),
            about_percent(figures.usd_per_million.std / figures.usd_per_million.mean.max(1e-12)),
            dollars(monthly(report, policy).usd()),
            format!("{}{missed}", percent(1.0 - figures.outside_slo_share.mean)),
            mean(&figures.p50_ms, milliseconds),
            mean(&figures.at_percentile_ms, milliseconds),
            mean(&figures.mean_fill, plain),
            mean(&figures.cold_share, percent),
            mean(&figures.lost_share, percent),
            mean(&figures.plan_changes, plain),
        ]);
    }
    rows.push(vec!["Physical floor (CPU work alone)".to_owned(), dollars(report.floor_usd_per_million)]);
    rows
}

/// Columns as wide as their widest cell; the first to the left, numbers to the right.
fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

impl super::data::Crossing {
    /// In words.
    pub(super) fn sentence(&self) -> String {
        let label = &self.label;
        match (self.requests_per_s, self.chosen_is_cheaper_below) {
            (Some(load), true) => format!("{label}: cheaper from {} requests/s on", plain(load)),
            (Some(load), false) => format!("{label}: cheaper up to {} requests/s", plain(load)),
            (None, true) => format!("{label}: dearer at every load looked at"),
            (None, false) => format!("{label}: cheaper at every load looked at"),
        }
    }
}

//! The recommendations as a table for the terminal, and where the rest is.

use std::fmt::Write as _;
use std::path::Path;

use simulator::report::number::{dollars, milliseconds, plain};

use super::figures::Figures;
use super::report::Report;

/// The table.
pub(super) fn text(report: &Report<'_>, folder: &Path) -> String {
    let mut out = String::new();
    let simulated = report.points.iter().filter(|point| point.simulated).count();
    let _ = writeln!(
        out,
        "\n{}: {} points measured, {simulated} simulated, {} without result; {} spent",
        report.experiment.name,
        report.points.len() - simulated,
        report.given_up.len(),
        dollars(report.usd)
    );
    let _ = writeln!(
        out,
        "\n{:<18} {:>6}  {:<40} {:<40} {:<40} {:>9}",
        "model", "items", "cheapest", "fastest", "balanced", "1024 MiB"
    );
    for row in &report.recommendations {
        let items = row.items.map_or("all".to_owned(), |items| items.to_string());
        let at_1024 =
            row.cost_at_1024_over_best.map_or("–".to_owned(), |ratio| format!("× {}", plain(ratio)));
        let [cheapest, fastest, balanced] = [&row.cheapest, &row.fastest, &row.balanced].map(short);
        let _ = writeln!(
            out,
            "{:<18} {items:>6}  {cheapest:<40} {fastest:<40} {balanced:<40} {at_1024:>9}",
            row.model
        );
    }
    for (model, point, reason) in &report.given_up {
        let _ = writeln!(out, "no result: {model} at {point}: {reason}");
    }
    if simulated > 0 {
        out.push_str("*: simulated, not measured\n");
    }
    let _ = writeln!(
        out,
        "\nreport.html, records.csv, records.parquet, summary.json and profiles/ are in {}",
        folder.display()
    );
    out
}

fn short(point: &Figures) -> String {
    let mark = if point.simulated { "*" } else { "" };
    format!(
        "{} MiB×{} b{} {} {}/M{mark}",
        point.point.memory_mib,
        point.point.process_count,
        point.point.items,
        milliseconds(point.handler_ms),
        dollars(point.cost_per_item_usd * 1e6)
    )
}

//! The rows of the result, the published files, and printing.

use crate::Failure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What is compared: `throttled_share`, `median_wall_ms`, `speedup`, `usd_per_1m` or `price_table`.
    pub(crate) quantity: &'static str,
    /// Architecture and memory size.
    pub(crate) at: String,
    /// Published value.
    pub(crate) published: f64,
    /// Measured here (for `price_table`: computed from the published duration).
    pub(crate) measured: f64,
    /// Absolute for shares, relative for all else.
    pub(crate) error: f64,
    /// Whether the row counts towards `max_error`.
    pub(crate) counts: bool,
}

impl Row {
    /// A row whose error is relative.
    pub(crate) fn relative(
        quantity: &'static str,
        at: &str,
        published: f64,
        measured: f64,
        counts: bool,
    ) -> Self {
        Self {
            quantity,
            at: at.to_owned(),
            published,
            measured,
            error: (measured / published - 1.0).abs(),
            counts,
        }
    }

    /// A row whose error is absolute.
    pub(crate) fn absolute(
        quantity: &'static str,
        at: &str,
        published: f64,
        measured: f64,
        counts: bool,
    ) -> Self {
        Self { quantity, at: at.to_owned(), published, measured, error: (measured - published).abs(), counts }
    }
}

/// The lines of a published file, each as column → text.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Vec<BTreeMap<String, String>>, Failure> {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let columns: Vec<&str> = lines.next().ok_or("an empty file")?.split(',').collect();
    let cells = |line: &str| {
        columns
            .iter()
            .zip(line.split(','))
            .map(|(column, cell)| ((*column).to_owned(), cell.to_owned()))
            .collect()
    };
    Ok(lines.map(cells).collect())
}

/// The number in a column.
pub(crate) fn number(line: &BTreeMap<String, String>, column: &str) -> Result<f64, Failure> {
    let cell = line.get(column).ok_or_else(|| format!("no column `{column}`"))?;
    cell.parse().map_err(|_| format!("`{cell}` in column `{column}` is no number").into())
}

/// The whole number in a column.
pub(crate) fn whole(line: &BTreeMap<String, String>, column: &str) -> Result<u32, Failure> {
    let cell = line.get(column).ok_or_else(|| format!("no column `{column}`"))?;
    cell.parse().map_err(|_| format!("`{cell}` in column `{column}` is no whole number").into())
}

/// Prints all rows and the largest error.
pub(crate) fn print(rows: &[Row], max_error: f64) {
    println!("{:<16} {:<14} {:>10} {:>10} {:>8}  counts", "quantity", "at", "published", "measured", "error");
    for row in rows {
        let counts = if row.counts { "yes" } else { "no" };
        println!(
            "{:<16} {:<14} {:>10.4} {:>10.4} {:>8.4}  {counts}",
            row.quantity, row.at, row.published, row.measured, row.error
        );
    }
    println!("max_error {max_error:.4} (absolute for shares, relative for the rest)");
}

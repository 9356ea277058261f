//! Tables for people.

use std::fmt::Write as _;

/// Formats rows under headings; the first column is left-aligned, the others right-aligned.
pub(crate) fn format(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &[String]| {
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(out, "{cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(&headings.iter().map(|&heading| heading.to_owned()).collect::<Vec<_>>());
    line(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["p50".to_owned(), "1.5".to_owned()], vec!["requests".to_owned(), "20".to_owned()]];
        assert_eq!(
            super::format(&["figure", "ms"], &rows),
            "figure     ms\n--------  ---\np50       1.5\nrequests   20\n"
        );
    }
}

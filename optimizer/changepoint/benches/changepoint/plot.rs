//! A trace with its regimes and alarms as one self-contained SVG file.

use optimizer_changepoint::{ChangePoint, Direction};
use std::fmt::Write as _;

const WIDTH: f64 = 1600.0;
const HEIGHT: f64 = 420.0;
const COLUMNS: usize = 1600;
const TOP: f64 = 30.0;

/// Counts as a band of least and greatest a column, the regime's mean as a line, alarms as upright lines.
pub(crate) fn svg(name: &str, counts: &[u64], means: &[f64], changes: &[(usize, ChangePoint)]) -> String {
    let highest = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let x = |window: f64| window / counts.len().max(1) as f64 * WIDTH;
    let y = |count: f64| TOP + (HEIGHT - TOP) * (1.0 - count / highest);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\">{name}: {} windows, highest {highest}, {} alarms (red up, blue down); grey counts, black regime mean</text>\n",
        counts.len(),
        changes.len()
    );
    for (window, change) in changes {
        let colour = match change.direction {
            Direction::Up => "#d33",
            Direction::Down => "#36c",
        };
        let at = x(*window as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{HEIGHT}\" stroke=\"{colour}\" stroke-width=\"0.7\"/>"
        );
    }
    let size = counts.len().div_ceil(COLUMNS).max(1);
    let mut band = String::new();
    let mut line = String::new();
    for (column, chunk) in counts.chunks(size).enumerate() {
        let at = x((column * size) as f64);
        let low = chunk.iter().copied().min().unwrap_or(0) as f64;
        let high = chunk.iter().copied().max().unwrap_or(0) as f64;
        let _ = write!(band, "M{at:.1} {:.1}V{:.1}", y(low) + 0.5, y(high) - 0.5);
        let _ = write!(line, "{}{at:.1} {:.1}", if column == 0 { 'M' } else { 'L' }, y(means[column * size]));
    }
    let _ = writeln!(out, "<path d=\"{band}\" stroke=\"#999\" fill=\"none\"/>");
    let _ = writeln!(out, "<path d=\"{line}\" stroke=\"black\" stroke-width=\"1.5\" fill=\"none\"/>\n</svg>");
    out
}

//! Calibration: how far the simulator's law of service time is from what others measured on real functions, and we on the local Lambda.
//!
//! One file per source. Each takes the text of a published table, fits as few physical numbers as the law has, and says the error that is left; where there
//! is enough data, also the error at places that the fit has not seen. A law that does not fit is reported as such, with the reason.
//! Deliberately absent: the tables themselves (their owners publish them; the bench reads them by path) and their download.

mod cold_start;
mod deep_speech;
mod harmony_batch;
mod rust_scaling;
mod sweeps;
mod throttle;

use crate::profile::{FitErrors, ProfileError};

pub use cold_start::cold_start;
pub use deep_speech::deep_speech;
pub use harmony_batch::harmony_batch;
pub use rust_scaling::{rust_scaling, visible_cpu_tiers};
pub use sweeps::sweep;
pub use throttle::throttle;

/// One comparison of the law with measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Who measured what.
    pub source: String,
    /// The quantity.
    pub quantity: String,
    /// The fitted numbers.
    pub law: String,
    /// Errors over the places that were fitted, or over all where nothing was.
    pub errors: FitErrors,
    /// Errors at places that the fit has not seen.
    pub held_out: Option<FitErrors>,
    /// Where the law does not fit, and why.
    pub note: &'static str,
}

/// A comma-separated table with a header, read by column name.
struct Columns<'a> {
    header: Vec<&'a str>,
    rows: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> Columns<'a> {
    fn read(text: &'a str) -> Self {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let split = |line: &'a str| line.split(',').map(str::trim).collect::<Vec<&str>>();
        let header = lines.next().map(|(_, line)| split(line)).unwrap_or_default();
        Self { header, rows: lines.map(|(at, line)| (at + 1, split(line))).collect() }
    }

    fn column(&self, name: &str) -> Result<usize, ProfileError> {
        let missing = || ProfileError::Line { line: 1, reason: format!("no column `{name}`") };
        self.header.iter().position(|column| *column == name).ok_or_else(missing)
    }

    /// Texts of these columns, row by row.
    fn texts<const N: usize>(&self, names: [&str; N]) -> Result<Vec<[&'a str; N]>, ProfileError> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            *place = self.column(name)?;
        }
        let row =
            |(_, row): &(usize, Vec<&'a str>)| places.map(|at| row.get(at).copied().unwrap_or_default());
        Ok(self.rows.iter().map(row).collect())
    }

    /// Numbers of these columns, row by row.
    fn numbers<const N: usize>(&self, names: [&str; N]) -> Result<Vec<[f64; N]>, ProfileError> {
        let texts = self.texts(names)?;
        let mut all = Vec::with_capacity(texts.len());
        for ((line, _), row) in self.rows.iter().zip(texts) {
            let mut numbers = [0.0; N];
            for ((number, text), name) in numbers.iter_mut().zip(row).zip(names) {
                let fail =
                    || ProfileError::Line { line: *line, reason: format!("`{name}` is no number: `{text}`") };
                *number = text.parse().map_err(|_| fail())?;
            }
            all.push(numbers);
        }
        Ok(all)
    }
}

/// A table's number as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of tables; a float saturates"
)]
fn whole(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_bad_numbers_named() {
        let table = Columns::read("a,b\n1,2\n\n3,x\n");
        assert_eq!(table.texts(["b"]).unwrap(), [["2"], ["x"]]);
        assert_eq!(table.numbers(["b", "a"]).unwrap_err().to_string(), "line 4: `b` is no number: `x`");
        assert_eq!(table.numbers(["a"]).unwrap(), [[1.0], [3.0]]);
        assert!(table.column("c").is_err());
    }
}

//! Tables of somebody's measurements, comma separated with a header: memory, batch and time, in the names and units that are usual.

use gateway_contract::Mebibytes;

use super::{Cell, Fitted, ModelProfile, ProfileError, ServiceWork};
use crate::lambda::BatchShape;

const MEMORY: [&str; 3] = ["memory_mib", "memory_mb", "memory"];
const ITEMS: [&str; 3] = ["items", "batch", "batch_size"];
const PROCESSES: [&str; 3] = ["process_count", "processes", "workers"];
/// Columns of time and what makes seconds of them.
const TIME: [(&str, f64); 8] = [
    ("ms", 1e-3),
    ("service_ms", 1e-3),
    ("latency_ms", 1e-3),
    ("duration_ms", 1e-3),
    ("seconds", 1.0),
    ("service_s", 1.0),
    ("service_s_model", 1.0),
    ("latency_s", 1.0),
];

/// A table that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its rows.
    pub cells: Vec<Cell>,
}

impl Table {
    /// Reads a table; only rows that have these values in these columns. Columns of other names are passed over.
    ///
    /// # Errors
    /// [`ProfileError::Line`] for a header without memory, batch or time, and for values that are no numbers above 0.
    pub fn parse(text: &str, only: &[(&str, &str)]) -> Result<Self, ProfileError> {
        let header: Vec<&str> = text.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        let place = |names: &[&str]| header.iter().position(|column| names.contains(column));
        let needed = |names: &[&str]| {
            let missing =
                || ProfileError::Line { line: 1, reason: format!("no column `{}`", names.join("` or `")) };
            place(names).ok_or_else(missing)
        };
        let (memory, items) = (needed(&MEMORY)?, needed(&ITEMS)?);
        let time = needed(&TIME.map(|(name, _)| name))?;
        let factor = TIME.iter().find(|(name, _)| *name == header[time]).map_or(1.0, |(_, factor)| *factor);
        let processes = place(&PROCESSES);
        let mut filters = Vec::new();
        for (column, value) in only {
            filters.push((needed(&[*column])?, *value));
        }
        let mut cells = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            if filters.iter().any(|(at, value)| fields.get(*at) != Some(value)) {
                continue;
            }
            let read = |at: usize| {
                let field = fields.get(at).copied().unwrap_or_default();
                let value: Option<f64> =
                    field.parse().ok().filter(|value: &f64| *value > 0.0 && value.is_finite());
                let reason = || format!("`{}` must be a number above 0, is `{field}`", header[at]);
                value.ok_or_else(|| ProfileError::Line { line: number + 1, reason: reason() })
            };
            cells.push(cell(
                read(memory)?,
                read(items)?,
                processes.map_or(Ok(1.0), read)?,
                read(time)? * factor,
            ));
        }
        Ok(Self { cells })
    }

    /// A profile fitted to the rows. A table tells nothing of INIT and memory: they are 0 there.
    ///
    /// # Errors
    /// [`ProfileError::TooFew`].
    pub fn fit(&self, name: &str) -> Result<Fitted, ProfileError> {
        let service = ServiceWork::fit(&self.cells, false)?;
        let profile = ModelProfile { name: name.to_owned(), service, ..ModelProfile::default() };
        Ok(Fitted { errors: service.errors(&self.cells), profile })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts in a table; a float saturates"
)]
fn cell(memory_mib: f64, items: f64, process_count: f64, seconds: f64) -> Cell {
    let batch = BatchShape {
        items: items as u32,
        process_count: process_count as u32,
        units: 0,
        shard_padded_units: 0,
    };
    Cell { memory: Mebibytes(memory_mib.round() as u32), batch, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "memory_mb,kind,batch,service_ms\n1769,a,1,16\n1769,a,2,26\n1769,a,4,46\n1769,b,4,99\n";

    #[test]
    fn a_table_is_filtered_and_fitted() {
        let table = Table::parse(TEXT, &[("kind", "a")]).unwrap();
        assert_eq!(table.cells.len(), 3);
        let fitted = table.fit("x").unwrap();
        assert!((fitted.profile.service.item_seconds - 0.010).abs() < 1e-4, "{fitted:?}");
        assert!(fitted.errors.worst < 0.01);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| Table::parse(text, &[]).unwrap_err().to_string();
        assert_eq!(error("memory_mb,batch\n1,2\n").split('`').nth(1), Some("ms"));
        assert_eq!(
            error(&TEXT.replace("a,2,26", "a,2,fast")),
            "line 3: `service_ms` must be a number above 0, is `fast`"
        );
        assert!(error(&TEXT.replace("a,4,46", "a,4")).starts_with("line 4"));
    }
}

//! INIT of an empty function on Lambda by memory, for Rust in a zip file and in an image (published daily by lambda-perf).
//!
//! One number for each package and architecture: a floor that no memory shortens. Fitted at the smallest and the largest memory.

use std::collections::BTreeMap;

use super::{Columns, Comparison};
use crate::profile::{ProfileError, relative_errors};

/// Compares with the table of `runtime,package,arch,memory_mb,avg_cold_init_ms`, the rows whose runtime begins with this.
///
/// # Errors
/// Missing columns, values that are no numbers.
pub fn cold_start(text: &str, runtime: &str) -> Result<Vec<Comparison>, ProfileError> {
    let table = Columns::read(text);
    let numbers = table.numbers(["memory_mb", "avg_cold_init_ms"])?;
    let mut groups: BTreeMap<(&str, &str), Vec<[f64; 2]>> = BTreeMap::new();
    for ([name, package, arch], row) in table.texts(["runtime", "package", "arch"])?.into_iter().zip(numbers)
    {
        if name.starts_with(runtime) {
            groups.entry((package, arch)).or_default().push(row);
        }
    }
    Ok(groups.into_iter().map(|((package, arch), rows)| compare(runtime, package, arch, rows)).collect())
}

fn compare(runtime: &str, package: &str, arch: &str, mut rows: Vec<[f64; 2]>) -> Comparison {
    rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    // Fitted at the ends of the ladder, compared also between them.
    let ends = [rows[0][0], rows[rows.len() - 1][0]];
    let (seen, unseen): (Vec<[f64; 2]>, Vec<[f64; 2]>) = rows.iter().partition(|row| ends.contains(&row[0]));
    let floor = seen.iter().map(|row| row[1]).sum::<f64>() / seen.len() as f64;
    let errors = |rows: &[[f64; 2]]| relative_errors(rows.iter().map(|row| (floor, row[1])));
    Comparison {
        source: format!("lambda-perf, {runtime}, {package}, {arch}"),
        quantity: "INIT of an empty function, 128 to 1024 MB".to_owned(),
        law: format!("floor {floor:.1} ms"),
        errors: errors(&seen),
        held_out: (!unseen.is_empty()).then(|| errors(&unseen)),
        note: "does not grow as memory shrinks: INIT of an empty function is not paid in credit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_fitted_apart_and_the_middle_is_held_out() {
        let text = "runtime,package,arch,memory_mb,avg_cold_init_ms\nrust,zip,arm64,128,14\nrust,zip,arm64,512,16\n\
                    rust,zip,arm64,1024,14\nrust,image,arm64,128,30\ngo,zip,arm64,128,40\n";
        let found = cold_start(text, "rust").unwrap();
        assert_eq!(found.len(), 2);
        let zip = found.iter().find(|it| it.source.contains("zip")).unwrap();
        assert!((zip.held_out.unwrap().worst - 0.125).abs() < 1e-9, "{zip:?}");
    }
}

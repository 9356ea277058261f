//! Records for other tools: one row an invocation, the same columns as CSV and as Parquet.
//!
//! Deliberately absent: reading them back; the journal is what a session goes on from.

mod parquet_file;
mod table;

use std::path::{Path, PathBuf};

use crate::invocation::Run;

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {reason}", path.display())]
pub struct ExportError {
    path: PathBuf,
    reason: String,
}

impl ExportError {
    fn new(path: &Path, reason: &impl ToString) -> Self {
        Self { path: path.to_path_buf(), reason: reason.to_string() }
    }
}

/// Writes the invocations of `runs` as CSV.
///
/// # Errors
/// [`ExportError`].
pub fn write_csv<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), ExportError> {
    table::write(path, runs).map_err(|error| ExportError::new(path, &error))
}

/// Writes the invocations of `runs` as Parquet, compressed by Zstandard.
///
/// # Errors
/// [`ExportError`].
pub fn write_parquet<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), ExportError> {
    parquet_file::write(path, runs).map_err(|error| ExportError::new(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Invocation, Point, RunKind};
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Float64Type, UInt32Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn run(id: u64, kind: RunKind) -> Run {
        let call = |init_us: Option<u64>, error: Option<&str>| Invocation {
            version: "7".to_owned(),
            cold: init_us.is_some(),
            init_us,
            process_cpu_us: vec![1500, 2500],
            cost_usd: 4e-6,
            error: error.map(str::to_owned),
            ..Invocation::default()
        };
        Run {
            id,
            model: "m, \"quoted\"".to_owned(),
            point: Point { memory_mib: 1024, process_count: 2, items: 8, concurrency: 2 },
            kind,
            simulated: false,
            started_ms: 1_700_000_000_000,
            total_us: 90_000,
            spent_ms: 95,
            invocations: vec![call(Some(250_500), None), call(None, Some("it failed"))],
        }
    }

    #[test]
    fn both_files_have_the_same_rows_and_columns() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [run(0, RunKind::Cold), run(1, RunKind::Warm)];
        let (csv, parquet) = (folder.path().join("a.csv"), folder.path().join("a.parquet"));
        write_csv(&csv, runs.iter()).unwrap();
        write_parquet(&parquet, runs.iter()).unwrap();
        let mut reader = csv::Reader::from_path(&csv).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let file = std::fs::File::open(&parquet).unwrap();
        let batches: Vec<_> = ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let all: usize = batches.iter().map(arrow_array::RecordBatch::num_rows).sum();
        assert_eq!((rows.len(), all), (4, 4));
        let schema = batches[0].schema();
        assert_eq!(schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>(), header);
        let cell = |row: usize, name: &str| {
            rows[row].get(header.iter().position(|column| column == name).unwrap()).unwrap()
        };
        assert_eq!((cell(0, "init_ms"), cell(1, "init_ms"), cell(1, "error")), ("250.5", "", "it failed"));
        assert_eq!(
            (cell(0, "process_cpu_ms"), cell(3, "kind"), cell(2, "model")),
            ("1.5 2.5", "warm", "m, \"quoted\"")
        );
        let column = |name: &str| batches[0].column_by_name(name).unwrap();
        assert!(column("init_ms").is_null(1) && !column("init_ms").is_null(0));
        assert_eq!(column("concurrency").as_primitive::<UInt32Type>().value(3), 2);
        let cpu = column("process_cpu_ms").as_list::<i32>().value(0);
        assert_eq!(cpu.as_primitive::<Float64Type>().values(), &[1.5, 2.5]);
        assert!((column("cost_per_item_usd").as_primitive::<Float64Type>().value(0) - 5e-7).abs() < 1e-15);
    }

    #[test]
    fn no_runs_are_a_file_with_columns_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write_parquet(&path, std::iter::empty()).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().fields().len(), 31);
        let missing = write_csv(Path::new("/nonexistent/a.csv"), std::iter::empty()).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/a.csv"));
    }
}

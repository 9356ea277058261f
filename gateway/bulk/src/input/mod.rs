//! Readers of data sets: one line (or row) at a time, from any place on, in memory that does not grow with the input.
//!
//! Every format gives JSON objects, so that behind this point nobody knows which it was. A *position* is where a line begins: a byte offset in
//! JSON Lines and CSV, a row number in Parquet.

mod blob;
mod csv;
mod duplicates;
mod identity;
mod jsonl;
mod parquet;
mod survey;

pub(crate) use self::blob::Blob;
pub(crate) use self::survey::{Survey, survey};
use crate::{BulkError, DataFormat, InputSpec, LineFault};

/// Longest line that is read, bytes: far above what fits an invocation. Longer ones fail, and are passed over without being held.
pub(crate) const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;

/// Where to begin: line (from 0) and its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) position: u64,
}

/// One line as read. Reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct RawLine {
    /// Its index, from 0.
    pub(crate) line: u64,
    /// Where the line behind it begins.
    pub(crate) end: u64,
    /// A JSON object, if there is no fault.
    pub(crate) json: Vec<u8>,
    /// Why it cannot be read.
    pub(crate) fault: Option<LineFault>,
}

/// Reads lines in order.
pub(crate) trait Lines: Send {
    /// The next line that is not blank; false at the end.
    fn next(&mut self, line: &mut RawLine) -> Result<bool, BulkError>;
}

/// A reader that begins at `from`.
pub(crate) fn lines(blob: &Blob, spec: &InputSpec, from: Place) -> Result<Box<dyn Lines>, BulkError> {
    Ok(match spec.format {
        DataFormat::Jsonl => Box::new(jsonl::JsonLines::new(blob, from)?),
        DataFormat::Csv => Box::new(csv::CsvLines::new(blob, spec, from)?),
        DataFormat::Parquet => Box::new(parquet::ParquetLines::new(blob, spec, from)?),
    })
}

/// The columns that a table is read for: the id's and those of the model's inputs.
fn wanted_columns(spec: &InputSpec) -> Vec<&str> {
    let mut wanted = vec![spec.id_field.as_str()];
    for column in spec.columns.values().flatten() {
        if !wanted.contains(&column.as_str()) {
            wanted.push(column);
        }
    }
    wanted
}

/// The id of a line as its JSON names it: the member `id_field` as text; `None` if it has none.
#[must_use]
pub fn line_id(json: &[u8], id_field: &str) -> Option<String> {
    identity::find(json, id_field)
}

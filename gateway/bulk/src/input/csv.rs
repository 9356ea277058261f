//! CSV with a header line. A row becomes an object of the wanted columns, all of them text; positions are byte offsets.

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::blob::{Blob, BlobReader};
use super::{Lines, Place, RawLine, wanted_columns};
use crate::codec::push_string;
use crate::{BulkError, InputSpec, LineFault};

/// Reader of CSV rows.
pub(super) struct CsvLines {
    blob: Blob,
    reader: Reader<BlobReader>,
    /// Offset of the reader's first byte in the file.
    base: u64,
    line: u64,
    /// Names of wanted columns, and where they stand.
    columns: Vec<(String, usize)>,
    width: usize,
    record: ByteRecord,
}

impl CsvLines {
    pub(super) fn new(blob: &Blob, spec: &InputSpec, from: Place) -> Result<Self, BulkError> {
        let open = |offset: u64| -> Result<Reader<BlobReader>, BulkError> {
            let source = blob.reader(offset).map_err(|error| blob.unreadable(error))?;
            Ok(ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .buffer_capacity(256 * 1024)
                .from_reader(source))
        };
        let mut reader = open(0)?;
        let mut header = ByteRecord::new();
        reader.read_byte_record(&mut header).map_err(|error| blob.unreadable(error))?;
        let mut columns = Vec::new();
        for wanted in wanted_columns(spec) {
            let named = |name: &[u8]| name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) == wanted.as_bytes();
            match header.iter().position(named) {
                Some(index) => columns.push((wanted.to_owned(), index)),
                None if wanted == spec.id_field => {} // rows are then named by their numbers
                None => return Err(blob.unreadable(format_args!("the header has no column `{wanted}`"))),
            }
        }
        let base = if from.position == 0 { 0 } else { from.position };
        if base > 0 {
            reader = open(base)?;
        }
        let record = ByteRecord::new();
        Ok(Self { blob: blob.clone(), reader, base, line: from.line, columns, width: header.len(), record })
    }

    fn object(&self, out: &mut Vec<u8>) -> Option<LineFault> {
        out.clear();
        if self.record.len() != self.width {
            let text = format!("the row has {} fields, the header {}", self.record.len(), self.width);
            return Some(LineFault::invalid(text));
        }
        out.push(b'{');
        for (index, (name, column)) in self.columns.iter().enumerate() {
            let value = self.record.get(*column).unwrap_or_default();
            let Ok(text) = std::str::from_utf8(value) else {
                return Some(LineFault::invalid(format!("`{name}` is not UTF-8")));
            };
            if index > 0 {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            push_string(out, text);
        }
        out.push(b'}');
        None
    }
}

impl Lines for CsvLines {
    fn next(&mut self, line: &mut RawLine) -> Result<bool, BulkError> {
        let read = self.reader.read_byte_record(&mut self.record);
        if !read.map_err(|error| self.blob.unreadable(error))? {
            return Ok(false);
        }
        line.line = self.line;
        self.line += 1;
        line.end = self.base + self.reader.position().byte();
        line.fault = self.object(&mut line.json);
        Ok(true)
    }
}

//! JSON Lines: one object a line, positions are byte offsets. Whether a line is JSON is the codec's to say.

use std::io::{BufRead, BufReader};

use super::blob::{Blob, BlobReader};
use super::{Lines, MAX_LINE_BYTES, Place, RawLine};
use crate::{BulkError, LineFault};

/// Reader of JSON Lines.
pub(super) struct JsonLines {
    blob: Blob,
    source: BufReader<BlobReader>,
    at: Place,
}

impl JsonLines {
    pub(super) fn new(blob: &Blob, from: Place) -> Result<Self, BulkError> {
        let source = blob.reader(from.position).map_err(|error| blob.unreadable(error))?;
        Ok(Self { blob: blob.clone(), source: BufReader::with_capacity(256 * 1024, source), at: from })
    }

    /// Reads up to and with the next line feed; gives the bytes passed, 0 at the end. What is beyond the bound is passed over.
    fn read(&mut self, json: &mut Vec<u8>) -> std::io::Result<(u64, bool)> {
        json.clear();
        let (mut passed, mut is_cut) = (0_u64, false);
        loop {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                return Ok((passed, is_cut));
            }
            let feed = buffer.iter().position(|&byte| byte == b'\n');
            let used = feed.map_or(buffer.len(), |position| position + 1);
            if passed + used as u64 > MAX_LINE_BYTES {
                is_cut = true;
            } else {
                json.extend_from_slice(&buffer[..used]);
            }
            passed += used as u64;
            self.source.consume(used);
            if feed.is_some() {
                return Ok((passed, is_cut));
            }
        }
    }
}

impl Lines for JsonLines {
    fn next(&mut self, line: &mut RawLine) -> Result<bool, BulkError> {
        loop {
            let is_first = self.at.position == 0;
            let (passed, is_cut) = self.read(&mut line.json).map_err(|error| self.blob.unreadable(error))?;
            if passed == 0 {
                return Ok(false);
            }
            line.line = self.at.line;
            self.at = Place { line: self.at.line + 1, position: self.at.position + passed };
            line.end = self.at.position;
            if is_first && line.json.starts_with(b"\xef\xbb\xbf") {
                line.json.drain(..3);
            }
            while line.json.last().is_some_and(u8::is_ascii_whitespace) {
                line.json.pop();
            }
            line.fault = is_cut.then(|| LineFault {
                code: "line_too_long",
                message: format!("the line has {passed} bytes, more than {MAX_LINE_BYTES}"),
            });
            if is_cut || !line.json.is_empty() {
                return Ok(true);
            }
        }
    }
}

//! Puts the spool's lines in the order of the input.
//!
//! Lines of a sorted job carry `C` (first of a chunk) or a blank, 20 digits of line number and a tab. Within a chunk they are in order, and chunks
//! do not overlap: so it is enough to remember where each chunk lies, and to copy them in order. Memory grows with chunks, not with lines.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::BulkError;

/// Bytes before a line: mark, number, tab.
const PREFIX: usize = 22;

struct Piece {
    line: u64,
    offset: u64,
    bytes: u64,
}

/// Writes `from`, sorted and without the marks, to `to`.
pub(super) fn sort(from: &Path, to: &Path) -> Result<(), BulkError> {
    sort_io(from, to).map_err(BulkError::io(format!("sort `{}`", from.display())))
}

fn sort_io(from: &Path, to: &Path) -> std::io::Result<()> {
    let damaged = || std::io::Error::other("the spool is damaged");
    let mut source = BufReader::with_capacity(256 * 1024, File::open(from)?);
    let mut line = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut offset = 0;
    while source.read_until(b'\n', &mut line)? > 0 {
        let bytes = line.len() as u64;
        if line.first() == Some(&b'C') {
            let digits = line.get(1..PREFIX - 1).and_then(|digits| std::str::from_utf8(digits).ok());
            let number = digits.and_then(|digits| digits.parse().ok()).ok_or_else(damaged)?;
            pieces.push(Piece { line: number, offset, bytes });
        } else {
            pieces.last_mut().ok_or_else(damaged)?.bytes += bytes;
        }
        offset += bytes;
        line.clear();
    }
    pieces.sort_unstable_by_key(|piece| piece.line);
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(to)?);
    for piece in pieces {
        source.seek(SeekFrom::Start(piece.offset))?;
        let mut left = piece.bytes;
        while left > 0 {
            line.clear();
            let read = source.read_until(b'\n', &mut line)?;
            out.write_all(line.get(PREFIX..).ok_or_else(damaged)?)?;
            left = left.saturating_sub(read as u64);
        }
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_in_any_order_become_lines_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let text: String = [('C', 7), (' ', 9), ('C', 1), (' ', 2), ('C', 3), ('C', 11)]
            .map(|(mark, number)| format!("{mark}{number:020}\tline {number}\n"))
            .concat();
        std::fs::write(&from, text).unwrap();
        sort(&from, &to).unwrap();
        let sorted = std::fs::read_to_string(&to).unwrap();
        assert_eq!(sorted, "line 1\nline 2\nline 3\nline 7\nline 9\nline 11\n");
    }
}

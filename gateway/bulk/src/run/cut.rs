//! Reads what is not done yet and cuts it into chunks: on a thread of its own, as reading and decoding block.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use workers_protocol::ModelManifest;

use super::shared::Shared;
use crate::chunk::{Bounds, Chunk, FaultyLine, Room, WorkLine};
use crate::input::{Blob, Lines, Place, RawLine, line_id, lines};
use crate::store::{Checkpoint, Span};
use crate::{BulkError, InputSpec, LineCodec, LineFault};

/// A part of the input that is not done: from a place up to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    from: Place,
    until: Option<u64>,
}

/// What the checkpoint leaves open, in order.
fn gaps(checkpoint: &Checkpoint) -> Vec<Gap> {
    let mut from = Place { line: checkpoint.done_lines, position: checkpoint.done_position };
    let mut gaps = Vec::with_capacity(checkpoint.spans.len() + 1);
    for span in checkpoint.spans.values() {
        gaps.push(Gap { from, until: Some(span.first_line) });
        from = Place { line: span.next_line(), position: span.end };
    }
    gaps.push(Gap { from, until: None });
    gaps
}

/// What is to be done with lines.
#[derive(Clone)]
pub(crate) enum Mode {
    /// Decode them.
    Answer(Arc<dyn LineCodec>),
    /// Give them up.
    GiveUp(LineFault),
}

/// Cuts a job's input.
pub(crate) struct Cutter {
    pub(crate) blob: Blob,
    pub(crate) spec: InputSpec,
    pub(crate) manifest: Arc<ModelManifest>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) max_request_bytes: u64,
    pub(crate) mode: Mode,
    /// Items of each chunk, after the last of which it is cut no further; `None`: chunks of `shared.max_items` to the end.
    pub(crate) sizes: Option<Vec<u32>>,
    pub(crate) sender: mpsc::Sender<Chunk>,
}

impl Cutter {
    /// Cuts until the end, or until nobody takes chunks any more. Blocks.
    pub(crate) fn run(mut self, checkpoint: &Checkpoint) -> Result<(), BulkError> {
        if let Some(sizes) = &mut self.sizes {
            sizes.reverse();
        }
        for gap in gaps(checkpoint) {
            let mut reader = lines(&self.blob, &self.spec, gap.from)?;
            if !self.cut(&mut *reader, gap)? {
                break;
            }
        }
        Ok(())
    }

    fn room(&self) -> Room {
        let max_items = match &self.sizes {
            Some(sizes) => sizes.last().copied().unwrap_or(1),
            None => self.shared.max_items.load(Ordering::Relaxed),
        };
        Room::new(Bounds::new(max_items, self.max_request_bytes, &self.manifest), &self.manifest)
    }

    /// False once nobody takes chunks.
    fn cut(&mut self, reader: &mut dyn Lines, gap: Gap) -> Result<bool, BulkError> {
        let mut raw = RawLine::default();
        let mut open = Open::new(gap.from, self.room());
        while reader.next(&mut raw)? {
            if gap.until.is_some_and(|until| raw.line >= until) {
                break;
            }
            match self.read(&mut raw) {
                Ok(line) => {
                    if !open.room.fits(&line.decoded) && !self.send(&mut open) {
                        return Ok(false);
                    }
                    open.room.take(&line.decoded);
                    open.lines.push(line);
                }
                Err(faulty) => {
                    open.room.take_fault();
                    open.faults.push(faulty);
                }
            }
            open.next = Place { line: raw.line + 1, position: raw.end };
            if open.room.is_full() && !self.send(&mut open) {
                return Ok(false);
            }
        }
        Ok(self.send(&mut open))
    }

    fn read(&self, raw: &mut RawLine) -> Result<WorkLine, FaultyLine> {
        let number = raw.line + 1;
        let faulty = |fault| {
            let id = line_id(&raw.json, &self.spec.id_field).unwrap_or_else(|| number.to_string());
            FaultyLine { number, id, fault }
        };
        if let Some(fault) = raw.fault.take() {
            return Err(faulty(fault));
        }
        match &self.mode {
            Mode::GiveUp(fault) => Err(faulty(fault.clone())),
            Mode::Answer(codec) => match codec.decode(number, &raw.json) {
                Ok(decoded) if decoded.items == 0 => Err(faulty(LineFault::invalid("it holds no items"))),
                Ok(mut decoded) => {
                    let named = decoded.id.take().or_else(|| line_id(&raw.json, &self.spec.id_field));
                    let id = named.unwrap_or_else(|| number.to_string());
                    Ok(WorkLine { number, id, decoded })
                }
                Err(fault) => Err(faulty(fault)),
            },
        }
    }

    /// Sends what is open; false if no more is wanted.
    fn send(&mut self, open: &mut Open) -> bool {
        let next = open.next;
        let full = std::mem::replace(open, Open::new(next, self.room()));
        let Some(chunk) = full.close() else { return true };
        let is_taken = self.sender.blocking_send(chunk).is_ok();
        if let Some(sizes) = &mut self.sizes {
            sizes.pop();
            open.room = self.room();
        }
        is_taken && self.sizes.as_ref().is_none_or(|sizes| !sizes.is_empty())
    }
}

/// A chunk being filled.
struct Open {
    from: Place,
    next: Place,
    room: Room,
    lines: Vec<WorkLine>,
    faults: Vec<FaultyLine>,
}

impl Open {
    const fn new(from: Place, room: Room) -> Self {
        Self { from, next: from, room, lines: Vec::new(), faults: Vec::new() }
    }

    fn close(self) -> Option<Chunk> {
        if self.next == self.from {
            return None;
        }
        let span = Span {
            first_line: self.from.line,
            lines: self.next.line - self.from.line,
            start: self.from.position,
            end: self.next.position,
        };
        let items = self.lines.iter().map(|line| line.decoded.items).sum();
        Some(Chunk { span, lines: self.lines, faults: self.faults, items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_read_again_and_nothing_else() {
        let mut checkpoint = Checkpoint::default();
        for first_line in [0, 20, 30, 60] {
            checkpoint.add(Span { first_line, lines: 10, start: first_line * 7, end: (first_line + 10) * 7 });
        }
        let gap = |line: u64, until| Gap { from: Place { line, position: line * 7 }, until };
        assert_eq!(gaps(&checkpoint), [gap(10, Some(20)), gap(40, Some(60)), gap(70, None)]);
    }
}

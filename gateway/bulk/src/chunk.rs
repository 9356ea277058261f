//! Cuts lines into chunks within bounds of items and of bytes. Pure.
//!
//! *Rule.* A chunk takes lines in order until the next one would pass the items, the bytes of the encoded request (base64 and JSON around it
//! included), or the bytes of the answer where the manifest fixes them. A line that is too large by itself becomes a chunk of its own: the runner
//! cuts it between its items.

use workers_protocol::{
    LAMBDA_PAYLOAD_LIMIT_BYTES, ModelManifest, REQUEST_ENVELOPE_BYTES, TensorSpec, encoded_item_len,
};

use crate::store::Span;
use crate::{DecodedLine, LineFault};

/// Bytes of an answer beside its items: header, report of every process, tensor names.
const ANSWER_ENVELOPE_BYTES: usize = 64 * 1024;
/// Lines of any kind that a chunk holds at most, so that an input of nothing but faults is committed now and then.
const MAX_LINES: usize = 10_000;

/// A line to be answered.
#[derive(Debug)]
pub(crate) struct WorkLine {
    /// From 1.
    pub(crate) number: u64,
    /// Its own, or its number.
    pub(crate) id: String,
    pub(crate) decoded: DecodedLine,
}

/// A line that has failed before any invocation.
#[derive(Debug)]
pub(crate) struct FaultyLine {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) fault: LineFault,
}

/// Consecutive lines, run together.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) span: Span,
    pub(crate) lines: Vec<WorkLine>,
    pub(crate) faults: Vec<FaultyLine>,
    /// Of all `lines`.
    pub(crate) items: u32,
}

/// Bounds of one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) max_items: u32,
    pub(crate) max_request_bytes: usize,
}

/// Room of a chunk that is being filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    bounds: Bounds,
    overhead: usize,
    tensors: usize,
    items: u32,
    bytes: usize,
    lines: usize,
}

/// Elements of one item; `None` if its shape is open or its elements vary in size.
fn fixed_bytes(spec: &TensorSpec) -> Option<usize> {
    let size = spec.datatype.element_bytes()?;
    spec.shape.iter().try_fold(size, |bytes, &dim| bytes.checked_mul(usize::try_from(dim).ok()?))
}

/// Most items whose answers fit Lambda's payload, where the manifest says how large an answer is.
pub(crate) fn most_items_by_answer(manifest: &ModelManifest) -> Option<u32> {
    let outputs = &manifest.outputs;
    let raw: usize = outputs.iter().map(fixed_bytes).sum::<Option<usize>>()?;
    let rank = outputs.iter().map(|spec| spec.shape.len()).max().unwrap_or(0);
    let item = encoded_item_len(raw, outputs.len(), rank);
    u32::try_from((LAMBDA_PAYLOAD_LIMIT_BYTES - ANSWER_ENVELOPE_BYTES) / item).ok()
}

impl Bounds {
    /// What is asked for, cut down to what Lambda takes.
    pub(crate) fn new(max_items: u32, max_request_bytes: u64, manifest: &ModelManifest) -> Self {
        let most = LAMBDA_PAYLOAD_LIMIT_BYTES - REQUEST_ENVELOPE_BYTES;
        Self {
            max_items: max_items.min(most_items_by_answer(manifest).unwrap_or(u32::MAX)).max(1),
            max_request_bytes: usize::try_from(max_request_bytes).unwrap_or(most).min(most),
        }
    }
}

impl Room {
    pub(crate) fn new(bounds: Bounds, manifest: &ModelManifest) -> Self {
        let inputs = &manifest.inputs;
        let rank = inputs.iter().map(|spec| spec.shape.len()).max().unwrap_or(0);
        let overhead = encoded_item_len(0, inputs.len(), rank);
        Self { bounds, overhead, tensors: inputs.len(), items: 0, bytes: 0, lines: 0 }
    }

    /// Upper bound of the bytes that a line adds to a request.
    fn encoded_bytes(&self, line: &DecodedLine) -> usize {
        let raw: usize = line.inputs.iter().map(|tensor| tensor.data.len().div_ceil(3) * 4).sum();
        raw + 4 * self.tensors + line.items as usize * self.overhead
    }

    /// Whether the line still fits; an empty chunk takes any.
    pub(crate) fn fits(&self, line: &DecodedLine) -> bool {
        self.items == 0
            || (self.items.saturating_add(line.items) <= self.bounds.max_items
                && self.bytes + self.encoded_bytes(line) <= self.bounds.max_request_bytes)
    }

    /// Takes a line.
    pub(crate) fn take(&mut self, line: &DecodedLine) {
        self.items = self.items.saturating_add(line.items);
        self.bytes += self.encoded_bytes(line);
        self.lines += 1;
    }

    /// Takes a line without items.
    pub(crate) fn take_fault(&mut self) {
        self.lines += 1;
    }

    /// Whether nothing more may be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.items >= self.bounds.max_items
            || self.bytes >= self.bounds.max_request_bytes
            || self.lines >= MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LineTensor;

    fn manifest(output: &str) -> ModelManifest {
        ModelManifest::parse(&format!(
            "name = 'm'\nversion = '1'\nengine = 'identity'\n\
             inputs = [{{ name = 'x', datatype = 'BYTES', shape = [1] }}]\noutputs = [{output}]"
        ))
        .unwrap()
    }

    fn line(items: u32, bytes: usize) -> DecodedLine {
        let tensor = LineTensor { item_shape: vec![1], data: vec![0; bytes].into(), item_ends: None };
        DecodedLine { items, inputs: vec![tensor], ..DecodedLine::default() }
    }

    #[test]
    fn a_chunk_is_full_at_its_items_or_its_bytes() {
        let manifest = manifest("{ name = 'y', datatype = 'BYTES', shape = [1] }");
        let mut room = Room::new(Bounds::new(3, 10_000, &manifest), &manifest);
        assert!(room.fits(&line(50, 99_999)), "an empty chunk takes any line");
        room.take(&line(2, 100));
        assert!(room.fits(&line(1, 100)) && !room.fits(&line(2, 100)));
        assert!(!room.fits(&line(1, 7_500)), "7,500 bytes are 10,000 in base64");
        room.take(&line(1, 100));
        assert!(room.is_full());
    }

    #[test]
    fn the_manifest_bounds_the_answer() {
        let vectors = manifest("{ name = 'y', datatype = 'FP32', shape = [384] }");
        let most = most_items_by_answer(&vectors).unwrap();
        // 384 × 4 bytes are 2,048 in base64: about 3,000 of them in 6 MiB.
        assert!((2_900..3_050).contains(&most), "{most}");
        assert_eq!(Bounds::new(100_000, u64::MAX, &vectors).max_items, most);
        assert_eq!(most_items_by_answer(&manifest("{ name = 'y', datatype = 'FP32', shape = [-1] }")), None);
    }
}

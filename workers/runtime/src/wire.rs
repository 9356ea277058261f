//! Frames between the supervisor and a model process: a shard down, parts of its answer up.
//!
//! Both ends are forks of one binary, so there is no version; still every length is checked, as a process whose memory went
//! bad must not take the supervisor with it. A shard is answered by one or more parts, the last one marked: what a dead
//! process had already answered is kept, and each part is a sign of life.
//! Deliberately absent: JSON and base64 (the supervisor speaks those once per batch), and any compression.

use bytes::{Buf, BufMut, Bytes};
use workers_protocol::{Datatype, ItemErrorCode, ItemShapes, Tensor};

/// Largest frame, in bytes: above any batch that fits a Lambda payload, with room for outputs that will turn out too large.
pub(crate) const MAX_FRAME_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of the length that precedes each frame.
pub(crate) const PREFIX_BYTES: usize = 4;

/// Work for a model process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shard {
    /// Number of the task; its parts repeat it.
    pub(crate) task: u64,
    /// Number of items; 0 asks for one run of the warm-up item.
    pub(crate) items: u32,
    /// The inputs in the manifest's order.
    pub(crate) inputs: Vec<Tensor>,
}

/// A piece of a shard's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// Number of the task.
    pub(crate) task: u64,
    /// Whether the shard is done.
    pub(crate) last: bool,
    /// Positions, within the shard, of the items that have values, in the order of `outputs`.
    pub(crate) items: Vec<u32>,
    /// The outputs in the manifest's order; empty when `items` is.
    pub(crate) outputs: Vec<Tensor>,
    /// Items without a value: position, why, and why for people.
    pub(crate) errors: Vec<(u32, ItemErrorCode, String)>,
    /// What it took.
    pub(crate) usage: Usage,
}

/// What a part took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Work units without padding.
    pub(crate) work_units: u64,
    /// Work units with padding.
    pub(crate) padded_units: u64,
    /// Wall time inside the engine, microseconds.
    pub(crate) compute_us: u64,
    /// Of it, what reading prompts took, microseconds.
    pub(crate) prefill_us: u64,
    /// Tokens written.
    pub(crate) generated_tokens: u64,
    /// Wall time of tokenizing, microseconds.
    pub(crate) tokenize_us: u64,
    /// CPU time of the process since its previous part, microseconds.
    pub(crate) cpu_us: u64,
    /// Resident set, bytes.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Adds what another stretch of the same process took; of the resident set the larger one stays.
    pub(crate) fn add(&mut self, later: &Self) {
        self.work_units += later.work_units;
        self.padded_units += later.padded_units;
        self.compute_us += later.compute_us;
        self.prefill_us += later.prefill_us;
        self.generated_tokens += later.generated_tokens;
        self.tokenize_us += later.tokenize_us;
        self.cpu_us += later.cpu_us;
        self.resident_bytes = self.resident_bytes.max(later.resident_bytes);
    }
}

/// A frame that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub(crate) struct FrameError(&'static str);

const CUT_OFF: FrameError = FrameError("it ends too early");

impl Shard {
    /// Writes a frame, length first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out =
            start_frame(64 + self.inputs.iter().map(|tensor| tensor.data.len() + 64).sum::<usize>());
        out.put_u64_le(self.task);
        out.put_u32_le(self.items);
        put_tensors(&mut out, &self.inputs);
        end_frame(out)
    }

    /// Reads a frame without its length.
    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, FrameError> {
        let (task, items) = (u64(&mut frame)?, u32(&mut frame)?);
        Ok(Self { task, items, inputs: tensors(&mut frame)? })
    }
}

impl Part {
    /// Writes a frame, length first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let data: usize = self.outputs.iter().map(|tensor| tensor.data.len() + 64).sum();
        let mut out = start_frame(128 + self.items.len() * 4 + data);
        out.put_u64_le(self.task);
        out.put_u8(u8::from(self.last));
        put_len(&mut out, self.items.len());
        for item in &self.items {
            out.put_u32_le(*item);
        }
        put_tensors(&mut out, &self.outputs);
        put_len(&mut out, self.errors.len());
        for (item, code, message) in &self.errors {
            out.put_u32_le(*item);
            out.put_u8(code_number(*code));
            put_bytes(&mut out, message.as_bytes());
        }
        let usage = self.usage;
        for value in [
            usage.work_units,
            usage.padded_units,
            usage.compute_us,
            usage.prefill_us,
            usage.generated_tokens,
            usage.tokenize_us,
            usage.cpu_us,
            usage.resident_bytes,
        ] {
            out.put_u64_le(value);
        }
        end_frame(out)
    }

    /// Reads a frame without its length.
    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, FrameError> {
        let (task, last) = (u64(&mut frame)?, u8(&mut frame)? != 0);
        let items = (0..len(&mut frame, 4)?).map(|_| u32(&mut frame)).collect::<Result<_, _>>()?;
        let outputs = tensors(&mut frame)?;
        let errors = (0..len(&mut frame, 9)?)
            .map(|_| {
                let (item, code) = (u32(&mut frame)?, code_from_number(u8(&mut frame)?)?);
                let text = take_bytes(&mut frame)?;
                Ok((item, code, String::from_utf8_lossy(&text).into_owned()))
            })
            .collect::<Result<_, _>>()?;
        let usage = Usage {
            work_units: u64(&mut frame)?,
            padded_units: u64(&mut frame)?,
            compute_us: u64(&mut frame)?,
            prefill_us: u64(&mut frame)?,
            generated_tokens: u64(&mut frame)?,
            tokenize_us: u64(&mut frame)?,
            cpu_us: u64(&mut frame)?,
            resident_bytes: u64(&mut frame)?,
        };
        Ok(Self { task, last, items, outputs, errors, usage })
    }
}

fn start_frame(capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + capacity);
    out.put_u32_le(0);
    out
}

fn end_frame(mut out: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(out.len() - PREFIX_BYTES).unwrap_or(u32::MAX); // refused by the reader's bound
    out[..PREFIX_BYTES].copy_from_slice(&len.to_le_bytes());
    out
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

fn put_tensors(out: &mut Vec<u8>, tensors: &[Tensor]) {
    put_len(out, tensors.len());
    for tensor in tensors {
        put_bytes(out, tensor.name.as_bytes());
        out.put_u8(datatype_number(tensor.datatype));
        match &tensor.item_shapes {
            ItemShapes::Same(shape) => {
                out.put_u8(0);
                put_shape(out, shape);
            }
            ItemShapes::Each(shapes) => {
                out.put_u8(1);
                put_len(out, shapes.len());
                shapes.iter().for_each(|shape| put_shape(out, shape));
            }
        }
        put_bytes(out, &tensor.data);
    }
}

fn put_shape(out: &mut Vec<u8>, shape: &[u32]) {
    put_len(out, shape.len());
    shape.iter().for_each(|dim| out.put_u32_le(*dim));
}

fn tensors(frame: &mut Bytes) -> Result<Vec<Tensor>, FrameError> {
    (0..len(frame, 14)?)
        .map(|_| {
            let name = String::from_utf8(take_bytes(frame)?.to_vec())
                .map_err(|_| FrameError("a name is not UTF-8"))?;
            let datatype = datatype_from_number(u8(frame)?)?;
            let item_shapes = match u8(frame)? {
                0 => ItemShapes::Same(shape(frame)?),
                _ => ItemShapes::Each((0..len(frame, 4)?).map(|_| shape(frame)).collect::<Result<_, _>>()?),
            };
            Ok(Tensor { name, datatype, item_shapes, data: take_bytes(frame)? })
        })
        .collect()
}

fn shape(frame: &mut Bytes) -> Result<Vec<u32>, FrameError> {
    (0..len(frame, 4)?).map(|_| u32(frame)).collect()
}

fn take_bytes(frame: &mut Bytes) -> Result<Bytes, FrameError> {
    let len = len(frame, 1)?;
    Ok(frame.split_to(len))
}

/// A count of things of at least `size` bytes each; refused if the frame cannot hold them.
fn len(frame: &mut Bytes, size: usize) -> Result<usize, FrameError> {
    let count = u32(frame)? as usize;
    if count.saturating_mul(size) > frame.len() { Err(CUT_OFF) } else { Ok(count) }
}

fn u8(frame: &mut Bytes) -> Result<u8, FrameError> {
    frame.try_get_u8().map_err(|_| CUT_OFF)
}

fn u32(frame: &mut Bytes) -> Result<u32, FrameError> {
    frame.try_get_u32_le().map_err(|_| CUT_OFF)
}

fn u64(frame: &mut Bytes) -> Result<u64, FrameError> {
    frame.try_get_u64_le().map_err(|_| CUT_OFF)
}

fn datatype_number(datatype: Datatype) -> u8 {
    let position = Datatype::ALL.iter().position(|other| *other == datatype).unwrap_or_default();
    u8::try_from(position).unwrap_or_default()
}

fn datatype_from_number(number: u8) -> Result<Datatype, FrameError> {
    Datatype::ALL.get(usize::from(number)).copied().ok_or(FrameError("unknown datatype"))
}

const CODES: [ItemErrorCode; 6] = [
    ItemErrorCode::InvalidInput,
    ItemErrorCode::ModelFailed,
    ItemErrorCode::ProcessDied,
    ItemErrorCode::ProcessHung,
    ItemErrorCode::OutOfMemory,
    ItemErrorCode::DeadlineExceeded,
];

fn code_number(code: ItemErrorCode) -> u8 {
    let position = CODES.iter().position(|other| *other == code).unwrap_or_default();
    u8::try_from(position).unwrap_or_default()
}

fn code_from_number(number: u8) -> Result<ItemErrorCode, FrameError> {
    CODES.get(usize::from(number)).copied().ok_or(FrameError("unknown error code"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(frame: Vec<u8>) -> Bytes {
        let (prefix, body) = frame.split_at(PREFIX_BYTES);
        assert_eq!(u32::from_le_bytes(prefix.try_into().unwrap()) as usize, body.len(), "length prefix");
        Bytes::from(body.to_vec())
    }

    fn ragged() -> Tensor {
        Tensor {
            name: "x".into(),
            datatype: Datatype::Bf16,
            item_shapes: ItemShapes::Each(vec![vec![1], vec![2, 1], vec![]]),
            data: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]),
        }
    }

    #[test]
    fn shard_round_trips() {
        let same = Tensor { item_shapes: ItemShapes::Same(vec![4]), datatype: Datatype::Bytes, ..ragged() };
        let shard = Shard { task: 1 << 40, items: 3, inputs: vec![ragged(), same] };
        assert_eq!(Shard::decode(body(shard.encode())), Ok(shard));
    }

    #[test]
    fn part_round_trips_with_every_error_code() {
        let errors = CODES.iter().zip(0..).map(|(code, item)| (item, *code, format!("why {item}"))).collect();
        let usage = Usage {
            work_units: 1,
            padded_units: 2,
            compute_us: 3,
            prefill_us: 4,
            generated_tokens: 5,
            tokenize_us: 6,
            cpu_us: 7,
            resident_bytes: 8,
        };
        let part = Part { task: 9, last: true, items: vec![7, 8], outputs: vec![ragged()], errors, usage };
        assert_eq!(Part::decode(body(part.encode())), Ok(part));
    }

    proptest! {
        #[test]
        fn damaged_frames_are_refused_without_panic(at in 0_usize..400, value: u8, cut in 0_usize..400) {
            let part = Part { items: vec![1; 9], outputs: vec![ragged()], errors: vec![(3, CODES[2], "x".repeat(50))], ..Part::default() };
            let mut frame = body(part.encode()).to_vec();
            frame.truncate(cut.max(1));
            let at = at % frame.len();
            frame[at] = value;
            let _ = Part::decode(frame.clone().into());
            let _ = Shard::decode(frame.into());
        }
    }
}

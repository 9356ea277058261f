//! A request in flight: its inputs, the pieces of its answer that have come, and how they are joined.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_contract::{ItemFailure, Timestamp};
use smallvec::SmallVec;
use workers_protocol::Datatype;

use super::ModelRuntime;
use super::command::Reply;
use crate::inference::{Completed, FailedItem, InputTensor, ItemShape, OutputTensor, Receipt};
use crate::telemetry::traces::RequestTrace;

/// A request's tensors, shared with the batches that carry them.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) tensors: Vec<InputTensor>,
    pub(super) items: u32,
    pub(super) trace: Option<RequestTrace>,
}

/// Outputs of a run of consecutive items, all of one shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) first_item: u32,
    pub(super) items: u32,
    pub(super) tensors: SmallVec<[PieceTensor; 1]>,
}

/// One output of a piece: a slice of the answer it came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PieceTensor {
    pub(super) datatype: Datatype,
    pub(super) item_shape: ItemShape,
    pub(super) data: Bytes,
}

/// What a failed item's worker said.
pub(super) type Message = (u32, String);

/// A request without an answer.
pub(super) struct Flight {
    pub(super) model: Arc<ModelRuntime>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) reply: Reply,
    pub(super) arrived: Timestamp,
    pub(super) pieces: SmallVec<[Piece; 1]>,
    pub(super) messages: Vec<Message>,
    pub(super) receipt: Receipt,
}

impl Flight {
    /// Joins the pieces into the request's answer. `failed` as the engine says.
    pub(super) fn complete(mut self, failed: Vec<(u32, ItemFailure)>) -> (Reply, Completed) {
        let mut completed = Completed { receipt: self.receipt, ..Completed::default() };
        if failed.is_empty() {
            match join(std::mem::take(&mut self.pieces), self.inputs.items) {
                Ok(outputs) => completed.outputs = outputs,
                Err(items) => {
                    let message =
                        "the outputs of the items of one request differ in shape; send them one by one";
                    completed.failed = items
                        .into_iter()
                        .map(|item| failure(item, ItemFailure::ModelFailed, Some(message.to_owned())))
                        .collect();
                }
            }
        } else {
            completed.failed = failed
                .into_iter()
                .map(|(item, why)| {
                    let message = self.messages.iter().rposition(|(of, _)| *of == item);
                    failure(item, why, message.map(|index| std::mem::take(&mut self.messages[index].1)))
                })
                .collect();
        }
        (self.reply, completed)
    }
}

fn failure(item: u32, failure: ItemFailure, message: Option<String>) -> FailedItem {
    FailedItem { item, failure, message }
}

/// One tensor per output over all items: the slice itself if one piece holds them all, else one concatenation.
/// Err: the items whose shapes differ from the first's (or all, if pieces are missing).
fn join(mut pieces: SmallVec<[Piece; 1]>, items: u32) -> Result<Vec<OutputTensor>, Vec<u32>> {
    pieces.sort_unstable_by_key(|piece| piece.first_item);
    let mut next = 0;
    for piece in &pieces {
        if piece.first_item != next {
            return Err((0..items).collect());
        }
        next += piece.items;
    }
    let Some((first, rest)) = pieces.split_first().filter(|_| next == items) else {
        return Err((0..items).collect());
    };
    let same = |other: &Piece| {
        other.tensors.len() == first.tensors.len()
            && other
                .tensors
                .iter()
                .zip(&first.tensors)
                .all(|(a, b)| a.item_shape == b.item_shape && a.datatype == b.datatype)
    };
    let ragged: Vec<u32> = rest
        .iter()
        .filter(|piece| !same(piece))
        .flat_map(|piece| piece.first_item..piece.first_item + piece.items)
        .collect();
    if !ragged.is_empty() {
        return Err(ragged);
    }
    let data = |index: usize, tensor: &PieceTensor| {
        if rest.is_empty() {
            return tensor.data.clone();
        }
        let mut joined =
            BytesMut::with_capacity(pieces.iter().map(|piece| piece.tensors[index].data.len()).sum());
        pieces.iter().for_each(|piece| joined.extend_from_slice(&piece.tensors[index].data));
        joined.freeze()
    };
    Ok(first
        .tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| OutputTensor {
            datatype: tensor.datatype,
            item_shape: tensor.item_shape.clone(),
            data: data(index, tensor),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first_item: u32, items: u32, shape: &[u32], data: &'static [u8]) -> Piece {
        let tensor = PieceTensor {
            datatype: Datatype::Uint8,
            item_shape: shape.into(),
            data: Bytes::from_static(data),
        };
        Piece { first_item, items, tensors: [tensor].into_iter().collect() }
    }

    #[test]
    fn one_piece_is_handed_over_without_a_copy() {
        let data: &'static [u8] = &[1, 2, 3, 4];
        let joined = join([piece(0, 2, &[2], data)].into_iter().collect(), 2).unwrap();
        assert_eq!(joined[0].data.as_ptr(), data.as_ptr());
    }

    #[test]
    fn pieces_that_came_out_of_order_are_joined_in_order() {
        let pieces = [piece(2, 1, &[1], b"c"), piece(0, 2, &[1], b"ab"), piece(3, 1, &[1], b"d")];
        let joined = join(pieces.into_iter().collect(), 4).unwrap();
        assert_eq!(&joined[0].data[..], b"abcd");
    }

    #[test]
    fn items_of_another_shape_fail_by_name() {
        let pieces = [piece(0, 1, &[1], b"a"), piece(1, 1, &[2], b"bc"), piece(2, 1, &[1], b"d")];
        assert_eq!(join(pieces.into_iter().collect(), 3).unwrap_err(), [1]);
    }

    #[test]
    fn a_missing_piece_never_shifts_the_others() {
        let pieces = [piece(0, 1, &[1], b"a"), piece(2, 1, &[1], b"c")];
        assert_eq!(join(pieces.into_iter().collect(), 3).unwrap_err(), [0, 1, 2]);
    }
}

//! What the processes gave, put back into the order of the batch and written as one answer.
//!
//! Data is copied once, from a process's frame into the payload. Deliberately absent: any decision about items.

use std::ops::Range;

use workers_protocol::{Answer, ItemError, ItemShapes, ModelManifest, ProtocolError, Report, TensorChunks};

use crate::pool::{Collected, Outcome};
use crate::wire::Part;

/// Where a value lies: number of the part, position in it.
type Place = (usize, usize);

/// Writes the answer. `refused` says, per item, why it was not run.
///
/// # Errors
/// A process gave tensors that do not fit the items it named.
pub(crate) fn encode_answer(
    batch: u64,
    ids: &[u64],
    manifest: &ModelManifest,
    collected: &Collected,
    errors: &[ItemError],
    report: &Report,
) -> Result<Vec<u8>, ProtocolError> {
    let (value_ids, places) = values(ids, collected);
    if places.is_empty() {
        return Ok(Answer::encode(batch, &value_ids, &[], errors, report));
    }
    let outputs = manifest
        .outputs
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            let (item_shapes, chunks) = gather(&collected.parts, &places, index)?;
            Ok(TensorChunks { name: &spec.name, datatype: spec.datatype, item_shapes, chunks })
        })
        .collect::<Result<Vec<_>, ProtocolError>>()?;
    Ok(Answer::encode(batch, &value_ids, &outputs, errors, report))
}

fn values(ids: &[u64], collected: &Collected) -> (Vec<u64>, Vec<Place>) {
    ids.iter()
        .zip(&collected.outcomes)
        .filter_map(|(&id, outcome)| match outcome {
            Some(Outcome::Value { part, index }) => Some((id, (*part as usize, *index as usize))),
            Some(Outcome::Failed(..)) | None => None,
        })
        .unzip()
}

/// One output of all values: their shapes, and their bytes in as few pieces as possible.
fn gather<'a>(
    parts: &'a [Part],
    places: &[Place],
    output: usize,
) -> Result<(ItemShapes, Vec<&'a [u8]>), ProtocolError> {
    let empty = &[] as &[u8];
    if let [part] = parts
        && places.len() == part.items.len()
        && places.iter().enumerate().all(|(position, place)| place.1 == position)
    {
        let tensor = part.outputs.get(output);
        let shapes = tensor.map_or(ItemShapes::Same(Vec::new()), |tensor| tensor.item_shapes.clone());
        return Ok((shapes, vec![tensor.map_or(empty, |tensor| tensor.data.as_ref())]));
    }
    let ranges = parts
        .iter()
        .map(|part| {
            part.outputs.get(output).map_or(Ok(Vec::new()), |tensor| tensor.item_ranges(part.items.len()))
        })
        .collect::<Result<Vec<Vec<Range<usize>>>, _>>()?;
    let (mut shapes, mut chunks) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
    let mut open: Option<(usize, Range<usize>)> = None; // a piece that may still grow
    for &(part, index) in places {
        let (Some(tensor), Some(range)) = (parts[part].outputs.get(output), ranges[part].get(index)) else {
            return Err(ProtocolError::WrongItems { reason: format!("output number {output} is missing") });
        };
        shapes.push(tensor.item_shapes.get(index).unwrap_or_default());
        open = match open.take() {
            Some((same, piece)) if same == part && piece.end == range.start => {
                Some((part, piece.start..range.end))
            }
            other => {
                chunks.extend(other.map(|(part, piece)| &parts[part].outputs[output].data[piece]));
                Some((part, range.clone()))
            }
        };
    }
    chunks.extend(open.map(|(part, piece)| &parts[part].outputs[output].data[piece]));
    Ok((ItemShapes::from_shapes(&shapes), chunks))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use workers_protocol::{Datatype, Tensor};

    use super::*;

    fn part(items: &[u32], data: &'static [u8]) -> Part {
        let y = Tensor {
            name: "y".into(),
            datatype: Datatype::Uint8,
            item_shapes: ItemShapes::Same(vec![2]),
            data: Bytes::from_static(data),
        };
        Part { items: items.to_vec(), outputs: vec![y], ..Part::default() }
    }

    fn manifest() -> ModelManifest {
        ModelManifest::parse(
            "name='m'\nversion='1'\nengine='identity'\n[[inputs]]\nname='x'\ndatatype='UINT8'\nshape=[2]\n[[outputs]]\nname='y'\n\
             datatype='UINT8'\nshape=[2]\n",
        )
        .unwrap()
    }

    #[test]
    fn values_of_several_parts_come_back_in_the_batch_order() {
        let value = |part, index| Some(Outcome::Value { part, index });
        let collected = Collected {
            parts: vec![part(&[3, 0], b"ddaa"), part(&[1], b"bb")],
            outcomes: vec![value(0, 1), value(1, 0), None, value(0, 0)],
            ..Collected::default()
        };
        let payload =
            encode_answer(1, &[10, 11, 12, 13], &manifest(), &collected, &[], &Report::default()).unwrap();
        let answer = Answer::decode(&payload).unwrap();
        assert_eq!(answer.ids, [10, 11, 13]);
        assert_eq!(answer.outputs[0].data.as_ref(), b"aabbdd");
    }

    #[test]
    fn missing_output_is_an_error_and_not_a_shift() {
        let collected = Collected {
            parts: vec![Part { outputs: Vec::new(), ..part(&[0], b"") }, part(&[1], b"bb")],
            outcomes: vec![
                Some(Outcome::Value { part: 0, index: 0 }),
                Some(Outcome::Value { part: 1, index: 0 }),
            ],
            ..Collected::default()
        };
        assert!(encode_answer(1, &[1, 2], &manifest(), &collected, &[], &Report::default()).is_err());
    }
}

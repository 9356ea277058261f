//! A batch against the manifest: which of its items can be fed to the model at all.
//!
//! The gateway checks the same before it packs; here it is checked again, so that a wrong item costs an error of its own and never
//! a process or its neighbours. Deliberately absent: the content of texts (the model processes look at that).

use std::ops::Range;

use workers_protocol::{ItemShapes, ModelManifest, Tensor, WorkUnit};

/// A batch whose inputs stand in the manifest's order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The inputs.
    pub(crate) inputs: Vec<Tensor>,
    /// Per input, the bytes of each item.
    pub(crate) ranges: Vec<Vec<Range<usize>>>,
    /// Number of items.
    pub(crate) items: usize,
    /// Per item, why it cannot be fed to the model.
    pub(crate) refused: Vec<Option<String>>,
}

impl Batch {
    /// Sorts and checks the inputs of a batch of `items`.
    pub(crate) fn new(manifest: &ModelManifest, mut tensors: Vec<Tensor>, items: usize) -> Self {
        let mut batch = Self { inputs: Vec::new(), ranges: Vec::new(), items, refused: vec![None; items] };
        for spec in &manifest.inputs {
            let Some(position) = tensors.iter().position(|tensor| tensor.name == spec.name) else {
                return batch.refuse_all(&format!("input `{}` is missing", spec.name));
            };
            let tensor = tensors.swap_remove(position);
            if tensor.datatype != spec.datatype {
                let (name, given, wanted) = (&spec.name, tensor.datatype, spec.datatype);
                return batch.refuse_all(&format!("input `{name}` is {given}, the model takes {wanted}"));
            }
            match tensor.item_ranges(items) {
                Ok(ranges) => batch.ranges.push(ranges),
                Err(error) => return batch.refuse_all(&error.to_string()),
            }
            batch.check_shapes(&tensor.item_shapes, &spec.name, &spec.shape);
            batch.inputs.push(tensor);
        }
        if let Some(tensor) = tensors.first() {
            let why = format!("the model has no input `{}`", tensor.name);
            return batch.refuse_all(&why);
        }
        batch.check_lengths(manifest);
        batch
    }

    /// Positions of the items that can be fed to the model.
    pub(crate) fn usable(&self) -> Vec<u32> {
        (0..).zip(&self.refused).filter(|(_, refused)| refused.is_none()).map(|(item, _)| item).collect()
    }

    /// Bytes of one item over all inputs.
    pub(crate) fn item_bytes(&self, item: u32) -> usize {
        self.ranges.iter().map(|ranges| ranges[item as usize].len()).sum()
    }

    /// The inputs of some items, in their order.
    pub(crate) fn select(&self, items: &[u32]) -> Vec<Tensor> {
        if items.len() == self.items && items.is_sorted() {
            return self.inputs.clone(); // shares the bytes
        }
        let inputs = self.inputs.iter().zip(&self.ranges);
        inputs
            .map(|(input, ranges)| {
                let mut data =
                    Vec::with_capacity(items.iter().map(|&item| ranges[item as usize].len()).sum());
                items
                    .iter()
                    .for_each(|&item| data.extend_from_slice(&input.data[ranges[item as usize].clone()]));
                let item_shapes = match &input.item_shapes {
                    ItemShapes::Same(shape) => ItemShapes::Same(shape.clone()),
                    ItemShapes::Each(shapes) => ItemShapes::Each(
                        items.iter().filter_map(|&item| shapes.get(item as usize).cloned()).collect(),
                    ),
                };
                Tensor { item_shapes, data: data.into(), ..input.clone() }
            })
            .collect()
    }

    fn refuse_all(mut self, why: &str) -> Self {
        self.refused = vec![Some(why.to_owned()); self.items];
        self
    }

    fn check_shapes(&mut self, shapes: &ItemShapes, name: &str, wanted: &[i64]) {
        let fits = |shape: &[u32]| {
            shape.len() == wanted.len()
                && shape.iter().zip(wanted).all(|(&dim, &want)| want < 0 || want == i64::from(dim))
        };
        let why =
            |shape: &[u32]| format!("input `{name}` has item shape {shape:?}, the model takes {wanted:?}");
        match shapes {
            ItemShapes::Same(shape) if fits(shape) => {}
            ItemShapes::Same(shape) => self.refused = vec![Some(why(shape)); self.items],
            ItemShapes::Each(shapes) => {
                for (refused, shape) in self.refused.iter_mut().zip(shapes).filter(|(_, shape)| !fits(shape))
                {
                    *refused = Some(why(shape));
                }
            }
        }
    }

    /// Lengths in bytes have a bound that is refused; lengths in tokens are cut by the tokenizer instead.
    fn check_lengths(&mut self, manifest: &ModelManifest) {
        let (WorkUnit::Bytes, Some(max_length)) = (manifest.work.unit, manifest.max_length) else {
            return;
        };
        for item in self.usable() {
            let bytes = self.item_bytes(item);
            if bytes > max_length as usize {
                self.refused[item as usize] =
                    Some(format!("the item has {bytes} bytes, the model takes {max_length}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use workers_protocol::Datatype;

    use super::*;

    fn manifest() -> ModelManifest {
        ModelManifest::parse(
            "name='m'\nversion='1'\nengine='identity'\n[[inputs]]\nname='x'\ndatatype='UINT8'\nshape=[-1, 2]\n[[outputs]]\nname='y'\n\
             datatype='UINT8'\nshape=[-1, 2]\n",
        )
        .unwrap()
    }

    fn tensor(name: &str, datatype: Datatype, item_shapes: ItemShapes, bytes: usize) -> Tensor {
        Tensor {
            name: name.into(),
            datatype,
            item_shapes,
            data: Bytes::from((0..u8::try_from(bytes).unwrap()).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn item_of_wrong_shape_is_refused_alone() {
        let shapes = ItemShapes::Each(vec![vec![1, 2], vec![1, 3], vec![2, 2]]);
        let batch = Batch::new(&manifest(), vec![tensor("x", Datatype::Uint8, shapes, 9)], 3);
        assert_eq!(batch.usable(), [0, 2]);
        assert!(batch.refused[1].as_ref().unwrap().contains("[1, 3]"));
        let selected = &batch.select(&[2, 0])[0];
        assert_eq!(selected.data.as_ref(), [5, 6, 7, 8, 0, 1]);
        assert_eq!(selected.item_shapes, ItemShapes::Each(vec![vec![2, 2], vec![1, 2]]));
    }

    #[test]
    fn wrong_datatype_and_unknown_or_missing_inputs_are_named() {
        let same = || ItemShapes::Same(vec![1, 2]);
        let cases = [
            (vec![tensor("x", Datatype::Int8, same(), 2)], "INT8"),
            (vec![tensor("z", Datatype::Uint8, same(), 2)], "`x` is missing"),
            (
                vec![tensor("x", Datatype::Uint8, same(), 2), tensor("z", Datatype::Uint8, same(), 2)],
                "no input `z`",
            ),
        ];
        for (tensors, expected) in cases {
            let batch = Batch::new(&manifest(), tensors, 1);
            assert!(batch.refused[0].as_ref().unwrap().contains(expected), "{:?}", batch.refused);
        }
    }
}

//! A shard's items made ready for the engine: tokenized, grouped into runs, padded.
//!
//! A run holds items that the engine can take together: equal shapes, and for texts similar lengths (see `cut`). The wire never
//! pads; padding happens here, to the longest of the run. Deliberately absent: the engine, and any knowledge of other shards.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use workers_protocol::{Datatype, ItemErrorCode, ItemShapes, ModelManifest, Tensor, WorkUnit};

use super::cut;
use super::text::{TextEncoder, Tokens};
use crate::engine::{EngineTensor, Port};
use crate::wire::Shard;

/// An item that cannot be fed to the model: its position, and why.
pub(crate) type Refused = (u32, ItemErrorCode, String);

/// Items that run together, by position in the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Their positions.
    pub(crate) items: Vec<u32>,
    /// Tokens of the longest; 0 without a tokenizer.
    pub(crate) longest: u32,
}

/// A shard ready to run.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    manifest: &'a ModelManifest,
    shard: &'a Shard,
    /// Per input, the bytes of each item.
    ranges: Vec<Vec<Range<usize>>>,
    /// Tokens of each item; empty without a tokenizer.
    tokens: Vec<Tokens>,
    /// What to run.
    pub(crate) runs: Vec<Run>,
    /// Items left out.
    pub(crate) refused: Vec<Refused>,
    /// Wall time of tokenizing, microseconds.
    pub(crate) tokenize_us: u64,
}

impl<'a> Prepared<'a> {
    /// Tokenizes and groups the items of a shard.
    pub(crate) fn new(manifest: &'a ModelManifest, text: Option<&TextEncoder>, shard: &'a Shard) -> Self {
        let started = Instant::now();
        let mut prepared = Self {
            manifest,
            shard,
            ranges: Vec::new(),
            tokens: Vec::new(),
            runs: Vec::new(),
            refused: Vec::new(),
            tokenize_us: 0,
        };
        for input in &shard.inputs {
            match input.item_ranges(shard.items as usize) {
                Ok(ranges) => prepared.ranges.push(ranges),
                Err(error) => {
                    let why = error.to_string();
                    prepared.refused = (0..shard.items)
                        .map(|item| (item, ItemErrorCode::InvalidInput, why.clone()))
                        .collect();
                    return prepared;
                }
            }
        }
        let mut usable: Vec<u32> = (0..shard.items).collect();
        match (text, prepared.text_input()) {
            (Some(encoder), Some(input)) => {
                usable = prepared.tokenize(encoder, input);
                prepared.tokenize_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            }
            _ => usable.retain(|&item| prepared.keep_text(item)),
        }
        prepared.runs = prepared.group(usable);
        prepared
    }

    /// The engine's inputs for a run.
    pub(crate) fn inputs(&self, run: &Run, ports: &[Port]) -> Vec<EngineTensor> {
        ports.iter().map(|port| self.input(run, port)).collect()
    }

    /// Work units of a run: without padding, and with.
    pub(crate) fn work(&self, run: &Run) -> (u64, u64) {
        let rows = run.items.len() as u64;
        match self.manifest.work.unit {
            WorkUnit::Tokens if !self.tokens.is_empty() => {
                let units = run.items.iter().map(|&item| self.tokens[item as usize].ids.len() as u64).sum();
                (units, rows * u64::from(run.longest))
            }
            WorkUnit::Tokens | WorkUnit::Bytes => {
                let bytes = |item: u32| {
                    self.ranges.iter().map(|ranges| ranges[item as usize].len() as u64).sum::<u64>()
                };
                let units = run.items.iter().map(|&item| bytes(item)).sum();
                (units, units)
            }
            WorkUnit::Items => {
                let units = rows * u64::from(self.manifest.work.per_item);
                (units, units)
            }
        }
    }

    fn text_input(&self) -> Option<usize> {
        let name = &self.manifest.tokenizer.as_ref()?.input;
        self.shard.inputs.iter().position(|input| input.name == *name)
    }

    fn tokenize(&mut self, encoder: &TextEncoder, input: usize) -> Vec<u32> {
        self.tokens = vec![Tokens::default(); self.shard.items as usize];
        let mut usable = Vec::with_capacity(self.tokens.len());
        for item in 0..self.shard.items {
            let bytes = &self.shard.inputs[input].data[self.ranges[input][item as usize].clone()];
            match encoder.encode(bytes.get(4..).unwrap_or_default()) {
                Ok(tokens) => {
                    self.tokens[item as usize] = tokens;
                    usable.push(item);
                }
                Err(error) => self.refused.push((item, ItemErrorCode::InvalidInput, error.to_string())),
            }
        }
        usable
    }

    /// Whether an item's strings can be the engine's: ONNX strings are UTF-8 and end at a zero byte. Refuses the item if not.
    fn keep_text(&mut self, item: u32) -> bool {
        if self.manifest.engine == workers_protocol::Engine::Identity {
            return true;
        }
        for (input, ranges) in self.shard.inputs.iter().zip(&self.ranges) {
            if input.datatype != Datatype::Bytes {
                continue;
            }
            let mut rest = &input.data[ranges[item as usize].clone()];
            while let Some((prefix, tail)) = rest.split_first_chunk::<4>() {
                let (text, tail) = tail.split_at(tail.len().min(u32::from_le_bytes(*prefix) as usize));
                if std::str::from_utf8(text).is_err() || text.contains(&0) {
                    let why = format!("input `{}` must be UTF-8 without zero bytes", input.name);
                    self.refused.push((item, ItemErrorCode::InvalidInput, why));
                    return false;
                }
                rest = tail;
            }
        }
        true
    }

    /// Groups items by shape, then by length.
    fn group(&self, usable: Vec<u32>) -> Vec<Run> {
        let ragged = self.shard.inputs.iter().any(|input| matches!(input.item_shapes, ItemShapes::Each(_)));
        let classes: Vec<Vec<u32>> = if ragged {
            let mut classes: BTreeMap<Vec<&[u32]>, Vec<u32>> = BTreeMap::new();
            for item in usable {
                let shapes = self
                    .shard
                    .inputs
                    .iter()
                    .map(|input| input.item_shapes.get(item as usize).unwrap_or_default());
                classes.entry(shapes.collect()).or_default().push(item);
            }
            classes.into_values().collect()
        } else {
            vec![usable]
        };
        classes.into_iter().filter(|class| !class.is_empty()).flat_map(|class| self.runs_of(class)).collect()
    }

    fn runs_of(&self, mut items: Vec<u32>) -> Vec<Run> {
        if self.tokens.is_empty() {
            return vec![Run { items, longest: 0 }];
        }
        let length = |item: u32| u32::try_from(self.tokens[item as usize].ids.len()).unwrap_or(u32::MAX);
        items.sort_by_key(|&item| length(item));
        let lengths: Vec<u32> = items.iter().map(|&item| length(item)).collect();
        cut::runs(&lengths)
            .into_iter()
            .map(|cut| Run { items: items[cut.clone()].to_vec(), longest: lengths[cut.end - 1] })
            .collect()
    }

    fn input(&self, run: &Run, port: &Port) -> EngineTensor {
        let is_text =
            |name: &str| self.manifest.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.input == name);
        match self.shard.inputs.iter().position(|input| input.name == port.name && !is_text(&input.name)) {
            Some(input) => self.plain_input(run, input),
            None => self.token_input(run, port),
        }
    }

    fn plain_input(&self, run: &Run, index: usize) -> EngineTensor {
        let (input, ranges) = (&self.shard.inputs[index], &self.ranges[index]);
        let first = run.items.first().map_or(0, |&item| item as usize);
        let mut shape = vec![run.items.len()];
        shape.extend(input.item_shapes.get(first).unwrap_or_default().iter().map(|&dim| dim as usize));
        let data = if run.items.len() == ranges.len() && run.items.is_sorted() {
            input.data.to_vec()
        } else {
            run.items.iter().flat_map(|&item| &input.data[ranges[item as usize].clone()]).copied().collect()
        };
        EngineTensor { name: input.name.clone(), datatype: input.datatype, shape, data }
    }

    fn token_input(&self, run: &Run, port: &Port) -> EngineTensor {
        let (rows, longest) = (run.items.len(), run.longest as usize);
        let mut values: Vec<u32> = Vec::with_capacity(rows * longest);
        for &item in &run.items {
            let tokens = &self.tokens[item as usize];
            match port.name.as_str() {
                "attention_mask" => values.extend(tokens.ids.iter().map(|_| 1)),
                "token_type_ids" => values.extend(&tokens.type_ids),
                _ => values.extend(&tokens.ids),
            }
            values.resize(values.len() + longest - tokens.ids.len(), 0);
        }
        // The load allows INT32 and INT64 only.
        let data = if port.datatype == Datatype::Int32 {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else {
            values.iter().flat_map(|&value| i64::from(value).to_le_bytes()).collect()
        };
        EngineTensor { name: port.name.clone(), datatype: port.datatype, shape: vec![rows, longest], data }
    }
}

/// An item of the smallest sensible input, to run the model once before anyone waits: a word, zeros, one element for any length.
/// A generating model writes two tokens, the first from the prompt and the second from its cache.
pub(crate) fn warm_up_shard(manifest: &ModelManifest) -> Shard {
    if manifest.generation.is_some() {
        return generation_warm_up_shard(manifest);
    }
    let inputs = manifest
        .inputs
        .iter()
        .map(|spec| {
            let shape: Vec<u32> = spec.shape.iter().map(|&dim| u32::try_from(dim).unwrap_or(1)).collect();
            let elements: usize = shape.iter().map(|&dim| dim as usize).product();
            let data = match spec.datatype.element_bytes() {
                Some(size) => vec![0; elements * size],
                None => [5_u32.to_le_bytes().as_slice(), b"hello"].concat().repeat(elements),
            };
            Tensor {
                name: spec.name.clone(),
                datatype: spec.datatype,
                item_shapes: ItemShapes::Same(shape),
                data: data.into(),
            }
        })
        .collect();
    Shard { task: 0, items: 1, inputs }
}

fn generation_warm_up_shard(manifest: &ModelManifest) -> Shard {
    let element = |text: &[u8]| [&u32::try_from(text.len()).unwrap_or(0).to_le_bytes(), text].concat();
    let inputs = manifest.inputs.iter().map(|spec| {
        let has_parameters = spec.shape == [-1];
        let parameters = if has_parameters { element(b"{\"max_tokens\":2}") } else { Vec::new() };
        Tensor {
            name: spec.name.clone(),
            datatype: spec.datatype,
            item_shapes: ItemShapes::Same(vec![1 + u32::from(has_parameters)]),
            data: [element(b"hello"), parameters].concat().into(),
        }
    });
    Shard { task: 0, items: 1, inputs: inputs.collect() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn manifest(shape: &str) -> ModelManifest {
        ModelManifest::parse(&format!(
            "name='m'\nversion='1'\nengine='onnxruntime'\nfile='model.onnx'\nsha256='{}'\n[[inputs]]\nname='x'\ndatatype='UINT8'\n\
             shape={shape}\n[[outputs]]\nname='y'\ndatatype='UINT8'\nshape={shape}\n",
            "0".repeat(64)
        ))
        .unwrap()
    }

    fn tensor(item_shapes: ItemShapes, data: &'static [u8]) -> Tensor {
        Tensor { name: "x".into(), datatype: Datatype::Uint8, item_shapes, data: Bytes::from_static(data) }
    }

    #[test]
    fn items_of_equal_shape_run_together() {
        let shapes = ItemShapes::Each(vec![vec![2], vec![1], vec![2]]);
        let shard = Shard { task: 1, items: 3, inputs: vec![tensor(shapes, &[1, 2, 3, 4, 5])] };
        let manifest = manifest("[-1]");
        let prepared = Prepared::new(&manifest, None, &shard);
        let items: Vec<_> = prepared.runs.iter().map(|run| run.items.clone()).collect();
        assert_eq!(items, [vec![1], vec![0, 2]]);
        let ports = [Port { name: "x".into(), datatype: Datatype::Uint8 }];
        let input = &prepared.inputs(&prepared.runs[1], &ports)[0];
        assert_eq!(
            (input.shape.as_slice(), input.data.as_slice()),
            ([2, 2].as_slice(), [1, 2, 4, 5].as_slice())
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_alone() {
        let text = Tensor {
            datatype: Datatype::Bytes,
            ..tensor(ItemShapes::Same(vec![1]), &[2, 0, 0, 0, b'o', b'k', 1, 0, 0, 0, 0xff, 1, 0, 0, 0, 0])
        };
        let shard = Shard { task: 1, items: 3, inputs: vec![text] };
        let manifest = manifest("[1]");
        let prepared = Prepared::new(&manifest, None, &shard);
        assert_eq!(prepared.runs, [Run { items: vec![0], longest: 0 }]);
        let refused: Vec<_> = prepared.refused.iter().map(|(item, code, _)| (*item, *code)).collect();
        assert_eq!(refused, [(1, ItemErrorCode::InvalidInput), (2, ItemErrorCode::InvalidInput)]);
    }
}

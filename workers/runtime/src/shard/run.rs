//! A shard through the engine, and its answer item by item.
//!
//! A run that the engine fails is repeated one item at a time, so that only the guilty ones have no value. Parts are handed out
//! as soon as they are there: each run is one part and a sign of life.
//! Deliberately absent: sockets and processes; this is the same code in a model process, in the warm-up, and in tests.

use std::time::Instant;

use bytes::Bytes;
use workers_protocol::{Datatype, ItemErrorCode, ItemShapes, ModelManifest, Tensor, TensorSpec};

use super::prepare::{Prepared, Run};
use super::text::TextEncoder;
use crate::engine::{Engine, EngineError, EngineTensor};
use crate::wire::{Part, Shard, Usage};

/// A loaded model with all that is needed to run shards.
pub(crate) struct Runner {
    manifest: ModelManifest,
    engine: Box<dyn Engine>,
    text: Option<TextEncoder>,
}

impl Runner {
    /// Joins a manifest with its engine and tokenizer.
    ///
    /// # Errors
    /// What the manifest says and what the model has do not fit; the text names the tensor.
    pub(crate) fn new(
        manifest: ModelManifest,
        engine: Box<dyn Engine>,
        text: Option<TextEncoder>,
    ) -> Result<Self, EngineError> {
        check_ports(&manifest, engine.as_ref())?;
        Ok(Self { manifest, engine, text })
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    /// Runs a shard and hands out the parts of its answer, the last one marked.
    ///
    /// # Errors
    /// What `emit` says; the rest of the shard is then left.
    pub(crate) fn run<E>(
        &mut self,
        shard: &Shard,
        mut emit: impl FnMut(Part) -> Result<(), E>,
    ) -> Result<(), E> {
        let prepared = Prepared::new(&self.manifest, self.text.as_ref(), shard);
        let usage = Usage { tokenize_us: prepared.tokenize_us, ..Usage::default() };
        let mut waiting =
            Part { task: shard.task, errors: prepared.refused.clone(), usage, ..Part::default() };
        let last = prepared.runs.len().checked_sub(1);
        for (index, run) in prepared.runs.iter().enumerate() {
            run_into(&mut waiting, self.engine.as_mut(), &self.manifest, &prepared, run);
            waiting.last = Some(index) == last;
            emit(std::mem::replace(&mut waiting, Part { task: shard.task, ..Part::default() }))?;
        }
        if last.is_none() {
            waiting.last = true;
            emit(waiting)?;
        }
        Ok(())
    }
}

/// Runs some items and adds their values, errors and usage to a part.
fn run_into(
    part: &mut Part,
    engine: &mut dyn Engine,
    manifest: &ModelManifest,
    prepared: &Prepared<'_>,
    run: &Run,
) {
    let (work, padded) = prepared.work(run);
    part.usage.work_units += work;
    part.usage.padded_units += padded;
    match timed_run(part, engine, manifest, prepared, run) {
        Ok(outputs) => {
            part.items = run.items.clone();
            part.outputs = outputs;
        }
        Err(EngineError::Run(_)) if run.items.len() > 1 => one_by_one(part, engine, manifest, prepared, run),
        Err(error) => {
            let why = error.to_string();
            part.errors.extend(run.items.iter().map(|&item| (item, ItemErrorCode::ModelFailed, why.clone())));
        }
    }
}

fn one_by_one(
    part: &mut Part,
    engine: &mut dyn Engine,
    manifest: &ModelManifest,
    prepared: &Prepared<'_>,
    run: &Run,
) {
    let mut values: Vec<Vec<Tensor>> = Vec::new();
    for &item in &run.items {
        let alone = Run { items: vec![item], longest: run.longest };
        part.usage.padded_units += prepared.work(&alone).1;
        match timed_run(part, engine, manifest, prepared, &alone) {
            Ok(outputs) => {
                part.items.push(item);
                values.push(outputs);
            }
            Err(error) => part.errors.push((item, ItemErrorCode::ModelFailed, error.to_string())),
        }
    }
    part.outputs = join(&values);
}

fn timed_run(
    part: &mut Part,
    engine: &mut dyn Engine,
    manifest: &ModelManifest,
    prepared: &Prepared<'_>,
    run: &Run,
) -> Result<Vec<Tensor>, EngineError> {
    let inputs = prepared.inputs(run, engine.inputs());
    let started = Instant::now();
    let outputs = engine.run(run.items.len(), inputs);
    part.usage.compute_us += u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    pick_outputs(manifest, outputs?)
}

/// The manifest's outputs out of what the engine gave, with the shapes that the manifest says.
fn pick_outputs(
    manifest: &ModelManifest,
    mut outputs: Vec<EngineTensor>,
) -> Result<Vec<Tensor>, EngineError> {
    manifest
        .outputs
        .iter()
        .map(|spec| {
            let position = outputs.iter().position(|output| output.name == spec.name);
            let position = position
                .ok_or_else(|| EngineError::Contract(format!("the model gave no `{}`", spec.name)))?;
            let output = outputs.swap_remove(position);
            let shape = item_shape(spec, output.shape.get(1..).unwrap_or_default())?;
            let data = Bytes::from(output.data);
            Ok(Tensor {
                name: output.name,
                datatype: spec.datatype,
                item_shapes: ItemShapes::Same(shape),
                data,
            })
        })
        .collect()
}

/// An item's shape as the manifest has it. Some exporters give `[N, 1]` for a label, others `[N]`: what counts is the number of
/// elements, unless the manifest leaves a dimension open.
fn item_shape(spec: &TensorSpec, given: &[usize]) -> Result<Vec<u32>, EngineError> {
    let small = |dim: usize| u32::try_from(dim).unwrap_or(u32::MAX);
    let wanted: Option<Vec<u32>> = spec.shape.iter().map(|&dim| u32::try_from(dim).ok()).collect();
    let fits = match &wanted {
        Some(shape) => {
            shape.iter().map(|&dim| dim as usize).product::<usize>() == given.iter().product::<usize>()
        }
        None => {
            spec.shape.len() == given.len()
                && spec
                    .shape
                    .iter()
                    .zip(given)
                    .all(|(&dim, &given)| dim < 0 || dim == i64::from(small(given)))
        }
    };
    if !fits {
        let (name, shape) = (&spec.name, &spec.shape);
        return Err(EngineError::Contract(format!(
            "output `{name}` has item shape {given:?}, `model.toml` says {shape:?}"
        )));
    }
    Ok(wanted.unwrap_or_else(|| given.iter().map(|&dim| small(dim)).collect()))
}

/// Outputs of single items, one after the other.
fn join(values: &[Vec<Tensor>]) -> Vec<Tensor> {
    let Some(first) = values.first() else {
        return Vec::new();
    };
    (0..first.len())
        .map(|output| {
            let tensors = || values.iter().filter_map(|value| value.get(output));
            let shapes: Vec<&[u32]> =
                tensors().map(|tensor| tensor.item_shapes.get(0).unwrap_or_default()).collect();
            let data: Vec<u8> = tensors().flat_map(|tensor| tensor.data.iter().copied()).collect();
            Tensor {
                item_shapes: ItemShapes::from_shapes(&shapes),
                data: data.into(),
                ..first[output].clone()
            }
        })
        .collect()
}

/// Checks at load that every input of the model is fed and every output of the manifest exists.
fn check_ports(manifest: &ModelManifest, engine: &dyn Engine) -> Result<(), EngineError> {
    let refuse = |text: String| Err(EngineError::Load(text));
    let text_input = manifest.tokenizer.as_ref().map(|tokenizer| tokenizer.input.as_str());
    let token_names = ["input_ids", "attention_mask", "token_type_ids"];
    for port in engine.inputs() {
        let spec = manifest
            .inputs
            .iter()
            .find(|spec| spec.name == port.name && text_input != Some(spec.name.as_str()));
        let fed = match spec {
            Some(spec) => spec.datatype == port.datatype,
            None => {
                text_input.is_some()
                    && token_names.contains(&port.name.as_str())
                    && matches!(port.datatype, Datatype::Int64 | Datatype::Int32)
            }
        };
        if !fed {
            return refuse(format!("model input `{}` ({}) is not in `model.toml`", port.name, port.datatype));
        }
    }
    for spec in &manifest.inputs {
        let has_port = engine.inputs().iter().any(|port| port.name == spec.name);
        if text_input != Some(spec.name.as_str()) && !has_port {
            return refuse(format!("`model.toml` names input `{}`, the model has none", spec.name));
        }
    }
    for spec in &manifest.outputs {
        match engine.outputs().iter().find(|port| port.name == spec.name) {
            Some(port) if port.datatype == spec.datatype => {}
            Some(port) => {
                let (name, actual, said) = (&spec.name, port.datatype, spec.datatype);
                return refuse(format!("output `{name}` is {actual} in the model, {said} in `model.toml`"));
            }
            None => {
                return refuse(format!("`model.toml` names output `{}`, the model has none", spec.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{FAULT_FAIL, Identity};

    fn runner(faults: bool) -> Runner {
        let manifest = ModelManifest::parse(
            "name='m'\nversion='1'\nengine='identity'\n[[inputs]]\nname='x'\ndatatype='UINT8'\nshape=[8]\n[[outputs]]\nname='y'\n\
             datatype='UINT8'\nshape=[8]\n",
        )
        .unwrap();
        let engine = Box::new(Identity::new(&manifest, faults));
        Runner::new(manifest, engine, None).unwrap()
    }

    fn shard(items: &[&[u8; 8]]) -> Shard {
        let data: Vec<u8> = items.iter().flat_map(|item| item.iter().copied()).collect();
        let x = Tensor {
            name: "x".into(),
            datatype: Datatype::Uint8,
            item_shapes: ItemShapes::Same(vec![8]),
            data: data.into(),
        };
        Shard { task: 4, items: u32::try_from(items.len()).unwrap(), inputs: vec![x] }
    }

    fn parts(runner: &mut Runner, shard: &Shard) -> Vec<Part> {
        let mut parts = Vec::new();
        runner
            .run(shard, |part| -> Result<(), ()> {
                parts.push(part);
                Ok(())
            })
            .unwrap();
        parts
    }

    #[test]
    fn only_the_guilty_item_fails() {
        let shard = shard(&[b"12345678", FAULT_FAIL, b"abcdefgh"]);
        let parts = parts(&mut runner(true), &shard);
        let [part] = parts.as_slice() else { panic!("one run, one part: {parts:?}") };
        assert!(part.last);
        assert_eq!(part.items, [0, 2]);
        assert_eq!(part.outputs[0].data.as_ref(), b"12345678abcdefgh");
        let errors: Vec<_> = part.errors.iter().map(|(item, code, _)| (*item, *code)).collect();
        assert_eq!(errors, [(1, ItemErrorCode::ModelFailed)]);
    }

    #[test]
    fn fault_words_are_data_unless_switched_on() {
        let shard = shard(&[FAULT_FAIL]);
        assert_eq!(parts(&mut runner(false), &shard)[0].items, [0]);
    }

    #[test]
    fn label_shapes_with_and_without_a_trailing_one_are_the_same() {
        let spec = TensorSpec { name: "label".into(), datatype: Datatype::Int64, shape: vec![] };
        assert_eq!(item_shape(&spec, &[]).unwrap(), Vec::<u32>::new());
        assert_eq!(item_shape(&spec, &[1]).unwrap(), Vec::<u32>::new());
        assert!(item_shape(&spec, &[2]).is_err());
        let open = TensorSpec { shape: vec![-1, 3], ..spec };
        assert_eq!(item_shape(&open, &[5, 3]).unwrap(), [5, 3]);
        assert!(item_shape(&open, &[15]).is_err());
    }
}

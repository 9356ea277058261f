//! The engine that gives each input back as the output of the same position. For measurements of everything around a model,
//! and for tests of the process pool.
//!
//! With faults switched on (environment `PENSTOCK_IDENTITY_FAULTS=1`, off by default) it obeys words in its input, so that a
//! test can make a real model process die, hang, grow or fail. Deliberately absent: any effect of those words otherwise.

use std::time::Duration;

use workers_protocol::{ModelManifest, TensorSpec};

use super::{Engine, EngineError, EngineTensor, Port};

/// The process dies.
pub const FAULT_DIE: &[u8; 8] = b"pen!die.";
/// The process does nothing for an hour.
pub const FAULT_HANG: &[u8; 8] = b"pen!hang";
/// The process fills memory, 4 MiB every 5 ms, up to 2 GiB.
pub const FAULT_GROW: &[u8; 8] = b"pen!grow";
/// The run fails.
pub const FAULT_FAIL: &[u8; 8] = b"pen!fail";
/// The run takes 100 ms more.
pub const FAULT_SLOW: &[u8; 8] = b"pen!slow";

/// The identity engine.
#[derive(Debug)]
pub struct Identity {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    obeys_faults: bool,
}

impl Identity {
    /// An engine with the manifest's inputs and outputs, which pair up by position.
    #[must_use]
    pub fn new(manifest: &ModelManifest, obeys_faults: bool) -> Self {
        let ports = |specs: &[TensorSpec]| {
            specs.iter().map(|spec| Port { name: spec.name.clone(), datatype: spec.datatype }).collect()
        };
        Self { inputs: ports(&manifest.inputs), outputs: ports(&manifest.outputs), obeys_faults }
    }
}

impl Engine for Identity {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, rows: usize, inputs: Vec<EngineTensor>) -> Result<Vec<EngineTensor>, EngineError> {
        if self.obeys_faults {
            inputs.iter().try_for_each(|tensor| obey(&tensor.data))?;
        }
        if inputs.len() != self.outputs.len() {
            return Err(EngineError::Contract(
                "the identity engine needs every input of its manifest".into(),
            ));
        }
        inputs
            .into_iter()
            .zip(&self.outputs)
            .map(|(input, output)| {
                super::check_rows(&output.name, &input.shape, rows)?;
                Ok(EngineTensor { name: output.name.clone(), ..input })
            })
            .collect()
    }
}

fn obey(data: &[u8]) -> Result<(), EngineError> {
    for word in data.windows(8) {
        if word == FAULT_DIE {
            std::process::abort();
        } else if word == FAULT_HANG {
            std::thread::sleep(Duration::from_secs(3600));
        } else if word == FAULT_GROW {
            grow();
        } else if word == FAULT_FAIL {
            return Err(EngineError::Run("asked to fail".into()));
        } else if word == FAULT_SLOW {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

fn grow() {
    const STEP_BYTES: usize = 4 * 1024 * 1024;
    let mut held = Vec::new();
    for _ in 0..512 {
        held.push(std::hint::black_box(vec![1_u8; STEP_BYTES]));
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! What every engine must do: one suite, run against each. A new engine is one more test here.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::path::PathBuf;

use workers_protocol::Datatype;
use workers_runtime::ModelFolder;
use workers_runtime::engine::{self, Engine, EngineError, EngineFiles, EngineTensor};

/// A model that gives its FP32 input `x` of 16 elements back as `y`, loaded through the folder checks.
fn load(folder: &std::path::Path) -> Box<dyn Engine> {
    let folder = ModelFolder::open(folder).unwrap();
    let files = EngineFiles {
        model: folder.check_files().unwrap().model,
        onnx_runtime: std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).unwrap_or_default(),
        identity_faults: false,
    };
    engine::load(&folder.manifest, &files).unwrap()
}

fn rows(count: usize, seed: f32) -> EngineTensor {
    let values = (0..count * 16).flat_map(|index| (index as f32 * 0.5 - seed).to_le_bytes()).collect();
    EngineTensor { name: "x".into(), datatype: Datatype::Fp32, shape: vec![count, 16], data: values }
}

fn conforms(mut engine: Box<dyn Engine>) {
    let ports = |ports: &[engine::Port]| {
        ports.iter().map(|port| (port.name.clone(), port.datatype)).collect::<Vec<_>>()
    };
    assert_eq!(ports(engine.inputs()), [("x".to_owned(), Datatype::Fp32)]);
    assert_eq!(ports(engine.outputs()), [("y".to_owned(), Datatype::Fp32)]);

    for count in [1, 32, 3, 257] {
        let input = rows(count, 7.0);
        let outputs = engine.run(count, vec![input.clone()]).unwrap();
        let [output] = outputs.as_slice() else { panic!("one output") };
        assert_eq!((output.name.as_str(), output.datatype), ("y", Datatype::Fp32));
        assert_eq!(output.shape, [count, 16], "one entry per row");
        assert_eq!(output.data, input.data, "rows keep their order and every bit");
    }

    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE / 2.0];
    let mut input = rows(1, 0.0);
    for (chunk, value) in input.data.chunks_exact_mut(4).zip(special) {
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    assert_eq!(
        engine.run(1, vec![input.clone()]).unwrap()[0].data,
        input.data,
        "NaN, infinities and tiny numbers pass"
    );

    assert!(engine.run(1, Vec::new()).is_err(), "a missing input is an error");
    let wrong_rows = engine.run(2, vec![rows(3, 0.0)]).unwrap_err();
    assert!(matches!(wrong_rows, EngineError::Contract(_)), "{wrong_rows}");
    assert!(wrong_rows.to_string().contains("first dimension"), "it says what is wrong: {wrong_rows}");
    assert_eq!(
        engine.run(2, vec![rows(2, 1.0)]).unwrap()[0].shape,
        [2, 16],
        "an error leaves the engine usable"
    );
}

#[test]
fn identity_engine_conforms() {
    let folder = support::identity_folder("FP32", "[16]");
    conforms(load(folder.path()));
}

#[test]
fn onnx_runtime_conforms() {
    conforms(load(&support::built_model("identity-onnx")));
}

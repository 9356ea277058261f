//! The codec through its public surface: round trips, and what it refuses.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failed test")]

use bytes::Bytes;
use proptest::prelude::*;
use workers_protocol::{
    Answer, CHUNK_REFERENCE_LIMIT_BYTES, ChunkReceipt, ChunkReference, Datatype, ItemError, ItemErrorCode,
    ItemShapes, ModelManifest, PROTOCOL_VERSION, ProtocolError, Report, Request, RequestHeader, Tensor,
    TensorChunks, encoded_item_len,
};

fn header() -> RequestHeader {
    RequestHeader {
        batch: 7,
        model: "minilm".into(),
        model_version: "1".into(),
        process_count: 2,
        hang_after_ms: Some(900),
        ..RequestHeader::default()
    }
}

fn byte_string(text: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    out.extend_from_slice(text);
    out
}

fn chunks<'a>(
    name: &'a str,
    datatype: Datatype,
    item_shapes: ItemShapes,
    chunks: Vec<&'a [u8]>,
) -> TensorChunks<'a> {
    TensorChunks { name, datatype, item_shapes, chunks }
}

#[test]
fn ragged_request_round_trips() {
    let (a, b) = (1.5_f32.to_le_bytes(), [2.5_f32.to_le_bytes(), 3.5_f32.to_le_bytes()].concat());
    let shapes = ItemShapes::from_shapes(&[&[1], &[2]]);
    let payload = header().encode(&[10, 11], &[chunks("x", Datatype::Fp32, shapes.clone(), vec![&a, &b])]);
    let decoded = Request::decode(&payload).unwrap();
    assert_eq!(decoded.header, header());
    assert_eq!(decoded.ids, [10, 11]);
    assert_eq!(decoded.inputs[0].item_shapes, shapes);
    assert_eq!(decoded.inputs[0].item_ranges(2).unwrap(), [0..4, 4..12]);
}

#[test]
fn equal_shapes_are_written_once() {
    assert_eq!(ItemShapes::from_shapes(&[&[4, 2], &[4, 2]]), ItemShapes::Same(vec![4, 2]));
}

#[test]
fn other_version_is_refused_by_name() {
    let payload = String::from_utf8(header().encode(&[], &[])).unwrap().replacen(
        &format!("\"v\":{PROTOCOL_VERSION}"),
        "\"v\":99",
        1,
    );
    let error = Request::decode(payload.as_bytes()).unwrap_err();
    assert_eq!(error, ProtocolError::VersionMismatch { ours: PROTOCOL_VERSION, theirs: 99 });
    assert!(error.to_string().contains("99"), "{error}");
}

#[test]
fn other_version_is_refused_even_if_nothing_else_is_known() {
    assert!(matches!(
        Request::decode(br#"{"v":2,"new":1}"#),
        Err(ProtocolError::VersionMismatch { theirs: 2, .. })
    ));
}

#[test]
fn data_that_does_not_fit_its_shape_is_refused() {
    let payload =
        header().encode(&[1, 2], &[chunks("x", Datatype::Fp32, ItemShapes::Same(vec![2]), vec![&[0; 12]])]);
    assert!(matches!(
        Request::decode(&payload),
        Err(ProtocolError::DataLength { expected: 16, actual: 12, .. })
    ));
}

#[test]
fn byte_string_past_the_end_is_refused() {
    let mut data = byte_string(b"hello");
    data.truncate(7);
    let payload =
        header().encode(&[1], &[chunks("t", Datatype::Bytes, ItemShapes::Same(vec![1]), vec![&data])]);
    assert!(matches!(Request::decode(&payload), Err(ProtocolError::Corrupt { .. })));
}

#[test]
fn shape_product_overflow_is_refused() {
    let shape = ItemShapes::Same(vec![u32::MAX, u32::MAX, u32::MAX]);
    let payload = header().encode(&[1], &[chunks("x", Datatype::Fp64, shape, vec![&[0; 8]])]);
    assert!(matches!(Request::decode(&payload), Err(ProtocolError::Corrupt { .. })));
}

#[test]
fn answer_must_name_each_item_exactly_once() {
    let answer = |ids: &[u64], failed: &[u64]| Answer {
        batch: 7,
        ids: ids.to_vec(),
        outputs: Vec::new(),
        errors: failed
            .iter()
            .map(|&id| ItemError { id, code: ItemErrorCode::ModelFailed, message: "no".into() })
            .collect(),
        report: Report::default(),
    };
    assert_eq!(answer(&[1, 2, 3], &[]).check_answers(7, &[1, 2, 3]), Ok(()));
    assert_eq!(answer(&[3, 1], &[2]).check_answers(7, &[1, 2, 3]), Ok(()), "order is the worker's choice");
    for (ids, failed) in [(&[1, 2][..], &[][..]), (&[1, 2, 2], &[3]), (&[1, 2, 3], &[3]), (&[1, 2, 4], &[])] {
        assert!(matches!(
            answer(ids, failed).check_answers(7, &[1, 2, 3]),
            Err(ProtocolError::WrongItems { .. })
        ));
    }
    assert!(answer(&[1], &[]).check_answers(8, &[1]).is_err(), "another batch's answer");
}

#[test]
fn manifest_paths_cannot_leave_the_folder() {
    let text = |file: &str| {
        format!(
            "name='m'\nversion='1'\nengine='onnxruntime'\nfile='{file}'\nsha256='{}'\n[[inputs]]\nname='x'\ndatatype='FP32'\nshape=[-1]\n\
             [[outputs]]\nname='y'\ndatatype='FP32'\nshape=[2]\n",
            "0".repeat(64)
        )
    };
    ModelManifest::parse(&text("model.onnx")).unwrap();
    for bad in ["../model.onnx", "/etc/passwd", "a/../../b", "a//b", "", "./x", "C:x"] {
        let error = ModelManifest::parse(&text(bad)).unwrap_err();
        assert!(error.to_string().contains("`file`"), "{bad}: {error}");
    }
}

#[test]
fn manifest_refuses_unknown_fields() {
    let error =
        ModelManifest::parse("name='m'\nversion='1'\nengine='identity'\ninputs=[]\noutputs=[]\nsize=3")
            .unwrap_err();
    assert!(error.to_string().contains("size"), "{error}");
}

proptest! {
    #[test]
    fn byte_strings_round_trip_within_the_size_bound(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40)) {
        let items: Vec<Vec<u8>> = texts.iter().map(|text| byte_string(text)).collect();
        let ids: Vec<u64> = (0..items.len() as u64).map(|id| u64::MAX - id).collect();
        let tensor = chunks("text", Datatype::Bytes, ItemShapes::Same(vec![1]), items.iter().map(Vec::as_slice).collect());
        let payload = header().encode(&ids, std::slice::from_ref(&tensor));
        let bound: usize = items.iter().map(|item| encoded_item_len(item.len(), 1, 1)).sum();
        prop_assert!(payload.len() <= bound + workers_protocol::REQUEST_ENVELOPE_BYTES);
        let decoded = Request::decode(&payload).unwrap();
        let ranges = decoded.inputs[0].item_ranges(ids.len()).unwrap();
        for (range, item) in ranges.into_iter().zip(&items) {
            prop_assert_eq!(&decoded.inputs[0].data[range], item.as_slice());
        }
        let answer = Answer::decode(&Answer::encode(7, &ids, &[tensor], &[], &Report::default())).unwrap();
        prop_assert_eq!(&answer.outputs, &decoded.inputs);
        prop_assert_eq!(answer.check_answers(7, &ids), Ok(()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::decode(&payload);
        let _ = Answer::decode(&payload);
        let tensor = Tensor { name: "t".into(), datatype: Datatype::Bytes, item_shapes: ItemShapes::Same(vec![2]), data: Bytes::from(payload) };
        let _ = tensor.item_ranges(3);
    }
}

#[test]
fn a_reference_and_its_receipt_round_trip_and_nothing_else_is_a_reference() {
    let reference =
        ChunkReference { request: "s3://work/j/requests/1".into(), answer: "s3://work/j/answers/1".into() };
    assert_eq!(ChunkReference::decode(&reference.encode()).unwrap(), Some(reference.clone()));
    let receipt = ChunkReceipt {
        batch: 7,
        items: 2,
        errors: 1,
        was_there: false,
        report: Report { handler_us: 5, ..Report::default() },
    };
    assert_eq!(ChunkReceipt::decode(&receipt.encode()).unwrap(), receipt);
    assert_eq!(ChunkReference::decode(&header().encode(&[], &[])).unwrap(), None);
    let long = ChunkReference { request: "x".repeat(CHUNK_REFERENCE_LIMIT_BYTES), ..reference.clone() };
    assert_eq!(ChunkReference::decode(&long.encode()).unwrap(), None);
    let other = String::from_utf8(reference.encode()).unwrap().replacen("\"v\":1", "\"v\":99", 1);
    assert!(matches!(
        ChunkReference::decode(other.as_bytes()),
        Err(ProtocolError::VersionMismatch { theirs: 99, .. })
    ));
}

//! Properties of reading and writing tensors: JSON and binary carry the same bits, and no bytes from outside make a panic.

use bytes::Bytes;
use gateway_contract::ModelId;
use proptest::prelude::*;
use workers_protocol::{Datatype, ModelManifest};

use super::framing::Framing;
use super::request::Source;
use super::{json_output, request, tail, validate};
use crate::http::HttpConfig;

fn with_json_form() -> impl Strategy<Value = Datatype> {
    let usable = |datatype: &Datatype| !matches!(datatype, Datatype::Fp16 | Datatype::Bf16);
    proptest::sample::select(Datatype::ALL.into_iter().filter(usable).collect::<Vec<_>>())
}

/// A tensor of `elements` elements that JSON can carry, made from any bytes.
fn tensor(datatype: Datatype, elements: usize, noise: &[u8]) -> Vec<u8> {
    let mut noise = noise.iter().copied().cycle();
    let mut data = Vec::new();
    for _ in 0..elements {
        let mut next = |count: usize| noise.by_ref().take(count).collect::<Vec<u8>>();
        match datatype {
            Datatype::Bool => data.push(next(1)[0] & 1),
            Datatype::Bytes => {
                let length = usize::from(next(1)[0]) % 9;
                let text: String = next(length).into_iter().map(char::from).collect();
                data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
                data.extend_from_slice(text.as_bytes());
            }
            Datatype::Fp32 => {
                let value = f32::from_le_bytes(next(4).try_into().unwrap());
                data.extend_from_slice(&if value.is_finite() { value } else { 0.1 }.to_le_bytes());
            }
            Datatype::Fp64 => {
                let value = f64::from_le_bytes(next(8).try_into().unwrap());
                data.extend_from_slice(&if value.is_finite() { value } else { 0.1 }.to_le_bytes());
            }
            Datatype::Uint8 | Datatype::Int8 => data.extend_from_slice(&next(1)),
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => {
                data.extend_from_slice(&next(2));
            }
            Datatype::Uint32 | Datatype::Int32 => data.extend_from_slice(&next(4)),
            Datatype::Uint64 | Datatype::Int64 => data.extend_from_slice(&next(8)),
        }
    }
    data
}

fn manifest(datatype: Datatype) -> ModelManifest {
    let tensor = |name| format!("name = \"{name}\"\ndatatype = \"{datatype}\"\nshape = [-1]\n");
    let head = "name = \"m\"\nversion = \"1\"\nengine = \"identity\"\n";
    ModelManifest::parse(&format!("{head}[[inputs]]\n{}[[outputs]]\n{}", tensor("x"), tensor("y"))).unwrap()
}

proptest! {
    #[test]
    fn json_carries_every_bit(
        datatype in with_json_form(),
        rows in 1_usize..5,
        columns in 0_usize..5,
        noise in proptest::collection::vec(any::<u8>(), 1..300),
        nested in any::<bool>(),
        data_first in any::<bool>(),
    ) {
        let data = tensor(datatype, rows * columns, &noise);
        let mut flat = b"[".to_vec();
        json_output::push_elements(&mut flat, datatype, &data).unwrap();
        flat.push(b']');
        let mut value: serde_json::Value = serde_json::from_slice(&flat).unwrap();
        if nested {
            let flat = value.as_array().unwrap().clone();
            value = (0..rows).map(|row| flat[row * columns..(row + 1) * columns].to_vec()).collect::<Vec<_>>().into();
        }
        // The text of floats must be what was written: through a tree of values singles would become doubles.
        let data_text = if nested { value.to_string() } else { String::from_utf8(flat).unwrap() };
        let (before, after) = if data_first { (data_text.as_str(), "") } else { ("", data_text.as_str()) };
        let field = |text: &str| if text.is_empty() { String::new() } else { format!("\"data\":{text},") };
        let json = format!(
            "{{\"inputs\":[{{{}\"datatype\":\"{datatype}\",\"shape\":[{rows},{columns}],{}\"name\":\"x\"}}]}}",
            field(before), field(after)
        );
        let read = request::parse(json.as_bytes(), &HttpConfig::default()).map_err(|error| TestCaseError::fail(format!("{error:?} {json}")))?;
        prop_assert_eq!(&read.inputs[0].source, &Source::Json(data.clone()));
        let accepted = validate::fit(read, &Bytes::new(), &Framing::default(), ModelId(0), &manifest(datatype), &HttpConfig::default());
        let submission = accepted.unwrap().submission;
        prop_assert_eq!(&submission.inputs[0].data[..], &data[..]);
        // Cut into items and joined again, nothing is lost or moved.
        let items = u32::try_from(rows).unwrap();
        let joined: Vec<u8> = (0..items).flat_map(|item| data[submission.inputs[0].item_range(item, items)].to_vec()).collect();
        prop_assert_eq!(joined, data);
    }

    #[test]
    fn no_bytes_make_a_panic(
        json in proptest::collection::vec(any::<u8>(), 0..200),
        data in proptest::collection::vec(any::<u8>(), 0..100),
        items in 0_u32..5,
        elements in any::<u64>(),
    ) {
        let _ = request::parse(&json, &HttpConfig::default());
        for datatype in Datatype::ALL {
            let _ = tail::check(&data.clone().into(), datatype, items, elements % 64);
            let _ = json_output::push_elements(&mut Vec::new(), datatype, &data);
            let _ = validate::fit_raw(data.clone().into(), &Framing::default(), ModelId(0), &manifest(datatype), &HttpConfig::default());
        }
    }

    #[test]
    fn damaged_requests_are_refused_or_read_but_never_panic(
        position in 0_usize..120,
        byte in any::<u8>(),
        cut in 0_usize..130,
    ) {
        let good = br#"{"id":"a","inputs":[{"name":"x","datatype":"INT16","shape":[2,2],"data":[[1,2],[3,4]]}],"outputs":[{"name":"y"}]}"#;
        let mut json = good.to_vec();
        let position = position % json.len();
        json[position] = byte;
        json.truncate(cut.max(1));
        if let Ok(read) = request::parse(&json, &HttpConfig::default()) {
            let manifest = manifest(Datatype::Int16);
            let _ = validate::fit(read, &Bytes::new(), &Framing::default(), ModelId(0), &manifest, &HttpConfig::default());
        }
    }
}

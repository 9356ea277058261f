//! Lines that are whole inference requests, read and written as the gateway's routes do.

use std::sync::Arc;

use gateway_bulk::ModelManifest;
use gateway_bulk::{
    AnsweredLine, BulkError, ColumnCodec, DecodedLine, InputSpec, LineCodec, LineFault, LineTensor, line_id,
    push_string,
};
use gateway_contract::ModelId;
use gateway_server::config::ModelSettings;
use gateway_server::http::HttpConfig;
use gateway_server::http::lines::{LineError, read_infer, write_infer};
use gateway_server::inference::OutputTensor;
use gateway_server::registry::ServedModel;

/// The codec for this input.
pub(super) fn codec(
    input: &InputSpec,
    model: &ModelSettings,
    manifest: &Arc<ModelManifest>,
    http: &HttpConfig,
) -> Result<Arc<dyn LineCodec>, BulkError> {
    if !input.columns.is_empty() {
        return Ok(Arc::new(ColumnCodec::new(Arc::clone(manifest), &input.id_field, &input.columns)?));
    }
    let served = ServedModel {
        id: ModelId(0),
        name: model.name.clone(),
        manifest: model.manifest.clone(),
        plan: model.plan.clone(),
        statistics: Arc::default(),
        tokens: Arc::default(),
    };
    Ok(Arc::new(RequestCodec { model: served, http: http.clone() }))
}

struct RequestCodec {
    model: ServedModel,
    http: HttpConfig,
}

fn fault(error: LineError) -> LineFault {
    LineFault { code: error.code, message: error.message }
}

impl LineCodec for RequestCodec {
    fn decode(&self, _number: u64, line: &[u8]) -> Result<DecodedLine, LineFault> {
        let read = read_infer(line, &self.model, &self.http).map_err(fault)?;
        let tensor = |input: gateway_server::inference::InputTensor| LineTensor {
            item_shape: input.item_shape.to_vec(),
            data: input.data,
            item_ends: input.item_ends,
        };
        let mut form = vec![u8::from(line_id(line, "id").is_some())];
        form.extend_from_slice(&read.form);
        let inputs = read.inputs.into_iter().map(tensor).collect();
        Ok(DecodedLine { id: None, items: read.items, inputs, form: form.into() })
    }

    fn encode(&self, answered: &AnsweredLine<'_>, out: &mut Vec<u8>) -> Result<(), LineFault> {
        let tensor = |output: &gateway_bulk::AnsweredTensor| OutputTensor {
            datatype: output.datatype,
            item_shape: output.item_shape.iter().copied().collect(),
            data: output.data.clone(),
        };
        let outputs = answered.outputs.iter().map(tensor).collect();
        let (has_id, form) = answered.form.split_first().unwrap_or((&0, &[]));
        let body = write_infer(&self.model, form, outputs, answered.items).map_err(fault)?;
        let rest = if *has_id == 0 {
            // The request names itself by nothing, or by another member: the answer needs a name all the same.
            out.extend_from_slice(b"{\"id\":");
            push_string(out, answered.id);
            out.push(b',');
            body.get(1..).unwrap_or_default()
        } else {
            &body
        };
        out.extend_from_slice(rest);
        Ok(())
    }
}

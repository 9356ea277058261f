//! One invocation of a part of a chunk: what is sent, and what came of it.
//!
//! Items are numbered through the chunk, from 0; those numbers are the ids on the wire.

use std::ops::Range;
use std::time::Duration;

use gateway_contract::{
    Architecture, Mebibytes, PlanRevision, PriceTable, ServiceObservation, ServiceOutcome, Timestamp,
};
use gateway_invoker::{InvocationReply, InvokeError, Metering, RefusedCause, UnknownCause};
use workers_protocol::{
    Answer, ItemErrorCode, ItemShapes, ModelManifest, ProtocolError, RequestHeader, TensorChunks,
};

use crate::chunk::Chunk;
use crate::{JobCost, JobFailure, LineFault, OperatingPoint};

/// What came of an invocation, named for what the runner does about it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Each item has a value or an error.
    Answered(Answer),
    /// It failed as a whole; smaller parts may not. The fault is that of a part of one item.
    Failed(LineFault),
    /// The request or the answer is too large.
    TooLarge(LineFault, Side),
    /// It may have run.
    Unknown(LineFault),
    /// It did not run: later.
    Later { throttled: bool, retry_after: Option<Duration> },
    /// Nothing of this job can run.
    Fatal(JobFailure),
}

/// Which payload was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// First item of each line of a chunk, and the number of all at the end.
pub(crate) fn first_items(chunk: &Chunk) -> Vec<u32> {
    let mut first = Vec::with_capacity(chunk.lines.len() + 1);
    let mut next = 0;
    for line in &chunk.lines {
        first.push(next);
        next += line.decoded.items;
    }
    first.push(next);
    first
}

/// The payload of a range of a chunk's items.
pub(crate) fn encode(
    chunk: &Chunk,
    first: &[u32],
    range: &Range<u32>,
    header: &RequestHeader,
    manifest: &ModelManifest,
) -> Vec<u8> {
    let ids: Vec<u64> = range.clone().map(u64::from).collect();
    let begin = first.partition_point(|&first| first <= range.start).saturating_sub(1);
    let mut parts = Vec::new(); // line, first item of it, items of it
    for (line, &start) in chunk.lines.iter().zip(first).skip(begin) {
        if start >= range.end {
            break;
        }
        let from = range.start.max(start);
        let until = range.end.min(start + line.decoded.items);
        if from < until {
            parts.push((line, from - start, until - from));
        }
    }
    let tensors: Vec<TensorChunks<'_>> = manifest
        .inputs
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            let mut chunks = Vec::with_capacity(parts.len());
            let mut shapes: Vec<&[u32]> = Vec::with_capacity(parts.len());
            for &(line, from, count) in &parts {
                let tensor = &line.decoded.inputs[index];
                chunks.push(&tensor.data[tensor.range(from, count, line.decoded.items)]);
                shapes.push(&tensor.item_shape);
            }
            let is_even = shapes.windows(2).all(|pair| pair[0] == pair[1]);
            let item_shapes = if is_even {
                ItemShapes::Same(shapes.first().map(|shape| shape.to_vec()).unwrap_or_default())
            } else {
                let each = parts.iter().zip(&shapes);
                ItemShapes::Each(
                    each.flat_map(|(&(_, _, count), shape)| (0..count).map(|_| shape.to_vec())).collect(),
                )
            };
            TensorChunks { name: &spec.name, datatype: spec.datatype, item_shapes, chunks }
        })
        .collect();
    header.encode(&ids, &tensors)
}

/// Judges what came back for a range of items.
pub(crate) fn judge(
    result: Result<&InvocationReply, &InvokeError>,
    batch: u64,
    range: &Range<u32>,
    manifest: &ModelManifest,
) -> Outcome {
    match result {
        Ok(reply) => match read(reply, batch, range, manifest) {
            Ok(answer) => Outcome::Answered(answer),
            Err(ProtocolError::VersionMismatch { ours, theirs }) => Outcome::Fatal(JobFailure::new(
                "refused",
                format!(
                    "the worker speaks protocol version {theirs}, this side {ours}; deploy matching versions"
                ),
            )),
            Err(error) => Outcome::Failed(fault("bad_answer", error.to_string())),
        },
        Err(error) => judge_error(error),
    }
}

fn fault(code: &'static str, message: String) -> LineFault {
    LineFault { code, message }
}

fn judge_error(error: &InvokeError) -> Outcome {
    match error {
        InvokeError::Throttled { retry_after, .. } => {
            Outcome::Later { throttled: true, retry_after: *retry_after }
        }
        InvokeError::Unreachable { .. } => Outcome::Later { throttled: false, retry_after: None },
        InvokeError::Refused { cause, .. } if !cause.is_permanent() => {
            Outcome::Later { throttled: false, retry_after: None }
        }
        InvokeError::Refused { .. } => Outcome::Fatal(JobFailure::new("refused", error.to_string())),
        InvokeError::Function { .. } => Outcome::Failed(fault("function_error", error.to_string())),
        InvokeError::RequestTooLarge { .. } => {
            Outcome::TooLarge(fault("request_too_large", error.to_string()), Side::Request)
        }
        InvokeError::ResponseTooLarge { .. } => {
            Outcome::TooLarge(fault("response_too_large", error.to_string()), Side::Answer)
        }
        InvokeError::Unknown { .. } => Outcome::Unknown(fault(
            "outcome_unknown",
            format!("{error}, twice; the line may have been computed and billed"),
        )),
    }
}

/// An answer that names exactly the items asked for, with every output of the manifest in the manifest's order.
fn read(
    reply: &InvocationReply,
    batch: u64,
    range: &Range<u32>,
    manifest: &ModelManifest,
) -> Result<Answer, ProtocolError> {
    let mut answer = Answer::decode(&reply.payload)?;
    let ids: Vec<u64> = range.clone().map(u64::from).collect();
    answer.check_answers(batch, &ids)?;
    let wrong = |reason: String| ProtocolError::WrongItems { reason };
    if !answer.ids.is_empty() {
        let mut given = std::mem::take(&mut answer.outputs);
        for spec in &manifest.outputs {
            let found = given.iter().position(|tensor| tensor.name == spec.name);
            let tensor =
                given.swap_remove(found.ok_or_else(|| wrong(format!("it lacks output `{}`", spec.name)))?);
            if tensor.datatype != spec.datatype {
                let text = format!(
                    "output `{}` is {}, the manifest says {}",
                    spec.name, tensor.datatype, spec.datatype
                );
                return Err(wrong(text));
            }
            answer.outputs.push(tensor);
        }
    }
    Ok(answer)
}

/// What an invocation cost: its REPORT line, else an estimate from the worker's own times or from the wall, as the gateway does.
pub(crate) fn cost(
    result: &Result<InvocationReply, InvokeError>,
    answer: Option<&Answer>,
    took: Duration,
    point: &OperatingPoint,
    prices: &PriceTable,
    architecture: Architecture,
) -> JobCost {
    let metering = match result {
        Ok(reply) => Some(answer.map_or(reply.metering, |answer| refine(reply.metering, answer))),
        Err(InvokeError::Unknown {
            cause: UnknownCause::Timeout | UnknownCause::ConnectionLost | UnknownCause::BadResponse,
        })
        | Err(InvokeError::Refused {
            cause: RefusedCause::ProtocolMismatch | RefusedCause::ModelMismatch,
            ..
        }) => Some(Metering::estimate(took)),
        Err(error) => error.metering().copied(),
    };
    let Some(metering) = metering else { return JobCost::default() };
    let memory = metering.memory.unwrap_or(point.memory());
    let is_cold = metering.init.is_some() || answer.is_some_and(|answer| answer.report.cold);
    JobCost {
        usd: prices.invocation_usd(architecture, memory, metering.billed),
        billed_ms: u64::try_from(metering.billed.as_millis()).unwrap_or(u64::MAX),
        gb_seconds: memory.gibibytes() * metering.billed.as_secs_f64(),
        invocations: 1,
        cold_starts: u64::from(is_cold),
        is_estimate: metering.is_estimate,
    }
}

/// An estimate from wall time holds the network; the worker's own report does not. INIT of a cold start is billed as well.
fn refine(metering: Metering, answer: &Answer) -> Metering {
    if !metering.is_estimate || answer.report.handler_us == 0 {
        return metering;
    }
    let init = if answer.report.cold { answer.report.init_us } else { 0 };
    let billed = Duration::from_micros(answer.report.handler_us.saturating_add(init));
    Metering { init: answer.report.cold.then(|| Duration::from_micros(init)), ..Metering::estimate(billed) }
}

/// What an invocation teaches about the operating point that ran it.
pub(crate) fn observation(
    result: &Result<InvocationReply, InvokeError>,
    answer: Option<&Answer>,
    items: u32,
    took: Duration,
    point: &OperatingPoint,
) -> ServiceObservation {
    let metering = match (result, answer) {
        (Ok(reply), Some(answer)) => refine(reply.metering, answer),
        (Ok(reply), None) => reply.metering,
        (Err(error), _) => error.metering().copied().unwrap_or_default(),
    };
    let outcome = match result {
        Ok(_) if answer.is_some() => ServiceOutcome::Completed,
        Ok(_) => ServiceOutcome::FunctionError,
        Err(InvokeError::Function { error_type, message, .. })
            if error_type.contains("OutOfMemory") || message.contains("signal: killed") =>
        {
            ServiceOutcome::OutOfMemory
        }
        Err(InvokeError::Function { .. }) => ServiceOutcome::FunctionError,
        Err(_) => ServiceOutcome::NotRun,
    };
    let report = answer.map(|answer| &answer.report);
    let processes = report.map_or(&[][..], |report| &report.processes);
    let cold = report.filter(|report| report.cold).map(|report| Duration::from_micros(report.init_us));
    let init = metering.init.or(cold);
    let billed = metering.billed.saturating_sub(init.unwrap_or_default());
    ServiceObservation {
        at: Timestamp::ZERO,
        revision: PlanRevision(0),
        is_canary: false,
        is_hold_out: false,
        outcome,
        items,
        memory_mib: metering.memory.unwrap_or(point.memory()),
        process_count: point.process_count,
        shard_padded_units: processes.iter().map(|process| process.padded_units).max().unwrap_or(0),
        work_units: processes.iter().map(|process| process.work_units).sum(),
        handler: report
            .map(|report| Duration::from_micros(report.handler_us))
            .filter(|told| !told.is_zero())
            .unwrap_or(billed),
        billed: metering.billed,
        billed_is_estimate: metering.is_estimate,
        round_trip: took,
        init,
        max_memory_used: metering.max_memory_used.filter(|&used| used > Mebibytes(0)),
        process_restarts: report.map_or(0, |report| report.process_restarts),
    }
}

/// What the error file says of an item's error.
pub(crate) const fn item_code(code: ItemErrorCode) -> &'static str {
    match code {
        ItemErrorCode::InvalidInput => "invalid_input",
        ItemErrorCode::ModelFailed => "model_failed",
        ItemErrorCode::ProcessDied => "process_died",
        ItemErrorCode::ProcessHung => "process_hung",
        ItemErrorCode::OutOfMemory => "out_of_memory",
        ItemErrorCode::DeadlineExceeded => "deadline_exceeded",
    }
}

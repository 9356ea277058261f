//! One dispatched batch: encode, invoke, check, meter. Runs in its own task, away from the driver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_contract::{ItemFailure, ModelId, PriceTable, ServiceObservation, Timestamp};
use gateway_invoker::{Invocation, InvocationReply, InvokeError, Metering, RefusedCause, UnknownCause};
use gateway_policy::{BatchOutcome, Dispatch, TooLarge};
use workers_protocol::{Answer, ItemErrorCode, ItemShapes, ProtocolError, RequestHeader, TensorChunks};

use super::clock::Clock;
use super::lesson::{Work, is_out_of_memory};
use super::scatter::{PartResult, SentPart, scatter};
use super::{BatchFacts, Invoke, ModelRuntime};
use crate::telemetry::model::InvocationMeters;
use crate::telemetry::traces::{BatchEnd, BatchTrace, TraceId, WorkerTold};

/// A batch to run.
pub(super) struct BatchJob {
    pub(super) dispatch: Dispatch,
    pub(super) model: Arc<ModelRuntime>,
    pub(super) parts: Vec<SentPart>,
    /// Arrival of its oldest item.
    pub(super) opened: Timestamp,
    pub(super) dispatched: Timestamp,
    pub(super) clock: Clock,
    pub(super) prices: Arc<PriceTable>,
    pub(super) trace: BatchTrace,
}

/// A batch that has run.
pub(super) struct BatchDone {
    pub(super) dispatch: Dispatch,
    pub(super) model: Arc<ModelRuntime>,
    pub(super) outcome: BatchOutcome,
    /// What each part got; empty unless completed.
    pub(super) parts: Vec<PartResult>,
    /// Dollars of this invocation.
    pub(super) cost_usd: f64,
    /// Dispatch to outcome.
    pub(super) took: Duration,
    /// Time in the slowest process.
    pub(super) compute: Duration,
    /// Whether it started a sandbox.
    pub(super) cold: bool,
    /// What to log, if it failed: kind and text.
    pub(super) complaint: Option<(&'static str, String)>,
    /// What the control loop learns from it, and what people see of it.
    pub(super) observation: Option<(ServiceObservation, BatchFacts)>,
    /// Why Lambda or the worker refused it, if so.
    pub(super) refused: Option<RefusedCause>,
    /// For log lines.
    pub(super) trace_id: TraceId,
    /// Lambda's name of the invocation, if it gave one.
    pub(super) request_id: Option<String>,
}

/// What came of an invocation, before its cost is known.
pub(super) struct Judged {
    pub(super) outcome: BatchOutcome,
    pub(super) parts: Vec<PartResult>,
    pub(super) label: &'static str,
    pub(super) complaint: Option<String>,
    /// Time in the slowest process, and in all.
    pub(super) compute: (Duration, Duration),
    pub(super) metering: Option<Metering>,
    pub(super) cold: bool,
    pub(super) process_restarts: u32,
    pub(super) work: Work,
    pub(super) is_out_of_memory: bool,
    pub(super) refused: Option<RefusedCause>,
    pub(super) request_id: Option<String>,
    pub(super) version: Option<String>,
    /// Only of batches whose trace is recorded.
    pub(super) told: Option<WorkerTold>,
}

impl BatchJob {
    /// Runs the batch to its outcome. Never fails: every failure is an outcome.
    pub(super) async fn run<S: Invoke>(self, mut invoker: S) -> BatchDone {
        let payload = self.encode();
        let invocation = Invocation {
            function: self.model.function.clone(),
            qualifier: self.dispatch.qualifier.clone(),
            payload,
        };
        let invoked = Instant::now();
        let ready = std::future::poll_fn(|context| invoker.poll_ready(context)).await;
        let result = match ready {
            Ok(()) => invoker.call(invocation).await,
            Err(error) => Err(error),
        };
        let took = self.clock.now() - self.dispatched;
        let invoked = (invoked, Instant::now());
        let judged = match result {
            Ok(reply) => Judged {
                request_id: reply.request_id.clone(),
                version: reply.executed_version.clone(),
                ..self.judge_reply(&reply)
            },
            Err(error) => self.judge_error(&error, took),
        };
        self.finish(judged, took, invoked)
    }

    /// Positions within the batch are the ids on the wire.
    fn ids(&self) -> Vec<u64> {
        let sent = self.parts.iter().filter(|sent| sent.inputs.is_some());
        sent.flat_map(|sent| sent.positions().map(u64::from)).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let sent: Vec<_> = self.parts.iter().filter_map(|sent| Some((sent, sent.inputs.as_ref()?))).collect();
        let tensors: Vec<TensorChunks<'_>> = self
            .model
            .manifest
            .inputs
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let mut chunks = Vec::with_capacity(sent.len());
                let mut shapes: Vec<&[u32]> = Vec::with_capacity(sent.len());
                for (sent, inputs) in &sent {
                    let tensor = &inputs.tensors[index];
                    let last = sent.part.first_item + sent.part.items - 1;
                    let start = tensor.item_range(sent.part.first_item, inputs.items).start;
                    let end = tensor.item_range(last, inputs.items).end;
                    chunks.push(&tensor.data[start..end]);
                    shapes.push(&tensor.item_shape);
                }
                let item_shapes = match shapes.split_first() {
                    Some((first, rest)) if rest.iter().any(|shape| shape != first) => {
                        let each = sent.iter().zip(&shapes);
                        ItemShapes::Each(
                            each.flat_map(|((sent, _), shape)| (0..sent.part.items).map(|_| shape.to_vec()))
                                .collect(),
                        )
                    }
                    first => ItemShapes::Same(first.map(|(shape, _)| shape.to_vec()).unwrap_or_default()),
                };
                TensorChunks { name: &spec.name, datatype: spec.datatype, item_shapes, chunks }
            })
            .collect();
        self.header().encode(&self.ids(), &tensors)
    }

    fn header(&self) -> RequestHeader {
        let budget =
            self.dispatch.latest_deadline.map(|deadline| (deadline - self.clock.now()).as_millis().max(1));
        let trace = self.trace.context();
        RequestHeader {
            batch: self.dispatch.batch.0,
            model: self.model.manifest.name.clone(),
            model_version: self.model.manifest.version.clone(),
            process_count: self.dispatch.process_count,
            budget_ms: budget.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            hang_after_ms: None,
            traceparent: Some(trace.traceparent()),
            tracestate: trace.state.as_deref().map(str::to_owned),
            report_spans: self.trace.is_recorded(),
        }
    }

    fn judge_reply(&self, reply: &InvocationReply) -> Judged {
        let mut answer = match self.decode(reply) {
            Ok(answer) => answer,
            Err(ProtocolError::VersionMismatch { ours, theirs }) => {
                return Judged {
                    complaint: Some(format!(
                        "the worker speaks protocol version {theirs}, this gateway {ours}"
                    )),
                    refused: Some(RefusedCause::ProtocolMismatch),
                    ..Judged::failed(
                        BatchOutcome::Refused { permanent: true },
                        "protocol_mismatch",
                        Some(reply.metering),
                    )
                };
            }
            Err(error) => return self.garbage(error.to_string(), reply),
        };
        let scattered = match scatter(&answer, &self.parts, &self.model.manifest) {
            Ok(scattered) => scattered,
            Err(reason) => return self.garbage(reason, reply),
        };
        let sent = self.ids().len();
        let bytes = reply.payload.len().saturating_sub(bytes_of_spans(&answer)); // the next batch may have none
        self.model.response_item_bytes.observe(bytes, u32::try_from(sent).unwrap_or(u32::MAX));
        let compute = answer.report.processes.iter().map(|process| Duration::from_micros(process.compute_us));
        let label = if answer.errors.is_empty() { "ok" } else { "partial" };
        Judged {
            parts: scattered.parts,
            compute: (compute.clone().max().unwrap_or_default(), compute.sum()),
            metering: Some(refine(reply.metering, &answer)),
            cold: answer.report.cold,
            process_restarts: answer.report.process_restarts,
            work: Work::of(&answer),
            told: self.trace.is_recorded().then(|| told(&mut answer)),
            is_out_of_memory: answer.errors.iter().any(|error| error.code == ItemErrorCode::OutOfMemory),
            ..Judged::failed(BatchOutcome::Completed { failed: scattered.failed }, label, None)
        }
    }

    fn decode(&self, reply: &InvocationReply) -> Result<Answer, ProtocolError> {
        let answer = Answer::decode(&reply.payload)?;
        answer.check_answers(self.dispatch.batch.0, &self.ids())?;
        Ok(answer)
    }

    fn garbage(&self, reason: String, reply: &InvocationReply) -> Judged {
        let complaint = Some(format!("the worker's answer does not fit: {reason}"));
        Judged {
            complaint,
            ..Judged::failed(BatchOutcome::FunctionError, "bad_answer", Some(reply.metering))
        }
    }

    fn judge_error(&self, error: &InvokeError, took: Duration) -> Judged {
        let outcome = match error {
            InvokeError::Throttled { reason, retry_after } => {
                let labels = [self.model.name.clone(), reason.to_string()];
                self.model.metrics.catalogue().throttled.with_label_values(&labels).inc();
                BatchOutcome::Throttled { retry_after: *retry_after }
            }
            InvokeError::Function { .. } => BatchOutcome::FunctionError,
            InvokeError::RequestTooLarge { .. } => BatchOutcome::TooLarge(TooLarge::Request),
            InvokeError::ResponseTooLarge { .. } => {
                self.model.response_item_bytes.observe_too_large(self.dispatch.items);
                BatchOutcome::TooLarge(TooLarge::Response)
            }
            InvokeError::Unknown { .. } => BatchOutcome::Unknown,
            InvokeError::Refused { cause, .. } => BatchOutcome::Refused { permanent: cause.is_permanent() },
            InvokeError::Unreachable { .. } => BatchOutcome::Refused { permanent: false },
        };
        // It has most likely run and is billed, though nothing says for how long; after a server error it is not.
        let has_run_unmetered = matches!(
            error,
            InvokeError::Unknown {
                cause: UnknownCause::Timeout | UnknownCause::ConnectionLost | UnknownCause::BadResponse
            } | InvokeError::Refused {
                cause: RefusedCause::ProtocolMismatch | RefusedCause::ModelMismatch,
                ..
            }
        );
        let metering =
            if has_run_unmetered { Some(Metering::estimate(took)) } else { error.metering().copied() };
        let refused = if let InvokeError::Refused { cause, .. } = error { Some(*cause) } else { None };
        Judged {
            request_id: error.request_id().map(str::to_owned),
            complaint: Some(error.to_string()),
            is_out_of_memory: is_out_of_memory(error),
            refused,
            ..Judged::failed(outcome, error.label(), metering)
        }
    }

    fn finish(self, judged: Judged, took: Duration, invoked: (Instant, Instant)) -> BatchDone {
        let observation = self.observation(&judged, took);
        let mut facts = self.facts(&judged);
        let Judged {
            outcome,
            parts,
            label,
            complaint,
            compute,
            metering,
            cold,
            process_restarts,
            refused,
            request_id,
            version,
            told,
            ..
        } = judged;
        let qualifier = &*self.dispatch.qualifier;
        self.model.metrics.invoked(qualifier, label, took);
        let mut cost_usd = 0.0;
        let cold = cold || metering.is_some_and(|metering| metering.init.is_some());
        if let Some(metering) = metering {
            let memory = metering.memory.unwrap_or(self.dispatch.memory_mib);
            let meters = InvocationMeters {
                billed: metering.billed,
                gb_seconds: memory.gibibytes() * metering.billed.as_secs_f64(),
                duration_usd: self.prices.duration_usd(self.model.architecture, memory, metering.billed),
                request_usd: self.prices.request_usd(),
                is_estimate: metering.is_estimate,
                init: metering.init,
                cold,
                compute_sum: compute.1,
                process_restarts,
                max_memory_used_bytes: metering.max_memory_used.map_or(0, |used| u64::from(used.0) << 20),
                memory_size_bytes: u64::from(memory.0) << 20,
            };
            cost_usd = meters.duration_usd + meters.request_usd;
            facts.cost_usd = cost_usd;
            self.model.metrics.metered(qualifier, &meters);
        }
        if let BatchOutcome::Completed { .. } = outcome {
            self.model.statistics.record_execution(self.dispatch.items, took);
        }
        let trace_id = self.trace.context().trace;
        self.trace.ended(BatchEnd {
            dispatch: &self.dispatch,
            model: &self.model.name,
            function: &self.model.function,
            outcome: label,
            metering,
            cost_usd,
            cold,
            invoked,
            request_id: request_id.as_deref(),
            version: version.as_deref(),
            worker: told,
        });
        BatchDone {
            outcome,
            parts,
            cost_usd,
            took,
            compute: compute.0,
            cold,
            complaint: complaint.map(|text| (label, text)),
            observation: Some((observation, facts)),
            refused,
            trace_id,
            request_id,
            model: self.model,
            dispatch: self.dispatch,
        }
    }
}

impl Judged {
    fn failed(outcome: BatchOutcome, label: &'static str, metering: Option<Metering>) -> Self {
        Self {
            outcome,
            parts: Vec::new(),
            label,
            complaint: None,
            compute: (Duration::ZERO, Duration::ZERO),
            metering,
            cold: false,
            process_restarts: 0,
            work: Work::default(),
            is_out_of_memory: false,
            refused: None,
            request_id: None,
            version: None,
            told: None,
        }
    }
}

/// An estimate from wall time holds the network; the worker's own report does not. INIT of a cold start is billed as well.
fn refine(metering: Metering, answer: &Answer) -> Metering {
    if !metering.is_estimate || answer.report.handler_us == 0 {
        return metering;
    }
    let init = if answer.report.cold { answer.report.init_us } else { 0 };
    let billed = Duration::from_micros(answer.report.handler_us.saturating_add(init));
    Metering {
        init: answer.report.cold.then(|| Duration::from_micros(init)),
        ..Metering { is_estimate: true, ..Metering::estimate(billed) }
    }
}

/// Bytes that the worker's spans take in its answer.
fn bytes_of_spans(answer: &Answer) -> usize {
    if answer.report.spans.is_empty() {
        return 0;
    }
    serde_json::to_vec(&answer.report.spans).map_or(0, |spans| spans.len())
}

/// Takes out of an answer what its batch's trace needs.
fn told(answer: &mut Answer) -> WorkerTold {
    let report = &mut answer.report;
    WorkerTold {
        handler: Duration::from_micros(report.handler_us),
        init: report.cold.then(|| Duration::from_micros(report.init_us)),
        spans: std::mem::take(&mut report.spans),
        spans_left_out: report.spans_left_out,
        process_restarts: report.process_restarts,
    }
}

/// The outcome of a batch none of whose requests is there any more: nothing is sent.
pub(super) fn nothing_to_send(items: u32) -> BatchOutcome {
    BatchOutcome::Completed {
        failed: (0..items).map(|position| (position, ItemFailure::DeadlineExceeded)).collect(),
    }
}

/// Model of a batch, for the table of running tasks.
pub(super) type Running = (gateway_contract::BatchId, ModelId);

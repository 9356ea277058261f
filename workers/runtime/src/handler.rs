//! One batch: read, check, cut, run, answer.
//!
//! What fails a batch as a whole is a function error with a type that the gateway can tell apart; everything else is an
//! error of an item. Deliberately absent: the Runtime API (see `supervisor`), batches that lie elsewhere (see `reference`), processes (see `pool`).

use std::time::{Duration, Instant};

use lambda_runtime::Diagnostic;
use workers_protocol::{
    ItemError, ItemErrorCode, LAMBDA_PAYLOAD_LIMIT_BYTES, ModelManifest, ProtocolError, Report, Request,
    RequestHeader, WorkUnit,
};

use crate::generate::{Parameters, elements};
use crate::merge;
use crate::pool::{Collected, LengthGuess, Limits, Outcome, Pool, PoolError, Timeline};
use crate::shard::cut::{self, Cost};
use crate::validate::Batch;

/// Processes that a request may ask for.
const PROCESS_COUNTS: std::ops::RangeInclusive<u32> = 1..=64;
/// Of the time left, one part in this many is kept for writing the answer.
const MARGIN_SHARE: u32 = 20;
/// Bounds of that margin.
const MARGIN: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// Invocations between two samples of the sandbox's memory, which cost milliseconds each.
const INVOCATIONS_PER_MEMORY_SAMPLE: u64 = 256;

/// A batch that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Encoded, at most what Lambda gives.
    pub(crate) payload: Vec<u8>,
    pub(crate) batch: u64,
    /// Items with a value, and with an error.
    pub(crate) items: usize,
    pub(crate) errors: usize,
    pub(crate) report: Report,
}

/// What answers batches.
#[derive(Debug)]
pub(crate) struct Handler {
    manifest: ModelManifest,
    pool: Pool,
    memory_mib: u64,
    init: Duration,
    invocations: u64,
    guess: LengthGuess,
}

impl Handler {
    /// A handler for the manifest's model. `init` is the time from process start until now.
    pub(crate) fn new(manifest: ModelManifest, pool: Pool, memory_mib: u64, init: Duration) -> Self {
        let guess = LengthGuess::new(manifest.max_length);
        Self { manifest, pool, memory_mib, init, invocations: 0, guess }
    }

    /// Answers one batch of an invocation that began at `started` and must end at `end`.
    pub(crate) fn answer(
        &mut self,
        payload: &[u8],
        started: Instant,
        end: Instant,
    ) -> Result<Answered, Diagnostic> {
        let request = Request::decode(payload).map_err(|error| protocol_error(&error))?;
        let _named = named(&request.header);
        self.check(&request.header)?;
        let left = end.saturating_duration_since(Instant::now());
        let process_count = request.header.process_count as usize;
        let (header, ids) = (request.header, request.ids);
        let batch = Batch::new(&self.manifest, request.inputs, ids.len());
        self.pool.tidy(process_count);
        let tasks =
            if ids.is_empty() { vec![Vec::new(); process_count] } else { self.cut(&batch, process_count) };
        let limits = Limits { width: tasks.len().max(1), ..self.limits(&header, started, left) };
        let timeline = if header.report_spans { Timeline::from(started) } else { Timeline::default() };
        let collected =
            self.pool.run(&batch, tasks, limits, timeline).map_err(|error| self.no_process(error))?;
        self.learn(&batch, &collected);
        let errors = item_errors(&ids, &batch, &collected);
        let mut report = self.report(&collected, started, ids.is_empty());
        let encode = |report: &Report| {
            merge::encode_answer(header.batch, &ids, &self.manifest, &collected, &errors, report)
                .map_err(|error| diagnostic("ModelFailed", error.to_string()))
        };
        let mut payload = encode(&report)?;
        if payload.len() > LAMBDA_PAYLOAD_LIMIT_BYTES && !report.spans.is_empty() {
            // A trace must not be what makes an answer too large.
            report.spans_left_out += u32::try_from(report.spans.len()).unwrap_or(u32::MAX);
            report.spans.clear();
            payload = encode(&report)?;
        }
        if payload.len() > LAMBDA_PAYLOAD_LIMIT_BYTES {
            let text = format!(
                "the answer has {} bytes, Lambda takes {LAMBDA_PAYLOAD_LIMIT_BYTES}; send fewer items",
                payload.len()
            );
            return Err(diagnostic("ResponseTooLarge", text));
        }
        let (items, errors) = (ids.len() - errors.len(), errors.len());
        Ok(Answered { payload, batch: header.batch, items, errors, report })
    }

    fn check(&self, header: &RequestHeader) -> Result<(), Diagnostic> {
        let (name, version) = (&self.manifest.name, &self.manifest.version);
        if header.model != *name || header.model_version != *version {
            let text = format!(
                "this function serves `{name}` version `{version}`, the request is for `{}` version `{}`",
                header.model, header.model_version
            );
            return Err(diagnostic("ModelMismatch", text));
        }
        if !PROCESS_COUNTS.contains(&header.process_count) {
            let text = format!("`process_count` must be 1 to 64, it is {}", header.process_count);
            return Err(diagnostic("InvalidRequest", text));
        }
        Ok(())
    }

    fn limits(&self, header: &RequestHeader, started: Instant, left: Duration) -> Limits {
        let margin = (left / MARGIN_SHARE).clamp(*MARGIN.start(), *MARGIN.end());
        let hard_end = started + left.saturating_sub(margin);
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        Limits {
            hard_end,
            start_before: header.budget_ms.map_or(hard_end, |budget| started + millis(budget)),
            hang_after: header.hang_after_ms.map(millis),
            memory_share: self.pool.memory_share(self.memory_mib, header.process_count as usize),
            width: 1,
        }
    }

    /// Cuts a batch's usable items into at most `process_count` tasks.
    fn cut(&self, batch: &Batch, process_count: usize) -> Vec<Vec<u32>> {
        let mut items = batch.usable();
        if items.is_empty() {
            return Vec::new();
        }
        if process_count == 1 || items.len() == 1 {
            return vec![items];
        }
        let unit = self.manifest.work.unit;
        if unit == WorkUnit::Items {
            let cuts = cut::even(items.len(), process_count);
            return cuts.into_iter().map(|cut| items[cut].to_vec()).collect();
        }
        let generates = self.manifest.generation.is_some();
        let is_padded = unit == WorkUnit::Tokens && self.manifest.tokenizer.is_some();
        let length = |item: u32| {
            let bytes = batch.item_bytes(item);
            if generates {
                self.tokens_of_text(batch, item)
            } else if is_padded {
                self.guess.tokens(bytes)
            } else {
                u32::try_from(bytes).unwrap_or(u32::MAX)
            }
        };
        items.sort_by_cached_key(|&item| length(item));
        let lengths: Vec<u32> = items.iter().map(|&item| length(item)).collect();
        let cost = if is_padded && !generates { Cost::Padded } else { Cost::Sum };
        let cuts = cut::balanced(&lengths, process_count, cost);
        cuts.into_iter().map(|cut| items[cut].to_vec()).collect()
    }

    /// Tokens that a prompt and its continuation may have together; the prompt's are guessed.
    fn tokens_of_text(&self, batch: &Batch, item: u32) -> u32 {
        let (Some(spec), [input], [ranges]) =
            (&self.manifest.generation, batch.inputs.as_slice(), batch.ranges.as_slice())
        else {
            return 0;
        };
        let elements = elements(&input.data[ranges[item as usize].clone()]);
        let (prompt, parameters) = elements.unwrap_or_default();
        let parameters = Parameters::read(parameters, spec).unwrap_or(Parameters::of_manifest(spec));
        self.guess.tokens(prompt.len()).saturating_add(parameters.max_tokens)
    }

    /// Learns how many tokens bytes make, from batches in which no text is near truncation.
    fn learn(&mut self, batch: &Batch, collected: &Collected) {
        let Some(max_length) = self.manifest.max_length.filter(|_| self.manifest.tokenizer.is_some()) else {
            return;
        };
        if self.manifest.generation.is_some() {
            return; // its work counts what was written as well
        }
        let items = batch.usable();
        let near = |item: &u32| self.guess.tokens(batch.item_bytes(*item)) >= max_length / 4 * 3;
        if collected.restarts > 0 || items.iter().any(near) {
            return;
        }
        let bytes = items.iter().map(|&item| batch.item_bytes(item) as u64).sum();
        let tokens = collected.processes.iter().map(|process| process.work_units).sum();
        self.guess.learn(items.len() as u64, bytes, tokens);
    }

    fn report(&mut self, collected: &Collected, started: Instant, is_warm_up: bool) -> Report {
        let samples_memory = is_warm_up || self.invocations.is_multiple_of(INVOCATIONS_PER_MEMORY_SAMPLE);
        let resident_bytes = if samples_memory { self.pool.proportional_bytes() } else { 0 };
        let cold = self.invocations == 0;
        self.invocations += 1;
        Report {
            cold,
            init_us: micros(self.init),
            handler_us: micros(started.elapsed()),
            tokenize_us: collected.tokenize_us,
            processes: collected.processes.clone(),
            process_restarts: collected.restarts,
            resident_bytes,
            spans: collected.timeline.spans().to_vec(),
            spans_left_out: collected.timeline.left_out(),
        }
    }

    /// Nothing can be run here any more: the sandbox ends, so that Lambda makes another. Lambda turns the exit into a function
    /// error of its own for this invocation.
    #[expect(clippy::unused_self, reason = "ends the process that holds the handler")]
    fn no_process(&self, error: PoolError) -> Diagnostic {
        tracing::error!(%error, "the sandbox ends");
        crate::sys::exit_now(1)
    }
}

/// Puts batch and trace into the log lines of an invocation, so that they are found from the caller's side.
fn named(header: &RequestHeader) -> Option<tracing::span::EnteredSpan> {
    let traceparent = header.traceparent.as_deref()?;
    Some(tracing::error_span!("invocation", batch = header.batch, %traceparent).entered())
}

/// Errors of all items without a value, in the batch's order.
fn item_errors(ids: &[u64], batch: &Batch, collected: &Collected) -> Vec<ItemError> {
    let mut errors = Vec::new();
    for ((&id, refused), outcome) in ids.iter().zip(&batch.refused).zip(&collected.outcomes) {
        let (code, message) = match (refused, outcome) {
            (Some(why), _) => (ItemErrorCode::InvalidInput, why.clone()),
            (None, Some(Outcome::Value { .. })) => continue,
            (None, Some(Outcome::Failed(code, why))) => (*code, why.clone()),
            (None, None) => (ItemErrorCode::ModelFailed, "the model process left this item out".to_owned()),
        };
        errors.push(ItemError { id, code, message });
    }
    errors
}

pub(crate) fn protocol_error(error: &ProtocolError) -> Diagnostic {
    let error_type = match error {
        ProtocolError::VersionMismatch { .. } => "ProtocolVersionMismatch",
        ProtocolError::Malformed { .. }
        | ProtocolError::Base64 { .. }
        | ProtocolError::DataLength { .. }
        | ProtocolError::Corrupt { .. }
        | ProtocolError::ItemCount { .. }
        | ProtocolError::WrongItems { .. } => "InvalidRequest",
    };
    diagnostic(error_type, error.to_string())
}

pub(crate) fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

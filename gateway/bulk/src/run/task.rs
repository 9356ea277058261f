//! One chunk to its end: its invocations one after the other, then its lines of output and errors.
//!
//! *Rule.* A part that fails as a whole is cut in two until only the guilty items fail; an item that fails alone gets one more try before it is
//! blamed. An unknown outcome is tried once more. A throttled part waits and goes again. A value is kept once it is there.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_contract::ServiceObservation;
use gateway_invoker::{Invocation, InvocationReply, Metering};
use workers_protocol::{Answer, ItemErrorCode, RequestHeader, Tensor};

use super::attempt::{self, Outcome, Side};
use super::shared::{Halt, Shared};
use super::{Invoke, RunContext};
use crate::chunk::{Chunk, WorkLine};
use crate::store::Span;
use crate::{AnsweredLine, AnsweredTensor, JobCost, LineFault, OperatingPoint};

/// Tries of an item that fails alone.
const LONE_TRIES: u32 = 2;
/// First wait of a part that did not run, and the longest; it doubles.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What all chunks of a run need.
pub(crate) struct Crew<I> {
    pub(crate) invoker: I,
    pub(crate) context: RunContext,
    pub(crate) point: OperatingPoint,
    pub(crate) shared: Arc<Shared>,
    /// Names attempts.
    pub(crate) batches: Arc<AtomicU64>,
    /// Whether output lines carry their number, for sorting.
    pub(crate) is_numbered: bool,
    /// What its invocations teach, if anybody wants to know.
    pub(crate) lessons: Option<Lessons>,
}

/// What invocations have taught, in any order.
pub(crate) type Lessons = Arc<Mutex<Vec<ServiceObservation>>>;

/// A chunk all of whose lines have an outcome.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) span: Option<Span>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) items: u64,
    pub(crate) unknown_outcomes: u64,
}

/// A range of items still to be run.
#[derive(Clone, Debug)]
struct Part {
    items: Range<u32>,
    /// How often it failed as it is.
    failures: u32,
    /// How often its outcome was unknown.
    unknowns: u32,
    /// How often it did not run.
    waits: u32,
}

impl Part {
    const fn new(items: Range<u32>) -> Self {
        Self { items, failures: 0, unknowns: 0, waits: 0 }
    }

    fn len(&self) -> u32 {
        self.items.end - self.items.start
    }

    fn halves(&self) -> [Self; 2] {
        let middle = self.items.start + self.len() / 2;
        [Self::new(middle..self.items.end), Self::new(self.items.start..middle)]
    }
}

/// What an item has.
#[derive(Clone, Debug)]
enum Item {
    Waiting,
    /// In which answer, and where in it.
    Value(usize, usize),
    Fault(LineFault),
}

/// An answer whose values are in use.
struct Kept {
    outputs: Vec<Tensor>,
    /// Per output, where each item lies.
    ranges: Vec<Vec<Range<usize>>>,
}

/// A chunk being run.
struct Work<'c, I> {
    crew: &'c Crew<I>,
    chunk: &'c Chunk,
    first: Vec<u32>,
    parts: Vec<Part>,
    items: Vec<Item>,
    kept: Vec<Kept>,
    unknown_outcomes: u64,
}

impl<I: Invoke> Crew<I> {
    /// Runs a chunk; `None` if the run was halted before it ended.
    pub(crate) async fn run(&self, chunk: &Chunk) -> Option<Done> {
        let max_items = self.shared.max_items.load(Ordering::Relaxed).max(1);
        // Usually one part; a line of many items may make more.
        let mut parts: Vec<Part> = (0..chunk.items)
            .step_by(max_items as usize)
            .map(|from| Part::new(from..chunk.items.min(from.saturating_add(max_items))))
            .collect();
        parts.reverse();
        let mut work = Work { parts, ..self.work(chunk) };
        while let Some(part) = work.parts.pop() {
            work.attempt(part).await?;
        }
        Some(work.finish())
    }
}

impl<I: Invoke> Crew<I> {
    fn work<'c>(&'c self, chunk: &'c Chunk) -> Work<'c, I> {
        let items = vec![Item::Waiting; chunk.items as usize];
        let first = attempt::first_items(chunk);
        Work { crew: self, chunk, first, parts: Vec::new(), items, kept: Vec::new(), unknown_outcomes: 0 }
    }

    fn header(&self, batch: u64) -> RequestHeader {
        RequestHeader {
            batch,
            model: self.context.manifest.name.clone(),
            model_version: self.context.manifest.version.clone(),
            process_count: self.point.process_count,
            ..RequestHeader::default()
        }
    }

    /// The payload of a whole chunk, for somebody else to send.
    pub(crate) fn request(&self, chunk: &Chunk) -> Vec<u8> {
        let first = attempt::first_items(chunk);
        let header = self.header(batch_elsewhere(chunk));
        attempt::encode(chunk, &first, &(0..chunk.items), &header, &self.context.manifest)
    }

    /// Takes the answer to [`Self::request`], with what it cost. `None`: it is no answer to this chunk, or leaves something to be run.
    pub(crate) fn adopt(&self, chunk: &Chunk, payload: Option<Bytes>) -> Option<(Done, JobCost)> {
        let mut work = self.work(chunk);
        if chunk.items == 0 {
            return Some((work.finish(), JobCost::default()));
        }
        let metering = Metering::estimate(Duration::ZERO);
        let reply = InvocationReply { payload: payload?, executed_version: None, request_id: None, metering };
        let all = 0..chunk.items;
        let outcome = attempt::judge(Ok(&reply), batch_elsewhere(chunk), &all, &self.context.manifest);
        let Outcome::Answered(answer) = outcome else { return None };
        let RunContext { prices, architecture, .. } = &self.context;
        let cost =
            attempt::cost(&Ok(reply), Some(&answer), Duration::ZERO, &self.point, prices, *architecture);
        work.keep(&Part::new(all), answer);
        work.parts.is_empty().then(|| (work.finish(), cost))
    }
}

/// The batch id of a chunk that somebody else sends: whoever cuts the job again finds the same.
const fn batch_elsewhere(chunk: &Chunk) -> u64 {
    chunk.span.first_line + 1
}

impl<I: Invoke> Work<'_, I> {
    /// One invocation; `None` if the run is halted.
    async fn attempt(&mut self, part: Part) -> Option<()> {
        let Crew { context, shared, point, .. } = self.crew;
        let place = shared.place(part.len()).await?;
        let permit = tokio::select! {
            permit = context.capacity.permit() => permit,
            () = shared.until_halted() => return None,
        };
        context.progress.begin();
        let batch = self.crew.batches.fetch_add(1, Ordering::Relaxed);
        let header = self.crew.header(batch);
        let payload = attempt::encode(self.chunk, &self.first, &part.items, &header, &context.manifest);
        let invocation = Invocation {
            function: point.function.as_str().into(),
            qualifier: point.qualifier.as_str().into(),
            payload,
        };
        let began = shared.now();
        let result = self.crew.invoker.clone().invoke(invocation).await;
        let took = shared.now().saturating_sub(began);
        let outcome = attempt::judge(result.as_ref(), batch, &part.items, &context.manifest);
        let answer = if let Outcome::Answered(answer) = &outcome { Some(answer) } else { None };
        let cost = attempt::cost(&result, answer, took, point, &context.prices, context.architecture);
        if let Some(lessons) = &self.crew.lessons {
            let lesson = attempt::observation(&result, answer, part.len(), took, point);
            lessons.lock().unwrap_or_else(PoisonError::into_inner).push(lesson);
        }
        let throttled = matches!(outcome, Outcome::Later { throttled: true, .. });
        if throttled {
            place.throttled();
        }
        if cost.invocations > 0 {
            shared.executed();
        }
        place.settle(&cost);
        context.capacity.invoked(throttled);
        drop(permit);
        self.decide(part, outcome).await
    }

    async fn decide(&mut self, part: Part, outcome: Outcome) -> Option<()> {
        let shared = &self.crew.shared;
        match outcome {
            Outcome::Answered(answer) => self.keep(&part, answer),
            Outcome::Failed(fault) => self.failed(part, fault),
            Outcome::TooLarge(fault, side) => {
                if side == Side::Answer {
                    shared.max_items.fetch_min((part.len() / 2).max(1), Ordering::Relaxed);
                }
                self.cut_or_blame(&part, fault);
            }
            Outcome::Unknown(fault) if part.unknowns > 0 => self.blame(&part.items, &fault),
            Outcome::Unknown(_) => {
                self.unknown_outcomes += 1;
                self.parts.push(Part { unknowns: 1, ..part });
                shared.pause(BACKOFF.0).await;
            }
            Outcome::Later { retry_after, .. } => {
                let backoff = BACKOFF.0 * 2_u32.saturating_pow(part.waits.min(10));
                let wait = retry_after.unwrap_or_default().max(backoff.min(BACKOFF.1));
                self.parts.push(Part { waits: part.waits + 1, ..part });
                shared.pause(wait).await;
            }
            Outcome::Fatal(failure) => {
                shared.stop(Halt::Failed(failure));
                return None;
            }
        }
        Some(())
    }

    fn failed(&mut self, part: Part, fault: LineFault) {
        if part.len() > 1 {
            self.parts.extend(part.halves());
        } else if part.failures + 1 < LONE_TRIES {
            self.parts.push(Part { failures: part.failures + 1, ..part });
        } else {
            self.crew.shared.failed_alone(&fault.message);
            self.blame(&part.items, &fault);
        }
    }

    fn cut_or_blame(&mut self, part: &Part, fault: LineFault) {
        if part.len() > 1 {
            self.parts.extend(part.halves());
        } else {
            self.blame(&part.items, &fault);
        }
    }

    fn blame(&mut self, items: &Range<u32>, fault: &LineFault) {
        for item in items.clone() {
            self.items[item as usize] = Item::Fault(fault.clone());
        }
    }

    /// Takes an answer's values and errors. Items that there was no time for go again: alone, or in halves if that was true of all.
    fn keep(&mut self, part: &Part, answer: Answer) {
        let count = answer.ids.len();
        let ranges: Result<Vec<_>, _> =
            answer.outputs.iter().map(|tensor| tensor.item_ranges(count)).collect();
        let Ok(ranges) = ranges else {
            // The decoder has checked them; an answer that changes its mind is no answer.
            let fault =
                LineFault { code: "bad_answer", message: "its tensors do not hold its items".to_owned() };
            return self.failed(part.clone(), fault);
        };
        for (position, &id) in answer.ids.iter().enumerate() {
            self.items[wire_index(id)] = Item::Value(self.kept.len(), position);
        }
        if count > 0 {
            self.crew.shared.succeeded();
            self.kept.push(Kept { outputs: answer.outputs, ranges });
        }
        let mut late = Vec::new();
        for error in answer.errors {
            if error.code == ItemErrorCode::DeadlineExceeded && part.len() > 1 {
                late.push(u32::try_from(error.id).unwrap_or(u32::MAX));
            } else {
                let fault = LineFault { code: attempt::item_code(error.code), message: error.message };
                self.items[wire_index(error.id)] = Item::Fault(fault);
            }
        }
        if late.len() == part.len() as usize {
            self.parts.extend(part.halves());
        } else {
            late.sort_unstable();
            let runs = late.chunk_by(|a, b| a + 1 == *b);
            self.parts.extend(runs.map(|run| Part::new(run[0]..run[run.len() - 1] + 1)));
        }
    }

    /// The chunk's lines.
    fn finish(self) -> Done {
        let mut done =
            Done { span: Some(self.chunk.span), unknown_outcomes: self.unknown_outcomes, ..Done::default() };
        let codec = &*self.crew.context.codec;
        for faulty in &self.chunk.faults {
            codec.encode_fault(faulty.number, &faulty.id, &faulty.fault, &mut done.errors);
            done.errors.push(b'\n');
            done.failed += 1;
        }
        for (index, line) in self.chunk.lines.iter().enumerate() {
            let length = done.output.len();
            match self.line(line, self.first[index], length == 0, &mut done.output) {
                Ok(()) => {
                    done.output.push(b'\n');
                    done.completed += 1;
                    done.items += u64::from(line.decoded.items);
                }
                Err(fault) => {
                    done.output.truncate(length);
                    codec.encode_fault(line.number, &line.id, &fault, &mut done.errors);
                    done.errors.push(b'\n');
                    done.failed += 1;
                }
            }
        }
        done
    }

    fn line(&self, line: &WorkLine, first: u32, is_first: bool, out: &mut Vec<u8>) -> Result<(), LineFault> {
        let items = &self.items[first as usize..(first + line.decoded.items) as usize];
        let mut places = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Value(answer, position) => places.push((*answer, *position)),
                Item::Fault(fault) => return Err(fault.clone()),
                Item::Waiting => {
                    return Err(LineFault { code: "not_run", message: "it was not run".to_owned() });
                }
            }
        }
        let outputs = (0..self.crew.context.manifest.outputs.len())
            .map(|index| self.join(&places, index))
            .collect::<Result<Vec<_>, _>>()?;
        if self.crew.is_numbered {
            let mark = if is_first { 'C' } else { ' ' };
            out.extend_from_slice(format!("{mark}{:020}\t", line.number).as_bytes());
        }
        let answered = AnsweredLine {
            number: line.number,
            id: &line.id,
            items: line.decoded.items,
            form: &line.decoded.form,
            outputs: &outputs,
        };
        self.crew.context.codec.encode(&answered, out)
    }

    /// One output of a line: a slice if it has one item, else a concatenation.
    fn join(&self, places: &[(usize, usize)], index: usize) -> Result<AnsweredTensor, LineFault> {
        let ragged = || LineFault {
            code: "ragged_outputs",
            message: "the outputs of the items of one line differ in shape; send them one by one".to_owned(),
        };
        let mut shape: Option<&[u32]> = None;
        let mut slices: Vec<Bytes> = Vec::with_capacity(places.len());
        for &(answer, position) in places {
            let kept = &self.kept[answer];
            let tensor = &kept.outputs[index];
            let item_shape = tensor.item_shapes.get(position).unwrap_or_default();
            if shape.is_some_and(|shape| shape != item_shape) {
                return Err(ragged());
            }
            shape = Some(item_shape);
            slices.push(tensor.data.slice(kept.ranges[index][position].clone()));
        }
        let data = match slices.as_slice() {
            [only] => only.clone(),
            many => {
                let mut joined = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
                many.iter().for_each(|slice| joined.extend_from_slice(slice));
                joined.freeze()
            }
        };
        let datatype = self.crew.context.manifest.outputs[index].datatype;
        Ok(AnsweredTensor { datatype, item_shape: shape.unwrap_or_default().to_vec(), data })
    }
}

/// Ids on the wire are positions; the answer was checked to name only those asked for.
fn wire_index(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

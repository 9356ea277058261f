//! What becomes of one dispatched batch: refused, run, lost or failed; how long that takes and what is billed for it.
//!
//! Rule, in Lambda's order: the call must get through; the payload must fit; the account must have room; an environment must be warm, or is started
//! if the function does not scale up too fast. A new environment runs INIT first, billed; an INIT of more than 10 s is broken off and run again
//! as part of the invocation, under the function's time-out. A function with less memory than its processes need dies in INIT. Whatever
//! kills the function takes the environment with it. Everything is settled at dispatch: a fault that begins later does not touch what runs.
//! Reference: AWS Lambda documentation, "Lambda execution environment" and "Lambda quotas"; the AWS announcement of billed INIT, 2025.
//! Deliberately absent: asynchronous invocation; a worker that gives up by itself, shortly before the time-out, and answers what it has.

use std::time::Duration;

use gateway_contract::{ItemFailure, ServiceObservation, ServiceOutcome, Timestamp};
use gateway_policy::{BatchOutcome, Dispatch, Part, TooLarge};

use super::config::{Account, ColdStarts};
use super::model::ModelState;
use super::requests::OpenRequests;
use crate::lambda::{BatchShape, Limits, Sharder, ThrottleReason, billed_seconds};
use crate::random::Random;

/// Longest INIT before it is broken off, seconds.
const INIT_LIMIT_S: f64 = 10.0;

/// The world around an attempt.
pub(super) struct Around<'a> {
    pub(super) account: &'a Account,
    pub(super) limits: &'a mut Limits,
    pub(super) open: &'a OpenRequests,
    pub(super) sharder: &'a mut Sharder,
    pub(super) now: u64,
}

/// An invocation and what it will have come to.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) outcome: BatchOutcome,
    pub(super) observation: ServiceObservation,
    /// Until the outcome is known, nanoseconds.
    pub(super) takes: u64,
    pub(super) throttle: Option<ThrottleReason>,
    /// `None`: nothing ran.
    pub(super) ran: Option<Ran>,
    /// Dollars as far as the gateway can know.
    pub(super) known_usd: f64,
}

/// What ran.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ran {
    pub(super) duration_usd: f64,
    pub(super) init_usd: f64,
    pub(super) fee_usd: f64,
    pub(super) gb_seconds: f64,
    /// It started an environment.
    pub(super) is_cold: bool,
    /// The environment dies with it.
    pub(super) is_killed: bool,
}

impl Ran {
    pub(super) fn usd(&self) -> f64 {
        self.duration_usd + self.init_usd + self.fee_usd
    }
}

/// How what ran ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Completed,
    AnswerTooLarge,
    Lost,
    Crashed,
    OutOfMemory,
}

/// Sends a batch. Holds a place of the account and an environment exactly if something ran.
pub(super) fn attempt(model: &mut ModelState, around: &mut Around<'_>, dispatch: &Dispatch) -> Attempt {
    let network_s = around.account.network.draw(&mut model.streams.network);
    let now = around.now;
    let not_run = |outcome, throttle| Attempt {
        observation: observation(dispatch, now, ServiceOutcome::NotRun, network_s),
        outcome,
        takes: super::nanos(network_s),
        throttle,
        ran: None,
        known_usd: 0.0,
    };
    if model.active.is_unreachable {
        return not_run(BatchOutcome::Refused { permanent: false }, None);
    }
    if model.active.refused_at.contains(&dispatch.memory_mib) {
        return not_run(BatchOutcome::Refused { permanent: true }, None);
    }
    let (request_bytes, answer_bytes) = bytes(model, around.open, dispatch);
    if request_bytes > around.account.payload_bytes {
        return not_run(BatchOutcome::TooLarge(TooLarge::Request), None);
    }
    match admit(model, around.limits, around.account.cold_starts, dispatch, around.now) {
        Err(reason) => {
            not_run(BatchOutcome::Throttled { retry_after: around.account.retry_after }, Some(reason))
        }
        Ok(is_cold) => {
            let is_large = answer_bytes > around.account.payload_bytes as f64;
            run(model, around, dispatch, is_cold, is_large, network_s)
        }
    }
}

/// Takes a place of the account and an environment. Whether it is a new one.
fn admit(
    model: &mut ModelState,
    limits: &mut Limits,
    cold_starts: ColdStarts,
    dispatch: &Dispatch,
    now: u64,
) -> Result<bool, ThrottleReason> {
    if let Some(reason) = model.active.throttled {
        return Err(reason);
    }
    let function = usize::from(model.id.0);
    limits.admit(function, now)?;
    if model.environments.take_warm(dispatch.memory_mib, now) {
        return Ok(false);
    }
    let is_cold = cold_starts == ColdStarts::Paid;
    if is_cold && let Err(reason) = limits.start_environment(function, now) {
        limits.release(function);
        return Err(reason);
    }
    model.environments.start(dispatch.memory_mib);
    Ok(is_cold)
}

fn run(
    model: &mut ModelState,
    around: &mut Around<'_>,
    dispatch: &Dispatch,
    is_cold: bool,
    is_large: bool,
    network_s: f64,
) -> Attempt {
    let (account, memory) = (around.account, dispatch.memory_mib);
    let shape = shape(model, around.open, around.sharder, dispatch);
    let handler_s =
        model.active.slowness(memory) * model.profile.seconds(memory, &shape, &mut model.streams.service);
    let used = model.profile.memory_used(dispatch.process_count);
    let mut fate = fate(model, around.open, dispatch, is_large);
    let init_s = if is_cold { model.profile.init_seconds(memory) } else { 0.0 };
    let (before_s, again_s) = if init_s > INIT_LIMIT_S { (INIT_LIMIT_S, init_s) } else { (init_s, 0.0) };
    let mut run_s = again_s + handler_s + account.runtime_s;
    if used > memory {
        (fate, run_s) = (Fate::OutOfMemory, again_s);
    } else if run_s > model.function_timeout_s {
        (fate, run_s) = (Fate::Crashed, model.function_timeout_s);
    }
    let billed_s = billed_seconds(before_s + run_s);
    let price = account.usd_per_second(memory);
    let init_usd = price * (before_s + again_s).min(billed_s);
    let fee_usd = account.economics.prices.request_usd();
    let ran = Ran {
        duration_usd: price * billed_s - init_usd,
        init_usd,
        fee_usd,
        gb_seconds: memory.gibibytes() * billed_s,
        is_cold,
        is_killed: matches!(fate, Fate::Crashed | Fate::OutOfMemory) || model.active.keeps_none,
    };
    let placement_s = if is_cold { account.placement_s } else { 0.0 };
    let took_s = network_s + placement_s + before_s + run_s;
    // Of what was lost the gateway knows only how long it waited.
    let known_s = if fate == Fate::Lost { billed_seconds(took_s) } else { billed_s };
    let (outcome, ended) = conclude(model, fate, dispatch);
    let is_answered = matches!(fate, Fate::Completed);
    let observed = ServiceObservation {
        shard_padded_units: if is_answered { shape.shard_padded_units } else { 0 },
        work_units: if is_answered { shape.units } else { 0 },
        handler: seconds(if is_answered { handler_s } else { known_s - before_s - again_s }),
        billed: seconds(known_s),
        billed_is_estimate: model.active.no_report || fate == Fate::Lost,
        init: (is_cold && fate != Fate::Lost).then(|| seconds(before_s + again_s)),
        max_memory_used: (fate != Fate::Lost).then(|| used.min(memory)),
        ..observation(dispatch, around.now, ended, took_s)
    };
    Attempt {
        outcome,
        observation: observed,
        takes: super::nanos(took_s),
        throttle: None,
        ran: Some(ran),
        known_usd: price * known_s + fee_usd,
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

/// What the gateway sees of every invocation, with nothing of what it did.
fn observation(dispatch: &Dispatch, now: u64, outcome: ServiceOutcome, took_s: f64) -> ServiceObservation {
    ServiceObservation {
        at: Timestamp::from_nanos(now) + seconds(took_s),
        revision: dispatch.revision,
        is_canary: dispatch.is_canary,
        is_hold_out: dispatch.is_hold_out,
        outcome,
        items: dispatch.items,
        memory_mib: dispatch.memory_mib,
        process_count: dispatch.process_count,
        shard_padded_units: 0,
        work_units: 0,
        handler: Duration::ZERO,
        billed: Duration::ZERO,
        billed_is_estimate: false,
        round_trip: seconds(took_s),
        init: None,
        max_memory_used: None,
        process_restarts: 0,
    }
}

fn happens(share: f64, random: &mut Random) -> bool {
    share > 0.0 && random.unit() < share
}

fn fate(model: &mut ModelState, open: &OpenRequests, dispatch: &Dispatch, is_large: bool) -> Fate {
    let crashes = happens(model.active.crash, &mut model.streams.faults);
    let is_lost = happens(model.active.lost, &mut model.streams.faults);
    let is_poisoned = |part: &Part| {
        part.first_item == 0 && open.get(part.request.0).is_some_and(|request| request.is_poison)
    };
    if dispatch.items > model.active.out_of_memory_above {
        Fate::OutOfMemory
    } else if crashes || dispatch.parts.iter().any(is_poisoned) {
        Fate::Crashed
    } else if is_lost {
        Fate::Lost
    } else if is_large {
        Fate::AnswerTooLarge
    } else {
        Fate::Completed
    }
}

/// What the engine and the tuner are told.
fn conclude(model: &mut ModelState, fate: Fate, dispatch: &Dispatch) -> (BatchOutcome, ServiceOutcome) {
    match fate {
        Fate::Completed => {
            let share = model.active.partial;
            let failed = if share > 0.0 {
                let random = &mut model.streams.faults;
                let fails = (0..dispatch.items).filter(|_| happens(share, random));
                fails.map(|item| (item, ItemFailure::ModelFailed)).collect()
            } else {
                Vec::new()
            };
            (BatchOutcome::Completed { failed }, ServiceOutcome::Completed)
        }
        Fate::AnswerTooLarge => (BatchOutcome::TooLarge(TooLarge::Response), ServiceOutcome::Completed),
        Fate::Lost => (BatchOutcome::Unknown, ServiceOutcome::NotRun),
        Fate::Crashed => (BatchOutcome::FunctionError, ServiceOutcome::FunctionError),
        Fate::OutOfMemory => (BatchOutcome::FunctionError, ServiceOutcome::OutOfMemory),
    }
}

/// The batch as the worker cuts it.
fn shape(model: &ModelState, open: &OpenRequests, sharder: &mut Sharder, dispatch: &Dispatch) -> BatchShape {
    if model.sizes.classes.len() == 1 {
        return BatchShape::uniform(dispatch.items, dispatch.process_count, model.profile.units(0));
    }
    sharder.clear();
    for part in &dispatch.parts {
        let class = open.get(part.request.0).map_or(0, |request| request.class);
        sharder.add(model.profile.units(class), part.items);
    }
    sharder.shape(dispatch.process_count)
}

/// Encoded bytes of a batch and of its answer.
fn bytes(model: &ModelState, open: &OpenRequests, dispatch: &Dispatch) -> (u64, f64) {
    let classes = &model.sizes.classes;
    let of = |class: u16, items: u32| {
        let class = classes.get(usize::from(class)).copied().unwrap_or_default();
        let items = u64::from(items);
        (items * u64::from(class.item_bytes), items * u64::from(class.response_bytes))
    };
    let (request, answer) = if classes.len() == 1 {
        of(0, dispatch.items)
    } else {
        let parts = dispatch.parts.iter();
        let each =
            parts.map(|part| of(open.get(part.request.0).map_or(0, |request| request.class), part.items));
        each.fold((0, 0), |(requests, answers), (request, answer)| (requests + request, answers + answer))
    };
    (request, answer as f64 * model.active.answers)
}

//! A batch ended: what becomes of its items.

use std::time::Duration;

use gateway_contract::{BatchId, ItemFailure, RequestId, Timestamp};
use gateway_policy::{BatchOutcome, CloseReason, TooLarge};

use super::budget::Budget;
use super::model::{Again, Flight, Pause};
use super::requests::Place;
use super::{Reference, Rule};

/// Function errors in a row, beyond the batches in flight, that are taken for a dead function.
const FREE_FAILURES: u32 = 16;
/// Longest pause that Lambda may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Live items of a batch that ended.
type Live = Vec<(RequestId, u32)>;

impl Reference {
    /// The shell told the engine how a batch ended.
    pub fn handle_outcome(&mut self, now: Timestamp, batch: BatchId, outcome: &BatchOutcome) {
        self.advance(now);
        let Some(flight) = self.flights.remove(&batch) else {
            self.findings.note(Rule::ExactlyOnce, now, || format!("an outcome of {batch}, which is not out"));
            return;
        };
        let live = self.live(batch, &flight);
        let Some(model) = self.models.get_mut(&flight.model) else { return };
        model.hold_out = model.hold_out.filter(|&out| out != batch);
        model.in_flight -= 1;
        match outcome {
            BatchOutcome::Completed { failed } => {
                model.failures = 0;
                self.complete(&flight, &live, failed);
            }
            BatchOutcome::Throttled { retry_after } => {
                let wait = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
                let running = model.in_flight;
                model.was_throttled = true;
                let level =
                    model.pause.filter(|it| now < it.until).map_or(running, |it| it.level.min(running));
                if let Some(wait) = wait {
                    let until = model.pause.map_or(now + wait, |it| it.until.max(now + wait));
                    model.pause = Some(Pause { until, level });
                } else if let Some(pause) = model.pause.as_mut().filter(|pause| now < pause.until) {
                    pause.level = level;
                }
                self.retry(now, batch, &flight, &live, ItemFailure::Throttled, wait.unwrap_or_default());
            }
            BatchOutcome::Unknown => {
                self.retry(now, batch, &flight, &live, ItemFailure::UnknownOutcome, Duration::ZERO);
            }
            BatchOutcome::Refused { permanent: false } => {
                self.retry(now, batch, &flight, &live, ItemFailure::Refused, Duration::ZERO);
            }
            BatchOutcome::Refused { permanent: true } => self.put(&live, Place::Failed(ItemFailure::Refused)),
            BatchOutcome::FunctionError => {
                model.failures = model.failures.saturating_add(1);
                let is_dead = model.failures >= FREE_FAILURES.saturating_add(model.in_flight);
                self.halve(now, batch, &flight, &live, ItemFailure::FunctionError, is_dead);
            }
            BatchOutcome::TooLarge(which) => {
                model.is_corrected = true;
                let failure = match which {
                    TooLarge::Request => ItemFailure::RequestTooLarge,
                    TooLarge::Response => ItemFailure::ResponseTooLarge,
                };
                self.halve(now, batch, &flight, &live, failure, false);
            }
        }
    }

    /// Items of a batch whose request is still there.
    fn live(&self, batch: BatchId, flight: &Flight) -> Live {
        let is_live = |(id, item): &(RequestId, u32)| {
            self.requests.get(id).is_some_and(|request| {
                !request.is_expired && request.items.get(*item as usize) == Some(&Place::InFlight(batch))
            })
        };
        flight.items.iter().copied().filter(is_live).collect()
    }

    fn put(&mut self, items: &[(RequestId, u32)], place: Place) {
        for (id, item) in items {
            self.touched.insert(*id);
            if let Some(at) = self.requests.get_mut(id).and_then(|it| it.items.get_mut(*item as usize)) {
                *at = place;
            }
        }
    }

    /// Each position has a value or a failure, and belongs to the item that was put there.
    fn complete(&mut self, flight: &Flight, live: &[(RequestId, u32)], failed: &[(u32, ItemFailure)]) {
        self.put(live, Place::Done);
        for (position, failure) in failed {
            let item = flight.items.get(*position as usize);
            if let Some(item) = item.filter(|item| live.contains(item)) {
                self.put(std::slice::from_ref(item), Place::Failed(*failure));
            }
        }
    }

    /// Two halves, or the end.
    fn halve(
        &mut self,
        now: Timestamp,
        batch: BatchId,
        flight: &Flight,
        live: &[(RequestId, u32)],
        failure: ItemFailure,
        is_dead: bool,
    ) {
        if live.len() <= 1 || is_dead {
            self.put(live, Place::Failed(failure));
            return;
        }
        self.put(live, Place::Again(batch));
        let items = u32::try_from(live.len()).unwrap_or(u32::MAX);
        let again = Again {
            attempt: 1,
            reason: CloseReason::Bisect,
            unknowns: flight.unknowns,
            ready_from: now,
            ready_to: now,
            most_items: items.div_ceil(2),
            live: items,
            pieces: 2,
            is_open: false,
        };
        if let Some(model) = self.models.get_mut(&flight.model) {
            model.again.insert(batch, again);
        }
    }

    /// The same batch again after a back-off, as far as attempts, deadlines and the budget allow.
    fn retry(
        &mut self,
        now: Timestamp,
        batch: BatchId,
        flight: &Flight,
        live: &[(RequestId, u32)],
        failure: ItemFailure,
        at_least: Duration,
    ) {
        let Some(model) = self.models.get_mut(&flight.model).filter(|_| !live.is_empty()) else { return };
        let limits = model.plan.retry;
        let unknowns = flight.unknowns + u32::from(failure == ItemFailure::UnknownOutcome);
        let is_exhausted = flight.attempt >= limits.max_attempts
            || failure == ItemFailure::UnknownOutcome && unknowns > limits.max_unknown_outcome_retries;
        if is_exhausted {
            self.put(live, Place::Failed(failure));
            return;
        }
        let doubled = 1_u32.checked_shl(flight.attempt - 1).unwrap_or(u32::MAX);
        let longest = limits.backoff_base.saturating_mul(doubled).min(limits.backoff_max);
        let (ready_from, ready_to) = (now + (longest / 2).max(at_least), now + longest.max(at_least));
        let service = model.upper(u32::try_from(live.len()).unwrap_or(u32::MAX));
        let deadline = |id: &RequestId| self.requests.get(id).map_or(Timestamp::MAX, |it| it.deadline());
        let (late, rest): (Live, Live) = live.iter().partition(|(id, _)| deadline(id) < ready_from + service);
        let (perhaps, in_time): (Live, Live) =
            rest.iter().partition(|(id, _)| deadline(id) < ready_to + service);
        let budget =
            if rest.is_empty() { Budget::Denies } else { model.bucket.ask(now, !in_time.is_empty()) };
        if budget != Budget::Denies {
            let items = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let again = Again {
                attempt: flight.attempt + 1,
                reason: CloseReason::Retry,
                unknowns,
                ready_from,
                ready_to,
                most_items: items,
                live: items,
                pieces: 1,
                is_open: budget == Budget::Open || !perhaps.is_empty(),
            };
            model.again.insert(batch, again);
        } else if !rest.is_empty() {
            model.denied.insert(batch);
        }
        self.put(&late, Place::Failed(failure));
        let (open, sure) = match budget {
            Budget::Grants => (Place::AgainOrFailed(batch, failure), Place::Again(batch)),
            Budget::Denies => (Place::Failed(failure), Place::Failed(failure)),
            Budget::Open => (Place::AgainOrFailed(batch, failure), Place::AgainOrFailed(batch, failure)),
        };
        self.put(&perhaps, open);
        self.put(&in_time, sure);
    }
}

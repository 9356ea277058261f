//! The serving plan: the one value through which the control plane steers the data plane.

use std::time::Duration;

use crate::{Mebibytes, ModelId, PlanRevision};

/// An operating point of one model. Immutable: a change is a new revision that names its parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ServingPlan {
    /// The model that it serves.
    pub model: ModelId,
    /// This version.
    pub revision: PlanRevision,
    /// The version that it replaces; `None` for the first.
    pub parent: Option<PlanRevision>,
    /// How waiting items become batches.
    pub packing: PackingPolicy,
    /// Size bound of a batch, in items, 1 to 10,000. More: cheaper per item, slower to fill.
    pub max_batch_size: u32,
    /// Longest wait to fill a batch. More: fuller batches, later answers. Zero: never wait.
    pub max_queue_delay: Duration,
    /// Parallel invocations, at least 1. The engine's window adapts below it when throttled.
    pub max_in_flight: u32,
    /// Bound of waiting items; more are shed.
    pub queue_capacity_items: u32,
    /// Bound of waiting encoded bytes; more are shed.
    pub queue_capacity_bytes: u64,
    /// Bound of one batch's encoded request, in bytes, envelope excluded.
    pub max_request_payload_bytes: u64,
    /// Bound of one batch's estimated encoded answer, in bytes.
    pub max_response_payload_bytes: u64,
    /// Latency objective of a request, arrival to answer. A soft deadline: it shapes batches and fails nothing.
    pub slo_latency: Duration,
    /// Safety margin kept before a deadline when a batch is closed.
    pub deadline_margin: Duration,
    /// Upper service time by batch fill, used to close batches in time.
    pub service_time_upper: ServiceTimeTable,
    /// What runs a batch, by its real fill: ascending `max_items`; the last covers `max_batch_size`.
    pub rungs: Vec<Rung>,
    /// Where a share of the batches runs to be measured; `None`: nowhere else.
    pub canary: Option<Canary>,
    /// Which items run alone, to measure what batching saves; `None`: none.
    pub hold_out: Option<HoldOut>,
    /// How execution environments are used sparingly; `None`: every batch goes out at once, and nothing is kept warm.
    pub environments: Option<EnvironmentPolicy>,
    /// Bounds of retrying.
    pub retry: RetryLimits,
}

/// How waiting items become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackingPolicy {
    /// No batching: every request is dispatched alone and at once.
    None,
    /// In order of arrival; closes when full or when the oldest has waited `max_queue_delay`.
    Fifo,
    /// Earliest deadline first; also closes when the earliest deadline would otherwise be missed.
    Deadline,
}

/// Where a batch of at most `max_items` items runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Largest fill that uses this rung, in items.
    pub max_items: u32,
    /// Alias (or version) of the function.
    pub qualifier: String,
    /// Memory behind that alias.
    pub memory_mib: Mebibytes,
    /// Model processes to run the batch in, 1 to 64.
    pub process_count: u32,
}

/// A share of batches that runs elsewhere, to learn what it would cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Where. Only batches of at most `max_items` items go there.
    pub rung: Rung,
    /// Every how many batches that fit one goes there, at least 2.
    pub every: u32,
}

/// Items that run alone now and then, as all would without batching: a measurement of what batching saves.
///
/// They come in runs, one after the other, so that all of a run but the first find a warm environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOut {
    /// Where: the cheapest place for a single item.
    pub rung: Rung,
    /// Every how many items a run begins, at least 2.
    pub every_items: u32,
    /// Items of a run, at least 1 and below `every_items`.
    pub run_items: u32,
}

/// Whom a batch waits for, and what is kept warm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnvironmentPolicy {
    /// What a new environment takes before it runs its first batch, placement and INIT, at the plan's slowest size. No batch waits longer than this
    /// and its own upper service time for an environment that is at work.
    pub init: Duration,
    /// Share of items, 0 to 1, whose batch may wait for an environment before another one is started. More: fewer environments, more late answers.
    pub waiting_share: f64,
    /// For how long Lambda keeps an idle environment at the least.
    pub stays_warm: Duration,
    /// No-op calls that keep an environment which serves no batch, one in each `stays_warm`, before it is let go. 0: none is kept.
    pub keep_calls: u32,
}

/// Upper service time (invocation as the gateway sees it, warm) by batch fill; linear between the points, flat outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTimeTable {
    points: Vec<(u32, Duration)>,
}

impl ServiceTimeTable {
    /// Builds a table from `(items, duration)` points.
    ///
    /// # Errors
    /// When empty, or when items do not ascend strictly, or durations descend.
    pub fn new(points: Vec<(u32, Duration)>) -> Result<Self, PlanError> {
        let ordered = points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if points.is_empty() || !ordered {
            return Err(PlanError::ServiceTimeTable);
        }
        Ok(Self { points })
    }

    /// Upper service time of a batch of `items` items.
    #[must_use]
    pub fn upper(&self, items: u32) -> Duration {
        let next = self.points.partition_point(|&(at, _)| at < items);
        match (next.checked_sub(1).and_then(|i| self.points.get(i)), self.points.get(next)) {
            (Some(&(low, from)), Some(&(high, to))) => {
                from + (to - from).mul_f64(f64::from(items - low) / f64::from(high - low))
            }
            (None, Some(&(_, only))) | (Some(&(_, only)), None) => only,
            (None, None) => Duration::ZERO,
        }
    }
}

/// Bounds of retrying. Retries live here and nowhere else: the SDK's own are off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryLimits {
    /// Retries allowed per dispatched batch in the long run, 0 to 1.
    pub budget_ratio: f64,
    /// Retries that are always allowed, per second.
    pub budget_min_per_second: f64,
    /// Attempts of one batch, the first included, at least 1.
    pub max_attempts: u32,
    /// Retries after an unknown outcome (the batch may have run), 0 or 1.
    pub max_unknown_outcome_retries: u32,
    /// First back-off; doubles with each attempt.
    pub backoff_base: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
}

impl Default for RetryLimits {
    /// What the gateway's configuration has where it says nothing.
    fn default() -> Self {
        Self {
            budget_ratio: 0.2,
            budget_min_per_second: 10.0,
            max_attempts: 5,
            max_unknown_outcome_retries: 1,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// A plan that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number outside its range.
    #[error("`{field}` {reason}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// Rungs not ascending, or not covering `max_batch_size`.
    #[error("`rungs` must ascend in `max_items` and the last must cover `max_batch_size`")]
    Rungs,
    /// Service time points empty or not ascending.
    #[error("`service_time_upper` needs points that ascend in items and never descend in time")]
    ServiceTimeTable,
}

impl ServingPlan {
    /// Checks every range that the engine relies on.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), PlanError> {
        let check = |holds: bool, field, reason| {
            if holds { Ok(()) } else { Err(PlanError::OutOfRange { field, reason }) }
        };
        check((1..=10_000).contains(&self.max_batch_size), "max_batch_size", "must be 1 to 10000")?;
        check(self.max_in_flight >= 1, "max_in_flight", "must be at least 1")?;
        check(self.queue_capacity_items >= 1, "queue_capacity_items", "must be at least 1")?;
        check(self.queue_capacity_bytes >= 1, "queue_capacity_bytes", "must be at least 1")?;
        check(self.max_request_payload_bytes >= 1, "max_request_payload_bytes", "must be at least 1")?;
        check(self.max_response_payload_bytes >= 1, "max_response_payload_bytes", "must be at least 1")?;
        check((0.0..=1.0).contains(&self.retry.budget_ratio), "retry.budget_ratio", "must be 0 to 1")?;
        check(
            self.retry.budget_min_per_second.is_finite() && self.retry.budget_min_per_second >= 0.0,
            "retry.budget_min_per_second",
            "must be 0 or more",
        )?;
        check(self.retry.max_attempts >= 1, "retry.max_attempts", "must be at least 1")?;
        check(
            self.retry.max_unknown_outcome_retries <= 1,
            "retry.max_unknown_outcome_retries",
            "must be 0 or 1",
        )?;
        let ascending = self.rungs.windows(2).all(|pair| pair[0].max_items < pair[1].max_items);
        if !ascending || self.rungs.last().is_none_or(|last| last.max_items < self.max_batch_size) {
            return Err(PlanError::Rungs);
        }
        check(
            self.canary.as_ref().is_none_or(|canary| canary.every >= 2),
            "canary.every",
            "must be at least 2",
        )?;
        check(
            self.hold_out
                .as_ref()
                .is_none_or(|hold_out| (1..hold_out.every_items).contains(&hold_out.run_items)),
            "hold_out.run_items",
            "must be at least 1 and below `every_items`",
        )?;
        if let Some(environments) = &self.environments {
            check(
                (0.0..=1.0).contains(&environments.waiting_share),
                "environments.waiting_share",
                "must be 0 to 1",
            )?;
            check(
                environments.stays_warm >= Duration::from_secs(1),
                "environments.stays_warm",
                "must be at least a second",
            )?;
        }
        for rung in self.places() {
            check((1..=64).contains(&rung.process_count), "process_count", "must be 1 to 64")?;
            check(
                (Mebibytes::LAMBDA_MIN..=Mebibytes::LAMBDA_MAX).contains(&rung.memory_mib),
                "memory_mib",
                "must be 128 to 10240",
            )?;
        }
        Ok(())
    }

    /// Every place that it may run on: rungs, canary, hold-out.
    pub fn places(&self) -> impl Iterator<Item = &Rung> {
        let canary = self.canary.iter().map(|canary| &canary.rung);
        self.rungs.iter().chain(canary).chain(self.hold_out.iter().map(|hold_out| &hold_out.rung))
    }

    /// Index of the rung for a batch of `items` items: the smallest that covers it.
    #[must_use]
    pub fn rung_for(&self, items: u32) -> usize {
        let index = self.rungs.partition_point(|rung| rung.max_items < items);
        index.min(self.rungs.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_time_is_linear_between_points_and_flat_outside() {
        let ms = Duration::from_millis;
        let table = ServiceTimeTable::new(vec![(1, ms(10)), (11, ms(30))]).unwrap();
        assert_eq!(table.upper(0), ms(10));
        assert_eq!(table.upper(1), ms(10));
        assert_eq!(table.upper(6), ms(20));
        assert_eq!(table.upper(11), ms(30));
        assert_eq!(table.upper(100), ms(30));
    }

    #[test]
    fn service_time_points_must_ascend() {
        let ms = Duration::from_millis;
        for points in [vec![], vec![(2, ms(1)), (2, ms(2))], vec![(1, ms(2)), (2, ms(1))]] {
            assert_eq!(ServiceTimeTable::new(points), Err(PlanError::ServiceTimeTable));
        }
    }
}

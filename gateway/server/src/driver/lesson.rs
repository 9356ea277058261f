//! What an invocation teaches about the operating point that ran it: the observation for the control loop.

use std::time::Duration;

use gateway_contract::{Mebibytes, ServiceObservation, ServiceOutcome};
use gateway_invoker::InvokeError;
use gateway_policy::{BatchOutcome, TooLarge};
use workers_protocol::Answer;

use super::BatchFacts;
use super::batch::{BatchJob, Judged};

/// What the worker said of the work in a batch; zero where it said nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Padded units of the largest shard.
    pub(super) shard_padded_units: u64,
    /// Units of all items, padding not counted.
    pub(super) units: u64,
    /// Wall time of the handler.
    pub(super) handler: Duration,
    /// Start of the sandbox, if this invocation started it.
    pub(super) init: Option<Duration>,
}

impl Work {
    pub(super) fn of(answer: &Answer) -> Self {
        let report = &answer.report;
        Self {
            shard_padded_units: report
                .processes
                .iter()
                .map(|process| process.padded_units)
                .max()
                .unwrap_or(0),
            units: report.processes.iter().map(|process| process.work_units).sum(),
            handler: Duration::from_micros(report.handler_us),
            init: report.cold.then(|| Duration::from_micros(report.init_us)),
        }
    }
}

impl BatchJob {
    /// What people see of it; its cost is not known yet.
    pub(super) fn facts(&self, judged: &Judged) -> BatchFacts {
        let failed = match &judged.outcome {
            BatchOutcome::Completed { failed } => failed.len(),
            BatchOutcome::Throttled { .. }
            | BatchOutcome::FunctionError
            | BatchOutcome::TooLarge(_)
            | BatchOutcome::Unknown
            | BatchOutcome::Refused { .. } => 0,
        };
        BatchFacts {
            batch: self.dispatch.batch,
            parent: self.dispatch.parent,
            attempt: self.dispatch.attempt,
            opened: self.opened,
            closed: self.dispatched,
            reason: self.dispatch.reason,
            outcome: judged.label,
            failed_items: u32::try_from(failed).unwrap_or(u32::MAX),
            cost_usd: 0.0,
        }
    }

    /// What this teaches about the operating point.
    pub(super) fn observation(&self, judged: &Judged, took: Duration) -> ServiceObservation {
        let metering = judged.metering.unwrap_or_default();
        let init = metering.init.or(judged.work.init);
        let outcome = match judged.outcome {
            _ if judged.is_out_of_memory => ServiceOutcome::OutOfMemory,
            BatchOutcome::Completed { .. } | BatchOutcome::TooLarge(TooLarge::Response) => {
                ServiceOutcome::Completed
            }
            BatchOutcome::FunctionError => ServiceOutcome::FunctionError,
            BatchOutcome::Throttled { .. }
            | BatchOutcome::TooLarge(TooLarge::Request)
            | BatchOutcome::Unknown
            | BatchOutcome::Refused { .. } => ServiceOutcome::NotRun,
        };
        let handler = match judged.work.handler {
            Duration::ZERO => metering.billed.saturating_sub(init.unwrap_or_default()),
            told => told,
        };
        ServiceObservation {
            at: self.clock.now(),
            revision: self.dispatch.revision,
            is_canary: self.dispatch.is_canary,
            is_hold_out: self.dispatch.is_hold_out,
            outcome,
            items: self.dispatch.items,
            memory_mib: metering.memory.unwrap_or(self.dispatch.memory_mib),
            process_count: self.dispatch.process_count,
            shard_padded_units: judged.work.shard_padded_units,
            work_units: judged.work.units,
            handler,
            billed: metering.billed,
            billed_is_estimate: metering.is_estimate,
            round_trip: took,
            init,
            max_memory_used: metering.max_memory_used.filter(|&used| used > Mebibytes(0)),
            process_restarts: judged.process_restarts,
        }
    }
}

/// Lambda names it in the error's type, or says only that the runtime was killed.
pub(super) fn is_out_of_memory(error: &InvokeError) -> bool {
    let InvokeError::Function { error_type, message, .. } = error else {
        return false;
    };
    error_type.contains("OutOfMemory") || message.contains("signal: killed")
}

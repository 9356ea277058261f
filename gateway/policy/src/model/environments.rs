//! Environments as the model uses them: whether what is due waits for one, and the calls that start and keep them.

use std::sync::Arc;

use gateway_contract::{BatchId, Timestamp};

use super::Model;
use crate::closing::{Backlog, fill_bound};
use crate::compiled_plan::nanos;
use crate::environments::{Due, Turn};
use crate::shared::Shared;
use crate::types::{CallPurpose, EnvironmentCall, Event};

impl Model {
    /// Until when, at most, the batch that is due waits for an environment; `None`: it goes out now.
    pub(super) fn waits_for_environment(
        &mut self,
        shared: &mut Shared,
        now: u64,
        backlog: &Backlog,
    ) -> Option<u64> {
        let policy = self.plan.plan.environments.filter(|_| !shared.is_draining)?;
        let items = backlog.items.min(fill_bound(&self.plan, backlog, now));
        let rung = self.plan.plan.rung_for(items);
        let qualifier = self.plan.qualifiers.get(rung)?.clone();
        let max_batch_size = self.plan.plan.max_batch_size;
        let due = Due {
            items: backlog.items,
            max_batch_size,
            upper: self.plan.upper(max_batch_size),
            max_in_flight: self.window.allowed(now),
            batch_items: items,
            is_lost: now.saturating_add(self.plan.upper(items))
                > backlog.oldest.saturating_add(nanos(self.plan.plan.slo_latency)),
        };
        match self.environments.turn(&policy, &qualifier, now, due) {
            Turn::Goes => None,
            Turn::Waits { until, start } => {
                for _ in 0..start {
                    let call = self.call(shared, rung, CallPurpose::Start);
                    self.environments.on_start(&qualifier, call);
                }
                Some(until)
            }
        }
    }

    /// A new batch of `items` items goes out.
    pub(super) fn note_wait(&mut self, shared: &mut Shared, now: u64, items: u32) {
        let Some(policy) = self.plan.plan.environments else { return };
        if let Some(waited) = self.environments.on_new(&policy, now, items, self.plan.plan.max_batch_size) {
            let waited = Timestamp::from_nanos(waited) - Timestamp::ZERO;
            shared.events.push_back(Event::WaitedForEnvironment { model: self.id, items, waited });
        }
    }

    /// A call is back.
    pub(crate) fn handle_call(&mut self, shared: &mut Shared, now: u64, call: BatchId, ran: bool) {
        self.expire(shared, now);
        self.environments.on_back(now, call.0, ran);
        self.settle(shared, now);
    }

    /// Calls the idle environments of the plan's sizes whose time has come.
    pub(super) fn keep_warm(&mut self, shared: &mut Shared, now: u64) {
        let Some(policy) = self.plan.plan.environments.filter(|_| !shared.is_draining) else { return };
        for rung in 0..self.plan.qualifiers.len() {
            let qualifier = &self.plan.qualifiers[rung];
            if self.environments.called_at(&policy, qualifier).is_some_and(|at| at <= now) {
                let qualifier = Arc::clone(qualifier);
                let mut environments = std::mem::take(&mut self.environments);
                environments
                    .take_calls(&policy, &qualifier, now, || self.call(shared, rung, CallPurpose::Keep));
                self.environments = environments;
            }
        }
    }

    /// When [`Model::keep_warm`] is wanted.
    pub(super) fn called_at(&self) -> Option<u64> {
        let policy = self.plan.plan.environments.as_ref()?;
        self.plan.qualifiers.iter().filter_map(|alias| self.environments.called_at(policy, alias)).min()
    }

    /// Asks for a call to a rung's alias; gives its number.
    fn call(&self, shared: &mut Shared, rung: usize, purpose: CallPurpose) -> u64 {
        let (place, call) = (&self.plan.plan.rungs[rung], shared.next_batch_id());
        shared.calls_out.insert(call.0, self.id);
        shared.calls.push_back(EnvironmentCall {
            call,
            model: self.id,
            qualifier: self.plan.qualifiers[rung].clone(),
            memory_mib: place.memory_mib,
            process_count: place.process_count,
            purpose,
        });
        call.0
    }
}

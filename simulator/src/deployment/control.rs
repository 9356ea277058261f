//! What happens by the deployment's own clock: faults begin and end, plans come into force, windows end.

use gateway_contract::{Mebibytes, ModelId, PlanRevision, ServingPlan, Timestamp};

use super::Deployment;
use super::config::{ColdStarts, DeploymentError};
use super::controller::NextPlan;
use super::fault::{Active, FaultKind};
use super::jobs::Job;
use super::observer::Observer;
use crate::lambda::billed_seconds;

impl<O: Observer> Deployment<'_, O> {
    /// When the next of them happens, nanoseconds.
    pub(super) fn schedule_control(&mut self) {
        let edge = self.edges.get(self.next_edge).copied().unwrap_or(u64::MAX);
        let coming = self.models.iter().filter_map(|model| model.coming.as_ref().map(|(at, _)| *at)).min();
        self.next_control = edge.min(coming.unwrap_or(u64::MAX)).min(self.window_end);
    }

    pub(super) fn handle_control(&mut self) -> Result<(), DeploymentError> {
        while self.edges.get(self.next_edge).is_some_and(|&at| at <= self.now) {
            self.next_edge += 1;
            self.update_faults();
        }
        self.drain();
        for at in 0..self.models.len() {
            if let Some((_, plan)) = self.models[at].coming.take_if(|(ready, _)| *ready <= self.now) {
                self.put_in_force(at, plan)?;
            }
        }
        if self.window_end <= self.now {
            for at in 0..self.models.len() {
                self.end_window(at)?;
            }
            let next = self.window_end + self.window;
            self.window_end = if next <= self.end { next } else { u64::MAX };
        }
        self.schedule_control();
        Ok(())
    }

    fn update_faults(&mut self) {
        let now = self.now;
        self.models.iter_mut().for_each(|model| model.active = Active::default());
        for (from, to, fault) in &self.faults {
            let concerns = |id: ModelId| fault.model.is_none_or(|model| model == id);
            for model in self.models.iter_mut().filter(|model| concerns(model.id)) {
                if *from <= now && now < *to {
                    model.active.add(fault.kind);
                }
                if *from == now && fault.kind == FaultKind::ColdStorm {
                    model.environments.lose_idle();
                    model.storm_at = now;
                }
            }
            if *from == now && fault.kind == FaultKind::Drain {
                self.observer.on_drain(Timestamp::from_nanos(now));
                self.engine.drain(Timestamp::from_nanos(now));
            }
        }
    }

    fn end_window(&mut self, at: usize) -> Result<(), DeploymentError> {
        self.record_window(at);
        if !self.models[at].controller_wants_windows {
            return Ok(());
        }
        let plans = {
            let controller = &mut self.models[at].report.controller;
            controller.handle_window(&self.last_window)
        };
        for next in plans {
            self.propose(at, next)?;
        }
        let model = &mut self.models[at];
        while let Some(event) = model.report.controller.poll_event() {
            self.observer.on_tuner_event(model.id, &event);
            model.report.events.push(event);
        }
        model.report.controller_counts = model.report.controller.counts();
        Ok(())
    }

    /// Closes a model's window into `last_window`, and keeps what the configuration asks for.
    pub(super) fn record_window(&mut self, at: usize) {
        let model = &mut self.models[at];
        let Some(tally) = &mut model.tally else { return };
        model.recorder.note(tally.latencies());
        let closed = tally.close(self.now);
        self.last_window = closed.stats.clone();
        self.observer.on_window(model.id, &closed.stats);
        let record = model.recorder.add(closed, model.revision, model.report.controller.counts());
        model.report.windows.extend(record);
    }

    /// Warms what a plan wants; it serves once that is ready. A plan that still warms is superseded.
    fn propose(&mut self, at: usize, next: NextPlan) -> Result<(), DeploymentError> {
        let id = self.models[at].id;
        let plan = ServingPlan { model: id, ..next.plan };
        self.models[at].coming = None;
        let mut ready = self.now;
        if self.account.cold_starts == ColdStarts::Paid {
            for (memory, wanted) in next.warm {
                ready = ready.max(self.warm(at, memory, wanted));
            }
        }
        if ready <= self.now {
            return self.put_in_force(at, plan);
        }
        self.models[at].coming = Some((ready, plan));
        Ok(())
    }

    /// Starts what is missing of so many environments, as far as the account allows; gives the time when they are ready.
    fn warm(&mut self, at: usize, memory: Mebibytes, wanted: u32) -> u64 {
        let model = &mut self.models[at];
        let missing = wanted.saturating_sub(model.environments.count(memory, self.now));
        let init_s = model.profile.init_seconds(memory);
        let ready = self.now + super::nanos(self.account.placement_s + init_s);
        let usd = billed_seconds(init_s) * self.account.usd_per_second(memory)
            + self.account.economics.prices.request_usd();
        for _ in 0..missing {
            if self.limits.admit(at, self.now).is_err() {
                break;
            }
            if self.limits.start_environment(at, self.now).is_err() {
                self.limits.release(at);
                break;
            }
            let model = &mut self.models[at];
            model.environments.start(memory);
            model.bill_call(true, usd, memory.gibibytes() * billed_seconds(init_s));
            self.jobs.begin(ready, Job::WarmUp { model: at, memory, began: self.now });
        }
        if missing > 0 { ready } else { self.now }
    }

    pub(super) fn put_in_force(&mut self, at: usize, plan: ServingPlan) -> Result<(), DeploymentError> {
        let model = &mut self.models[at];
        let is_first = model.report.plans.is_empty();
        if !is_first && plan.revision <= PlanRevision(model.revision) {
            return Ok(()); // stale, as the server judges it
        }
        if let Err(error) = plan.validate() {
            let (model, revision) = (model.report.name.clone(), plan.revision.0);
            return Err(DeploymentError::Plan { model, revision, error });
        }
        model.revision = plan.revision.0;
        let now = Timestamp::from_nanos(self.now);
        self.observer.on_plan(now, &plan);
        model.report.plans.push((self.now as f64 / 1e9, plan.clone()));
        self.engine.handle_plan(now, plan);
        // Another plan may follow at once: what this one let go was formed by it.
        self.drain();
        Ok(())
    }
}

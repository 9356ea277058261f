//! Nothing waits for ever: whenever time moves on, what was due and had room must have gone out.

use std::time::Duration;

use gateway_contract::{RequestId, Timestamp};

use super::model::ModelReference;
use super::queue::closes_at;
use super::requests::{Known, Place};
use super::{CLOCK, Reference, Rule};

impl Reference {
    /// Nothing happened since `self.now`; nothing may have become due before `now`.
    pub(super) fn check_liveness(&mut self, now: Timestamp) {
        let since = self.now;
        let mut breaches = Vec::new();
        for (id, model) in &mut self.models {
            let calm = free_from(model, since);
            let oldest = model.queue.oldest().and_then(|id| self.requests.get(&id));
            let has_place = model.in_flight + model.pieces() < model.surely_allowed();
            if let Some(oldest) = oldest.filter(|_| has_place) {
                let due = closes_at(&model.plan, &model.queue, oldest.arrival, self.is_draining).max(calm)
                    + waits_for_environments(model, self.is_draining);
                if due + CLOCK < now {
                    breaches.push((
                        due,
                        format!(
                            "{} items of model {id} wait, the oldest {:?}",
                            model.queue.items, oldest.meta.id
                        ),
                    ));
                }
            }
            if model.in_flight < model.surely_allowed() {
                for (batch, again) in model.again.iter().filter(|(_, it)| it.live > 0 && !it.is_open) {
                    let due = again.ready_to.max(calm);
                    if due + CLOCK < now {
                        breaches.push((
                            due,
                            format!("{} items of batch {batch} do not go out again", again.live),
                        ));
                    }
                }
            }
            model.again.retain(|_, again| again.live > 0 || again.ready_to >= since);
        }
        for (due, what) in breaches {
            self.findings.note(Rule::NothingWaits, now, || format!("{what}, due at {} ns", due.as_nanos()));
        }
        self.check_answered(since);
    }

    /// A request whose items all have their results was answered at once.
    fn check_answered(&mut self, since: Timestamp) {
        for id in std::mem::take(&mut self.touched) {
            let is_open = |request: &Known| {
                request.is_expired
                    || request.items.iter().any(|place| !matches!(place, Place::Done | Place::Failed(_)))
            };
            let is_answered = self.requests.get(&id).is_none_or(is_open);
            self.findings.check(is_answered, Rule::ExactlyOnce, since, || unanswered(id));
        }
    }
}

/// How long a batch that is due may wait for an environment at work.
fn waits_for_environments(model: &ModelReference, is_draining: bool) -> Duration {
    let policy = model.plan.environments.filter(|_| !is_draining);
    policy.map_or(Duration::ZERO, |policy| policy.init + model.upper(model.plan.max_batch_size))
}

fn unanswered(id: RequestId) -> String {
    format!("{id} has all its results and was not answered")
}

/// From when on a place of the window counts as free: a pause has ended, and batches that have died in their back-off have gone.
fn free_from(model: &ModelReference, since: Timestamp) -> Timestamp {
    let pause = model.pause.map_or(since, |pause| pause.until.max(since));
    let dead = model.again.values().filter(|again| again.live == 0).map(|again| again.ready_to);
    dead.fold(pause, Timestamp::max)
}

//! A batch goes out: within the plan, with items that were free, for a reason, in order, in time.

use gateway_contract::{BatchId, Rung, ServingPlan, Timestamp};
use gateway_policy::{Dispatch, Part};

use super::model::Flight;
use super::requests::Place;
use super::{Reference, Rule};

impl Reference {
    /// The engine put out a batch.
    pub fn handle_dispatch(&mut self, now: Timestamp, dispatch: &Dispatch) {
        self.advance(now);
        let batch = dispatch.batch;
        self.findings.check(self.last_batch < Some(batch), Rule::Order, now, || {
            format!("batch {batch} after {:?}", self.last_batch)
        });
        self.last_batch = self.last_batch.max(Some(batch));
        if !self.models.contains_key(&dispatch.model) {
            self.findings.note(Rule::PlanBounds, now, || format!("batch {batch} of an unknown model"));
            return;
        }
        self.check_plan(now, dispatch);
        self.check_window(now, dispatch);
        self.check_canary(now, dispatch);
        self.check_hold_out(now, dispatch);
        if dispatch.parent.is_none() {
            self.check_reason(now, dispatch);
            self.check_order(now, dispatch);
            self.note_new(now, dispatch);
        }
        let unknowns = match dispatch.parent {
            Some(parent) => self.check_again(now, dispatch, parent),
            None => 0,
        };
        let mut items = Vec::with_capacity(dispatch.items as usize);
        for part in &dispatch.parts {
            self.take(now, dispatch, part);
            items.extend((part.first_item..part.first_item + part.items).map(|item| (part.request, item)));
        }
        let count = items.len();
        self.findings.check(count == dispatch.items as usize && count > 0, Rule::OnePlace, now, || {
            format!("batch {batch} says {} items and holds {count}", dispatch.items)
        });
        self.flights
            .insert(batch, Flight { model: dispatch.model, items, attempt: dispatch.attempt, unknowns });
    }

    /// Bounds, place and words of the plan in force.
    fn check_plan(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get(&dispatch.model) else { return };
        let plan = &model.plan;
        let (mut bytes, mut response_bytes, mut latest) = (0, 0, Timestamp::ZERO);
        for part in &dispatch.parts {
            if let Some(request) = self.requests.get(&part.request) {
                bytes += request.bytes(part.first_item, part.items);
                response_bytes += request.response_bytes(part.items);
                latest = latest.max(request.deadline());
            }
        }
        let is_single = dispatch.items == 1;
        let breaches = [
            (dispatch.revision != plan.revision, "is not of the plan in force"),
            (dispatch.items > plan.max_batch_size, "holds more items than `max_batch_size`"),
            (bytes > plan.max_request_payload_bytes && !is_single, "is above `max_request_payload_bytes`"),
            (
                response_bytes > plan.max_response_payload_bytes && !is_single,
                "is above `max_response_payload_bytes`",
            ),
            (!runs_where_planned(plan, dispatch), "runs elsewhere than its rung, canary or hold-out"),
            (dispatch.service_time_upper != model.upper(dispatch.items), "names another upper service time"),
            (dispatch.latest_deadline.unwrap_or(Timestamp::MAX) != latest, "names another latest deadline"),
        ];
        for (_, breach) in breaches.iter().filter(|(is_breach, _)| *is_breach) {
            self.findings.note(Rule::PlanBounds, now, || {
                format!(
                    "batch {} of {} items, {bytes} bytes {breach} (plan {})",
                    dispatch.batch, dispatch.items, plan.revision
                )
            });
        }
    }

    fn check_window(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get_mut(&dispatch.model) else { return };
        model.in_flight += 1;
        let (running, most) = (model.in_flight, model.plan.max_in_flight);
        self.findings.check(running <= most, Rule::InFlight, now, || {
            format!("{running} invocations of model {} run, {most} may", dispatch.model)
        });
        if let Some(pause) = model.pause.filter(|pause| now < pause.until) {
            self.findings.check(running <= pause.level, Rule::InFlight, now, || {
                format!("{running} invocations run in a pause that leaves {}", pause.level)
            });
        }
    }

    fn check_canary(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get_mut(&dispatch.model) else { return };
        let is_first = dispatch.attempt == 1 && dispatch.parent.is_none() && !dispatch.is_hold_out;
        let canary = model.plan.canary.as_ref().filter(|it| is_first && dispatch.items <= it.rung.max_items);
        let Some(every) = canary.map(|canary| canary.every) else {
            self.findings.check(!dispatch.is_canary, Rule::CanaryShare, now, || {
                format!("batch {} may not run on a canary", dispatch.batch)
            });
            return;
        };
        model.since_canary += 1;
        let since = model.since_canary;
        self.findings.check(dispatch.is_canary == (since >= every), Rule::CanaryShare, now, || {
            format!("batch {} is number {since} since the last canary, every {every} is one", dispatch.batch)
        });
        if dispatch.is_canary {
            model.since_canary = 0;
        }
    }

    /// One item alone, in its turn, after the one before is back.
    fn check_hold_out(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get_mut(&dispatch.model) else { return };
        let is_first = dispatch.attempt == 1 && dispatch.parent.is_none();
        if dispatch.is_hold_out {
            let left = model.hold_outs.1;
            let is_right = is_first && dispatch.items == 1 && left > 0 && model.hold_out.is_none();
            let out = model.hold_out.replace(dispatch.batch);
            self.findings.check(is_right, Rule::HoldOuts, now, || {
                format!(
                    "batch {} of {} items, attempt {}, runs alone to be measured; {left} may, {out:?} is out",
                    dispatch.batch, dispatch.items, dispatch.attempt
                )
            });
            model.hold_outs.1 = left.saturating_sub(1);
        }
        if let Some(hold_out) = model.plan.hold_out.as_ref().filter(|_| is_first) {
            model.hold_outs.0 = model.hold_outs.0.saturating_add(dispatch.items);
            if model.hold_outs.0 >= hold_out.every_items {
                model.hold_outs = (0, hold_out.run_items);
            }
        }
    }

    fn note_new(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get_mut(&dispatch.model) else { return };
        if model.is_overloaded(now) {
            model.overloaded_at = Some(now);
        }
        model.bucket.deposit();
        self.findings.check(dispatch.attempt == 1, Rule::Retries, now, || {
            format!("batch {} is new and says attempt {}", dispatch.batch, dispatch.attempt)
        });
    }

    /// What goes out again was due, says so, and is no larger than what it came from. Gives the unknown outcomes behind it.
    fn check_again(&mut self, now: Timestamp, dispatch: &Dispatch, parent: BatchId) -> u32 {
        let Some(model) = self.models.get_mut(&dispatch.model) else { return 0 };
        let Some(again) = model.again.get_mut(&parent) else {
            let rule = if model.denied.contains(&parent) { Rule::RetryBudget } else { Rule::Retries };
            self.findings.note(rule, now, || {
                format!("batch {} goes out again after {parent}, of which nothing may", dispatch.batch)
            });
            return 0;
        };
        again.pieces = again.pieces.saturating_sub(1);
        let holds = dispatch.attempt == again.attempt
            && dispatch.reason == again.reason
            && dispatch.items <= again.most_items
            && now >= again.ready_from;
        self.findings.check(holds, Rule::Retries, now, || {
            format!(
                "batch {} ({} items, attempt {}, {:?}) after {parent}, which allows {again:?}",
                dispatch.batch, dispatch.items, dispatch.attempt, dispatch.reason
            )
        });
        again.unknowns
    }

    /// Items of a part leave where they were.
    fn take(&mut self, now: Timestamp, dispatch: &Dispatch, part: &Part) {
        let batch = dispatch.batch;
        let Some(request) = self.requests.get_mut(&part.request) else {
            let rule = if self.gone.contains(&part.request) { Rule::ExactlyOnce } else { Rule::OwnAnswer };
            self.findings.note(rule, now, || {
                format!("batch {batch} holds items of {}, which is not there", part.request)
            });
            return;
        };
        let last = part.first_item.saturating_add(part.items);
        let is_valid = part.items >= 1 && last <= request.meta.items && request.meta.model == dispatch.model;
        if !is_valid {
            self.findings
                .note(Rule::OwnAnswer, now, || format!("batch {batch} holds {part:?}: no such items"));
            return;
        }
        self.findings.check(!request.is_expired, Rule::Deadline, now, || {
            format!("batch {batch} starts {}, whose deadline has passed", part.request)
        });
        let Some(model) = self.models.get_mut(&dispatch.model) else { return };
        if dispatch.parent.is_none() && !request.is_expired && part.first_item == request.next_item {
            model.queue.take(&model.plan, part.request, request, part.items);
            request.next_item = last;
        }
        for item in part.first_item..last {
            let place = &mut request.items[item as usize];
            let is_free = match (*place, dispatch.parent) {
                (Place::Waiting, None) => item < request.next_item,
                (Place::Again(from) | Place::AgainOrFailed(from, _), Some(parent)) => {
                    model.forget_again(from);
                    from == parent
                }
                (Place::Waiting | Place::InFlight(_) | Place::Done | Place::Failed(_), _)
                | (Place::Again(_) | Place::AgainOrFailed(..), None) => false,
            };
            let was = std::mem::replace(place, Place::InFlight(batch));
            self.findings.check(is_free, Rule::OnePlace, now, || {
                format!("batch {batch} takes item {item} of {}, which was {was:?}", part.request)
            });
        }
    }
}

/// Whether alias, memory and processes are the plan's for this fill, or those of its canary or hold-out.
fn runs_where_planned(plan: &ServingPlan, dispatch: &Dispatch) -> bool {
    let normal = plan.rungs.iter().find(|rung| rung.max_items >= dispatch.items).or(plan.rungs.last());
    let canary = plan.canary.as_ref().map(|canary| &canary.rung);
    let hold_out = plan.hold_out.as_ref().map(|hold_out| &hold_out.rung);
    let planned = match (dispatch.is_canary, dispatch.is_hold_out) {
        (true, _) => canary,
        (_, true) => hold_out,
        _ => normal,
    };
    planned.is_some_and(|rung: &Rung| {
        *rung.qualifier == *dispatch.qualifier
            && rung.memory_mib == dispatch.memory_mib
            && rung.process_count == dispatch.process_count
    })
}

//! A request is answered: once, in time, with the results of its own items.

use gateway_contract::{ItemFailure, RequestId, Timestamp};
use gateway_policy::RequestOutcome;

use super::requests::{Known, Place};
use super::{Reference, Rule};

impl Reference {
    /// The engine answered a request.
    pub fn handle_answer(&mut self, now: Timestamp, id: RequestId, outcome: &RequestOutcome) {
        self.advance(now);
        let Some(request) = self.requests.get(&id) else {
            let what =
                if self.gone.contains(&id) { "was answered or cancelled before" } else { "was not admitted" };
            self.findings.note(Rule::ExactlyOnce, now, || format!("an answer for {id}, which {what}"));
            return;
        };
        let breach = match outcome {
            RequestOutcome::Answered { failed } => {
                own_answer(request, failed).map(|what| (Rule::OwnAnswer, what))
            }
            RequestOutcome::DeadlineExceeded => {
                self.early_end(now, request).map(|what| (Rule::Deadline, what))
            }
        };
        let is_late = request.is_expired && matches!(outcome, RequestOutcome::Answered { .. });
        self.findings
            .check(!is_late, Rule::Deadline, now, || format!("{id} was answered at or after its deadline"));
        if let Some((rule, what)) = breach {
            self.findings.note(rule, now, || format!("{id} {what}"));
        }
        if let Some(model) = self.models.get_mut(&request.meta.model)
            && model.is_overloaded(now)
        {
            model.overloaded_at = Some(now);
        }
        self.leave(id);
    }

    /// Why a request may not end as hopeless before its deadline.
    fn early_end(&self, now: Timestamp, request: &Known) -> Option<String> {
        if request.is_expired {
            return None;
        }
        let Some(deadline) = request.meta.deadline else {
            return Some("ended at a deadline that it does not have".to_owned());
        };
        let model = self.models.get(&request.meta.model)?;
        let is_hopeless = request.waiting() > 0 && model.may_be_hopeless(now, deadline);
        (!is_hopeless).then(|| format!("ended before its deadline, {} ns, without need", deadline.as_nanos()))
    }
}

/// How an answer differs from what became of the items.
fn own_answer(request: &Known, failed: &[(u32, ItemFailure)]) -> Option<String> {
    let mut failures = failed.iter().copied().peekable();
    for (item, place) in (0..).zip(&request.items) {
        let answer = failures.next_if(|(at, _)| *at == item).map(|(_, failure)| failure);
        let is_own = match (*place, answer) {
            (Place::Done, None) => true,
            (Place::Failed(own) | Place::AgainOrFailed(_, own), Some(answer)) => own == answer,
            (Place::Done, Some(_))
            | (Place::Failed(_) | Place::AgainOrFailed(..), None)
            | (Place::Waiting | Place::InFlight(_) | Place::Again(_), _) => false,
        };
        if !is_own {
            return Some(format!("got {answer:?} for item {item}, which is {place:?}"));
        }
    }
    failures.next().map(|extra| format!("got {extra:?}, which it does not have, or out of order"))
}

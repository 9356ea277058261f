//! The driver's loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{BatchId, ModelId, RequestId, Timestamp};
use gateway_policy::share::LiveLoad;
use gateway_policy::{BatchOutcome, Dispatch, Engine, EnvironmentCall, RequestMeta, RequestOutcome};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::batch::{BatchDone, BatchJob, Running, nothing_to_send};
use super::call::{CallDone, CallJob};
use super::clock::Clock;
use super::command::{Command, Reply};
use super::flight::{Flight, Inputs};
use super::scatter::SentPart;
use super::tally::WindowTally;
use super::{ClosedWindow, Invoke, ModelRuntime, ModelSet, ObservationQueue, Observed};
use crate::inference::{InferError, Receipt, Submission};
use crate::telemetry::traces::BatchTrace;
use crate::telemetry::{Catalogue, Repeated, record_event};

/// Commands taken from the channel at once: enough to spare wake-ups, few enough that batches' outcomes are not kept waiting.
const COMMANDS_PER_TURN: usize = 256;

/// Owner of the engine.
pub(super) struct Driver<S> {
    engine: Engine,
    flights: HashMap<RequestId, Flight>,
    models: Arc<ModelSet>,
    invoker: S,
    running: JoinSet<BatchDone>,
    tasks: HashMap<tokio::task::Id, Running>,
    /// No-op calls. Nobody waits for them at the end.
    calling: JoinSet<CallDone>,
    calls: HashMap<tokio::task::Id, BatchId>,
    clock: Clock,
    catalogue: Arc<Catalogue>,
    drained: Vec<oneshot::Sender<()>>,
    /// By [`ModelId`], as far as models are known.
    tallies: Vec<WindowTally>,
    observations: Arc<ObservationQueue>,
    /// Since it was asked for last.
    live: LiveLoad,
}

impl<S: Invoke> Driver<S> {
    pub(super) fn new(
        models: Arc<ModelSet>,
        invoker: S,
        catalogue: Arc<Catalogue>,
        clock: Clock,
        observations: Arc<ObservationQueue>,
    ) -> Self {
        let mut driver = Self {
            engine: Engine::default(),
            flights: HashMap::new(),
            models: Arc::default(),
            invoker,
            running: JoinSet::new(),
            tasks: HashMap::new(),
            calling: JoinSet::new(),
            calls: HashMap::new(),
            clock,
            catalogue,
            drained: Vec::new(),
            tallies: Vec::new(),
            observations,
            live: LiveLoad::default(),
        };
        driver.handle_models(models);
        driver
    }

    /// Runs until the last handle is gone and nothing is in flight, or until a drain has ended.
    pub(super) async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let mut inbox = Vec::with_capacity(COMMANDS_PER_TURN);
        let sleep = tokio::time::sleep_until(tokio::time::Instant::now());
        tokio::pin!(sleep);
        let mut is_open = true;
        loop {
            let wake = self.settle();
            if !is_open && self.flights.is_empty() && self.running.is_empty() {
                return;
            }
            if let Some(wake) = wake {
                let deadline = self.clock.instant(wake);
                if sleep.deadline() != deadline {
                    sleep.as_mut().reset(deadline);
                }
            }
            tokio::select! {
                received = commands.recv_many(&mut inbox, COMMANDS_PER_TURN), if is_open => {
                    is_open = received > 0;
                    inbox.drain(..).for_each(|command| self.handle_command(command));
                }
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.handle_ended(ended);
                    while let Some(ended) = self.running.try_join_next_with_id() {
                        self.handle_ended(ended);
                    }
                }
                Some(ended) = self.calling.join_next_with_id(), if !self.calling.is_empty() => self.handle_call_ended(ended),
                () = &mut sleep, if wake.is_some() => self.engine.handle_timeout(self.clock.now()),
            }
        }
    }

    /// Does what the engine says until it has nothing more to say. Returns when it wants to be woken.
    fn settle(&mut self) -> Option<Timestamp> {
        self.drain_engine();
        let now = self.clock.now();
        if self.engine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            // Due already: no trip through the timer. Asked once only, so that other work gets in between.
            self.engine.handle_timeout(now);
            self.drain_engine();
        }
        if !self.drained.is_empty() && self.engine.is_idle() && self.running.is_empty() {
            self.drained.drain(..).for_each(|done| {
                let _ = done.send(());
            });
        }
        self.engine.poll_timeout().map(|(at, _)| at)
    }

    fn drain_engine(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.handle_dispatch(dispatch);
        }
        while let Some(call) = self.engine.poll_call() {
            self.make_call(call);
        }
        while let Some((request, outcome)) = self.engine.poll_answer() {
            self.handle_answer(request, outcome);
        }
        while let Some(event) = self.engine.poll_event() {
            let models = &self.models;
            record_event(&self.catalogue, &event, |id| models.models.get(&id).map(|model| &model.metrics));
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Submit { id, submission, arrived, reply, ticket } => {
                drop(ticket);
                self.handle_submission(id, submission, self.clock.at(arrived), reply);
            }
            Command::Cancel(id) => {
                if self.flights.remove(&id).is_some() {
                    self.engine.handle_cancel(self.clock.now(), id);
                }
            }
            Command::Models(models) => self.handle_models(models),
            Command::CloseWindow { model, percentile, reply } => {
                if let Some(closed) = self.close_window(model, percentile) {
                    let _ = reply.send(closed);
                }
            }
            Command::LiveLoad(reply) => {
                let _ = reply.send(self.live_load());
            }
            Command::RefreshGauges(done) => {
                self.refresh_gauges();
                let _ = done.send(());
            }
            Command::Ping(reply) => {
                let _ = reply.send(());
            }
            Command::Drain(done) => {
                self.engine.drain(self.clock.now());
                self.drained.push(done);
            }
            #[cfg(test)]
            Command::Panic => panic!("asked to by a test"),
        }
    }

    fn handle_submission(&mut self, id: RequestId, submission: Submission, arrived: Timestamp, reply: Reply) {
        if reply.is_closed() {
            return;
        }
        let rejected = gateway_policy::Rejection::UnknownModel;
        let Some(model) = self.models.models.get(&submission.model).cloned() else {
            let _ = reply.send(Err(InferError::Rejected(rejected)));
            return;
        };
        let tally = self.tallies.get_mut(usize::from(submission.model.0));
        if let Some(tally) = tally {
            tally.arrived(arrived, submission.items);
        }
        let deadline = submission.timeout.or(model.default_timeout).map(|timeout| arrived + timeout);
        let meta = RequestMeta {
            id,
            model: submission.model,
            items: submission.items,
            item_bytes: model.item_bytes(&submission.inputs, submission.items),
            response_bytes_per_item: model.response_item_bytes.get(),
            class: model.class(&submission.inputs, submission.items),
            priority: submission.priority,
            deadline,
        };
        if let Err(rejection) = self.engine.handle_request(self.clock.now(), meta) {
            model.metrics.rejected(rejection);
            if let Some(tally) = self.tallies.get_mut(usize::from(model.id.0)) {
                tally.shed();
            }
            let _ = reply.send(Err(InferError::Rejected(rejection)));
            return;
        }
        let Submission { items, inputs: tensors, trace, .. } = submission;
        let inputs = Arc::new(Inputs { tensors, items, trace });
        let flight = Flight {
            model,
            inputs,
            reply,
            arrived,
            pieces: SmallVec::new(),
            messages: Vec::new(),
            receipt: Receipt::default(),
        };
        self.flights.insert(id, flight);
    }

    fn close_window(&mut self, id: ModelId, percentile: f64) -> Option<ClosedWindow> {
        let now = self.clock.now();
        let closed = self.tallies.get_mut(usize::from(id.0))?.close(now, percentile);
        let (queue_items, _, oldest) = self.engine.queue_depth(id);
        let in_flight =
            self.models.models.get(&id).map_or(0, |model| model.metrics.invocations_in_flight.get());
        Some(ClosedWindow {
            queue_items,
            queue_oldest: oldest.map_or(Duration::ZERO, |oldest| now - oldest),
            in_flight: u32::try_from(in_flight).unwrap_or(0),
            ..closed
        })
    }

    fn handle_models(&mut self, models: Arc<ModelSet>) {
        let now = self.clock.now();
        for (id, model) in &models.models {
            if self.models.models.get(id).is_none_or(|before| before.plan != model.plan) {
                model.metrics.in_flight_window.set(i64::from(model.plan.max_in_flight));
                self.engine.handle_plan(now, model.plan.clone());
            }
            let known = usize::from(id.0) + 1;
            if self.tallies.len() < known {
                self.tallies.resize_with(known, || WindowTally::new(now));
            }
        }
        for (_, gone) in self.models.models.iter().filter(|(id, _)| !models.models.contains_key(id)) {
            gone.metrics.queue_items.set(0);
            gone.metrics.queue_bytes.set(0);
            gone.metrics.queue_oldest_age.set(0.0);
        }
        self.models = models;
    }

    fn handle_dispatch(&mut self, dispatch: Dispatch) {
        let now = self.clock.now();
        let mut position = 0;
        let mut opened = now;
        let mut model = None;
        let mut parts = Vec::with_capacity(dispatch.parts.len());
        for &part in &dispatch.parts {
            let flight = self.flights.get_mut(&part.request);
            let inputs = flight.map(|flight| {
                let wait = now - flight.arrived;
                opened = opened.min(flight.arrived);
                flight.receipt.queue_wait = wait;
                flight.receipt.batch_items = flight.receipt.batch_items.max(dispatch.items);
                model.get_or_insert_with(|| flight.model.clone()); // as validated: a reload may have removed or changed it
                flight.inputs.clone()
            });
            parts.push(SentPart { part, position, inputs });
            position += part.items;
        }
        let Some(model) = model else {
            let outcome = nothing_to_send(dispatch.items);
            return self.engine.handle_outcome(now, dispatch.batch, outcome);
        };
        model.metrics.invocations_in_flight.inc();
        let running = (dispatch.batch, dispatch.model);
        let prices = self.models.prices.clone();
        let trace = BatchTrace::begin(parts.iter().map(SentPart::rider));
        let job =
            BatchJob { dispatch, model, parts, opened, dispatched: now, clock: self.clock, prices, trace };
        let task = self.running.spawn(job.run(self.invoker.clone()));
        self.tasks.insert(task.id(), running);
    }

    fn handle_ended(&mut self, ended: Result<(tokio::task::Id, BatchDone), JoinError>) {
        match ended {
            Ok((task, done)) => {
                self.tasks.remove(&task);
                self.handle_done(done);
            }
            Err(error) => {
                let Some((batch, model)) = self.tasks.remove(&error.id()) else {
                    return;
                };
                self.catalogue.batch_panics.inc();
                tracing::error!(%batch, %error, "a batch task panicked; its batch counts as a function error");
                if let Some(model) = self.models.models.get(&model) {
                    model.metrics.invocations_in_flight.dec();
                }
                self.engine.handle_outcome(self.clock.now(), batch, BatchOutcome::FunctionError);
            }
        }
    }

    fn make_call(&mut self, call: EnvironmentCall) {
        let Some(model) = self.models.models.get(&call.model).cloned() else {
            return self.engine.handle_call(self.clock.now(), call.call, false);
        };
        let number = call.call;
        let job = CallJob { call, model, prices: self.models.prices.clone() };
        let task = self.calling.spawn(job.run(self.invoker.clone()));
        self.calls.insert(task.id(), number);
    }

    fn handle_call_ended(&mut self, ended: Result<(tokio::task::Id, CallDone), JoinError>) {
        let (call, ran) = match ended {
            Ok((task, done)) => {
                self.calls.remove(&task);
                if let Some(tally) = self.tallies.get_mut(usize::from(done.model.id.0)) {
                    tally.spend(done.cost_usd);
                }
                (done.call.call, done.ran)
            }
            Err(error) => {
                let Some(call) = self.calls.remove(&error.id()) else { return };
                tracing::error!(%call, %error, "the task of a no-op call panicked");
                (call, false)
            }
        };
        self.engine.handle_call(self.clock.now(), call, ran);
    }

    fn handle_done(&mut self, mut done: BatchDone) {
        done.model.metrics.invocations_in_flight.dec();
        if let Some((kind, text)) = done.complaint.take() {
            self.complain(&done, kind, &text);
        }
        self.observe(&mut done);
        let mut parts = done.parts.into_iter();
        for part in &done.dispatch.parts {
            let result = parts.next();
            let Some(flight) = self.flights.get_mut(&part.request) else {
                continue;
            };
            let receipt = &mut flight.receipt;
            receipt.invoke = done.took;
            receipt.compute = receipt.compute.max(done.compute);
            receipt.cold |= done.cold;
            receipt.cost_usd += done.cost_usd * f64::from(part.items) / f64::from(done.dispatch.items.max(1));
            if let Some(result) = result {
                debug_assert_eq!(result.request, part.request, "results stand in the order of the parts");
                flight.pieces.extend(result.pieces);
                flight.messages.extend(result.messages);
            }
        }
        self.engine.handle_outcome(self.clock.now(), done.dispatch.batch, done.outcome);
    }

    /// Counts an invocation and tells the control loop of it.
    fn observe(&mut self, done: &mut BatchDone) {
        let Some((observation, facts)) = done.observation.take() else {
            return;
        };
        let is_throttled = matches!(done.outcome, BatchOutcome::Throttled { .. });
        self.live.throttled += u64::from(is_throttled);
        if let Some(tally) = self.tallies.get_mut(usize::from(done.model.id.0)) {
            tally.batch(&observation, is_throttled, done.cost_usd);
        }
        let qualifier = done.dispatch.qualifier.clone();
        self.observations.push(Observed {
            model: done.model.id,
            observation,
            refused: done.refused,
            qualifier,
            facts,
        });
    }

    fn complain(&mut self, done: &BatchDone, kind: &'static str, text: &str) {
        let told = self.catalogue.note_failure("invocation failed", kind, &done.model.name);
        if let Repeated::Tell { suppressed } = told {
            tracing::warn!(
                model = %done.model.name, function = %done.model.function, qualifier = %done.dispatch.qualifier,
                batch = %done.dispatch.batch, attempt = done.dispatch.attempt, items = done.dispatch.items,
                request_id = done.request_id, trace_id = %done.trace_id, suppressed, "invocation failed: {text}"
            );
        }
    }

    fn handle_answer(&mut self, request: RequestId, outcome: RequestOutcome) {
        let Some(flight) = self.flights.remove(&request) else {
            return;
        };
        flight.model.metrics.queue_wait.observe(flight.receipt.queue_wait.as_secs_f64());
        let tally = self.tallies.get_mut(usize::from(flight.model.id.0));
        match outcome {
            RequestOutcome::Answered { failed } => {
                let model = Arc::clone(&flight.model);
                let latency = self.clock.now() - flight.arrived;
                self.live.answered += 1;
                self.live.late += u64::from(latency > model.plan.slo_latency);
                let (reply, completed) = flight.complete(failed);
                match tally {
                    Some(tally) if completed.failed.is_empty() => {
                        tally.answered(latency, model.plan.slo_latency)
                    }
                    Some(tally) => tally.failed(),
                    None => {}
                }
                completed.failed.iter().for_each(|item| model.metrics.item_failed(item.failure));
                let _ = reply.send(Ok(completed));
            }
            RequestOutcome::DeadlineExceeded => {
                self.live.answered += 1;
                self.live.late += 1;
                if let Some(tally) = tally {
                    tally.failed();
                }
                let _ = flight.reply.send(Err(InferError::DeadlineExceeded));
            }
        }
    }

    /// Live traffic since the last call. A batch waits for a place, and does not merely fill, where all places of its model are taken.
    fn live_load(&mut self) -> LiveLoad {
        let mut live = std::mem::take(&mut self.live);
        live.in_flight = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        for (&id, model) in &self.models.models {
            let (items, _, _) = self.engine.queue_depth(id);
            if model.metrics.invocations_in_flight.get() >= model.metrics.in_flight_window.get() {
                live.waiting += items.div_ceil(model.plan.max_batch_size.max(1));
            }
        }
        live
    }

    fn refresh_gauges(&self) {
        let now = self.clock.now();
        for (&id, model) in &self.models.models {
            self.refresh_model(now, id, model);
        }
        self.catalogue.requests_in_flight.set(i64::try_from(self.flights.len()).unwrap_or(i64::MAX));
    }

    fn refresh_model(&self, now: Timestamp, id: ModelId, model: &ModelRuntime) {
        let (items, bytes, oldest) = self.engine.queue_depth(id);
        model.metrics.queue_items.set(i64::from(items));
        model.metrics.queue_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        model.metrics.queue_oldest_age.set(oldest.map_or(0.0, |oldest| (now - oldest).as_secs_f64()));
    }
}

impl<S> Drop for Driver<S> {
    /// After a panic nothing is in flight any more: the batches' tasks end with their owner.
    fn drop(&mut self) {
        for &(BatchId(_), model) in self.tasks.values() {
            if let Some(model) = self.models.models.get(&model) {
                model.metrics.invocations_in_flight.dec();
            }
        }
    }
}

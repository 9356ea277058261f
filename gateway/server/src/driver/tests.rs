//! The driver against a scripted invoker, in paused time: the real engine, the real codec, no sockets.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gateway_contract::{
    Architecture, EnvironmentPolicy, ItemFailure, Mebibytes, ModelId, PackingPolicy, PlanRevision,
    PriceTable, RetryLimits, Rung, ServiceOutcome, ServiceTimeTable, ServingPlan,
};
use gateway_invoker::{
    Invocation, InvocationReply, InvokeError, Metering, RefusedCause, ThrottleReason, UnknownCause,
};
use gateway_policy::Rejection;
use workers_protocol::{
    Answer, Datatype, ItemError, ItemErrorCode, ModelManifest, Report, Request, TensorChunks,
};

use super::{DriverHandle, DriverLimits, Liveness, ModelRuntime, ModelSet, ResponseEstimate, spawn};
use crate::inference::{InferError, Inference, InputTensor, Submission};
use crate::telemetry::{Catalogue, ModelMetrics};

const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [-1] }]
outputs = [{ name = "y", datatype = "FP32", shape = [-1] }]
"#;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn plan(max_batch_size: u32, max_queue_delay: Duration) -> ServingPlan {
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Fifo,
        max_batch_size,
        max_queue_delay,
        max_in_flight: 8,
        queue_capacity_items: 1000,
        queue_capacity_bytes: 1 << 24,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: ms(500),
        deadline_margin: ms(0),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(10))]).unwrap(),
        rungs: vec![Rung {
            max_items: max_batch_size,
            qualifier: "mem-1024".to_owned(),
            memory_mib: Mebibytes(1024),
            process_count: 2,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits {
            budget_ratio: 1.0,
            budget_min_per_second: 100.0,
            max_attempts: 5,
            max_unknown_outcome_retries: 1,
            backoff_base: ms(20),
            backoff_max: ms(200),
        },
    }
}

/// What the invoker does with one invocation.
enum Step {
    /// Each input back as the output, after this time.
    Echo(Duration),
    /// As echo, but these items fail in the model.
    Fail(&'static [u64]),
    /// An error.
    Error(InvokeError),
    /// A payload that no worker would send.
    Garbage(&'static [u8]),
    /// Another item's id in the place of the first.
    WrongIds,
    /// A panic in the batch's task.
    Panic,
    /// A function error whenever an item holds this value; an echo else.
    Poison(f32),
}

/// Answers invocations as scripted; when the script is over, echoes at once.
#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

fn metering() -> Metering {
    Metering { billed: ms(100), memory: Some(Mebibytes(1024)), ..Metering::default() }
}

fn echo(request: &Request, fail: &[u64]) -> InvocationReply {
    let Some(input) = request.inputs.first() else { return no_op(request) };
    let ranges = input.item_ranges(request.ids.len()).unwrap();
    let kept: Vec<usize> =
        (0..request.ids.len()).filter(|&index| !fail.contains(&request.ids[index])).collect();
    let ids: Vec<u64> = kept.iter().map(|&index| request.ids[index]).collect();
    let shapes: Vec<&[u32]> = kept.iter().map(|&index| input.item_shapes.get(index).unwrap()).collect();
    let errors: Vec<ItemError> = fail
        .iter()
        .map(|&id| ItemError { id, code: ItemErrorCode::ModelFailed, message: format!("item {id} is bad") })
        .collect();
    let outputs = [TensorChunks {
        name: "y",
        datatype: Datatype::Fp32,
        item_shapes: workers_protocol::ItemShapes::from_shapes(&shapes),
        chunks: kept.iter().map(|&index| &input.data[ranges[index].clone()]).collect(),
    }];
    reply(Answer::encode(request.header.batch, &ids, &outputs, &errors, &Report::default()))
}

fn no_op(request: &Request) -> InvocationReply {
    reply(Answer::encode(request.header.batch, &[], &[], &[], &Report::default()))
}

fn reply(payload: Vec<u8>) -> InvocationReply {
    InvocationReply {
        payload: payload.into(),
        executed_version: None,
        request_id: None,
        metering: metering(),
    }
}

fn function_error() -> InvokeError {
    InvokeError::Function {
        error_type: "Crash".to_owned(),
        message: String::new(),
        metering: metering(),
        request_id: None,
    }
}

impl tower::Service<Invocation> for Script {
    type Response = InvocationReply;
    type Error = InvokeError;
    type Future = Pin<Box<dyn Future<Output = Result<InvocationReply, InvokeError>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), InvokeError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        let request = Request::decode(&invocation.payload).unwrap();
        self.seen.lock().unwrap().push(request.clone());
        let step = self.steps.lock().unwrap().pop_front().unwrap_or(Step::Echo(Duration::ZERO));
        Box::pin(async move {
            match step {
                Step::Echo(after) => {
                    tokio::time::sleep(after).await;
                    Ok(echo(&request, &[]))
                }
                Step::Fail(ids) => Ok(echo(&request, ids)),
                Step::Error(error) => Err(error),
                Step::Garbage(bytes) => Ok(InvocationReply {
                    payload: Bytes::from_static(bytes),
                    executed_version: None,
                    request_id: None,
                    metering: metering(),
                }),
                Step::WrongIds => {
                    let mut shifted = request;
                    shifted.ids[0] += 100;
                    Ok(echo(&shifted, &[]))
                }
                Step::Panic => panic!("scripted"),
                Step::Poison(value) => {
                    let holds = request.inputs[0].data.chunks(4).any(|bytes| bytes == value.to_le_bytes());
                    if holds { Err(function_error()) } else { Ok(echo(&request, &[])) }
                }
            }
        })
    }
}

struct World {
    handle: DriverHandle,
    liveness: Liveness,
    script: Script,
    catalogue: Arc<Catalogue>,
}

fn world(plan: ServingPlan, steps: impl IntoIterator<Item = Step>) -> World {
    let script = Script { steps: Arc::new(Mutex::new(steps.into_iter().collect())), seen: Arc::default() };
    let catalogue = Arc::new(Catalogue::new().unwrap());
    let manifest = ModelManifest::parse(MANIFEST).unwrap();
    let model = ModelRuntime {
        id: ModelId(0),
        name: "echo".to_owned(),
        function: "f".into(),
        architecture: Architecture::X86_64,
        plan,
        default_timeout: None,
        statistics: Arc::default(),
        metrics: ModelMetrics::new(catalogue.clone(), "echo"),
        response_item_bytes: Arc::new(ResponseEstimate::new(&manifest)),
        manifest,
    };
    let set = ModelSet { models: [(ModelId(0), Arc::new(model))].into(), prices: Arc::default() };
    let (handle, liveness, _) =
        spawn(Arc::new(set), script.clone(), catalogue.clone(), DriverLimits::default());
    World { handle, liveness, script, catalogue }
}

impl World {
    fn invocations(&self) -> usize {
        self.script.seen.lock().unwrap().len()
    }

    /// Sends one request with these items of one element each.
    fn send(
        &self,
        values: &[f32],
    ) -> tokio::task::JoinHandle<Result<crate::inference::Completed, InferError>> {
        self.send_submission(submission(values))
    }

    fn send_submission(
        &self,
        submission: Submission,
    ) -> tokio::task::JoinHandle<Result<crate::inference::Completed, InferError>> {
        let handle = self.handle.clone();
        tokio::spawn(async move { handle.infer(submission).await })
    }
}

fn submission(values: &[f32]) -> Submission {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Submission {
        model: ModelId(0),
        items: u32::try_from(values.len()).unwrap(),
        inputs: vec![InputTensor {
            item_shape: [1].into_iter().collect(),
            data: data.into(),
            item_ends: None,
        }],
        priority: 0,
        timeout: None,
        trace: None,
    }
}

fn values(completed: &crate::inference::Completed) -> Vec<f32> {
    let data = &completed.outputs[0].data;
    data.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_share_a_batch_and_each_gets_its_own_answer() {
    let world = world(plan(4, ms(10)), [Step::Echo(ms(50))]);
    let requests = [world.send(&[1.0]), world.send(&[2.0, 3.0]), world.send(&[4.0])];
    for (request, expected) in requests.into_iter().zip([vec![1.0], vec![2.0, 3.0], vec![4.0]]) {
        let completed = request.await.unwrap().unwrap();
        assert_eq!(values(&completed), expected);
        assert_eq!(completed.receipt.batch_items, 4);
        assert!(completed.receipt.invoke >= ms(50));
    }
    assert_eq!(world.invocations(), 1);
    let header = world.script.seen.lock().unwrap()[0].header.clone();
    assert_eq!((header.model.as_str(), header.process_count), ("echo", 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_a_batch_is_split_and_joined_in_order() {
    // The first batch answers last.
    let world = world(plan(2, ms(5)), [Step::Echo(ms(90)), Step::Echo(ms(10)), Step::Echo(ms(50))]);
    let sent = [1.0, 2.0, 3.0, 4.0, 5.0];
    let completed = world.send(&sent).await.unwrap().unwrap();
    assert_eq!(values(&completed), sent);
    assert_eq!(world.invocations(), 3);
}

/// Nobody waits for long: others are started at once.
fn sparing(keep_calls: u32) -> ServingPlan {
    let environments = EnvironmentPolicy {
        init: ms(5_000),
        waiting_share: 0.0,
        stays_warm: Duration::from_secs(300),
        keep_calls,
    };
    ServingPlan { environments: Some(environments), ..plan(1, ms(0)) }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_environment_is_served_by_the_one_that_a_call_started() {
    let world = world(sparing(0), [Step::Echo(ms(900)), Step::Echo(ms(100))]);
    let slow = world.send(&[1.0]);
    tokio::time::sleep(ms(10)).await;
    let second = world.send(&[2.0]).await.unwrap().unwrap();
    assert_eq!(values(&second), [2.0]);
    assert!((ms(100)..ms(200)).contains(&second.receipt.queue_wait), "{:?}", second.receipt.queue_wait);
    assert!(!slow.is_finished());
    slow.await.unwrap().unwrap();
    let items: Vec<usize> = world.script.seen.lock().unwrap().iter().map(|it| it.ids.len()).collect();
    assert_eq!(items, [1, 0, 1], "the second goes where the call was");
    let calls = world.catalogue.no_op_calls.with_label_values(&["echo", "start", "ok"]).get();
    let usd = world.catalogue.cost_usd.with_label_values(&["echo", "lambda_warm_up"]).get();
    assert_eq!((calls, usd > 0.0), (1, true));
    assert_eq!(world.catalogue.environment_wait.with_label_values(&["echo"]).get_sample_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_or_panics_leaves_the_batch_to_the_environment_at_work() {
    for broken in [Step::Panic, Step::Error(function_error())] {
        let world = world(sparing(0), [Step::Echo(ms(900)), broken]);
        let slow = world.send(&[1.0]);
        tokio::time::sleep(ms(10)).await;
        let second = world.send(&[2.0]);
        slow.await.unwrap().unwrap();
        assert_eq!(values(&second.await.unwrap().unwrap()), [2.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_environment_is_kept_by_calls_and_let_go() {
    let world = world(sparing(2), []);
    world.send(&[1.0]).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.catalogue.no_op_calls.with_label_values(&["echo", "keep", "ok"]).get(), 2);
    assert_eq!(world.invocations(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_a_batch_is_shared_by_items_and_counts_retries() {
    let throttled = InvokeError::Throttled { reason: ThrottleReason::Concurrency, retry_after: None };
    let world = world(
        plan(4, ms(10)),
        [Step::Error(throttled), Step::Error(InvokeError::Unknown { cause: UnknownCause::ServerError })],
    );
    let (one, three) = (world.send(&[1.0]), world.send(&[2.0, 3.0, 4.0]));
    let (one, three) = (one.await.unwrap().unwrap(), three.await.unwrap().unwrap());
    let prices = PriceTable::default();
    let batch = prices.duration_usd(Architecture::X86_64, Mebibytes(1024), ms(100)) + prices.request_usd();
    assert!((one.receipt.cost_usd - batch / 4.0).abs() < 1e-12, "only the one that ran is billed");
    assert!((three.receipt.cost_usd - batch * 0.75).abs() < 1e-12);
    assert_eq!(world.invocations(), 3);
    let counted = world.catalogue.cost_usd.with_label_values(&["echo", "lambda_duration"]).get()
        + world.catalogue.cost_usd.with_label_values(&["echo", "lambda_requests"]).get();
    assert!((counted - batch).abs() < 1e-12);
}

#[tokio::test(start_paused = true)]
async fn each_invocation_leaves_one_observation_with_its_outcome() {
    let function_error = |error_type: &str, message: &str| InvokeError::Function {
        error_type: error_type.to_owned(),
        message: message.to_owned(),
        metering: metering(),
        request_id: None,
    };
    let refused = InvokeError::Refused { cause: RefusedCause::NotFound, message: String::new() };
    for (error, outcome) in [
        (
            InvokeError::Throttled { reason: ThrottleReason::Concurrency, retry_after: None },
            ServiceOutcome::NotRun,
        ),
        (InvokeError::Unknown { cause: UnknownCause::ConnectionLost }, ServiceOutcome::NotRun),
        (refused, ServiceOutcome::NotRun),
        (function_error("Runtime.OutOfMemory", ""), ServiceOutcome::OutOfMemory),
        (
            function_error("Runtime.ExitError", "exited with error: signal: killed"),
            ServiceOutcome::OutOfMemory,
        ),
        (function_error("Sandbox.Timedout", ""), ServiceOutcome::FunctionError),
    ] {
        let is_final = matches!(error, InvokeError::Refused { .. });
        let world = world(plan(1, ms(0)), [Step::Error(error)]);
        world.send(&[1.0]).await.unwrap().unwrap();
        let observed: Vec<_> = world.handle.observations().take().into();
        assert_eq!(observed.len(), world.invocations());
        assert_eq!((observed[0].observation.outcome, observed[0].refused.is_some()), (outcome, is_final));
        if let Some(retry) = observed.get(1) {
            assert_eq!(retry.observation.outcome, ServiceOutcome::Completed);
        }
        let window = world.handle.close_window(ModelId(0), 0.99).await.unwrap().stats;
        let ran = observed.iter().filter(|one| one.observation.outcome != ServiceOutcome::NotRun).count();
        assert_eq!((window.batches, window.answered + window.failed), (ran as u64, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_poison_item_fails() {
    let world = world(plan(64, ms(10)), (0..200).map(|_| Step::Poison(13.0)));
    let requests: Vec<_> = (0..64_u16).map(|value| world.send(&[f32::from(value)])).collect();
    for (value, request) in (0..64_u16).zip(requests) {
        let completed = request.await.unwrap().unwrap();
        if value == 13 {
            assert_eq!(completed.failed[0].failure, ItemFailure::FunctionError);
        } else {
            assert_eq!(values(&completed), [f32::from(value)]);
        }
    }
    assert!(world.invocations() <= 1 + 12, "at most 2·log2(64) more: {}", world.invocations());
}

#[tokio::test(start_paused = true)]
async fn an_item_error_fails_that_item_and_says_why() {
    let world = world(plan(4, ms(10)), [Step::Fail(&[1])]);
    let requests = [world.send(&[1.0]), world.send(&[2.0]), world.send(&[3.0]), world.send(&[4.0])];
    let mut failed = 0;
    for (index, request) in requests.into_iter().enumerate() {
        let completed = request.await.unwrap().unwrap();
        if index == 1 {
            assert_eq!(completed.failed[0].failure, ItemFailure::ModelFailed);
            assert_eq!(completed.failed[0].message.as_deref(), Some("item 1 is bad"));
            failed += 1;
        } else {
            assert!(completed.failed.is_empty());
        }
    }
    assert_eq!((failed, world.invocations()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_fit_are_never_scattered() {
    for bad in [Step::WrongIds, Step::Garbage(b"{}"), Step::Garbage(b"\x00\xff")] {
        let world = world(plan(2, ms(10)), [bad]);
        let (first, second) = (world.send(&[1.0]), world.send(&[2.0]));
        // Halved and tried again: the script echoes from then on.
        assert_eq!(values(&first.await.unwrap().unwrap()), [1.0]);
        assert_eq!(values(&second.await.unwrap().unwrap()), [2.0]);
        assert_eq!(world.invocations(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn outputs_of_different_shape_in_one_request_fail_by_item() {
    let world = world(plan(3, ms(10)), []);
    let mut ragged = submission(&[1.0, 2.0, 3.0, 4.0]);
    ragged.items = 2;
    ragged.inputs[0].item_shape = [2].into_iter().collect();
    let alone = world.send(&[9.0]);
    assert_eq!(values(&world.send_submission(ragged).await.unwrap().unwrap()), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&alone.await.unwrap().unwrap()), [9.0], "items of different shape may share a batch");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_leaves_the_queue() {
    let world = world(plan(8, ms(100)), []);
    let leaving = world.send(&[1.0]);
    let staying = world.send(&[2.0]);
    tokio::time::sleep(ms(20)).await;
    leaving.abort();
    assert_eq!(values(&staying.await.unwrap().unwrap()), [2.0]);
    assert_eq!(world.script.seen.lock().unwrap()[0].ids.len(), 1, "the one that left was not sent");
    assert_eq!(world.catalogue.cancelled_in_queue.with_label_values(&["echo"]).get(), 1);
    world.handle.refresh_gauges().await;
    assert_eq!(world.catalogue.queue_items.with_label_values(&["echo"]).get(), 0);
    assert_eq!(world.catalogue.requests_in_flight.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_in_flight_harms_no_other() {
    let world = world(plan(2, ms(100)), [Step::Echo(ms(50)), Step::Echo(ms(50))]);
    let (leaving, staying) = (world.send(&[1.0]), world.send(&[2.0]));
    tokio::time::sleep(ms(20)).await;
    leaving.abort();
    assert_eq!(values(&staying.await.unwrap().unwrap()), [2.0]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_caller_left_sends_the_others_only() {
    let lost = InvokeError::Unknown { cause: UnknownCause::ConnectionLost };
    let throttled = InvokeError::Throttled { reason: ThrottleReason::Other, retry_after: Some(ms(100)) };
    for error in [lost, throttled] {
        let world = world(plan(2, ms(100)), [Step::Error(error)]);
        let (leaving, staying) = (world.send(&[1.0]), world.send(&[2.0]));
        tokio::time::sleep(ms(1)).await; // failed by now, waiting to go out again
        leaving.abort();
        assert_eq!(values(&staying.await.unwrap().unwrap()), [2.0]);
        assert_eq!(world.script.seen.lock().unwrap()[1].ids.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_deadline_is_kept_while_the_invocation_runs_on() {
    let world = world(plan(1, ms(0)), [Step::Echo(ms(10_000))]);
    let mut submission = submission(&[1.0]);
    submission.timeout = Some(ms(300));
    let start = tokio::time::Instant::now();
    assert_eq!(world.send_submission(submission).await.unwrap().unwrap_err(), InferError::DeadlineExceeded);
    assert!(start.elapsed() >= ms(300) && start.elapsed() < ms(400), "{:?}", start.elapsed());
    let budget = world.script.seen.lock().unwrap()[0].header.budget_ms;
    assert!(
        budget.is_some_and(|budget| budget <= 300),
        "the worker knows how long anybody waits: {budget:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_a_retry_cannot_mend_ends_the_request() {
    let refused = InvokeError::Refused { cause: RefusedCause::NotFound, message: "no such alias".to_owned() };
    let world = world(plan(1, ms(0)), [Step::Error(refused)]);
    let completed = world.send(&[1.0]).await.unwrap().unwrap();
    assert_eq!(completed.failed[0].failure, ItemFailure::Refused);
    assert_eq!(world.invocations(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_once_more_at_most() {
    let lost = || Step::Error(InvokeError::Unknown { cause: UnknownCause::ConnectionLost });
    let world = world(plan(1, ms(0)), [lost(), lost(), lost()]);
    let completed = world.send(&[1.0]).await.unwrap().unwrap();
    assert_eq!(completed.failed[0].failure, ItemFailure::UnknownOutcome);
    assert_eq!(world.invocations(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_batch_task_is_a_function_error_of_that_batch() {
    let world = world(plan(2, ms(10)), [Step::Panic]);
    let (first, second) = (world.send(&[1.0]), world.send(&[2.0]));
    assert_eq!(values(&first.await.unwrap().unwrap()), [1.0]);
    assert_eq!(values(&second.await.unwrap().unwrap()), [2.0]);
    assert_eq!(world.catalogue.batch_panics.get(), 1);
    assert_eq!(world.catalogue.invocations_in_flight.with_label_values(&["echo"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_driver_answers_its_requests_and_a_new_one_serves() {
    let world = world(plan(8, ms(1000)), []);
    let waiting = world.send(&[1.0]);
    tokio::time::sleep(ms(10)).await;
    world.handle.panic_now();
    assert_eq!(waiting.await.unwrap().unwrap_err(), InferError::Stopped);
    assert_eq!(values(&world.send(&[2.0]).await.unwrap().unwrap()), [2.0]);
    assert!(world.liveness.is_alive());
    assert_eq!(world.catalogue.driver_restarts.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn liveness_fails_when_restarts_do_not_help() {
    let world = world(plan(1, ms(0)), []);
    for _ in 0..6 {
        world.handle.panic_now();
        tokio::time::sleep(ms(10)).await;
    }
    assert!(!world.liveness.is_alive());
    assert_eq!(world.send(&[1.0]).await.unwrap().unwrap_err(), InferError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_drain_flushes_what_waits_and_refuses_what_comes() {
    let world = world(plan(8, ms(60_000)), [Step::Echo(ms(30))]);
    let waiting = world.send(&[1.0]);
    tokio::time::sleep(ms(1)).await;
    world.handle.drain().await;
    assert_eq!(values(&waiting.await.unwrap().unwrap()), [1.0]);
    assert_eq!(world.send(&[2.0]).await.unwrap().unwrap_err(), InferError::Rejected(Rejection::Draining));
}

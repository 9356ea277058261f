//! How many requests per second one core takes through the whole engine: request, dispatch, outcome, answer.
//!
//! Hypothesis: at least 3,000,000 per second with the deadline policy. Baselines: the `fifo` and `none` policies in the same run.
//! Load: single-item requests with a hard deadline after 30 s, batches of 32, a steady backlog of [`BACKLOG_BATCHES`] batches, all
//! invocations successful, outcomes in order. Payloads do not exist here: the engine never sees one. The median of all rounds counts.
//! A second is a second of processor time of the one thread (Linux; elsewhere wall time): a neighbour on the same core does not count.
//!
//! `cargo bench -p gateway-policy --bench engine -- [--seconds N] [--json FILE]`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and writes its figures")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gateway_contract::{
    BatchId, Mebibytes, ModelId, PackingPolicy, PlanRevision, RequestId, RetryLimits, Rung, ServiceTimeTable,
    ServingPlan, Timestamp,
};
use gateway_policy::{BatchOutcome, Engine, ItemBytes, RequestMeta, RequestOutcome};

/// Parallel invocations: always taken, so that a backlog stands.
const MAX_IN_FLIGHT: u32 = 8;
/// Full batches that wait.
const BACKLOG_BATCHES: u64 = 4;
const MAX_BATCH_SIZE: u32 = 32;
const ROUNDS: usize = 9;
/// A round lasts its length in processor time, but at most this many times as long.
const MAX_WALL: u32 = 20;
/// Virtual time between two requests.
const STEP_NANOS: u64 = 250;

/// One case.
struct Case {
    name: &'static str,
    packing: PackingPolicy,
    models: u16,
    classes: u16,
}

/// What one round measured.
#[derive(Clone, Copy)]
struct Figure {
    requests_per_second: f64,
    wall_requests_per_second: f64,
    batches_per_second: f64,
    mean_fill: f64,
}

fn plan(model: ModelId, packing: PackingPolicy) -> ServingPlan {
    ServingPlan {
        model,
        revision: PlanRevision(1),
        parent: None,
        packing,
        max_batch_size: MAX_BATCH_SIZE,
        max_queue_delay: Duration::from_millis(20),
        max_in_flight: MAX_IN_FLIGHT,
        queue_capacity_items: 100_000,
        queue_capacity_bytes: 1 << 30,
        max_request_payload_bytes: 5 << 20,
        max_response_payload_bytes: 5 << 20,
        slo_latency: Duration::from_millis(200),
        deadline_margin: Duration::from_millis(5),
        service_time_upper: ServiceTimeTable::new(vec![
            (1, Duration::from_millis(10)),
            (32, Duration::from_millis(60)),
        ])
        .expect("the points ascend"),
        rungs: vec![Rung {
            max_items: MAX_BATCH_SIZE,
            qualifier: "m1769".into(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits {
            budget_ratio: 0.1,
            budget_min_per_second: 10.0,
            max_attempts: 3,
            max_unknown_outcome_retries: 1,
            backoff_base: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
        },
    }
}

/// Runs one case for about `length`.
fn round(case: &Case, length: Duration) -> Figure {
    let mut engine = Engine::default();
    for model in 0..case.models {
        engine.handle_plan(Timestamp::ZERO, plan(ModelId(model), case.packing));
    }
    let per_batch = if case.packing == PackingPolicy::None { 1 } else { u64::from(MAX_BATCH_SIZE) };
    let standing = u64::from(case.models) * per_batch * (BACKLOG_BATCHES + u64::from(MAX_IN_FLIGHT));
    let mut in_flight: VecDeque<BatchId> = VecDeque::new();
    let (mut sent, mut answered, mut batches, mut now) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (start, cpu_start) = (Instant::now(), cpu_nanos());
    let is_over = || {
        let used = cpu_start
            .zip(cpu_nanos())
            .map_or(Duration::ZERO, |(before, now)| Duration::from_nanos(now - before));
        used >= length || start.elapsed() >= length * MAX_WALL
    };
    while !sent.is_multiple_of(65_536) || !is_over() {
        now += STEP_NANOS;
        let time = Timestamp::from_nanos(now);
        let request = RequestMeta {
            id: RequestId(sent),
            model: ModelId(u16::try_from(sent % u64::from(case.models)).expect("below a u16")),
            items: 1,
            item_bytes: ItemBytes::Uniform(256),
            response_bytes_per_item: 64,
            class: u16::try_from((sent / 7) % u64::from(case.classes)).expect("below a u16"),
            priority: 1,
            deadline: Some(time + Duration::from_secs(30)),
        };
        engine.handle_request(time, request).expect("admitted");
        sent += 1;
        drain(&mut engine, &mut in_flight, &mut batches, &mut answered);
        while sent - answered > standing {
            let batch = in_flight.pop_front().expect("what is not answered is in flight");
            engine.handle_outcome(time, batch, BatchOutcome::Completed { failed: Vec::new() });
            drain(&mut engine, &mut in_flight, &mut batches, &mut answered);
        }
        if engine.poll_timeout().is_some_and(|(at, _)| at <= time) {
            engine.handle_timeout(time);
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let seconds = match (cpu_start, cpu_nanos()) {
        (Some(before), Some(after)) => (after - before) as f64 / 1e9,
        (_, _) => wall,
    };
    Figure {
        wall_requests_per_second: answered as f64 / wall,
        requests_per_second: answered as f64 / seconds,
        batches_per_second: batches as f64 / seconds,
        mean_fill: answered as f64 / (batches - in_flight.len() as u64).max(1) as f64,
    }
}

/// Processor time of this thread. Source: Linux, Documentation/scheduler/sched-stats.rst, the first field.
fn cpu_nanos() -> Option<u64> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split_whitespace().next()?.parse().ok()
}

fn drain(engine: &mut Engine, in_flight: &mut VecDeque<BatchId>, batches: &mut u64, answered: &mut u64) {
    while let Some(dispatch) = engine.poll_dispatch() {
        in_flight.push_back(dispatch.batch);
        *batches += 1;
        engine.recycle(dispatch.parts);
    }
    while let Some((_, outcome)) = engine.poll_answer() {
        assert_eq!(outcome, RequestOutcome::Answered { failed: Vec::new() });
        *answered += 1;
    }
    while engine.poll_event().is_some() {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|it| it == name).and_then(|at| arguments.get(at + 1));
    let seconds: f64 = after("--seconds").map_or(1.0, |it| it.parse().expect("`--seconds` takes a number"));
    let case = |name, packing, models, classes| Case { name, packing, models, classes };
    let cases = [
        case("deadline", PackingPolicy::Deadline, 1, 1),
        case("fifo", PackingPolicy::Fifo, 1, 1),
        case("none", PackingPolicy::None, 1, 1),
        case("deadline, 8 classes", PackingPolicy::Deadline, 1, 8),
        case("deadline, 8 models", PackingPolicy::Deadline, 8, 1),
    ];
    println!(
        "{:<22}{:>14}{:>14}{:>12}{:>10}{:>22}",
        "case", "requests/s", "batches/s", "mean fill", "ns each", "slowest..fastest"
    );
    let mut rounds: Vec<Vec<Figure>> = cases.iter().map(|_| Vec::new()).collect();
    // Cases take turns, so that a noisy neighbour hits all of them alike.
    for _ in 0..ROUNDS {
        for (case, figures) in cases.iter().zip(&mut rounds) {
            figures.push(round(case, Duration::from_secs_f64(seconds / ROUNDS as f64)));
        }
    }
    let mut medians = Vec::new();
    for (case, figures) in cases.iter().zip(&mut rounds) {
        figures.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
        let median = figures[figures.len() / 2];
        let (slowest, fastest) = (figures[0], figures[figures.len() - 1]);
        println!(
            "{:<22}{:>14.0}{:>14.0}{:>12.2}{:>10.0}{:>22}",
            case.name,
            median.requests_per_second,
            median.batches_per_second,
            median.mean_fill,
            1e9 / median.requests_per_second,
            format!("{:.2}..{:.2} M", slowest.requests_per_second / 1e6, fastest.requests_per_second / 1e6),
        );
        medians.push(median);
    }
    if let Some(file) = after("--json") {
        std::fs::write(file, json(&medians)).expect("the file of `--json` can be written");
    }
}

fn json(medians: &[Figure]) -> String {
    let figures = [
        ("requests_per_second", medians[0].requests_per_second),
        ("wall_requests_per_second", medians[0].wall_requests_per_second),
        ("fifo_requests_per_second", medians[1].requests_per_second),
        ("none_requests_per_second", medians[2].requests_per_second),
        ("classes_requests_per_second", medians[3].requests_per_second),
        ("models_requests_per_second", medians[4].requests_per_second),
        ("batches_per_second", medians[0].batches_per_second),
        ("mean_fill", medians[0].mean_fill),
    ];
    let fields: Vec<String> = figures.iter().map(|(key, value)| format!("\"{key}\": {value:.3}")).collect();
    format!("{{{}}}\n", fields.join(", "))
}

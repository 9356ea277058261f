//! Plans of random worlds: from sensible to absurd, as far as they pass validation.

use std::time::Duration;

use gateway_contract::{
    Canary, EnvironmentPolicy, HoldOut, Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung,
    ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::settings::{ExplorationLimits, SearchBounds};
use optimizer_tuner::{PolicyKind, TunerSettings};

use super::MEMORY;
use super::draw::Draw;
use crate::deployment::SizeLaw;
use crate::lambda::BatchShape;
use crate::profile::ModelProfile;

/// One process, small batches, nothing strange.
#[expect(clippy::expect_used, reason = "a table of one point ascends")]
pub(super) fn plain() -> ServingPlan {
    let ms = Duration::from_millis;
    let flat = ServiceTimeTable::new(vec![(1, ms(100))]).expect("one point ascends");
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Deadline,
        max_batch_size: 16,
        max_queue_delay: ms(20),
        max_in_flight: 50,
        queue_capacity_items: 10_000,
        queue_capacity_bytes: 1 << 28,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: ms(500),
        deadline_margin: ms(5),
        service_time_upper: flat,
        rungs: vec![rung(16, Mebibytes(1769), 1)],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits::default(),
    }
}

fn rung(max_items: u32, memory_mib: Mebibytes, process_count: u32) -> Rung {
    Rung { max_items, qualifier: format!("mem-{}", memory_mib.0), memory_mib, process_count }
}

/// One plan, or several that follow one another.
pub(super) fn schedule(
    draw: &mut Draw,
    profile: &ModelProfile,
    sizes: &SizeLaw,
    seconds: f64,
) -> Vec<(f64, ServingPlan)> {
    let count = *draw.pick(&[1, 1, 2, 3, 6]);
    let mut plans: Vec<(f64, ServingPlan)> = Vec::new();
    let mut at_s = 0.0;
    for _ in 0..count {
        let plan = plan(draw, profile, sizes);
        // Some plans differ from the one before in a single thing only.
        let plan = match plans.last() {
            Some((_, before)) if draw.one_in(2) => ServingPlan {
                max_batch_size: plan.max_batch_size.min(before.max_batch_size),
                ..before.clone()
            },
            Some(_) | None => plan,
        };
        plans.push((at_s, plan));
        at_s += draw.between(0.0, seconds / f64::from(count));
    }
    plans
}

fn plan(draw: &mut Draw, profile: &ModelProfile, sizes: &SizeLaw) -> ServingPlan {
    let max_batch_size = *draw.pick(&[1, 2, 5, 16, 64]);
    let (memory, processes) = (*draw.pick(&MEMORY), draw.count(1, 4));
    let seconds = profile.mean_seconds(memory, &BatchShape::uniform(max_batch_size, processes, 10));
    let largest = sizes.classes.iter().map(|class| class.item_bytes.max(class.response_bytes)).max();
    let largest = u64::from(largest.unwrap_or(1));
    let slo_s = if draw.one_in(6) { draw.between(0.0, 0.05) } else { seconds * draw.log_between(0.5, 20.0) };
    ServingPlan {
        packing: *draw.pick(&[
            PackingPolicy::None,
            PackingPolicy::Fifo,
            PackingPolicy::Deadline,
            PackingPolicy::Deadline,
        ]),
        max_batch_size,
        max_queue_delay: Duration::from_secs_f64(draw.between(0.0, 0.3) * draw.between(0.0, 1.0)),
        max_in_flight: *draw.pick(&[1, 2, 5, 20, 200]),
        queue_capacity_items: *draw.pick(&[1, 10, 60, 10_000]),
        queue_capacity_bytes: *draw.pick(&[500, 10_000, 1 << 28]),
        max_request_payload_bytes: *draw.pick(&[largest / 2 + 1, 3 * largest, 6_000_000]),
        max_response_payload_bytes: *draw.pick(&[largest / 2 + 1, 3 * largest, 6_000_000]),
        slo_latency: Duration::from_secs_f64(slo_s.min(30.0)),
        deadline_margin: Duration::from_micros(draw.below(10_000)),
        service_time_upper: table(draw, profile, memory, max_batch_size, processes),
        rungs: rungs(draw, max_batch_size, memory, processes),
        canary: draw.one_in(4).then(|| canary(draw, max_batch_size)),
        retry: retry(draw),
        hold_out: draw.one_in(4).then(|| hold_out(draw)),
        environments: draw.one_in(2).then(|| environments(draw)),
        ..plain()
    }
}

fn environments(draw: &mut Draw) -> EnvironmentPolicy {
    EnvironmentPolicy {
        init: Duration::from_secs_f64(draw.log_between(0.001, 20.0)),
        waiting_share: *draw.pick(&[0.0, 0.003, 0.1, 1.0]),
        stays_warm: Duration::from_secs_f64(draw.log_between(1.0, 300.0)),
        keep_calls: *draw.pick(&[0, 1, 20, 1000]),
    }
}

/// What the plan believes of its service times: about right, or far off.
fn table(
    draw: &mut Draw,
    profile: &ModelProfile,
    memory: Mebibytes,
    max_items: u32,
    processes: u32,
) -> ServiceTimeTable {
    let factor = *draw.pick(&[0.1, 1.0, 1.3, 1.3, 2.0, 10.0]);
    let mut points = Vec::new();
    let mut longest = Duration::ZERO;
    for items in [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|items| *items <= max_items) {
        let mean = profile.mean_seconds(memory, &BatchShape::uniform(items, processes, 10));
        longest = longest.max(Duration::from_secs_f64(mean * factor));
        points.push((items, longest));
    }
    ServiceTimeTable::new(points).unwrap_or_else(|_| plain().service_time_upper)
}

fn rungs(draw: &mut Draw, max_batch_size: u32, memory: Mebibytes, processes: u32) -> Vec<Rung> {
    let mut rungs = Vec::new();
    if max_batch_size > 1 && draw.one_in(2) {
        let small = draw.count(1, u64::from(max_batch_size) - 1);
        rungs.push(rung(small, *draw.pick(&MEMORY), 1));
    }
    rungs.push(rung(max_batch_size, memory, processes));
    rungs
}

fn canary(draw: &mut Draw, max_batch_size: u32) -> Canary {
    let max_items = draw.count(1, u64::from(max_batch_size));
    let place = rung(max_items, *draw.pick(&MEMORY), draw.count(1, 3));
    Canary { rung: place, every: draw.count(2, 12) }
}

fn hold_out(draw: &mut Draw) -> HoldOut {
    let (place, run_items) = (rung(1, *draw.pick(&MEMORY), 1), draw.count(1, 5));
    HoldOut { rung: place, every_items: run_items + draw.count(1, 60), run_items }
}

fn retry(draw: &mut Draw) -> RetryLimits {
    RetryLimits {
        budget_ratio: *draw.pick(&[0.0, 0.1, 0.2, 1.0]),
        budget_min_per_second: *draw.pick(&[0.0, 0.5, 10.0]),
        max_attempts: draw.count(1, 6),
        max_unknown_outcome_retries: draw.count(0, 1),
        backoff_base: Duration::from_millis(draw.below(100)),
        backoff_max: Duration::from_millis(draw.below(2_000)),
    }
}

/// A tuner and the plan that it begins with.
pub(super) fn tuned(draw: &mut Draw, profile: &ModelProfile) -> (TunerSettings, ServingPlan) {
    let policy = *draw.pick(&[
        PolicyKind::GreyBox,
        PolicyKind::GreyBox,
        PolicyKind::GreyBox,
        PolicyKind::BlackBox,
        PolicyKind::Random,
        PolicyKind::Observe,
    ]);
    let settings = TunerSettings {
        policy,
        bounds: SearchBounds {
            batch_size: (1, *draw.pick(&[4, 16, 64])),
            process_count: (1, draw.count(1, 4)),
            memory_mib: MEMORY.to_vec(),
            ..SearchBounds::default()
        },
        exploration: ExplorationLimits {
            max_share: *draw.pick(&[0.0, 0.02, 0.1, 0.5]),
            max_usd_per_hour: draw.log_between(1e-7, 1.0),
            hold_out_share: *draw.pick(&[0.0, 0.0, 0.001, 0.1]),
            ..ExplorationLimits::default()
        },
        windows_per_trial: 8,
        seed: draw.below(1_000),
        ..TunerSettings::default()
    };
    let seconds = profile.mean_seconds(Mebibytes(1769), &BatchShape::uniform(1, 1, 10));
    let max_batch_size = *draw.pick(&[4, 16]);
    let base = ServingPlan {
        packing: *draw.pick(&[PackingPolicy::Deadline, PackingPolicy::Fifo]),
        max_batch_size,
        slo_latency: Duration::from_secs_f64((seconds * draw.log_between(2.0, 50.0)).max(0.02)),
        rungs: vec![rung(max_batch_size, Mebibytes(1769), 1)],
        queue_capacity_items: *draw.pick(&[60, 10_000]),
        ..plain()
    };
    (settings, base)
}

//! The plan of the tests: a MiniLM-like model on two rungs.

use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::formula::ServiceLaw;
use simulator::lambda::{CreditModel, ServiceTable};

pub(crate) const MODEL: CreditModel =
    CreditModel { fixed_seconds: 0.006, process_seconds: 0.001, item_seconds: 0.012, is_quantised: false };

pub(crate) fn plan(packing: PackingPolicy, max_batch_size: u32, max_queue_delay_ms: u64) -> ServingPlan {
    let rung = |max_items, memory, process_count| Rung {
        max_items,
        qualifier: format!("m{memory}"),
        memory_mib: Mebibytes(memory),
        process_count,
    };
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing,
        max_batch_size,
        max_queue_delay: Duration::from_millis(max_queue_delay_ms),
        max_in_flight: 500,
        queue_capacity_items: 1_000_000,
        queue_capacity_bytes: 1 << 40,
        max_request_payload_bytes: 1 << 40,
        max_response_payload_bytes: 1 << 40,
        slo_latency: Duration::from_millis(200),
        deadline_margin: Duration::from_millis(5),
        service_time_upper: ServiceTimeTable::new(vec![(1, Duration::ZERO)]).unwrap(),
        rungs: vec![rung(4, 1769, 1), rung(max_batch_size.max(5), 3538, 2)],
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

/// The 99 % quantile of service by fill, made to ascend.
pub(crate) fn upper(plan: &ServingPlan, service: &ServiceTable) -> ServiceTimeTable {
    let mut longest = 0.0_f64;
    let points = (1..=plan.max_batch_size).map(|items| {
        let rung = plan.rung_for(items);
        let seconds =
            service.billed_seconds(items, rung).quantile(0.99) + service.overhead_seconds(items, rung);
        longest = longest.max(seconds);
        (items, Duration::from_secs_f64(longest))
    });
    ServiceTimeTable::new(points.collect()).unwrap()
}

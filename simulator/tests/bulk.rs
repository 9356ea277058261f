//! The chooser of bulk jobs against the simulator: the same law, the predicted time and dollars, and live traffic beside a job.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::bulk::{
    BulkBounds, BulkJob, Learned, Profile, ServiceKnowledge as _, Wish, Work, choose, estimate,
};
use optimizer_tuner::service::belief::RungPoint;
use simulator::arrivals::Mmpp2;
use simulator::bulk::beside::{self, Beside, BesideReport, Gate, share_settings};
use simulator::bulk::job::{self, Cut, JobConfig};
use simulator::deployment::Account;
use simulator::lambda::{BatchShape, FunctionModel as _, LimitSettings};
use simulator::profile::{EXAMPLES, ModelProfile, example};

fn pair(name: &str) -> (ModelProfile, Profile) {
    let text = EXAMPLES.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut told: Profile = toml::from_str(text).unwrap();
    told.unknown_ln_std = 0.0;
    (example(name).unwrap(), told)
}

#[test]
fn the_tuners_profile_is_the_simulators() {
    for (name, _) in EXAMPLES {
        let (truth, told) = pair(name);
        for memory in [128, 512, 1024, 1769, 3008, 3538, 7076, 10_240] {
            assert!((truth.init_seconds(Mebibytes(memory)) - told.init_s(Mebibytes(memory))).abs() < 1e-9);
            for process_count in 1..=6 {
                let point = RungPoint { memory_mib: memory, process_count };
                let fits = truth.memory_used(process_count) <= Mebibytes(memory);
                assert_eq!(told.fits(point), fits, "{name} {memory} {process_count}");
                for items in [1, 2, 7, 50, 333] {
                    let shape = BatchShape::uniform(items, process_count, truth.units(0));
                    let expected = truth.mean_seconds(Mebibytes(memory), &shape);
                    let got = told.mean_seconds(point, Work { items, units_per_item: None });
                    let place = format!("{name} {memory} MiB {process_count} {items}: {got} {expected}");
                    assert!((got / expected - 1.0).abs() < 1e-9, "{place}");
                }
            }
        }
    }
}

fn job(items: u64, wish: Wish) -> BulkJob {
    BulkJob {
        items,
        request_bytes_per_item: 1500.0,
        response_bytes_per_item: 2000.0,
        units_per_item: None,
        wish,
    }
}

fn ran(truth: &ModelProfile, items: usize, cut: Cut) -> (f64, f64) {
    let runs = 5;
    let (mut seconds, mut usd) = (0.0, 0.0);
    for seed in 1..=runs {
        let report = job::run(&JobConfig {
            function: Arc::new(truth.clone()),
            units: vec![truth.units(0); items].into(),
            account: Account::default(),
            cut,
            seed,
        });
        seconds += report.seconds / runs as f64;
        usd += report.usd() / runs as f64;
    }
    (seconds, usd)
}

#[test]
fn what_a_cut_is_said_to_take_it_takes() {
    let (truth, told) = pair("minilm-128");
    let economics = &Account::default().economics;
    for (chunk_items, process_count, memory, parallelism) in [
        (50, 1, 1769, 40),
        (200, 1, 1769, 40),
        (1000, 1, 1769, 25),
        (33, 1, 1024, 300),
        (128, 4, 7076, 16),
        (20, 1, 1769, 1000),
    ] {
        let cut = Cut { chunk_items, process_count, memory: Mebibytes(memory), parallelism };
        let asked = optimizer_tuner::bulk::BulkCut {
            chunk_items,
            process_count,
            memory_mib: Mebibytes(memory),
            parallelism,
        };
        let bounds = BulkBounds::default();
        let plan = estimate(&told, &job(25_000, Wish::default()), asked, &bounds, economics).unwrap();
        let (seconds, usd) = ran(&truth, 25_000, cut);
        assert!((plan.seconds.expected / seconds - 1.0).abs() < 0.04, "{cut:?}: {plan:?} {seconds}");
        assert!((plan.usd.expected / usd - 1.0).abs() < 0.015, "{cut:?}: {plan:?} {usd}");
        assert!(
            plan.seconds.low * 0.97 < seconds && seconds < plan.seconds.high * 1.03,
            "{plan:?} {seconds}"
        );
    }
}

#[test]
fn a_chosen_plan_keeps_its_wish_when_it_runs() {
    let (truth, told) = pair("bert");
    let economics = &Account::default().economics;
    let bounds = BulkBounds {
        memory_mib: vec![1769, 3008, 3538].into_iter().map(Mebibytes).collect(),
        ..BulkBounds::default()
    };
    let run = |wish: Wish| {
        let plan = choose(&told, &job(10_000, wish), &bounds, economics).unwrap().plan;
        let cut = Cut {
            chunk_items: plan.cut.chunk_items,
            process_count: plan.cut.process_count,
            memory: plan.cut.memory_mib,
            parallelism: plan.cut.parallelism,
        };
        ran(&truth, 10_000, cut)
    };
    let (seconds, _) = run(Wish { finish_within: Some(Duration::from_secs(30)), max_usd: None });
    assert!(seconds <= 30.0, "{seconds}");
    let (_, cheap) = run(Wish { finish_within: Some(Duration::from_secs(3600)), max_usd: None });
    let (faster, usd) = run(Wish { finish_within: None, max_usd: Some(cheap * 1.1) });
    assert!(usd <= cheap * 1.1 && faster < 60.0, "{usd} {cheap} {faster}");
}

#[test]
fn a_jobs_own_first_chunks_teach_its_plan() {
    let (truth, _) = pair("minilm-128");
    let bounds =
        BulkBounds { memory_mib: vec![Mebibytes(1769)], process_count: (1, 1), ..BulkBounds::default() };
    let observation = |items: u32, is_cold: bool| {
        let handler = Duration::from_secs_f64(
            truth.mean_seconds(Mebibytes(1769), &BatchShape::uniform(items, 1, truth.units(0))),
        );
        gateway_contract::ServiceObservation {
            at: gateway_contract::Timestamp::ZERO,
            revision: PlanRevision(1),
            is_canary: false,
            outcome: gateway_contract::ServiceOutcome::Completed,
            items,
            memory_mib: Mebibytes(1769),
            process_count: 1,
            shard_padded_units: u64::from(items) * truth.units(0),
            work_units: u64::from(items) * truth.units(0),
            handler,
            billed: handler + Duration::from_millis(1),
            billed_is_estimate: false,
            round_trip: handler + Duration::from_millis(6),
            init: is_cold.then(|| Duration::from_secs_f64(truth.init_seconds(Mebibytes(1769)))),
            max_memory_used: Some(Mebibytes(300)),
            process_restarts: 0,
            is_hold_out: false,
        }
    };
    let seen: Vec<_> = [(8, true), (8, false), (32, true), (32, false), (64, false), (128, false)]
        .map(|(items, is_cold)| observation(items, is_cold))
        .to_vec();
    let learned = Learned::from_observations(&seen, &bounds).unwrap();
    let plan =
        choose(&learned, &job(25_000, Wish::default()), &bounds, &Account::default().economics).unwrap().plan;
    let cut = Cut {
        chunk_items: plan.cut.chunk_items,
        process_count: 1,
        memory: Mebibytes(1769),
        parallelism: plan.cut.parallelism,
    };
    let (seconds, usd) = ran(&truth, 25_000, cut);
    assert!((plan.usd.expected / usd - 1.0).abs() < 0.1, "{plan:?} {usd}");
    assert!(plan.seconds.low <= seconds * 1.05 && seconds <= plan.seconds.high, "{plan:?} {seconds}");
}

fn live_beside(gate: Gate) -> BesideReport {
    let ms = Duration::from_millis;
    let limits = LimitSettings { concurrency: 60, ..LimitSettings::default() };
    beside::run(Beside {
        arrivals: Box::new(Mmpp2::new([200.0, 500.0], [30.0, 10.0])),
        seconds: 400.0,
        live: Arc::new(example("minilm-16").unwrap()),
        plan: ServingPlan {
            model: ModelId(0),
            revision: PlanRevision(1),
            parent: None,
            packing: PackingPolicy::Deadline,
            max_batch_size: 8,
            max_queue_delay: ms(30),
            max_in_flight: 60,
            queue_capacity_items: 10_000,
            queue_capacity_bytes: 1 << 28,
            max_request_payload_bytes: 6_000_000,
            max_response_payload_bytes: 6_000_000,
            slo_latency: ms(300),
            deadline_margin: ms(10),
            service_time_upper: ServiceTimeTable::new(vec![(1, ms(40)), (8, ms(120))]).unwrap(),
            rungs: vec![Rung {
                max_items: 8,
                qualifier: "mem-1769".to_owned(),
                memory_mib: Mebibytes(1769),
                process_count: 1,
            }],
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits::default(),
        },
        bulk: Arc::new(example("minilm-128").unwrap()),
        chunks: u64::MAX,
        cut: Cut { chunk_items: 100, process_count: 1, memory: Mebibytes(1769), parallelism: u32::MAX },
        bulk_from_s: 150.0,
        gate,
        account: Account { limits, ..Account::default() },
        seed: 3,
    })
}

#[test]
fn live_keeps_its_slo_beside_a_job_behind_the_share() {
    let (alone, open, shared) = (
        live_beside(Gate::NoJob),
        live_beside(Gate::Open),
        live_beside(Gate::Shared(share_settings(60, 3.4))),
    );
    let p99_ms = |report: &BesideReport| report.live.quantile(0.99) * 1e3;
    assert!(p99_ms(&alone) < 300.0, "{}", p99_ms(&alone));
    assert!(open.live_throttles > 100, "without the share live meets a full account: {open:?}");
    assert!(p99_ms(&shared) < 300.0, "{} of {}", p99_ms(&shared), p99_ms(&alone));
    assert!(
        shared.late_share() < alone.late_share() + 0.01,
        "{} {}",
        shared.late_share(),
        alone.late_share()
    );
    assert!(shared.mean_in_flight > 20.0, "the job still uses what is left: {}", shared.mean_in_flight);
    assert!(shared.peak <= 60);
}

//! What must hold of every deployment: its laws, its books, its limits.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and shows what it saw")]

mod deployments;
mod support;

use std::time::Duration;

use deployments::{Exact, at, model, one, plan, watched};
use gateway_contract::{Mebibytes, ModelId, Timestamp};
use simulator::arrivals::{GammaWindows, Poisson};
use simulator::deployment::{
    ColdStarts, DeploymentConfig, Fault, FaultKind, ModelConfig, NetworkLaw, Patience, Records, Scheduled,
    SizeClass, SizeLaw, TunerController,
};
use simulator::lambda::{KeepAlive, ThrottleReason};

/// Two models, one of them tuned, and everything that can go wrong now and then.
fn eventful(seed: u64) -> DeploymentConfig {
    let settings = support::loop_config(0.3, 1.0);
    let tuner = TunerController::new(settings.settings, settings.base, settings.economics).unwrap();
    let tuned = ModelConfig {
        request_timeout: Some(Duration::from_millis(800)),
        patience: Some(Patience { share: 0.1, mean_s: 0.1 }),
        sizes: SizeLaw { items_pmf: vec![0.7, 0.2, 0.1], ..SizeLaw::classes(&[0.8, 0.2]) },
        ..ModelConfig::new(
            "tuned",
            support::credit(support::light()),
            Box::new(GammaWindows::new(30.0, 4.0, 1.0)),
            Box::new(tuner),
        )
    };
    let fixed = model(Exact::default(), Box::new(Poisson::new(20.0)), plan(8, 50));
    let fault = |from_s: f64, kind| Fault::new(from_s, from_s + 8.0, kind);
    let mut config = DeploymentConfig::new(vec![tuned, fixed], 150.0, seed);
    config.faults = vec![
        fault(20.0, FaultKind::Slow(3.0)),
        fault(30.0, FaultKind::LostResponses { share: 0.2 }),
        fault(40.0, FaultKind::FunctionErrors { share: 0.2 }),
        fault(50.0, FaultKind::PartialFailures { share: 0.1 }),
        fault(60.0, FaultKind::PoisonItems { share: 0.05 }),
        fault(70.0, FaultKind::Throttled(ThrottleReason::CallerRateLimitExceeded)).of(ModelId(0)),
        fault(80.0, FaultKind::ColdStorm),
        fault(90.0, FaultKind::Unreachable),
        fault(100.0, FaultKind::OutOfMemoryAbove { items: 3 }),
        fault(110.0, FaultKind::LargeAnswers(20_000.0)),
        fault(120.0, FaultKind::RefusedAt(Mebibytes(1769))).of(ModelId(1)),
    ];
    config
}

#[test]
fn equal_seeds_give_equal_logs_and_others_do_not() {
    let fingerprint = |seed| watched(eventful(seed)).1.fingerprint();
    assert_eq!(fingerprint(3), fingerprint(3));
    assert_ne!(fingerprint(3), fingerprint(4));
}

#[test]
fn every_admitted_request_ends_once_and_the_books_agree() {
    let (report, seen) = watched(eventful(5));
    assert_eq!(seen.unanswered, 0);
    assert!(seen.outcomes.values().all(|outcomes| outcomes.len() == 1));
    assert!(seen.requests.values().all(|(_, _, ended)| ended.is_some()));
    let mut usd = 0.0;
    for model in &report.models {
        let counts = &model.counts;
        println!("{counts:?}");
        let ended = counts.answered + counts.failed + counts.shed + counts.cancelled;
        assert_eq!((counts.requests, counts.unanswered), (ended, 0));
        let (mut requests, mut answered, mut failed, mut shed, mut recorded_usd) = (0, 0, 0, 0, 0.0);
        for record in &model.windows {
            requests += record.stats.requests;
            answered += record.stats.answered;
            failed += record.stats.failed;
            shed += record.stats.shed;
            recorded_usd += record.usd;
        }
        assert_eq!(
            (requests, answered, failed, shed),
            (counts.requests, counts.answered, counts.failed, counts.shed)
        );
        assert!((recorded_usd / model.usd.total() - 1.0).abs() < 1e-9);
        assert_eq!(counts.answered, model.latency.total());
        assert_eq!(counts.invocations, model.fills.iter().sum::<u64>());
        usd += model.usd.total() - model.usd.warm_up - model.usd.keeping;
    }
    assert!((seen.usd / usd - 1.0).abs() < 1e-9, "{} {usd}", seen.usd);
    let counts = report.models.iter().fold((0, 0, 0, 0, 0, 0), |sum, model| {
        let of = &model.counts;
        (
            sum.0 + of.throttles(),
            sum.1 + of.unknown,
            sum.2 + of.function_errors,
            sum.3 + of.too_large,
            sum.4 + of.refused,
            sum.5 + of.out_of_memory,
        )
    });
    assert!(counts.0 > 0 && counts.1 > 0 && counts.2 > 0 && counts.3 > 0 && counts.4 > 0 && counts.5 > 0);
}

#[test]
fn money_is_gb_seconds_and_fees() {
    let (report, _) = watched(eventful(6));
    for model in &report.models {
        let prices = optimizer_tuner::Economics::clone(&support::loop_config(1.0, 1.0).economics).prices;
        let calls = (model.counts.invocations + model.counts.warmed + model.counts.keep_calls) as f64;
        let usd =
            model.counts.gb_seconds * prices.x86_64.tiers[0].usd_per_gb_second + calls * prices.request_usd();
        assert!((model.usd.total() / usd - 1.0).abs() < 1e-9, "{} {usd}", model.usd.total());
        let (fees, init) = (model.counts.invocations as f64 * prices.request_usd(), model.usd.init);
        assert!((model.usd.fees / fees - 1.0).abs() < 1e-9 && init > 0.0);
    }
}

#[test]
fn requests_in_the_system_obey_littles_law() {
    let function = Exact { unit_seconds: 0.01, ..Exact::default() };
    let (rate, seconds) = (40.0, 4000.0);
    let config =
        DeploymentConfig::new(vec![model(function, Box::new(Poisson::new(rate)), plan(8, 60))], seconds, 2);
    let (report, seen) = watched(config);
    let of = &report.models[0];
    // The time average of what is in the system, from the log of arrivals and ends, against rate × mean latency.
    let mean_in_system = seen.waited_s() / report.ended_s;
    let expected = of.counts.requests as f64 / report.ended_s * of.latency.mean();
    assert!((mean_in_system / expected - 1.0).abs() < 1e-3, "{mean_in_system} {expected}");
    // And of invocations: by the law of each fill.
    let by_fill = of
        .fills
        .iter()
        .zip(0_u32..)
        .map(|(&count, fill)| count as f64 * (0.1 + 0.01 * f64::from(fill) + 0.005));
    let busy: f64 = by_fill.sum::<f64>() + of.counts.cold_starts as f64 * 0.5;
    assert!((of.counts.in_flight_s / busy - 1.0).abs() < 1e-6, "{} {busy}", of.counts.in_flight_s);
}

#[test]
fn cold_starts_follow_the_keep_alive() {
    // One environment at a time in the mean, hardly ever two: it is cold when nothing came for the keep-alive.
    let function = || Exact { seconds: 0.001, init_seconds: 0.001, ..Exact::default() };
    let (rate, kept_s) = (0.01_f64, 120.0);
    let cold = |keep_alive| {
        let arrivals = Box::new(Poisson::new(rate));
        let mut config = DeploymentConfig::new(vec![model(function(), arrivals, plan(1, 0))], 2e6, 9);
        config.account.keep_alive = keep_alive;
        config.records = Records::None;
        let report = one(config);
        report.counts.cold_starts as f64 / report.counts.invocations as f64
    };
    let (fixed, exponential) = (cold(KeepAlive::Fixed(kept_s)), cold(KeepAlive::Exponential(kept_s)));
    let expected = (-rate * kept_s).exp();
    assert!((fixed / expected - 1.0).abs() < 0.03, "{fixed} {expected}");
    let expected = 1.0 / (1.0 + rate * kept_s);
    assert!((exponential / expected - 1.0).abs() < 0.03, "{exponential} {expected}");
}

#[test]
fn a_cold_start_is_waited_for_and_billed() {
    let config = |cold_starts| {
        let mut config =
            DeploymentConfig::new(vec![model(Exact::default(), at([1.0, 2.0]), plan(1, 0))], 10.0, 1);
        config.account.cold_starts = cold_starts;
        config
    };
    let paid = one(config(ColdStarts::Paid));
    assert_eq!((paid.counts.invocations, paid.counts.cold_starts), (2, 1));
    let gib_usd = 1769.0 / 1024.0 * 0.000_016_666_7;
    assert!((paid.usd.init / (0.5 * gib_usd) - 1.0).abs() < 1e-9);
    assert!((paid.usd.duration / (2.0 * 0.101 * gib_usd) - 1.0).abs() < 1e-6, "{:?}", paid.usd);
    assert!((paid.latency.mean() - (0.605 + 0.105) / 2.0).abs() < 1e-6, "{}", paid.latency.mean());
    let free = one(config(ColdStarts::Free));
    assert_eq!((free.counts.cold_starts, free.usd.init), (0, 0.0));
    assert!((free.latency.mean() - 0.105).abs() < 1e-6);
}

#[test]
fn an_init_beyond_ten_seconds_is_billed_twice() {
    let function = Exact { init_seconds: 12.0, ..Exact::default() };
    let report = one(DeploymentConfig::new(vec![model(function, at([0.0]), plan(1, 0))], 1.0, 1));
    assert!((report.latency.mean() - (10.0 + 12.0 + 0.105)).abs() < 1e-6);
    assert!((report.counts.gb_seconds / (1769.0 / 1024.0 * 22.101) - 1.0).abs() < 1e-6);
}

#[test]
fn a_burst_meets_the_ramp_and_is_answered_after_it() {
    // 3,000 at once, each in an environment of its own that is busy for 8 s: 1,000 start, then 100 a second.
    let function = Exact { seconds: 8.0, init_seconds: 0.1, ..Exact::default() };
    let mut plan = plan(1, 0);
    plan.retry.max_attempts = 1000;
    plan.retry.budget_ratio = 1.0;
    plan.retry.budget_min_per_second = 1e6;
    let mut config = DeploymentConfig::new(vec![model(function, at([0.0; 3000]), plan)], 1.0, 1);
    config.account.limits.concurrency = 10_000;
    let (report, seen) = watched(config);
    let of = &report.models[0];
    assert_eq!((of.counts.answered, of.counts.unanswered), (3000, 0));
    let ramp = of.counts.throttled[ThrottleReason::ConcurrentInvocationLimitExceeded.index()];
    assert!(ramp >= 2000, "{:?}", of.counts);
    let started_by = |second: u64| {
        let began = seen
            .observations
            .iter()
            .filter(|it| it.init.is_some())
            .map(|it| it.at.saturating_sub(it.round_trip));
        began.filter(|at| *at < Timestamp::from_nanos(second * 1_000_000_000)).count()
    };
    // The engine takes the thousand that Lambda carried for the level that it may keep.
    assert!((1000..=1101).contains(&started_by(1)) && started_by(8) < 1200, "{:?}", [1, 8].map(started_by));
}

#[test]
fn a_throttled_account_is_worked_off() {
    let function = Exact { seconds: 0.5, ..Exact::default() };
    let mut config =
        DeploymentConfig::new(vec![model(function, Box::new(Poisson::new(50.0)), plan(16, 100))], 120.0, 3);
    config.account.limits.concurrency = 5;
    let (report, _) = watched(config);
    let counts = &report.models[0].counts;
    assert!(counts.throttles() > 0, "{counts:?}");
    assert_eq!(counts.answered + counts.failed, counts.requests);
    assert!(counts.answered as f64 > 0.95 * counts.requests as f64, "{counts:?}");
}

#[test]
fn two_models_share_the_accounts_concurrency_unless_it_is_reserved() {
    let crowd = |reserved| {
        let function = || Exact { seconds: 1.0, ..Exact::default() };
        let mut quiet = model(function(), Box::new(Poisson::new(2.0)), plan(1, 0));
        quiet.reserved_concurrency = reserved;
        // 40 are wanted at a time, beside the 2 of the quiet one.
        let loud = model(function(), Box::new(Poisson::new(40.0)), plan(1, 0));
        let mut config = DeploymentConfig::new(vec![quiet, loud], 300.0, 3);
        config.account.limits.concurrency = 30;
        config.account.limits.requests_per_second_per_concurrency = 0;
        let (report, seen) = watched(config);
        let ran = seen.observations.iter().filter(|it| !it.billed.is_zero()).count();
        assert!(ran > 0);
        report.models.iter().map(|model| model.counts.throttles()).collect::<Vec<_>>()
    };
    let shared = crowd(None);
    assert!(shared[0] > 50 && shared[1] > 50, "the loud one's crowd throttles both: {shared:?}");
    let reserved = crowd(Some(15));
    assert!(reserved[0] == 0 && reserved[1] > 50, "{reserved:?}");
}

#[test]
fn more_memory_than_a_size_has_is_out_of_memory_and_nothing_is_answered() {
    let function = Exact { used_mib: (3000, 50), ..Exact::default() };
    let (report, seen) = watched(DeploymentConfig::new(vec![model(function, at([0.0]), plan(1, 0))], 1.0, 1));
    let counts = &report.models[0].counts;
    assert_eq!((counts.answered, counts.failed, counts.out_of_memory), (0, 1, 1));
    assert_eq!(seen.observations[0].max_memory_used, Some(Mebibytes(1769)));
    assert!(report.models[0].usd.total() > 0.0);
}

#[test]
fn what_takes_longer_than_the_function_may_fails_and_is_billed() {
    let mut slow = model(Exact { seconds: 5.0, ..Exact::default() }, at([0.0]), plan(1, 0));
    slow.function_timeout = Duration::from_secs(3);
    let report = one(DeploymentConfig::new(vec![slow], 1.0, 1));
    assert_eq!((report.counts.failed, report.counts.function_errors), (1, 1));
    assert!((report.counts.gb_seconds / (1769.0 / 1024.0 * 3.5) - 1.0).abs() < 1e-6);
}

#[test]
fn oversize_batches_are_cut_until_they_fit() {
    // 10 items of 1 MB: the plan lets 10 MB pass, Lambda 6.
    let mut large = model(Exact::default(), at([0.0; 10]), plan(10, 100));
    large.sizes.classes = vec![SizeClass { item_bytes: 1_000_000, ..SizeClass::default() }];
    let mut plan = plan(10, 100);
    plan.max_request_payload_bytes = 10_000_000;
    large.controller = Box::new(simulator::deployment::FixedPlan::new(plan));
    let report = one(DeploymentConfig::new(vec![large], 1.0, 1));
    assert_eq!((report.counts.too_large, report.counts.answered), (1, 10));
    assert_eq!(report.fills[5], 2);
}

#[test]
fn poison_fails_alone_and_partial_failures_fail_their_items_only() {
    let mut config = DeploymentConfig::new(
        vec![model(Exact::default(), Box::new(Poisson::new(100.0)), plan(16, 100))],
        100.0,
        8,
    );
    config.faults = vec![Fault::new(0.0, 50.0, FaultKind::PoisonItems { share: 0.01 })];
    let report = one(config);
    let share = report.counts.failed as f64 / 5000.0;
    assert!((0.005..0.015).contains(&share), "{:?}", report.counts);
    assert!(report.counts.bisected > report.counts.failed);
    let mut config = DeploymentConfig::new(
        vec![model(Exact::default(), Box::new(Poisson::new(100.0)), plan(16, 100))],
        100.0,
        8,
    );
    config.faults = vec![Fault::new(0.0, 100.0, FaultKind::PartialFailures { share: 0.1 })];
    let report = one(config);
    let share = report.counts.failed as f64 / report.counts.requests as f64;
    assert!((0.08..0.12).contains(&share) && report.counts.bisected == 0, "{:?}", report.counts);
}

#[test]
fn a_storm_leaves_no_environment_warm() {
    let steady = || model(Exact::default(), Box::new(Poisson::new(20.0)), plan(1, 0));
    let mut config = DeploymentConfig::new(vec![steady()], 300.0, 4);
    let quiet = one(config).counts.cold_starts;
    config = DeploymentConfig::new(vec![steady()], 300.0, 4);
    config.faults = vec![Fault::new(150.0, 150.0, FaultKind::ColdStorm)];
    let stormy = one(config).counts.cold_starts;
    assert!(stormy >= quiet + quiet / 2 && stormy <= 3 * quiet, "{quiet} {stormy}");
    config = DeploymentConfig::new(vec![steady()], 300.0, 4);
    config.faults = vec![Fault::new(150.0, 160.0, FaultKind::ColdStorm)];
    assert!(one(config).counts.cold_starts > quiet + 150);
}

#[test]
fn a_storm_takes_what_is_at_work_once_it_is_done() {
    let cold_starts = |storm_s: f64| {
        let function = Exact { seconds: 3.0, ..Exact::default() };
        let mut config = DeploymentConfig::new(vec![model(function, at([0.0, 5.0]), plan(1, 0))], 10.0, 1);
        config.faults = vec![Fault::new(storm_s, storm_s, FaultKind::ColdStorm)];
        one(config).counts.cold_starts
    };
    assert_eq!((cold_starts(1.0), cold_starts(4.0), cold_starts(6.0)), (2, 2, 1));
}

#[test]
fn what_finishes_as_a_window_ends_belongs_to_it_and_a_fault_that_begins_then_does_not_touch_it() {
    // Cold from 0.25 s on: 0.25 on the way, 0.5 of INIT, 1.0 of work end at 2.0 s exactly, as the second window does.
    let function = Exact { seconds: 1.0, ..Exact::default() };
    let mut config = DeploymentConfig::new(vec![model(function, at([0.25, 2.0]), plan(1, 0))], 10.0, 1);
    config.account.network = NetworkLaw::Fixed(0.25);
    config.account.runtime_s = 0.0;
    config.faults = vec![Fault::new(2.0, 3.0, FaultKind::Slow(4.0))];
    let report = one(config);
    let answered: Vec<u64> = report.windows.iter().take(3).map(|record| record.stats.answered).collect();
    assert_eq!(answered, [0, 1, 0]);
    let arrived: Vec<u64> = report.windows.iter().take(3).map(|record| record.stats.requests).collect();
    assert_eq!(arrived, [1, 0, 1], "what arrives as a window ends belongs to the next");
    let total_s = report.latency.mean() * 2.0;
    assert!((total_s - (1.75 + 4.25)).abs() < 1e-9, "the second is slow, and warm: {total_s}");
}

#[test]
fn a_drain_answers_what_waits_and_sheds_what_comes() {
    let mut config = DeploymentConfig::new(
        vec![model(Exact::default(), Box::new(Poisson::new(50.0)), plan(64, 10_000))],
        20.0,
        4,
    );
    config.faults = vec![Fault::new(10.0, 10.0, FaultKind::Drain)];
    let (report, seen) = watched(config);
    let counts = &report.models[0].counts;
    assert!(counts.shed > 400 && counts.answered > 400 && counts.unanswered == 0, "{counts:?}");
    let last = seen.requests.values().filter_map(|(_, _, ended)| *ended).max().unwrap();
    assert!(last < 11_000_000_000, "flushed at once: {last}");
}

#[test]
fn hard_deadlines_and_clients_that_leave_end_requests_early() {
    let mut hurried =
        model(Exact { seconds: 2.0, ..Exact::default() }, Box::new(Poisson::new(10.0)), plan(1, 0));
    hurried.request_timeout = Some(Duration::from_secs(1));
    hurried.patience = Some(Patience { share: 0.5, mean_s: 0.2 });
    let (report, seen) = watched(DeploymentConfig::new(vec![hurried], 100.0, 4));
    let counts = &report.models[0].counts;
    assert_eq!((counts.answered, counts.timed_out, counts.unanswered), (0, counts.failed, 0));
    let left = counts.cancelled as f64 / counts.requests as f64;
    assert!((0.42..0.56).contains(&left), "half of them, less those that would have stayed longer: {left}");
    assert!(seen.requests.values().all(|(from, _, to)| to.unwrap() - from <= 1_000_000_000));
}

#[test]
fn lost_answers_are_billed_though_the_gateway_can_only_guess() {
    let mut config = DeploymentConfig::new(
        vec![model(Exact::default(), Box::new(Poisson::new(20.0)), plan(8, 50))],
        200.0,
        4,
    );
    config.faults = vec![Fault::new(0.0, 200.0, FaultKind::LostResponses { share: 0.2 })];
    let (report, seen) = watched(config);
    let of = &report.models[0];
    assert!(of.counts.unknown > 100 && of.counts.retries > 100, "{:?}", of.counts);
    let estimated = seen.observations.iter().filter(|it| it.billed_is_estimate).count() as u64;
    assert_eq!(estimated, of.counts.unknown);
    let known: f64 = of.windows.iter().map(|record| record.stats.cost_usd).sum();
    assert!((known / of.usd.total() - 1.0).abs() < 0.02 && known > of.usd.total(), "{known} {:?}", of.usd);
}

#[test]
fn a_plan_change_in_mid_flight_keeps_what_is_in_flight() {
    let slow = Exact { seconds: 3.0, ..Exact::default() };
    let mut config = DeploymentConfig::new(Vec::new(), 30.0, 4);
    let mut later = plan(2, 10);
    later.rungs[0].memory_mib = Mebibytes(1024);
    let warm = vec![(Mebibytes(1024), 4)];
    let controller = Scheduled::warmed(plan(8, 200), [(10.0, later, warm)]);
    config.models = vec![ModelConfig::new(
        "model",
        std::sync::Arc::new(slow),
        Box::new(Poisson::new(10.0)),
        Box::new(controller),
    )];
    let (report, seen) = watched(config);
    let of = &report.models[0];
    assert_eq!(of.counts.answered, of.counts.requests);
    assert_eq!(of.counts.warmed, 4);
    let serves_s: Vec<f64> = of.plans.iter().map(|(at_s, _)| *at_s).collect();
    assert_eq!(serves_s, [0.0, 10.5], "it serves once its environments are warm");
    let before = seen.dispatches.values().filter(|dispatch| dispatch.revision.0 == 1);
    assert!(before.clone().all(|dispatch| dispatch.memory_mib == Mebibytes(1769)) && before.count() > 10);
    let after = seen.dispatches.values().filter(|dispatch| dispatch.revision.0 == 2);
    assert!(after.clone().all(|dispatch| dispatch.items <= 2) && after.count() > 50);
}

#[test]
fn size_classes_are_cut_over_processes_by_their_length() {
    let function = Exact { seconds: 0.01, unit_seconds: 0.001, units: vec![10, 100], ..Exact::default() };
    let mut plan = plan(4, 1000);
    plan.rungs[0].process_count = 2;
    let mut mixed = model(function, at([0.0; 4]), plan);
    mixed.sizes = SizeLaw::classes(&[0.5, 0.5]);
    let (report, seen) = watched(DeploymentConfig::new(vec![mixed], 1.0, 11));
    assert_eq!(report.models[0].counts.answered, 4);
    let seen = &seen.observations[0];
    let long = (seen.work_units - 40) / 90;
    assert!((1..=3).contains(&long), "the seed draws both: {seen:?}");
    // One long item has a process of its own; of two, one has the short ones beside it; of three, two share.
    assert_eq!(seen.shard_padded_units, [100, 120, 200][long as usize - 1]);
}

#[test]
fn records_merge_without_loss() {
    let config = |records| {
        let mut config = eventful(7);
        config.records = records;
        config
    };
    let sums = |records: Records| {
        let (report, _) = watched(config(records));
        let of = &report.models[0];
        let total = |of_record: fn(&simulator::deployment::WindowRecord) -> f64| {
            of.windows.iter().map(of_record).sum::<f64>()
        };
        (
            of.windows.len(),
            total(|record| record.stats.requests as f64),
            total(|record| record.stats.bins.squared as f64),
            total(|record| record.usd),
        )
    };
    let (every, merged, none) = (sums(Records::Every), sums(Records::Merged(60)), sums(Records::None));
    assert!((151..=152).contains(&every.0) && merged.0 == 3 && none.0 == 0, "{every:?} {merged:?} {none:?}");
    assert_eq!((every.1, every.2), (merged.1, merged.2));
    assert!((every.3 / merged.3 - 1.0).abs() < 1e-12);
}

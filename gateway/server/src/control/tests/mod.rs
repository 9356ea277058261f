//! The loop in paused time: what reaches the tuners, what comes of their plans, and what faults leave behind.

mod closed;
mod gateways;
mod persistence;
mod routes;
mod world;

use gateway_contract::{Canary, Mebibytes, PlanRevision, ServiceOutcome, ServingPlan};
use optimizer_tuner::event::{Candidate, Expectation, PointSummary};
use optimizer_tuner::report::RealisedReport;
use optimizer_tuner::{Command, TunerReport};

use self::world::{Lambda, Script, World, eventually, ms};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(start_paused = true)]
async fn windows_and_observations_reach_the_tuner() {
    let folder = folder();
    let world = World::start(folder.path(), "[control]\nprobe_interval_ms = 0", Script::default());
    for _ in 0..2 {
        let requests: Vec<_> = (0..4).map(|_| tokio::spawn(world.send())).collect();
        for request in requests {
            assert!(request.await.unwrap().unwrap().failed.is_empty());
        }
    }
    assert!(eventually(|| !world.script().windows.is_empty()).await);
    let script = world.script();
    let window = &script.windows[0];
    assert_eq!((window.requests, window.items, window.items_squared, window.answered), (8, 8, 8, 8));
    assert_eq!((window.within_slo, window.failed, window.shed, window.throttled), (8, 0, 0, 0));
    assert_eq!((window.batches, window.batch_items, window.work_units), (2, 8, 8));
    assert!((window.length.as_secs_f64() - 1.0).abs() < 0.01 && window.bins.bins == 10, "{window:?}");
    let latency = window.latency_at_percentile.unwrap().as_secs_f64();
    assert!((latency / 0.040 - 1.0).abs() < 0.1, "20 ms + 4 · 5 ms, full at once: {latency}");
    let prices = gateway_contract::PriceTable::default();
    let batch = prices.duration_usd(gateway_contract::Architecture::X86_64, Mebibytes(1024), ms(40))
        + prices.request_usd();
    assert!((window.cost_usd / (2.0 * batch) - 1.0).abs() < 1e-9, "{}", window.cost_usd);
    assert_eq!(script.observations.len(), 2);
    let observation = &script.observations[0];
    assert_eq!(observation.outcome, ServiceOutcome::Completed);
    assert_eq!(
        (observation.items, observation.memory_mib, observation.process_count),
        (4, Mebibytes(1024), 1)
    );
    assert_eq!(
        (observation.handler, observation.billed, observation.shard_padded_units),
        (ms(40), ms(40), 4)
    );
    assert_eq!((observation.revision, observation.is_canary), (PlanRevision(1), false));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_the_tuner_serves_the_next_batches() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let plan = ServingPlan { max_batch_size: 2, ..world.plan_on(2, 1024) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    let requests: Vec<_> = (0..2).map(|_| tokio::spawn(world.send())).collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().receipt.batch_items, 2);
    }
    assert!(
        eventually(|| world.script().observations.iter().any(|one| one.revision == PlanRevision(2))).await
    );
    assert_eq!(world.metric("penstock_plan_max_batch_size_items{model=\"echo\"}"), 2.0);
    assert_eq!(world.metric("penstock_plan_revision{model=\"echo\"}"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn another_memory_size_is_warmed_before_it_serves() {
    let folder = folder();
    let world = World::start(folder.path(), "max_warm_up_environments = 3", Script::default());
    let expected = Expectation { concurrency: 7.2, ..Expectation::default() };
    let point = PointSummary { max_batch_size: 4, max_queue_delay_ms: 10.0, rungs: vec![(4, 2048, 1)] };
    world.script().report.incumbent = Some(Candidate { point, expected });
    let plan = world.plan_on(2, 2048);
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.lambda.calls("mem-2048", false).len() == 3).await, "bounded by the budget");
    assert_eq!(world.plan().revision, PlanRevision(1), "not yet: they are still at it");
    let calls = world.lambda.calls("mem-2048", false);
    assert_eq!(calls[0], calls[2], "they overlap");
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    assert_eq!(
        world.metric("penstock_control_calls_total{model=\"echo\",outcome=\"ok\",purpose=\"warm_up\"}"),
        3.0
    );
    assert!(world.metric("penstock_cost_usd_total{component=\"lambda_warm_up\",model=\"echo\"}") > 0.0);
    // Back to an alias that has served just now: at once.
    let plan = world.plan_on(3, 1024);
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(3)).await);
    assert_eq!(
        world.metric("penstock_control_calls_total{model=\"echo\",outcome=\"ok\",purpose=\"warm_up\"}"),
        3.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_warmed_by_one_sandbox_and_its_cost_told_apart() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let rung = world.plan_on(2, 2048).rungs.remove(0);
    let plan = ServingPlan { canary: Some(Canary { rung, every: 2 }), ..world.plan_on(2, 1024) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().canary.is_some()).await);
    assert_eq!(world.lambda.calls("mem-2048", false).len(), 1);
    for _ in 0..4 {
        world.send().await.unwrap();
    }
    assert!(eventually(|| world.script().windows.iter().any(|window| window.canary_cost_usd > 0.0)).await);
    let script = world.script();
    assert!(script.observations.iter().any(|one| one.is_canary && one.memory_mib == Mebibytes(2048)));
    let window = script.windows.iter().find(|window| window.canary_cost_usd > 0.0).unwrap();
    assert!(window.canary_cost_usd < window.cost_usd);
}

#[tokio::test(start_paused = true)]
async fn a_missing_alias_is_taken_out_of_the_choice_until_it_is_there() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    world.lambda.state().missing.insert("mem-2048".to_owned());
    let plan = world.plan_on(2, 2048);
    world.script().plans.push_back(plan);
    assert!(eventually(|| !world.script().settings.is_empty()).await);
    assert_eq!(world.script().settings[0].bounds.memory_mib, [Mebibytes(1024)]);
    assert_eq!(world.metric("penstock_plan_fallbacks_total{model=\"echo\",reason=\"alias_missing\"}"), 1.0);
    let first = world.plan();
    assert_eq!(first.rungs[0].qualifier, "mem-1024", "never put into force");
    assert!(world.readiness.is_ready(), "the configured plan can be served");
    // The tuner is shown what really serves.
    assert!(eventually(|| world.script().commands.iter().any(|one| matches!(one, Command::Resume))).await);
    world.lambda.state().missing.clear();
    tokio::time::sleep(ms(61_000)).await;
    let last = world.script().settings.last().unwrap().bounds.memory_mib.clone();
    assert_eq!(last, [Mebibytes(1024), Mebibytes(2048)], "found again by a probe");
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_goes_while_it_serves_is_left() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let plan = world.plan_on(2, 2048);
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.lambda.state().missing.insert("mem-2048".to_owned());
    let refused = world.send().await.unwrap();
    assert_eq!(refused.failed.len(), 1);
    assert!(eventually(|| world.plan().rungs[0].qualifier == "mem-1024").await, "{:?}", world.plan());
    assert!(world.send().await.unwrap().failed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn readiness_fails_while_the_configured_alias_is_gone_or_foreign() {
    let folder = folder();
    let lambda = Lambda::default();
    lambda.state().missing.insert("mem-1024".to_owned());
    let world = World::start_on(folder.path(), "", Script::default(), lambda);
    assert!(eventually(|| !world.readiness.is_ready()).await);
    let (model, why) = world.readiness.unservable().unwrap();
    assert!(model == "echo" && why.contains("mem-1024") && why.contains("not found"), "{why}");
    world.lambda.state().missing.clear();
    assert!(eventually(|| world.readiness.is_ready()).await, "by itself, within seconds");
    world.lambda.state().is_foreign = true;
    tokio::time::sleep(ms(60_000)).await;
    assert!(eventually(|| !world.readiness.is_ready()).await);
    assert!(world.readiness.unservable().unwrap().1.contains("protocol version"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_tuner_leaves_the_plan_and_another_tuner_takes_over() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..world.plan_on(2, 1024) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.script().panics_at_window = true;
    assert!(eventually(|| world.script().made == 2).await);
    assert!(world.send().await.unwrap().failed.is_empty());
    let windows = world.script().windows.len();
    assert!(eventually(|| world.script().windows.len() > windows + 1).await, "the loop goes on");
    assert_eq!(world.plan().max_batch_size, 3, "the plan stays");
    assert_eq!(world.metric("penstock_control_restarts_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_tuner_that_always_panics_is_given_up_and_serving_goes_on() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    for _ in 0..20 {
        world.script().panics_at_window = true;
        tokio::time::sleep(ms(1000)).await;
    }
    let made = world.script().made;
    assert!((3..=7).contains(&made), "{made}");
    assert!(world.send().await.unwrap().failed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_loop_leaves_the_plan_and_the_loop_starts_again() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..world.plan_on(2, 1024) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.control.panic_now().await;
    assert!(world.send().await.unwrap().failed.is_empty());
    assert!(eventually(|| world.script().made == 2).await);
    assert!(world.send().await.unwrap().failed.is_empty());
    assert_eq!(world.plan().max_batch_size, 3, "shown to the new tuner, not replaced by the configured one");
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_tuner_and_tells_it_the_new_settings() {
    let folder = folder();
    let world = World::start(folder.path(), "", Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..world.plan_on(2, 1024) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.reload("slo_percentile = 0.95");
    assert!(eventually(|| !world.script().settings.is_empty()).await);
    assert!((world.script().settings[0].slo_percentile - 0.95).abs() < 1e-12);
    assert_eq!(
        (world.script().made, world.plan().max_batch_size),
        (1, 3),
        "what was learned and chosen stays"
    );
    world.reload("kind = \"pinned\"");
    assert_eq!(world.plan().max_batch_size, 4, "the file's plan at once");
    assert_eq!(world.plan().revision, PlanRevision(3), "revisions ascend");
    let plan = world.plan_on(2, 1024);
    world.script().plans.push_back(plan);
    tokio::time::sleep(ms(3000)).await;
    assert!(world.plan().revision >= PlanRevision(3), "a plan from before the reload is stale");
}

#[tokio::test(start_paused = true)]
async fn savings_are_the_unbatched_cost_less_what_was_paid() {
    let folder = folder();
    let world = World::start(folder.path(), "[control]\nprobe_interval_ms = 0", Script::default());
    world.script().report = TunerReport {
        unbatched_usd_per_million: Some(5.0),
        measured_unbatched_usd_per_million: Some(8.0),
        realised: RealisedReport { requests: 4, usd_per_million: 2.0, ..RealisedReport::default() },
        ..TunerReport::default()
    };
    let requests: Vec<_> = (0..4).map(|_| tokio::spawn(world.send())).collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert!(eventually(|| !world.script().windows.is_empty()).await);
    let paid = world.script().windows[0].cost_usd;
    let metric = |component| {
        world.metric(&format!("penstock_savings_usd{{component=\"{component}\",model=\"echo\"}}"))
    };
    assert!((metric("unbatched") - 4.0 * 5.0 / 1e6).abs() < 1e-12);
    assert!((metric("lambda") + paid).abs() < 1e-12);
    let ratio = |basis| world.metric(&format!("penstock_savings_ratio{{basis=\"{basis}\",model=\"echo\"}}"));
    assert!((ratio("formula") - 0.6).abs() < 1e-12);
    assert!((ratio("measured") - 0.75).abs() < 1e-12, "by what items that ran alone cost");
}

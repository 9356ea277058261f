//! Against closed forms: chunks without spread end in whole rounds, dollars are a sum.

use std::time::Duration;

use gateway_contract::{Architecture, Mebibytes, PriceTable};

use super::*;
use crate::Economics;

/// 100 ms an item at one vCPU, 10 ms a chunk and process, INIT of 1 s; no spread.
fn profile() -> Profile {
    Profile {
        name: "even".to_owned(),
        service: profile::Service {
            process_ms: 10.0,
            item_ms: 100.0,
            is_quantised: false,
            ..profile::Service::default()
        },
        init: profile::Init { cpu_seconds: 1.0, floor_seconds: 0.0 },
        memory: profile::Memory { base_mib: 400.0, per_process_mib: 50.0 },
        unknown_ln_std: 0.05,
        ..Profile::default()
    }
}

fn economics() -> Economics {
    Economics { prices: PriceTable::default(), architecture: Architecture::X86_64, month_gb_seconds: 0.0 }
}

fn job(items: u64, wish: Wish) -> BulkJob {
    BulkJob {
        items,
        request_bytes_per_item: 100.0,
        response_bytes_per_item: 100.0,
        units_per_item: None,
        wish,
    }
}

fn one_size() -> BulkBounds {
    BulkBounds { memory_mib: vec![Mebibytes(1769)], process_count: (1, 1), ..BulkBounds::default() }
}

fn within(seconds: u64) -> Wish {
    Wish { finish_within: Some(Duration::from_secs(seconds)), max_usd: None }
}

fn at_most(usd: f64) -> Wish {
    Wish { finish_within: None, max_usd: Some(usd) }
}

fn cut(chunk_items: u32, parallelism: u32) -> BulkCut {
    BulkCut { chunk_items, process_count: 1, memory_mib: Mebibytes(1769), parallelism }
}

#[test]
fn an_even_job_ends_in_whole_rounds_and_costs_its_sum() {
    let plan =
        estimate(&profile(), &job(1000, Wish::default()), cut(50, 8), &one_size(), &economics()).unwrap();
    // 20 chunks on 8 workers: three rounds of 5.01 s, 1 ms billed beyond, 4 ms on the way; 8 environments.
    assert!((plan.seconds.expected - (1.0 + 3.0 * (5.011 + 0.004))).abs() < 1e-9, "{plan:?}");
    assert_eq!((plan.invocations, plan.environments), (20, 8));
    let usd = (20.0 * 5.011 + 8.0) * 1769.0 / 1024.0 * 0.000_016_666_7 + 20.0 * 0.2e-6;
    assert!((plan.usd.expected / usd - 1.0).abs() < 2e-4, "{} {usd}", plan.usd.expected);
}

#[test]
fn a_short_last_chunk_counts_as_short() {
    let at = |items| {
        estimate(&profile(), &job(items, Wish::default()), cut(50, 1), &one_size(), &economics()).unwrap()
    };
    let (whole, more) = (at(100), at(110));
    assert_eq!(more.invocations, 3);
    assert!((more.seconds.expected - whole.seconds.expected - 1.015).abs() < 2e-3, "{more:?}");
}

#[test]
fn environments_ramp_up() {
    let bounds = BulkBounds { environments_per_10_s: 10, ..one_size() };
    let plan = estimate(&profile(), &job(1100, Wish::default()), cut(50, 22), &bounds, &economics()).unwrap();
    // The last twelve start one a second; the twenty-second at 12 s would only be worth it because the first ones end at 6 s: it is not.
    assert!(plan.seconds.expected > 2.0 * 5.0 + 1.0 && plan.seconds.expected < 13.0, "{plan:?}");
}

#[test]
fn a_deadline_gets_the_cheapest_plan_that_holds_it() {
    let choice = choose(&profile(), &job(25_000, within(120)), &one_size(), &economics()).unwrap();
    let plan = choice.plan;
    assert!(plan.seconds.high <= 120.0, "{plan:?}");
    // 2,500 s of work in 119 s at nine in ten are at least 22 environments; none is wasted.
    assert!((22..=26).contains(&plan.environments), "{plan:?}");
    let faster = choose(&profile(), &job(25_000, within(30)), &one_size(), &economics()).unwrap().plan;
    assert!(faster.usd.expected > plan.usd.expected && faster.environments > plan.environments);
}

#[test]
fn a_budget_gets_the_fastest_plan_that_holds_it() {
    let cheapest = choose(&profile(), &job(25_000, within(100_000)), &one_size(), &economics()).unwrap().plan;
    assert_eq!(cheapest.environments, 1, "{cheapest:?}");
    let budget = cheapest.usd.high * 1.05;
    let plan = choose(&profile(), &job(25_000, at_most(budget)), &one_size(), &economics()).unwrap().plan;
    assert!(plan.usd.high <= budget);
    let more =
        choose(&profile(), &job(25_000, at_most(budget * 1.1)), &one_size(), &economics()).unwrap().plan;
    assert!(more.seconds.expected < plan.seconds.expected, "{more:?} {plan:?}");
    assert!(plan.seconds.expected < cheapest.seconds.expected / 50.0);
}

#[test]
fn without_a_wish_two_per_cent_buy_speed() {
    let cheapest = choose(&profile(), &job(25_000, within(100_000)), &one_size(), &economics()).unwrap().plan;
    let plan = choose(&profile(), &job(25_000, Wish::default()), &one_size(), &economics()).unwrap().plan;
    assert!(plan.usd.expected <= cheapest.usd.expected * 1.02);
    // 2 % of 2,500 s are 50 environments' INIT, less the fees.
    assert!((40..=51).contains(&plan.environments), "{plan:?}");
    assert!(plan.seconds.expected < cheapest.seconds.expected / 40.0);
}

#[test]
fn an_impossible_wish_says_what_is_possible() {
    let error = |wish| choose(&profile(), &job(25_000, wish), &one_size(), &economics()).unwrap_err();
    let BulkError::TooShort { fastest, .. } = error(within(1)) else { panic!("one second is too short") };
    assert!(
        choose(
            &profile(),
            &job(
                25_000,
                Wish {
                    finish_within: Some(Duration::from_secs_f64(fastest.seconds.high + 0.1)),
                    max_usd: None
                }
            ),
            &one_size(),
            &economics()
        )
        .is_ok()
    );
    let BulkError::TooLittle { cheapest, .. } = error(at_most(0.001)) else { panic!("too little") };
    assert!(
        choose(&profile(), &job(25_000, at_most(cheapest.usd.high * 1.001)), &one_size(), &economics())
            .is_ok()
    );
    let both = Wish { finish_within: Some(Duration::from_secs(20)), max_usd: Some(cheapest.usd.high * 1.01) };
    let BulkError::Conflict { in_time, in_budget, .. } = error(both) else { panic!("not both") };
    assert!(in_time.seconds.high <= 20.0 && in_budget.usd.high <= cheapest.usd.high * 1.01);
    assert!(error(both).to_string().contains("costs at least $"), "{}", error(both));
}

#[test]
fn bytes_memory_and_the_longest_chunk_bound_the_cut() {
    let heavy = BulkJob { request_bytes_per_item: 100_000.0, ..job(10_000, within(100_000)) };
    let plan = choose(&profile(), &heavy, &one_size(), &economics()).unwrap().plan;
    assert!(plan.cut.chunk_items <= 45, "{plan:?}");
    let too_heavy = BulkJob { response_bytes_per_item: 5e6, ..heavy };
    assert!(matches!(
        choose(&profile(), &too_heavy, &one_size(), &economics()),
        Err(BulkError::ItemTooLarge { .. })
    ));
    let brief = BulkBounds { longest_chunk: Duration::from_secs(2), ..one_size() };
    let plan = choose(&profile(), &job(10_000, within(100_000)), &brief, &economics()).unwrap().plan;
    assert!(plan.chunk_seconds < 2.0, "{plan:?}");
    let small = BulkBounds { memory_mib: vec![Mebibytes(256)], ..one_size() };
    assert!(matches!(
        choose(&profile(), &job(10, within(1000)), &small, &economics()),
        Err(BulkError::NowhereToRun { .. })
    ));
}

#[test]
fn forced_memory_is_used_by_processes() {
    // Above one vCPU a single process leaves the rest idle: two of them halve the time for the same dollars a second.
    let bounds =
        BulkBounds { memory_mib: vec![Mebibytes(3538)], process_count: (1, 4), ..BulkBounds::default() };
    let choice = choose(&profile(), &job(25_000, within(600)), &bounds, &economics()).unwrap();
    assert_eq!(choice.plan.cut.process_count, 2, "{choice:?}");
    assert!(choice.runner_up.is_some_and(|other| other.usd.expected > choice.plan.usd.expected));
}

#[test]
fn a_plan_is_the_same_every_time() {
    let mut uneven = profile();
    uneven.service.coefficient_of_variation = 0.2;
    let of = || choose(&uneven, &job(25_000, within(60)), &BulkBounds::default(), &economics()).unwrap();
    assert_eq!(of(), of());
}

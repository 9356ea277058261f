//! How long one window's decision takes, and a renewal of the belief beside it, in processor time of the one thread that they use.
//!
//! Hypothesis: detector and plan search over the cached posterior take at most 5 ms, conditioning the surrogate on 200 operating points at
//! most 20 ms; a search of hyperparameters is longer and runs elsewhere. The loop is the production one in virtual time, with
//! bounds as wide as a real account: eight sizes of memory, up to six processes, 128 items.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measurement, not a library"
)]

#[path = "machine/mod.rs"]
mod machine;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use gateway_contract::{Mebibytes, ServiceObservation, ServiceOutcome, Timestamp, WindowStats};
use machine::{cpu_seconds, resident_mib};
use optimizer_tuner::settings::{AccountLimits, SearchBounds};
use optimizer_tuner::{Tuner, TunerSettings};
use simulator::arrivals::GammaWindows;
use simulator::closed_loop::run_tuner;
use simulator::random::Random;

fn main() {
    let mut json = None;
    let mut windows = 1_000_000_u64;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = words.next(),
            "--windows" => windows = words.next().unwrap().parse().unwrap(),
            _ => {}
        }
    }
    let mut config = support::loop_config(0.5, 3600.0);
    config.settings = wide(config.settings);
    let tuner = Tuner::new(config.settings.clone(), config.base.clone(), config.economics.clone()).unwrap();
    let arrivals = Box::new(GammaWindows::new(40.0, 5.0, 10.0));
    let function = support::credit(support::light());
    let (report, _) = run_tuner(&config, tuner, arrivals, function, Some(cpu_seconds)).unwrap();
    let mut decisions_ms: Vec<f64> = report.decision_s.iter().map(|seconds| seconds * 1e3).collect();
    decisions_ms.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| decisions_ms[(share * (decisions_ms.len() - 1) as f64) as usize];
    let searches: Vec<f64> = decisions_ms.iter().copied().filter(|ms| *ms > 0.2).collect();
    let median_search = searches.get(searches.len() / 2).copied().unwrap_or(f64::NAN);
    println!(
        "decision: {} windows, {} with a search; p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms; a search {median_search:.3} ms",
        decisions_ms.len(),
        searches.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
    let (update_ms, fit_ms) = renewals();
    println!(
        "belief over 200 operating points: p99 {update_ms:.2} ms; with a search of hyperparameters, median {fit_ms:.1} ms"
    );
    let (before, after) = growth(windows);
    println!("resident memory over {windows} windows: {before:.1} MiB -> {after:.1} MiB");
    let figures = format!(
        "{{\"decision_ms_p99\": {}, \"decision_ms_p50\": {}, \"decision_ms_max\": {}, \"search_ms_p50\": {median_search}, \
         \"surrogate_update_ms_p99\": {update_ms}, \"hyperparameter_fit_ms_p50\": {fit_ms}, \"windows\": {windows}, \
         \"resident_mib_before\": {before}, \"resident_mib_after\": {after}}}\n",
        quantile(0.99),
        quantile(0.5),
        quantile(1.0)
    );
    print!("{figures}");
    if let Some(path) = json {
        std::fs::write(path, figures).unwrap();
    }
}

fn wide(settings: TunerSettings) -> TunerSettings {
    TunerSettings {
        account: AccountLimits { memory_ceiling: Mebibytes(10_240), concurrency: 1000 },
        bounds: SearchBounds {
            memory_mib: [512, 1024, 1769, 2048, 3008, 5120, 7168, 10_240].map(Mebibytes).to_vec(),
            ..SearchBounds::default()
        },
        ..settings
    }
}

fn observation(random: &mut Random, n: u64) -> ServiceObservation {
    let sizes = [512, 1024, 1769, 2048, 3008, 5120, 7168, 10_240];
    let memory_mib = Mebibytes(sizes[(random.next_u64() % 8) as usize]);
    let process_count = 1 + (random.next_u64() % 4) as u32;
    let items = 1 + (random.next_u64() % 64) as u32;
    let seconds = support::light().seconds(items, memory_mib, process_count) * (0.08 * random.normal()).exp();
    ServiceObservation {
        at: Timestamp::from_nanos(n * 10_000_000),
        revision: gateway_contract::PlanRevision(1),
        is_canary: false,
        is_hold_out: false,
        outcome: ServiceOutcome::Completed,
        items,
        memory_mib,
        process_count,
        shard_padded_units: 0,
        work_units: 0,
        handler: Duration::from_secs_f64(seconds),
        billed: Duration::from_secs_f64((seconds * 1e3).ceil() / 1e3),
        billed_is_estimate: false,
        round_trip: Duration::from_secs_f64(seconds + 0.004),
        init: None,
        max_memory_used: Some(Mebibytes(300)),
        process_restarts: 0,
    }
}

/// Conditioning and fitting with a full table of cells.
fn renewals() -> (f64, f64) {
    let config = support::loop_config(0.5, 1.0);
    let mut tuner = Tuner::new(wide(config.settings), config.base, config.economics).unwrap();
    let mut random = Random::new(3);
    let (mut updates, mut fits) = (Vec::new(), Vec::new());
    for n in 0..200_000 {
        tuner.handle_observation(&observation(&mut random, n));
        if n < 5000 {
            continue;
        }
        if let Some(refit) = tuner.start_refit() {
            let is_fit = refit.searches_hyperparameters();
            let began = cpu_seconds();
            let refitted = refit.run();
            let ms = (cpu_seconds() - began) * 1e3;
            if is_fit {
                fits.push(ms)
            } else {
                updates.push(ms)
            }
            tuner.finish_refit(refitted);
        }
    }
    updates.sort_unstable_by(f64::total_cmp);
    fits.sort_unstable_by(f64::total_cmp);
    (updates[(0.99 * (updates.len() - 1) as f64) as usize], fits[fits.len() / 2])
}

/// Resident memory after a hundredth of the windows and at their end.
fn growth(windows: u64) -> (f64, f64) {
    let config = support::loop_config(0.5, 1.0);
    let mut tuner = Tuner::new(config.settings, config.base, config.economics).unwrap();
    let mut random = Random::new(5);
    let mut first = 0.0;
    for n in 0..windows {
        tuner.handle_observation(&observation(&mut random, n));
        let requests = 20 + random.poisson(20.0);
        tuner.handle_window(&WindowStats {
            ended_at: Timestamp::ZERO + Duration::from_secs(n + 1),
            length: Duration::from_secs(1),
            requests,
            items: requests,
            items_squared: requests,
            answered: requests,
            within_slo: requests,
            batches: 1,
            batch_items: requests,
            cost_usd: 1e-6,
            ..WindowStats::default()
        });
        while tuner.poll_plan().is_some() {}
        while tuner.poll_event().is_some() {}
        if n % 2000 == 0
            && let Some(refit) = tuner.start_refit()
        {
            tuner.finish_refit(refit.run());
        }
        if n == windows / 100 {
            first = resident_mib();
        }
    }
    (first, resident_mib())
}

//! What each policy costs on the same traffic, beside what could not be beaten.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a measurement, not a library"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use gateway_contract::Mebibytes;
use optimizer_tuner::TunerSettings;
use optimizer_tuner::settings::{AccountLimits, SearchBounds};
use simulator::arrivals::{GammaWindows, Poisson};
use simulator::closed_loop::run;

fn main() {
    for rate in [3.0, 20.0, 300.0] {
        for over in [false, true] {
            let settings = TunerSettings {
                account: AccountLimits { memory_ceiling: Mebibytes(10_240), concurrency: 1000 },
                bounds: SearchBounds {
                    memory_mib: [256, 512, 1024, 1769, 3008, 3538, 5307, 7076, 10_240]
                        .map(Mebibytes)
                        .to_vec(),
                    ..SearchBounds::default()
                },
                ..TunerSettings::default()
            };
            let config = simulator::closed_loop::LoopConfig { settings, ..support::loop_config(0.2, 7200.0) };
            let began = Instant::now();
            let clock = || began.elapsed().as_secs_f64();
            let mut function = support::credit(support::light());
            let report = if over {
                run(&config, &mut GammaWindows::new(rate, 8.0, 1.0), &mut function, Some(&clock)).unwrap()
            } else {
                run(&config, &mut Poisson::new(rate), &mut function, Some(&clock)).unwrap()
            };
            let decisions: f64 = report.decision_s.iter().sum();
            println!(
                "{rate} req/s over-dispersed {over}: {:.2} s, decisions {decisions:.2} s, trials {}, change-points {}, plans {}",
                began.elapsed().as_secs_f64(),
                report.last.trials,
                report.last.change_points,
                report.plans.len()
            );
        }
    }
}

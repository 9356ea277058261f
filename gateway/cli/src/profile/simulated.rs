//! Points that this machine cannot run, by the simulator's law of the model. Always marked as such, in records and report.
//!
//! *Rule*: every invocation draws its handler's time from the law at the point's memory, processes and items; a cold one adds INIT. A run ends with
//! its slowest invocation. All of a run's environments start at once: up to 1,000 do on Lambda. A point whose memory is below
//! the model's need is left out, with that reason. *Bounds*: the law is as good as its fit, and outside of what was measured it is an extrapolation.

use gateway_contract::Mebibytes;
use simulator::lambda::{BatchShape, FunctionModel as _, billed_seconds};
use simulator::profile::ModelProfile;
use simulator::random::Random;
use workers_profiler::{Experiment, Invocation, Model, Point, Prices, Run, RunKind};

/// Client's and network's time around an invocation, seconds, where nothing was measured.
const USUAL_AROUND_S: f64 = 0.005;

/// Simulated runs of a model, numbered from 0, and the points that cannot be.
pub(super) fn runs(
    experiment: &Experiment,
    model: &Model,
    profile: &ModelProfile,
    measured: &[&Run],
    prices: &Prices,
) -> (Vec<Run>, Vec<(Point, String)>) {
    let around_s = around(&model.name, measured);
    let mut random = Random::new(experiment.seed);
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for point in model.points.iter().filter(|point| !experiment.is_measured(point)) {
        let need = profile.memory_used(point.process_count);
        if need.0 > point.memory_mib {
            left_out.push((*point, format!("needs {} MiB", need.0)));
            continue;
        }
        let kinds = [(RunKind::Cold, experiment.runs.cold()), (RunKind::Warm, experiment.runs.warm())];
        for (kind, count) in kinds {
            for _ in 0..count {
                let id = runs.len() as u64;
                runs.push(run(id, model, profile, *point, kind, around_s, prices, &mut random));
            }
        }
    }
    (runs, left_out)
}

/// Mean of what a client waits beyond what is billed.
fn around(model: &str, measured: &[&Run]) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    let is_single =
        |run: &&&Run| run.model == model && run.kind == RunKind::Warm && run.point.concurrency == 1;
    for run in measured.iter().filter(is_single).filter(|run| run.is_true_to_kind()) {
        for call in &run.invocations {
            sum += call.round_trip_us.saturating_sub(call.handler_us) as f64 / 1e6;
            count += 1;
        }
    }
    if count > 0 { sum / f64::from(count) } else { USUAL_AROUND_S }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a leaf that turns a law into a row; a struct would be used once"
)]
fn run(
    id: u64,
    model: &Model,
    profile: &ModelProfile,
    point: Point,
    kind: RunKind,
    around_s: f64,
    prices: &Prices,
    random: &mut Random,
) -> Run {
    let memory = Mebibytes(point.memory_mib);
    let batch = BatchShape::uniform(point.items, point.process_count, profile.units(0));
    let law = profile.law(memory, &batch);
    let init_s = (kind == RunKind::Cold).then(|| profile.init_seconds(memory));
    let mut slowest = 0.0_f64;
    let call = |_| {
        let handler_s = (law.ln_mean + law.ln_std * random.normal()).exp();
        let billed_s = billed_seconds(handler_s + init_s.unwrap_or(0.0));
        let round_trip_s = handler_s + init_s.unwrap_or(0.0) + around_s;
        slowest = slowest.max(round_trip_s);
        Invocation {
            version: "simulated".to_owned(),
            cold: init_s.is_some(),
            init_us: init_s.map(micros),
            duration_us: micros(handler_s),
            billed_ms: micros(billed_s) / 1000,
            handler_us: micros(handler_s),
            round_trip_us: micros(round_trip_s),
            max_memory_used_mib: profile.memory_used(point.process_count).0,
            cost_usd: prices.invocation_usd(point.memory_mib, billed_s),
            ..Invocation::default()
        }
    };
    let invocations = (0..point.concurrency).map(call).collect();
    let total_us = micros(slowest);
    Run {
        id,
        model: model.name.clone(),
        point,
        kind,
        simulated: true,
        started_ms: 0,
        total_us,
        spent_ms: 0,
        invocations,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of an invocation, above 0; saturates"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPERIMENT: &str = "name = 'e'\nruns = { per_point = 10, cold_share = 0.2 }\nmachine = { vcpus = 1, concurrency = 1 }\n\
        grid = { memory_mib = [256, 3538], items = [8], process_count = [2], concurrency = [1, 100] }\n\
        [[model]]\nname = 'm'\nfunction = 'f'\nmanifest = 'x'\n";
    const PROFILE: &str = "name = 'm'\nservice = { item_ms = 10, coefficient_of_variation = 0.05 }\ninit = { floor_seconds = 1 }\nmemory = { base_mib = 300 }";

    #[test]
    fn what_is_beyond_the_machine_is_computed_and_says_so() {
        let experiment = Experiment::from_toml(EXPERIMENT, std::path::Path::new("")).unwrap();
        let profile = ModelProfile::from_toml(PROFILE).unwrap();
        let prices = Prices { usd_per_gb_second: 1.0, usd_per_request: 0.0 };
        let (runs, left_out) = runs(&experiment, &experiment.models[0], &profile, &[], &prices);
        assert_eq!(runs.len(), 20, "two points with ten runs each");
        assert!(
            left_out.iter().all(|(point, reason)| point.memory_mib == 256 && reason.contains("300 MiB")),
            "{left_out:?}"
        );
        assert!(runs.iter().all(|run| run.simulated && run.is_true_to_kind()));
        let many = runs.iter().find(|run| run.point.concurrency == 100 && run.kind == RunKind::Cold).unwrap();
        assert_eq!(many.instances_started(), 100);
        let first = &many.invocations[0];
        // Four items of 10 ms on each of two processes, after a second of INIT.
        assert!(
            (900_000..1_200_000).contains(&first.round_trip_us)
                && (20_000..80_000).contains(&first.handler_us),
            "{first:?}"
        );
        assert!(many.total_us >= many.invocations.iter().map(|call| call.round_trip_us).max().unwrap());
    }
}

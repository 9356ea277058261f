//! Runs → figures of each point: means, intervals, dollars.

use std::collections::BTreeMap;

use serde::Serialize;
use workers_profiler::{Experiment, Point, Run, RunKind, relative_width};

/// A point of a model in figures. Times are means in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) model: String,
    #[serde(flatten)]
    pub(super) point: Point,
    /// Computed by the simulator.
    pub(super) simulated: bool,
    pub(super) warm_runs: usize,
    pub(super) cold_runs: usize,
    /// Handler of a warm invocation.
    pub(super) handler_ms: f64,
    /// Width of the 95 % interval of what a warm run is judged by, as a share of its mean; absent below two runs.
    pub(super) interval_width: Option<f64>,
    /// Of a warm run, first sent to last answered.
    pub(super) total_ms: f64,
    /// Billed, of a warm invocation.
    pub(super) billed_ms: f64,
    /// Dollars of a warm invocation.
    pub(super) cost_usd: f64,
    /// Dollars of a warm item.
    pub(super) cost_per_item_usd: f64,
    /// CPU of all processes, of a warm invocation; 0 where the worker reports none.
    pub(super) cpu_ms: f64,
    /// Tokens written in a warm invocation; 0 for models that do not generate.
    pub(super) generated_tokens: f64,
    /// Time of a token of one item, with its share of the prompt; absent for models that do not generate.
    pub(super) ms_per_token: Option<f64>,
    /// INIT; absent without cold runs.
    pub(super) init_ms: Option<f64>,
    /// Handler of a cold invocation.
    pub(super) cold_handler_ms: Option<f64>,
    /// Dollars of a cold invocation.
    pub(super) cold_cost_usd: Option<f64>,
    /// Of a cold run, first sent to last answered.
    pub(super) cold_total_ms: Option<f64>,
    /// Environments that a cold run started.
    pub(super) instances_started: Option<f64>,
    /// Largest memory that an environment used, MiB.
    pub(super) max_memory_used_mib: u32,
}

impl Figures {
    /// A cold invocation as its caller waits for it.
    pub(super) fn cold_ms(&self) -> Option<f64> {
        Some(self.init_ms? + self.cold_handler_ms?)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Figures of every point with a warm run, in the experiment's order of models, points ascending.
pub(super) fn figures(experiment: &Experiment, runs: &[&Run]) -> Vec<Figures> {
    let mut places: BTreeMap<(usize, Point), Vec<&Run>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.is_true_to_kind()) {
        if let Some(place) = experiment.models.iter().position(|model| model.name == run.model) {
            places.entry((place, run.point)).or_default().push(run);
        }
    }
    places.into_iter().filter_map(|((_, point), runs)| of(point, &runs)).collect()
}

fn of(point: Point, runs: &[&Run]) -> Option<Figures> {
    let warm = || runs.iter().filter(|run| run.kind == RunKind::Warm);
    let cold = || runs.iter().filter(|run| run.kind == RunKind::Cold);
    let warm_calls = || warm().flat_map(|run| &run.invocations);
    let cold_calls = || cold().flat_map(|run| run.invocations.iter().filter(|call| call.cold));
    let judged: Vec<f64> = warm().map(|run| run.judged_ms()).collect();
    let cost_usd = mean(warm_calls().map(|call| call.cost_usd))?;
    // An environment's peak is its own in a cold run; the warm one may have served points with more processes.
    let peak = |calls: &mut dyn Iterator<Item = u32>| calls.max();
    let own_peak = peak(&mut cold_calls().map(|call| call.max_memory_used_mib));
    let handler_ms = mean(warm_calls().map(|call| call.handler_us as f64 / 1e3))?;
    let generated_tokens = mean(warm_calls().map(|call| call.generated_tokens as f64)).unwrap_or(0.0);
    Some(Figures {
        model: runs.first()?.model.clone(),
        point,
        simulated: runs.iter().any(|run| run.simulated),
        warm_runs: judged.len(),
        cold_runs: cold().count(),
        handler_ms,
        generated_tokens,
        ms_per_token: (generated_tokens > 0.0)
            .then(|| handler_ms * f64::from(point.items) / generated_tokens),
        interval_width: (judged.len() > 1).then(|| relative_width(&judged)),
        total_ms: mean(warm().map(|run| run.total_us as f64 / 1e3))?,
        billed_ms: mean(warm_calls().map(|call| call.billed_ms as f64))?,
        cost_usd,
        cost_per_item_usd: cost_usd / f64::from(point.items),
        cpu_ms: mean(warm_calls().map(|call| call.process_cpu_us.iter().sum::<u64>() as f64 / 1e3))
            .unwrap_or(0.0),
        init_ms: mean(cold_calls().filter_map(|call| Some(call.init_us? as f64 / 1e3))),
        cold_handler_ms: mean(cold_calls().map(|call| call.handler_us as f64 / 1e3)),
        cold_cost_usd: mean(cold_calls().map(|call| call.cost_usd)),
        cold_total_ms: mean(cold().map(|run| run.total_us as f64 / 1e3)),
        instances_started: mean(cold().map(|run| run.instances_started() as f64)),
        max_memory_used_mib: own_peak
            .or_else(|| peak(&mut warm_calls().map(|call| call.max_memory_used_mib)))
            .unwrap_or(0),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use workers_profiler::Invocation;

    /// A point with these figures and nothing else.
    pub(in super::super) fn point(memory_mib: u32, items: u32, handler_ms: f64, cost_usd: f64) -> Figures {
        let point = Point { memory_mib, process_count: 1, items, concurrency: 1 };
        let invocation = Invocation {
            handler_us: micros(handler_ms),
            billed_ms: micros(handler_ms) / 1000,
            cost_usd,
            ..Invocation::default()
        };
        let run = Run {
            id: 0,
            model: "m".to_owned(),
            point,
            kind: RunKind::Warm,
            simulated: false,
            started_ms: 0,
            total_us: micros(handler_ms),
            spent_ms: 0,
            invocations: vec![invocation],
        };
        of(point, &[&run]).unwrap()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive numbers of a test"
    )]
    fn micros(ms: f64) -> u64 {
        (ms * 1e3) as u64
    }

    #[test]
    fn cold_and_warm_are_kept_apart() {
        let warm = |handler_us| Invocation { handler_us, cost_usd: 1e-6, ..Invocation::default() };
        let cold = Invocation { cold: true, init_us: Some(500_000), handler_us: 40_000, ..warm(0) };
        let run = |kind, invocation: &Invocation| Run {
            id: 0,
            model: "m".to_owned(),
            point: Point { memory_mib: 512, process_count: 1, items: 4, concurrency: 1 },
            kind,
            simulated: false,
            started_ms: 0,
            total_us: 1000,
            spent_ms: 0,
            invocations: vec![invocation.clone()],
        };
        let runs = [
            run(RunKind::Cold, &cold),
            run(RunKind::WarmUp, &warm(90_000)),
            run(RunKind::Warm, &warm(10_000)),
            run(RunKind::Warm, &warm(20_000)),
            // An environment that had gone: no warm run.
            run(RunKind::Warm, &cold),
        ];
        let text = "name='e'\ngrid.memory_mib=[512]\n[[model]]\nname='m'\nfunction='f'\nmanifest='x'";
        let experiment = Experiment::from_toml(text, std::path::Path::new("")).unwrap();
        let found = figures(&experiment, &runs.iter().collect::<Vec<_>>()).remove(0);
        assert_eq!((found.warm_runs, found.cold_runs), (2, 1));
        assert!((found.handler_ms - 15.0).abs() < 1e-9 && (found.cost_per_item_usd - 2.5e-7).abs() < 1e-15);
        assert!((found.cold_ms().unwrap() - 540.0).abs() < 1e-9);
        assert_eq!(found.instances_started, Some(1.0));
    }
}

//! Time of the surrogate, and trials that a study needs on test functions.
//!
//! Hypotheses: an update with 200 points takes at most 20 ms (hyperparameters given; refits are timed apart); guided
//! search needs a small part of the trials of random search, the baseline, over all seeds.
//!
//! `cargo bench -p optimizer-bayesopt --bench surrogate -- [--seeds N] [--json FILE]`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints, and writes the file it was told to"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use friedrich::gaussian_process::GaussianProcess as Friedrich;
use friedrich::kernel::Matern2;
use friedrich::prior::ConstantPrior;
use optimizer_bayesopt::{
    FitSettings, GaussianProcess, Generator, Measurement, Observation, Outcome, SearchSpace, Study,
    StudySettings, Variable,
};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// Variables of the data: those of a serving plan.
const DIMENSION: usize = 4;
/// Points of the prediction: batch sizes × process counts × memory sizes.
const TABLE: usize = 64 * 6 * 80;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after =
        |flag: &str| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1)).cloned();
    let seeds = after("--seeds").map_or(20, |text| text.parse().expect("`--seeds` takes a number"));
    let report = json!({ "surrogate": surrogate(), "trials": trials(seeds), "seeds": seeds });
    if let Some(file) = after("--json") {
        let text = serde_json::to_string_pretty(&report).expect("a report of numbers serialises");
        std::fs::write(file, text).expect("the file of `--json` can be written");
    }
}

fn data(count: usize, noise: f64, seed: u64) -> Vec<Observation> {
    let mut generator = Generator::from_seed(seed);
    let observation = |_| {
        let at: Vec<f64> = (0..DIMENSION).map(|_| generator.uniform()).collect();
        let value =
            (3.0 * at[0]).sin() + at[1] * at[2] + 0.3 * (at[3] - 0.4).powi(2) + noise * generator.normal();
        Observation { at, value, noise_variance: 1e-4 * generator.uniform() }
    };
    (0..count).map(observation).collect()
}

/// Milliseconds of each of several runs: median and 99th percentile.
fn time(runs: usize, mut work: impl FnMut()) -> (f64, f64) {
    work();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let begin = Instant::now();
            work();
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[(runs * 99).div_ceil(100) - 1])
}

fn surrogate() -> Value {
    println!("milliseconds, p50 / p99; {DIMENSION} variables; table of {TABLE} points");
    println!("|   n | update | one more point | cold fit | warm fit | table | table, friedrich's own |");
    println!("|---|---|---|---|---|---|---|");
    let table: Vec<Vec<f64>> = data(TABLE, 0.0, 9).into_iter().map(|o| o.at).collect();
    let rows: Vec<Value> = [50, 100, 200, 400].into_iter().map(|count| of_size(count, &table)).collect();
    Value::Array(rows)
}

fn of_size(count: usize, table: &[Vec<f64>]) -> Value {
    let observations = data(count, 0.05, 1);
    let more = data(count, 0.05, 2);
    let fitted = GaussianProcess::fit(&observations, &FitSettings::default()).expect("the data are sound");
    let known = fitted.hyperparameters().clone();
    let condition = || GaussianProcess::with_hyperparameters(&observations, known.clone()).expect("as above");
    let update = time(200, || drop(black_box(condition())));
    let mut growing = condition();
    let mut next = 0;
    let extend = time(100.min(count / 2), || {
        growing.extend(&more[next]).expect("the data are sound");
        next += 1;
    });
    let runs = if count > 200 { 5 } else { 15 };
    let cold = time(runs, || {
        black_box(GaussianProcess::fit(&observations, &FitSettings::default()).expect("as above"));
    });
    let earlier = GaussianProcess::fit(&observations[..count * 9 / 10], &FitSettings::default());
    let warm_start = Some(earlier.expect("as above").hyperparameters().clone());
    let settings = FitSettings { warm_start, starts: 0, ..FitSettings::default() };
    let warm =
        time(runs, || drop(black_box(GaussianProcess::fit(&observations, &settings).expect("as above"))));
    let predict = time(5, || drop(black_box(fitted.predict_many(table))));
    let inputs: Vec<Vec<f64>> = observations.iter().map(|o| o.at.clone()).collect();
    let outputs: Vec<f64> = observations.iter().map(|o| o.value).collect();
    let other =
        Friedrich::new(ConstantPrior::new(0.0), Matern2::new(0.8, 1.0), 0.1, Some(1e-10), inputs, outputs);
    let questions = table.to_vec();
    let theirs = time(3, || drop(black_box(other.predict_mean_variance(&questions))));
    let show = |(p50, p99): (f64, f64)| format!("{p50:.2} / {p99:.2}");
    println!(
        "| {count} | {} | {} | {} | {} | {} | {} |",
        show(update),
        show(extend),
        show(cold),
        show(warm),
        show(predict),
        show(theirs)
    );
    let pair = |(p50, p99): (f64, f64)| json!({ "p50": p50, "p99": p99 });
    json!({
        "points": count,
        "surrogate_update_ms": pair(update),
        "one_more_point_ms": pair(extend),
        "cold_fit_ms": pair(cold),
        "warm_fit_ms": pair(warm),
        "table_ms": pair(predict),
        "table_by_friedrich_ms": pair(theirs),
    })
}

/// A function to minimise: its value and its constraints.
type Function = fn(&[f64]) -> (f64, Vec<f64>);

struct Problem {
    name: &'static str,
    space: SearchSpace,
    function: Function,
    /// Solved when a feasible value at most this was measured.
    target: f64,
    budget: usize,
    noise: f64,
    acquisitions: &'static [&'static str],
}

/// A cost like the one of a serving plan: a fee shared by the batch, work over memory, a step where memory runs out.
fn plan(point: &[f64]) -> (f64, Vec<f64>) {
    let (batch, processes, memory) = (point[0], point[1], point[2]);
    let vcpus = memory / 1_769.0;
    let speed = processes.min(vcpus) + 0.1 * (vcpus - processes).max(0.0);
    let seconds = 0.02 + 0.01 * processes + 0.03 * batch / speed;
    let cost = (seconds * memory / 1_024.0 * 16.67 + 0.2) / batch;
    (cost.ln(), vec![(seconds / 0.5).ln(), (400.0 + 350.0 * processes - memory) / 1_000.0])
}

fn problems() -> Vec<Problem> {
    let space =
        |variables: Vec<(String, Variable)>| SearchSpace::new(variables).expect("the spaces are sound");
    let cube =
        |dimension: usize| space((0..dimension).map(|i| (format!("x{i}"), common::real(0.0, 1.0))).collect());
    let plans = space(vec![
        ("batch".to_owned(), Variable::Integer { low: 1, high: 64, log: true }),
        ("processes".to_owned(), Variable::Integer { low: 1, high: 6, log: false }),
        ("memory".to_owned(), Variable::Ladder { rungs: (2..=80).map(|i| 128.0 * f64::from(i)).collect() }),
    ]);
    let best_plan =
        plans.lattice(100_000).expect("the plans are countable").into_iter().map(|point| plan(&point));
    let best_plan = best_plan.filter(|(_, c)| c.iter().all(|&v| v <= 0.0)).map(|(value, _)| value);
    let best_plan = best_plan.fold(f64::INFINITY, f64::min);
    let free: &[&str] = &["random", "expected_improvement", "noisy_expected_improvement"];
    let bound: &[&str] = &["random", "constrained_expected_improvement", "noisy_expected_improvement"];
    let problem = |name, space, function, target, budget, noise, acquisitions| Problem {
        name,
        space,
        function,
        target,
        budget,
        noise,
        acquisitions,
    };
    let branin: Function = |p| (common::branin(p[0], p[1]), Vec::new());
    let branin_space =
        space(vec![("x".into(), common::real(-5.0, 10.0)), ("y".into(), common::real(0.0, 15.0))]);
    let hartmann: Function = |p| (common::hartmann6(p), Vec::new());
    let gardner: Function = |p| {
        let (value, constraint) = common::gardner(p);
        (value, vec![constraint])
    };
    let gardner_space =
        space(vec![("x".into(), common::real(0.0, 6.0)), ("y".into(), common::real(0.0, 6.0))]);
    let near = |optimum: f64| optimum + 0.05;
    vec![
        problem("Branin", branin_space.clone(), branin, near(common::BRANIN_OPTIMUM), 60, 0.0, free),
        problem("Branin, noise 2", branin_space, branin, common::BRANIN_OPTIMUM + 1.0, 60, 2.0, free),
        problem("Hartmann-6", cube(6), hartmann, near(common::HARTMANN6_OPTIMUM), 100, 0.0, free),
        problem(
            "Gardner, constrained",
            gardner_space,
            gardner,
            near(common::gardner_optimum()),
            60,
            0.0,
            bound,
        ),
        problem("plans, within 5 %", plans.clone(), plan, best_plan + 1.05f64.ln(), 60, 0.0, bound),
        problem("plans, noise 3 %", plans, plan, best_plan + 1.05f64.ln(), 60, 0.03, bound),
    ]
}

fn trials(seeds: u64) -> Value {
    println!("\ntrials until solved, over {seeds} seeds (`-`: not within the budget)");
    println!("| function | acquisition | median | worst | solved |\n|---|---|---|---|---|");
    let mut rows = Vec::new();
    for problem in problems() {
        for acquisition in problem.acquisitions {
            let mut needed: Vec<usize> = (0..seeds).map(|seed| solve(&problem, acquisition, seed)).collect();
            needed.sort_unstable();
            let solved = needed.iter().filter(|&&count| count <= problem.budget).count();
            let show = |count: usize| if count > problem.budget { None } else { Some(count) };
            let (median, worst) = (show(needed[needed.len() / 2]), show(needed[needed.len() - 1]));
            let text = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            println!(
                "| {} | {acquisition} | {} | {} | {solved}/{seeds} |",
                problem.name,
                text(median),
                text(worst)
            );
            rows.push(json!({
                "function": problem.name, "acquisition": acquisition, "median_trials": median,
                "worst_trials": worst, "solved": solved, "budget": problem.budget,
            }));
        }
    }
    Value::Array(rows)
}

/// Trials until the first feasible one whose true value meets the target; above the budget if there is none.
fn solve(problem: &Problem, acquisition: &str, seed: u64) -> usize {
    let constraint_count = (problem.function)(&problem.space.at_shares(&[])).1.len();
    let settings = StudySettings {
        seed,
        acquisition: acquisition.to_owned(),
        constraint_count,
        ..StudySettings::default()
    };
    let mut study = Study::new(problem.space.clone(), settings).expect("the settings are sound");
    let mut generator = Generator::from_seed(seed + 1_000);
    for count in 1..=problem.budget {
        let trial = study.ask().expect("the budget is below the size of the space");
        let (value, constraints) = (problem.function)(&trial.point);
        if value <= problem.target && constraints.iter().all(|&v| v <= 0.0) {
            return count;
        }
        let objective = value + problem.noise * generator.normal();
        let noise_variance = problem.noise * problem.noise;
        let measurement = Measurement { noise_variance, constraints, ..Measurement::of(objective) };
        study.tell(trial.id, Outcome::Measured(measurement)).expect("the measurement is sound");
    }
    problem.budget + 1
}

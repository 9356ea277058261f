//! Published test functions: the study reaches their known optimum within a budget, and chance does not.

use optimizer_bayesopt::{Measurement, Outcome, SearchSpace, Study, StudySettings, Variable};

fn real(low: f64, high: f64) -> Variable {
    Variable::Real { low, high, log: false }
}

/// Branin and Hoo (1972): three global minima of 0.397887.
fn branin(x: f64, y: f64) -> f64 {
    use std::f64::consts::PI;
    let bowl = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

const BRANIN_OPTIMUM: f64 = 0.397_887_357_729_739;

/// Hartmann (1972) in six dimensions: global minimum −3.32237.
fn hartmann6(x: &[f64]) -> f64 {
    const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let term = |i: usize| -> f64 { (0..6).map(|j| A[i][j] * (x[j] - P[i][j]).powi(2)).sum() };
    -(0..4).map(|i| ALPHA[i] * (-term(i)).exp()).sum::<f64>()
}

const HARTMANN6_OPTIMUM: f64 = -3.322_368;

/// Gardner et al. (2014), first simulation: cos 2x cos y + sin x where cos x cos y − sin x sin y ≤ 0.5, on [0, 6]².
fn gardner(point: &[f64]) -> (f64, f64) {
    let (x, y) = (point[0], point[1]);
    ((2.0 * x).cos() * y.cos() + x.sin(), (x + y).cos() - 0.5)
}

/// The optimum of [`gardner`] on a grid of a thousandth of the range.
fn gardner_optimum() -> f64 {
    let mut best = f64::INFINITY;
    for i in 0..=1_000 {
        for j in 0..=1_000 {
            let (value, constraint) = gardner(&[f64::from(i) * 0.006, f64::from(j) * 0.006]);
            if constraint <= 0.0 {
                best = best.min(value);
            }
        }
    }
    best
}

/// Best feasible value after the given number of trials.
fn run(
    space: &SearchSpace,
    acquisition: &str,
    seed: u64,
    trials: usize,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> f64 {
    let constraint_count = function(&space.at_shares(&[])).1.len();
    let settings = StudySettings {
        seed,
        acquisition: acquisition.to_owned(),
        initial_trials: 2 * space.variables().len() + 1,
        constraint_count,
        ..StudySettings::default()
    };
    let mut study = Study::new(space.clone(), settings).unwrap();
    for _ in 0..trials {
        let trial = study.ask().unwrap();
        let (objective, constraints) = function(&trial.point);
        let measurement = Measurement { constraints, ..Measurement::of(objective) };
        study.tell(trial.id, Outcome::Measured(measurement)).unwrap();
    }
    study.best().map_or(f64::INFINITY, |finished| finished.measurement.objective)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn regrets(optimum: f64, seeds: u64, run: impl Fn(u64) -> f64) -> Vec<f64> {
    (0..seeds).map(|seed| run(seed) - optimum).collect()
}

#[test]
fn branin_is_solved_in_thirty_trials_from_every_seed() {
    let space = SearchSpace::new([("x", real(-5.0, 10.0)), ("y", real(0.0, 15.0))]).unwrap();
    let with = |acquisition| {
        regrets(BRANIN_OPTIMUM, 5, |seed| {
            run(&space, acquisition, seed, 30, |p| (branin(p[0], p[1]), Vec::new()))
        })
    };
    let random = with("random");
    for acquisition in ["expected_improvement", "noisy_expected_improvement"] {
        let guided = with(acquisition);
        println!("branin {acquisition} {guided:?} random {random:?}");
        assert!(guided.iter().all(|regret| (-1e-6..0.05).contains(regret)), "{acquisition}: {guided:?}");
        assert!(median(guided) < 0.1 * median(random.clone()));
    }
}

#[test]
fn hartmann6_is_solved_in_seventy_trials_from_most_seeds() {
    let space = SearchSpace::new((0..6).map(|i| (format!("x{i}"), real(0.0, 1.0)))).unwrap();
    let with = |acquisition| {
        regrets(HARTMANN6_OPTIMUM, 3, |seed| {
            run(&space, acquisition, seed, 70, |p| (hartmann6(p), Vec::new()))
        })
    };
    let (guided, random) = (with("expected_improvement"), with("random"));
    println!("hartmann6 {guided:?} random {random:?}");
    // The second best basin lies 0.12 above the optimum, and some runs end there with any optimizer of this kind.
    assert!(guided.iter().all(|regret| *regret < 0.35), "{guided:?}");
    assert!(median(guided) < 0.15 && median(random) > 0.5);
}

#[test]
fn constrained_optimum_is_found_on_the_feasible_side() {
    let space = SearchSpace::new([("x", real(0.0, 6.0)), ("y", real(0.0, 6.0))]).unwrap();
    let optimum = gardner_optimum();
    let with = |acquisition| {
        regrets(optimum, 5, |seed| {
            run(&space, acquisition, seed, 40, |p| {
                let (value, constraint) = gardner(p);
                (value, vec![constraint])
            })
        })
    };
    let random = with("random");
    for acquisition in ["constrained_expected_improvement", "noisy_expected_improvement"] {
        let guided = with(acquisition);
        println!("gardner {acquisition} {guided:?} random {random:?}");
        // The grid misses the optimum by less than a hundredth.
        assert!(guided.iter().all(|regret| (-0.01..0.05).contains(regret)), "{acquisition}: {guided:?}");
        assert!(median(guided) < 0.5 * median(random.clone()));
    }
}

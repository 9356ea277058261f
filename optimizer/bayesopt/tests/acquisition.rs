//! Acquisition functions against numeric integration and against each other where they must agree.
#![expect(clippy::unwrap_used, reason = "what the helpers make is sound, or the test is to fail")]

use optimizer_bayesopt::acquisition::{
    AcquisitionFunction, Belief, ConstrainedExpectedImprovement, ExpectedImprovement,
    NoisyExpectedImprovement, REGISTRY, by_name, expected_improvement, ln_expected_improvement,
    probability_below,
};
use optimizer_bayesopt::{GaussianProcess, Generator, Hyperparameters, Observation, Posterior, normal};

fn process(points: &[(f64, f64)], noise_variance: f64) -> GaussianProcess {
    let observations: Vec<Observation> =
        points.iter().map(|&(x, value)| Observation { at: vec![x], value, noise_variance: 0.0 }).collect();
    let hyperparameters =
        Hyperparameters { mean: 0.0, signal_variance: 1.0, length_scales: vec![0.3], noise_variance };
    GaussianProcess::with_hyperparameters(&observations, hyperparameters).unwrap()
}

fn belief(objective: GaussianProcess, constraints: Vec<GaussianProcess>, tested: &[f64]) -> Belief {
    Belief { objective, constraints, tested: tested.iter().map(|&x| vec![x]).collect() }
}

fn grid() -> Vec<Vec<f64>> {
    (0..=100).map(|i| vec![f64::from(i) / 100.0]).collect()
}

fn score(function: &dyn AcquisitionFunction, belief: &Belief, candidates: &[Vec<f64>]) -> Vec<f64> {
    function.score(Some(belief), candidates, &mut Generator::from_seed(1)).unwrap()
}

fn best(scores: &[f64]) -> usize {
    (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
}

#[test]
fn closed_form_equals_the_integral() {
    for (mean, deviation, incumbent) in [(0.0, 1.0, 0.0), (1.3, 0.4, 1.0), (-2.0, 3.0, -1.5), (5.0, 0.8, 1.0)]
    {
        let posterior = Posterior { mean, variance: deviation * deviation };
        // Midpoint rule over the part below the incumbent, down to ten deviations below the mean.
        let low = f64::min(mean, incumbent) - 10.0 * deviation;
        let (steps, mut sum) = (200_000, 0.0);
        let width = (incumbent - low) / f64::from(steps);
        for step in 0..steps {
            let f = low + (f64::from(step) + 0.5) * width;
            sum += (incumbent - f) * normal::density((f - mean) / deviation) / deviation * width;
        }
        let closed = expected_improvement(posterior, incumbent);
        assert!((closed - sum).abs() < 1e-8 * sum.max(1e-3), "{mean} {deviation}: {closed} {sum}");
        assert!((probability_below(posterior, mean) - 0.5).abs() < 1e-15);
    }
}

#[test]
fn logarithm_still_ranks_where_the_improvement_underflows() {
    let at = |mean| ln_expected_improvement(Posterior { mean, variance: 1e-4 }, 0.0);
    assert_eq!(expected_improvement(Posterior { mean: 1.0, variance: 1e-4 }, 0.0), 0.0);
    assert!(at(1.0).is_finite() && at(1.0) > at(1.1) && at(1.1) > at(5.0));
}

#[test]
fn noisy_improvement_is_the_plain_one_where_there_is_no_noise() {
    let points = [(0.05, 0.3), (0.35, -0.4), (0.6, 0.1), (0.95, 0.7)];
    let belief = belief(process(&points, 1e-8), Vec::new(), &[0.05, 0.35, 0.6, 0.95]);
    // At the tested points themselves both are all but zero, and rounding decides.
    let candidates: Vec<Vec<f64>> =
        grid().into_iter().filter(|c| points.iter().all(|p| (p.0 - c[0]).abs() > 0.03)).collect();
    let plain = score(&ExpectedImprovement, &belief, &candidates);
    let noisy = score(&NoisyExpectedImprovement::default(), &belief, &candidates);
    for ((plain, noisy), at) in plain.iter().zip(&noisy).zip(&candidates) {
        assert!((plain.exp() - noisy.exp()).abs() < 1e-3, "{at:?}: {plain} {noisy}");
    }
    assert_eq!(best(&plain), best(&noisy));
}

#[test]
fn noisy_improvement_equals_brute_force_with_many_draws() {
    // One tested point: condition on each of its possible true values and average, by quadrature.
    let objective = process(&[(0.5, 0.2)], 0.3);
    let at_point = objective.predict(&[0.5]);
    let candidate = [0.62];
    let k = {
        let r = 5f64.sqrt() * 0.12 / 0.3;
        (1.0 + r + r * r / 3.0) * (-r).exp()
    };
    let steps = 4_000;
    let mut expected = 0.0;
    for step in 0..steps {
        let z = normal::quantile((f64::from(step) + 0.5) / f64::from(steps));
        let f = at_point.mean + at_point.variance.sqrt() * z;
        let posterior = Posterior { mean: k * f, variance: 1.0 - k * k };
        expected += expected_improvement(posterior, f) / f64::from(steps);
    }
    let belief = belief(objective, Vec::new(), &[0.5]);
    let noisy = score(&NoisyExpectedImprovement { draws: 2_000 }, &belief, &[candidate.to_vec()])[0].exp();
    assert!((noisy / expected - 1.0).abs() < 0.005, "{noisy} {expected}");
}

#[test]
fn constraint_moves_the_choice_to_the_feasible_side() {
    let objective = || process(&[(0.1, 0.0), (0.5, -0.5), (0.9, -1.0)], 1e-6);
    // Feasible on the left only.
    let constraint = || process(&[(0.1, -1.0), (0.5, -0.2), (0.9, 1.0)], 1e-6);
    let free = belief(objective(), Vec::new(), &[0.1, 0.5, 0.9]);
    let bound = belief(objective(), vec![constraint()], &[0.1, 0.5, 0.9]);
    let candidates = grid();
    let plain = score(&ExpectedImprovement, &free, &candidates);
    let unconstrained = score(&ConstrainedExpectedImprovement, &free, &candidates);
    assert!(plain.iter().zip(&unconstrained).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(candidates[best(&plain)][0] > 0.7);
    for function in
        [&ConstrainedExpectedImprovement as &dyn AcquisitionFunction, &NoisyExpectedImprovement::default()]
    {
        let choice = candidates[best(&score(function, &bound, &candidates))][0];
        assert!((0.3..0.7).contains(&choice), "{}: {choice}", function.name());
    }
}

#[test]
fn without_a_feasible_point_feasibility_alone_decides() {
    let objective = process(&[(0.1, -5.0), (0.5, 0.0)], 1e-6);
    let constraint = process(&[(0.1, 3.0), (0.5, 0.5)], 1e-6);
    let belief = belief(objective, vec![constraint], &[0.1, 0.5]);
    let candidates = grid();
    let choice = candidates[best(&score(&ConstrainedExpectedImprovement, &belief, &candidates))][0];
    assert!(choice > 0.55, "{choice}");
}

#[test]
fn registry_knows_every_function_by_its_own_name() {
    for (name, constructor) in REGISTRY {
        assert_eq!(constructor().name(), *name);
        let scores = constructor().score(None, &grid(), &mut Generator::from_seed(2)).unwrap();
        assert!(scores.len() == 101 && scores.iter().all(|score| score.is_finite()));
    }
    assert!(by_name("probability_of_improvement").is_none());
}

//! The same data, the same answers as scikit-learn's Gaussian process (`sklearn/generate.py`).
#![expect(clippy::unwrap_used, reason = "what the helpers make is sound, or the test is to fail")]

use optimizer_bayesopt::{Estimate, FitSettings, GaussianProcess, Hyperparameters, MeanRule, Observation};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    points: Vec<Vec<f64>>,
    values: Vec<f64>,
    known_noise: Vec<f64>,
    signal_variance: f64,
    length_scales: Vec<f64>,
    noise_variance: f64,
    log_marginal_likelihood: f64,
    questions: Vec<Vec<f64>>,
    means: Vec<f64>,
    variances: Vec<f64>,
    best_log_marginal_likelihood: f64,
}

impl Case {
    fn observations(&self) -> Vec<Observation> {
        let known = self.values.iter().zip(&self.known_noise);
        let values = self.points.iter().zip(known);
        values
            .map(|(at, (&value, &noise_variance))| Observation { at: at.clone(), value, noise_variance })
            .collect()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str::<Expected>(include_str!("sklearn/expected.json")).unwrap().cases
}

#[test]
fn fixed_hyperparameters_give_scikit_learns_likelihood_and_posterior() {
    for case in cases() {
        let hyperparameters = Hyperparameters {
            mean: 0.0,
            signal_variance: case.signal_variance,
            length_scales: case.length_scales.clone(),
            noise_variance: case.noise_variance,
        };
        let process = GaussianProcess::with_hyperparameters(&case.observations(), hyperparameters).unwrap();
        // Our jitter of 1e-8 of the signal variance moves the figures by less than this.
        let likelihood = process.log_marginal_likelihood();
        assert!((likelihood - case.log_marginal_likelihood).abs() < 1e-4, "{}: {likelihood}", case.name);
        let posteriors = process.predict_many(&case.questions);
        for (posterior, (mean, variance)) in posteriors.iter().zip(case.means.iter().zip(&case.variances)) {
            assert!((posterior.mean - mean).abs() < 1e-5, "{}: {} {mean}", case.name, posterior.mean);
            assert!((posterior.variance - variance).abs() < 1e-6, "{}: {}", case.name, posterior.variance);
        }
    }
}

#[test]
fn maximum_likelihood_is_no_lower_than_scikit_learns_best_of_twelve_starts() {
    let settings = FitSettings {
        estimate: Estimate::MaximumLikelihood,
        mean: MeanRule::Fixed(0.0),
        starts: 4,
        ..FitSettings::default()
    };
    for case in cases() {
        let ours = GaussianProcess::fit(&case.observations(), &settings).unwrap().log_marginal_likelihood();
        let theirs = case.best_log_marginal_likelihood;
        println!("{}: {ours:.3} against {theirs:.3}", case.name);
        assert!(ours > theirs - 0.05, "{}: {ours} against {theirs}", case.name);
    }
}

//! The Gaussian process against closed forms, against friedrich's own answers, and on data meant to break it.

use optimizer_bayesopt::{FitError, FitSettings, GaussianProcess, Generator, Hyperparameters, Observation};

fn observation(at: &[f64], value: f64) -> Observation {
    Observation { at: at.to_vec(), value, noise_variance: 0.0 }
}

fn hyperparameters(dimension: usize) -> Hyperparameters {
    Hyperparameters {
        mean: 0.5,
        signal_variance: 2.0,
        length_scales: vec![0.6; dimension],
        noise_variance: 0.1,
    }
}

/// Matérn-5/2 of variance 2 at the given distance over a length scale of 0.6.
fn covariance(distance: f64) -> f64 {
    let r = 5f64.sqrt() * distance / 0.6;
    2.0 * (1.0 + r + r * r / 3.0) * (-r).exp()
}

fn surface(at: &[f64]) -> f64 {
    at.iter().enumerate().map(|(i, x)| (3.0 * x + i as f64).sin()).sum()
}

fn data(count: usize, dimension: usize, noise: f64, seed: u64) -> Vec<Observation> {
    let mut generator = Generator::from_seed(seed);
    (0..count)
        .map(|_| {
            let at: Vec<f64> = (0..dimension).map(|_| generator.uniform()).collect();
            let value = surface(&at) + noise * generator.normal();
            Observation { at, value, noise_variance: 0.0 }
        })
        .collect()
}

#[test]
fn posterior_of_one_point_is_the_one_by_hand() {
    let one = [Observation { noise_variance: 0.3, ..observation(&[0.2], 1.7) }];
    let process = GaussianProcess::with_hyperparameters(&one, hyperparameters(1)).unwrap();
    let posterior = process.predict(&[0.5]);
    let (k, total) = (covariance(0.3), 2.0 + 0.1 + 0.3);
    assert!((posterior.mean - (0.5 + k / total * 1.2)).abs() < 1e-7);
    assert!((posterior.variance - (2.0 - k * k / total)).abs() < 1e-7);
    let density = -0.5 * (1.2f64.powi(2) / total + total.ln() + (2.0 * std::f64::consts::PI).ln());
    assert!((process.log_marginal_likelihood() - density).abs() < 1e-7);
}

#[test]
fn posterior_of_two_points_is_the_one_by_hand() {
    let two = [
        Observation { noise_variance: 0.4, ..observation(&[0.1, 0.1], 2.0) },
        observation(&[0.4, 0.5], -1.0),
    ];
    let process = GaussianProcess::with_hyperparameters(&two, hyperparameters(2)).unwrap();
    let (a, b, c) = (2.5, covariance(0.5), 2.1);
    let determinant = a * c - b * b;
    let solve = |p: f64, q: f64| ((c * p - b * q) / determinant, (a * q - b * p) / determinant);
    let question = [0.1, 0.5];
    let (k1, k2) = (covariance(0.4), covariance(0.3));
    let weights = solve(1.5, -1.5);
    let gains = solve(k1, k2);
    let posterior = process.predict(&question);
    assert!((posterior.mean - (0.5 + k1 * weights.0 + k2 * weights.1)).abs() < 1e-7);
    assert!((posterior.variance - (2.0 - k1 * gains.0 - k2 * gains.1)).abs() < 1e-7);
}

#[test]
fn flat_predictor_agrees_with_friedrich() {
    let process = GaussianProcess::fit(&data(80, 3, 0.05, 1), &FitSettings::default()).unwrap();
    let questions: Vec<Vec<f64>> = data(150, 3, 0.0, 2).into_iter().map(|o| o.at).collect();
    let (means, covariance) = process.joint_posterior(&questions).unwrap();
    for (index, posterior) in process.predict_many(&questions).into_iter().enumerate() {
        assert!((posterior.mean - means[index]).abs() < 1e-8);
        assert!((posterior.variance - covariance[(index, index)]).abs() < 1e-8);
    }
}

#[test]
fn extending_equals_conditioning_at_once() {
    let mut all = data(60, 2, 0.1, 3);
    all.iter_mut().enumerate().for_each(|(i, o)| o.noise_variance = 0.01 * (i % 4) as f64);
    let mut grown = GaussianProcess::with_hyperparameters(&all[..20], hyperparameters(2)).unwrap();
    all[20..].iter().for_each(|observation| grown.extend(observation).unwrap());
    let at_once = GaussianProcess::with_hyperparameters(&all, hyperparameters(2)).unwrap();
    let questions: Vec<Vec<f64>> = data(50, 2, 0.0, 4).into_iter().map(|o| o.at).collect();
    for (a, b) in grown.predict_many(&questions).iter().zip(at_once.predict_many(&questions)) {
        assert!((a.mean - b.mean).abs() < 1e-9 && (a.variance - b.variance).abs() < 1e-9);
    }
    let (means, _) = grown.joint_posterior(&questions).unwrap();
    assert!((means[7] - at_once.predict(&questions[7]).mean).abs() < 1e-9);
    assert_eq!(grown.observation_count(), 60);
}

#[test]
fn known_noise_decides_between_contradicting_observations() {
    let sure = Observation { noise_variance: 1e-4, ..observation(&[0.5], 1.0) };
    let vague = Observation { noise_variance: 1.0, ..observation(&[0.5], 3.0) };
    let quiet = Hyperparameters { noise_variance: 0.0, ..hyperparameters(1) };
    let process = GaussianProcess::with_hyperparameters(&[sure, vague], quiet).unwrap();
    assert!((process.predict(&[0.5]).mean - 1.0).abs() < 0.01);
}

#[test]
fn fit_recovers_noise_and_ignores_an_irrelevant_coordinate() {
    let mut observations = data(120, 1, 0.2, 5);
    let mut generator = Generator::from_seed(6);
    observations.iter_mut().for_each(|o| o.at.push(generator.uniform()));
    let process = GaussianProcess::fit(&observations, &FitSettings::default()).unwrap();
    let deviation = process.noise_variance().sqrt();
    assert!((0.14..0.27).contains(&deviation), "{deviation}");
    let scales = &process.hyperparameters().length_scales;
    assert!(scales[1] > 2.0 * scales[0], "{scales:?}");
    // The band of the latent function holds the truth as often as it says, give or take.
    let questions: Vec<Vec<f64>> = data(400, 2, 0.0, 7).into_iter().map(|o| o.at).collect();
    let covered = questions
        .iter()
        .zip(process.predict_many(&questions))
        .filter(|(at, p)| (p.mean - surface(&at[..1])).abs() < 1.96 * p.variance.sqrt());
    assert!(covered.count() > 300);
}

#[test]
fn fit_does_not_depend_on_the_unit_of_the_values() {
    let plain = data(40, 2, 0.05, 8);
    let mut dollars = plain.clone();
    dollars.iter_mut().for_each(|o| o.value = 3e-6 + 1e-7 * o.value);
    let plain = GaussianProcess::fit(&plain, &FitSettings::default()).unwrap();
    let dollars = GaussianProcess::fit(&dollars, &FitSettings::default()).unwrap();
    let (a, b) = (plain.predict(&[0.3, 0.3]), dollars.predict(&[0.3, 0.3]));
    assert!((b.mean - (3e-6 + 1e-7 * a.mean)).abs() < 1e-10, "{a:?} {b:?}");
    assert!((b.variance / a.variance * 1e14 - 1.0).abs() < 1e-2);
}

#[test]
fn warm_start_ends_where_a_cold_one_does() {
    let observations = data(50, 2, 0.1, 9);
    let cold = GaussianProcess::fit(&observations, &FitSettings::default()).unwrap();
    let earlier = GaussianProcess::fit(&observations[..25], &FitSettings::default()).unwrap();
    let warm = FitSettings {
        starts: 0,
        warm_start: Some(earlier.hyperparameters().clone()),
        ..FitSettings::default()
    };
    let warm = GaussianProcess::fit(&observations, &warm).unwrap();
    assert!((warm.log_marginal_likelihood() - cold.log_marginal_likelihood()).abs() < 0.5);
}

#[test]
fn hostile_data_are_learned_without_panic() {
    let mut generator = Generator::from_seed(10);
    let same = vec![observation(&[0.3, 0.3], 1.0); 30];
    let contradicting: Vec<Observation> =
        (0..30).map(|i| observation(&[0.3, 0.3], f64::from(i % 2))).collect();
    let constant: Vec<Observation> =
        data(30, 2, 0.0, 1).into_iter().map(|o| observation(&o.at, 4.0)).collect();
    let zero: Vec<Observation> = constant.iter().map(|o| observation(&o.at, 0.0)).collect();
    let near: Vec<Observation> =
        (0..40).map(|i| observation(&[0.5 + 1e-9 * f64::from(i), 0.5], f64::from(i))).collect();
    let huge: Vec<Observation> = constant.iter().map(|o| observation(&o.at, 1e140 * o.at[0])).collect();
    let tiny: Vec<Observation> = constant.iter().map(|o| observation(&o.at, 1e-200 * o.at[0])).collect();
    let far: Vec<Observation> =
        constant.iter().map(|o| observation(&[o.at[0] * 1e9, -1e9], o.at[1])).collect();
    let exact: Vec<Observation> = data(60, 2, 0.0, 11);
    let lattice: Vec<Observation> = (0..120)
        .map(|_| {
            let at = [generator.below(5) as f64 / 4.0, generator.below(5) as f64 / 4.0];
            observation(&at, surface(&at))
        })
        .collect();
    let single = vec![observation(&[0.5, 0.5], -3.0)];
    for (name, observations) in [
        ("same", same),
        ("contradicting", contradicting),
        ("constant", constant),
        ("zero", zero),
        ("near", near),
        ("huge", huge),
        ("tiny", tiny),
        ("far", far),
        ("exact", exact),
        ("lattice", lattice),
        ("single", single),
    ] {
        let process = GaussianProcess::fit(&observations, &FitSettings::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let posteriors = process.predict_many(&[[0.3, 0.3], [0.9, 0.1]]);
        for posterior in posteriors {
            assert!(posterior.mean.is_finite() && posterior.variance > 0.0, "{name}: {posterior:?}");
        }
        let silent = Hyperparameters { noise_variance: 0.0, ..process.hyperparameters().clone() };
        GaussianProcess::with_hyperparameters(&observations, silent)
            .unwrap_or_else(|error| panic!("{name} without noise: {error}"));
    }
}

#[test]
fn five_hundred_points_are_learned() {
    let observations = data(500, 3, 0.1, 12);
    let process =
        GaussianProcess::fit(&observations, &FitSettings { starts: 1, ..FitSettings::default() }).unwrap();
    let error = (process.predict(&[0.5, 0.5, 0.5]).mean - surface(&[0.5, 0.5, 0.5])).abs();
    assert!(error < 0.1, "{error}");
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let fit = |observations: &[Observation]| GaussianProcess::fit(observations, &FitSettings::default());
    assert_eq!(fit(&[]).unwrap_err(), FitError::NoObservations);
    let mut observations = data(5, 2, 0.0, 1);
    observations[3].value = f64::NAN;
    assert_eq!(
        fit(&observations).unwrap_err().to_string(),
        "`value` of observation 3 is NaN, not a finite number"
    );
    observations[3] = observation(&[0.1, f64::INFINITY], 1.0);
    assert!(matches!(fit(&observations), Err(FitError::NotFinite { field: "at", index: 3, .. })));
    observations[3] = observation(&[0.1], 1.0);
    assert_eq!(fit(&observations).unwrap_err(), FitError::Dimension { index: 3, found: 1, expected: 2 });
    observations[3] = Observation { noise_variance: -1.0, ..observation(&[0.1, 0.2], 1.0) };
    assert_eq!(fit(&observations).unwrap_err(), FitError::NegativeNoise { index: 3, value: -1.0 });
    observations[3] = observation(&[0.1, 0.2], 1e300);
    assert_eq!(fit(&observations).unwrap_err(), FitError::SpreadTooWide);
    let broken = Hyperparameters { signal_variance: 0.0, ..hyperparameters(2) };
    let refused = GaussianProcess::with_hyperparameters(&observations, broken);
    assert!(matches!(refused, Err(FitError::Hyperparameter { name: "signal_variance", .. })));
    assert!(matches!(fit(&[observation(&[], 1.0)]), Err(FitError::Dimension { .. })));
}

#[test]
fn unplaceable_question_is_answered_by_the_prior() {
    let process = GaussianProcess::with_hyperparameters(&data(9, 2, 0.0, 1), hyperparameters(2)).unwrap();
    for question in [vec![0.5], vec![0.5, f64::NAN], vec![]] {
        let posterior = process.predict(&question);
        assert!((posterior.mean - 0.5).abs() < 1e-12 && (posterior.variance - 2.0).abs() < 1e-12);
    }
    assert!(process.joint_posterior(&[vec![0.5]]).is_err());
}

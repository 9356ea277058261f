//! The study: reproducible, restorable, spread in batches, and firm with bad input.
#![expect(clippy::unwrap_used, reason = "what the helpers make is sound, or the test is to fail")]

use optimizer_bayesopt::{
    Measurement, Outcome, SearchSpace, Study, StudyError, StudySettings, StudyState, Variable,
};

fn space() -> SearchSpace {
    SearchSpace::new([
        ("batch", Variable::Integer { low: 1, high: 16, log: true }),
        ("memory", Variable::Ladder { rungs: vec![512.0, 1024.0, 2048.0, 4096.0] }),
    ])
    .unwrap()
}

fn cost(point: &[f64]) -> f64 {
    (point[0].ln() - 1.5).powi(2) + (point[1].ln() - 7.0).powi(2)
}

fn settings(seed: u64) -> StudySettings {
    StudySettings { seed, ..StudySettings::default() }
}

fn measured(point: &[f64]) -> Outcome {
    Outcome::Measured(Measurement::of(cost(point)))
}

fn step(study: &mut Study) -> Vec<f64> {
    let trial = study.ask().unwrap();
    study.tell(trial.id, measured(&trial.point)).unwrap();
    trial.point
}

#[test]
fn equal_seeds_ask_equally_and_others_do_not() {
    for acquisition in ["random", "expected_improvement", "noisy_expected_improvement"] {
        let run = |seed| -> Vec<Vec<f64>> {
            let settings = StudySettings { acquisition: acquisition.to_owned(), ..settings(seed) };
            let mut study = Study::new(space(), settings).unwrap();
            (0..14).map(|_| step(&mut study)).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}

#[test]
fn restored_study_asks_what_the_saved_one_would_have() {
    let mut study = Study::new(space(), settings(3)).unwrap();
    for trials in 0..20 {
        let text = serde_json::to_string(&study.save()).unwrap();
        let state: StudyState = serde_json::from_str(&text).unwrap();
        assert_eq!(state, study.save());
        let mut restored = Study::restore(state).unwrap();
        assert_eq!(step(&mut restored), step(&mut study), "after {trials} trials");
    }
}

#[test]
fn edited_state_is_refused() {
    let mut study = Study::new(space(), settings(3)).unwrap();
    step(&mut study);
    let text = serde_json::to_string(&study.save()).unwrap();
    let unknown = text.replace("constrained_expected_improvement", "magic");
    let state: StudyState = serde_json::from_str(&unknown).unwrap();
    assert!(matches!(Study::restore(state), Err(StudyError::UnknownAcquisition { name }) if name == "magic"));
    let moved = text.replace("\"high\":16", "\"high\":1");
    let state: StudyState = serde_json::from_str(&moved).unwrap();
    assert!(matches!(Study::restore(state), Err(StudyError::Space(_))));
}

#[test]
fn batch_is_distinct_and_spread() {
    let real = || Variable::Real { low: 0.0, high: 1.0, log: false };
    let space = SearchSpace::new([("x", real()), ("y", real())]).unwrap();
    let mut study = Study::new(space, settings(5)).unwrap();
    for trial in study.ask_batch(8).unwrap() {
        let value = (trial.point[0] - 0.5).powi(2) + (trial.point[1] - 0.5).powi(2);
        study.tell(trial.id, Outcome::Measured(Measurement::of(value))).unwrap();
    }
    let batch = study.ask_batch(4).unwrap();
    assert_eq!(study.pending().count(), 4);
    for (index, a) in batch.iter().enumerate() {
        for b in &batch[index + 1..] {
            let distance = (a.point[0] - b.point[0]).hypot(a.point[1] - b.point[1]);
            assert!(distance > 0.01, "{a:?} {b:?}");
        }
    }
    // Outcomes may come in any order.
    for trial in batch.iter().rev() {
        study.tell(trial.id, Outcome::Measured(Measurement::of(0.1))).unwrap();
    }
    study.ask().unwrap();
}

#[test]
fn small_space_is_tried_once_each_and_then_exhausted() {
    let space = SearchSpace::new([("n", Variable::Integer { low: 0, high: 6, log: false })]).unwrap();
    let mut study = Study::new(space.clone(), settings(6)).unwrap();
    let mut seen: Vec<f64> = Vec::new();
    loop {
        match study.ask() {
            Ok(trial) => {
                seen.push(trial.point[0]);
                study.tell(trial.id, Outcome::Measured(Measurement::of(trial.point[0]))).unwrap();
            }
            Err(error) => break assert_eq!(error, StudyError::Exhausted),
        }
    }
    seen.sort_by(f64::total_cmp);
    assert_eq!(seen, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(study.best().unwrap().point, [0.0]);
    let mut batch = Study::new(space.clone(), settings(6)).unwrap();
    assert_eq!(batch.ask_batch(100).unwrap().len(), 7);
    let mut repeating = Study::new(space, StudySettings { may_repeat: true, ..settings(6) }).unwrap();
    for _ in 0..20 {
        let trial = repeating.ask().unwrap();
        repeating.tell(trial.id, Outcome::Measured(Measurement::of(trial.point[0]))).unwrap();
    }
}

#[test]
fn best_is_feasible_and_recommendation_is_not_fooled_by_luck() {
    let space = SearchSpace::new([("n", Variable::Integer { low: 0, high: 20, log: false })]).unwrap();
    let settings = StudySettings { constraint_count: 1, may_repeat: true, ..settings(7) };
    let mut study = Study::new(space, settings).unwrap();
    assert!(study.best().is_none() && study.recommend().unwrap().is_none());
    // Falling towards 12, infeasible beyond; one lucky measurement at 3.
    for n in 0..=20 {
        let value = (f64::from(n) - 12.0).abs();
        for lucky in [0.0, if n == 3 { -12.0 } else { 0.0 }] {
            let measurement = Measurement {
                objective: value + lucky,
                noise_variance: if lucky < 0.0 { 100.0 } else { 0.01 },
                constraints: vec![f64::from(n) - 14.5],
                constraint_noise_variances: vec![0.01],
            };
            study.observe(&[f64::from(n)], Outcome::Measured(measurement)).unwrap();
        }
    }
    assert_eq!(study.best().unwrap().point, [3.0]);
    let recommended = study.recommend().unwrap().unwrap().point[0];
    assert!((11.0..=13.0).contains(&recommended), "{recommended}");
}

#[test]
fn failed_trials_are_avoided_and_not_repeated() {
    let mut study = Study::new(space(), settings(8)).unwrap();
    let mut failed: Vec<Vec<f64>> = Vec::new();
    // The largest memory always fails: most of the trials must go elsewhere.
    for _ in 0..30 {
        let trial = study.ask().unwrap();
        assert!(!failed.contains(&trial.point));
        if trial.point[1] > 4_000.0 {
            study.tell(trial.id, Outcome::Failed).unwrap();
            failed.push(trial.point);
        } else {
            study.tell(trial.id, measured(&trial.point)).unwrap();
        }
    }
    assert!(failed.len() <= 7, "{failed:?}");
    assert!(study.best().is_some());
    let mut hopeless = Study::new(space(), settings(8)).unwrap();
    for _ in 0..10 {
        let trial = hopeless.ask().unwrap();
        hopeless.tell(trial.id, Outcome::Failed).unwrap();
    }
    assert!(hopeless.best().is_none());
}

#[test]
fn ask_among_stays_among_the_given_points() {
    let mut study = Study::new(space(), settings(9)).unwrap();
    let safe: Vec<Vec<f64>> =
        space().lattice(1_000).unwrap().into_iter().filter(|point| point[1] < 2_000.0).collect();
    for _ in 0..safe.len() {
        let trial = study.ask_among(&safe).unwrap();
        assert!(safe.contains(&trial.point));
        study.tell(trial.id, measured(&trial.point)).unwrap();
    }
    assert_eq!(study.ask_among(&safe).unwrap_err(), StudyError::Exhausted);
    assert!(matches!(study.ask_among(&[vec![0.5, 512.0]]), Err(StudyError::Space(_))));
}

#[test]
fn bad_outcomes_are_errors_and_leave_the_trial_open() {
    let mut study = Study::new(space(), settings(10)).unwrap();
    let trial = study.ask().unwrap();
    let mut tell = |outcome| study.tell(trial.id, outcome);
    let refused = tell(Outcome::Measured(Measurement::of(f64::NAN))).unwrap_err();
    assert_eq!(refused.to_string(), "`objective` 0 of the outcome is NaN");
    let negative = Measurement { noise_variance: -1.0, ..Measurement::of(1.0) };
    assert!(matches!(
        tell(Outcome::Measured(negative)),
        Err(StudyError::Number { field: "noise_variance", .. })
    ));
    let constrained = Measurement { constraints: vec![1.0], ..Measurement::of(1.0) };
    assert!(matches!(tell(Outcome::Measured(constrained)), Err(StudyError::ConstraintCount { .. })));
    tell(measured(&trial.point)).unwrap();
    assert_eq!(tell(Outcome::Failed).unwrap_err(), StudyError::UnknownTrial { id: trial.id });
    let unknown = StudySettings { acquisition: "magic".into(), ..settings(1) };
    assert!(Study::new(space(), unknown).is_err());
}

#[test]
fn lattice_optimum_is_found_in_few_trials() {
    let space = SearchSpace::new([
        ("batch", Variable::Integer { low: 1, high: 64, log: true }),
        ("processes", Variable::Integer { low: 1, high: 6, log: false }),
        ("memory", Variable::Ladder { rungs: (1..=40).map(|i| 256.0 * f64::from(i)).collect() }),
    ])
    .unwrap();
    let value =
        |p: &[f64]| (p[0].ln() - 2.2).powi(2) + 0.2 * (p[1] - 3.0).powi(2) + (p[2].ln() - 8.0).powi(2);
    let optimum = space.lattice(20_000).unwrap().iter().map(|p| value(p)).fold(f64::INFINITY, f64::min);
    for seed in 0..3 {
        let mut study = Study::new(space.clone(), settings(seed)).unwrap();
        for _ in 0..25 {
            let trial = study.ask().unwrap();
            let outcome = Outcome::Measured(Measurement::of(value(&trial.point)));
            study.tell(trial.id, outcome).unwrap();
        }
        let found = study.best().unwrap().measurement.objective;
        assert!(found < optimum + 0.01, "seed {seed}: {found} against {optimum}");
    }
}

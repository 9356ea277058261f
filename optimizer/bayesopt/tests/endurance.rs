//! Random studies over random spaces, with outcomes of any size: never a panic, never a point outside the space.
#![expect(clippy::unwrap_used, reason = "what the helpers make is sound, or the test is to fail")]

use optimizer_bayesopt::{
    Generator, Measurement, Outcome, SearchSpace, Study, StudyError, StudySettings, Variable, acquisition,
};

fn variable(generator: &mut Generator) -> Variable {
    let log = generator.below(2) == 0;
    match generator.below(4) {
        0 => {
            Variable::Integer { low: 1, high: 1 + i64::from(u8::try_from(generator.below(40)).unwrap()), log }
        }
        1 => Variable::Ladder { rungs: (0..=generator.below(6)).map(|i| (i as f64).exp() - 1.0).collect() },
        2 => Variable::Real { low: 1e-3, high: 1e-3 + 10f64.powf(8.0 * generator.uniform() - 4.0), log },
        _ => Variable::Category { names: (0..=generator.below(4)).map(|i| format!("n{i}")).collect() },
    }
}

fn study(seed: u64, generator: &mut Generator) -> Study {
    let variables = (0..=generator.below(4)).map(|i| (format!("v{i}"), variable(generator)));
    let space = SearchSpace::new(variables.collect::<Vec<_>>()).unwrap();
    let settings = StudySettings {
        seed,
        acquisition: acquisition::REGISTRY[generator.below(acquisition::REGISTRY.len())].0.to_owned(),
        initial_trials: generator.below(8),
        constraint_count: generator.below(3),
        may_repeat: generator.below(2) == 0,
        lattice_cap: 1 + generator.below(2_000),
    };
    Study::new(space, settings).unwrap()
}

fn outcome(constraint_count: usize, generator: &mut Generator) -> Outcome {
    if generator.below(8) == 0 {
        return Outcome::Failed;
    }
    let mut any = || match generator.below(5) {
        0 => 0.0,
        1 => 7.0,
        _ => generator.normal() * 10f64.powf(20.0 * generator.uniform() - 10.0),
    };
    let (objective, noise_variance) = (any(), any().abs());
    let constraints = (0..constraint_count).map(|_| any()).collect();
    let constraint_noise_variances = (0..constraint_count).map(|_| any().abs()).collect();
    Outcome::Measured(Measurement { objective, noise_variance, constraints, constraint_noise_variances })
}

#[test]
fn random_studies_never_panic_nor_leave_the_space() {
    for seed in 0..60 {
        let mut generator = Generator::from_seed(seed);
        let mut study = study(seed, &mut generator);
        for _ in 0..8 {
            let trials = match study.ask_batch(1 + generator.below(3)) {
                Ok(trials) => trials,
                Err(StudyError::Exhausted) => break,
                Err(error) => panic!("seed {seed}: {error}"),
            };
            for trial in trials {
                study.space().check(&trial.point).unwrap();
                // Some are never told.
                if generator.below(6) > 0 {
                    let outcome = outcome(study.settings().constraint_count, &mut generator);
                    study.tell(trial.id, outcome).unwrap();
                }
            }
            study.recommend().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }
}

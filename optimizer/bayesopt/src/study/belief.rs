//! From the records of a study to what is believed: one Gaussian process for the objective and each constraint.
//!
//! *Failed trials* count as the worst measured value: the search then keeps away from them without a model of failure.
//! *Pending trials* count as if they had turned out as expected (the "Kriging believer" of Ginsbourger, Le Riche and
//! Carraro, 2010): the variance around them goes, so a batch spreads. Deliberately absent: the choice of the next point.

use super::{Outcome, Record};
use crate::acquisition::Belief;
use crate::gaussian_process::{FitError, FitSettings, GaussianProcess, Hyperparameters, Observation};
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};

/// With at most this many finished trials the hyperparameters are fitted whenever there is a new one …
const FIT_ALWAYS_BELOW: usize = 30;
/// … and after that when their number has grown by one in this many.
const FIT_GROWTH: usize = 10;

/// Hyperparameters of the objective and then of each constraint, kept between asks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct FittedModels {
    /// Finished trials that they were fitted to.
    trials: usize,
    hyperparameters: Vec<Hyperparameters>,
}

/// The belief from these records; `None` as long as nothing was measured.
pub(crate) fn believe(
    space: &SearchSpace,
    records: &[Record],
    constraint_count: usize,
    models: &mut FittedModels,
) -> Result<Option<Belief>, FitError> {
    let finished: Vec<(Vec<f64>, &Outcome)> = records
        .iter()
        .filter_map(|record| Some((space.encode_checked(&record.point), record.outcome.as_ref()?)))
        .collect();
    if !finished.iter().any(|(_, outcome)| matches!(outcome, Outcome::Measured(_))) {
        return Ok(None);
    }
    let due =
        finished.len() <= FIT_ALWAYS_BELOW || finished.len() >= models.trials + models.trials / FIT_GROWTH;
    let stale = models.hyperparameters.len() != constraint_count + 1;
    let refit = stale || (finished.len() > models.trials && due);
    let mut processes = Vec::with_capacity(constraint_count + 1);
    for target in 0..=constraint_count {
        let observations = observations(&finished, target);
        let known = models.hyperparameters.get(target).cloned();
        processes.push(match known {
            Some(hyperparameters) if !refit => {
                GaussianProcess::with_hyperparameters(&observations, hyperparameters)?
            }
            warm_start => {
                GaussianProcess::fit(&observations, &FitSettings { warm_start, ..FitSettings::default() })?
            }
        });
    }
    if refit {
        models.trials = finished.len();
        models.hyperparameters = processes.iter().map(|process| process.hyperparameters().clone()).collect();
    }
    let mut tested: Vec<Vec<f64>> = finished.into_iter().map(|(at, _)| at).collect();
    for record in records.iter().filter(|record| record.outcome.is_none()) {
        let at = space.encode_checked(&record.point);
        processes.iter_mut().try_for_each(|process| expect(process, &at))?;
        tested.push(at);
    }
    let constraints = processes.split_off(1);
    Ok(processes.pop().map(|objective| Belief { objective, constraints, tested }))
}

/// Conditions on the expected outcome. Where that adds less than rounding takes away, the process knows it already.
fn expect(process: &mut GaussianProcess, at: &[f64]) -> Result<(), FitError> {
    let value = process.predict(at).mean;
    match process.extend(&Observation { at: at.to_vec(), value, noise_variance: 0.0 }) {
        Err(FitError::NotPositiveDefinite { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The observations of the objective (target 0) or of a constraint (from 1).
fn observations(finished: &[(Vec<f64>, &Outcome)], target: usize) -> Vec<Observation> {
    let measured = |outcome: &Outcome| match outcome {
        Outcome::Failed => None,
        Outcome::Measured(m) if target == 0 => Some((m.objective, m.noise_variance)),
        Outcome::Measured(m) => {
            let noise = m.constraint_noise_variances.get(target - 1).copied().unwrap_or(0.0);
            m.constraints.get(target - 1).map(|&value| (value, noise))
        }
    };
    let values = finished.iter().filter_map(|(_, outcome)| measured(outcome)).map(|(value, _)| value);
    let worst = values.fold(f64::NEG_INFINITY, f64::max);
    let observation = |(at, outcome): &(Vec<f64>, &Outcome)| {
        let (value, noise_variance) = measured(outcome).unwrap_or((worst, 0.0));
        Observation { at: at.clone(), value, noise_variance }
    };
    finished.iter().map(observation).collect()
}

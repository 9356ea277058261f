//! Expected improvement times the probability of feasibility.
//!
//! *Problem:* the cheapest point is worth nothing if it breaks a bound, and whether it does has to be learned too.
//! *Rule:* each constraint has its own Gaussian process; with constraints independent given the point, the expected
//! *feasible* improvement is the product. The incumbent is the lowest posterior mean among tested points at which all
//! constraints are believed to hold (posterior mean at most zero). *Why not a penalty in the objective:* it makes the
//! objective steep exactly where the optimum lies. *First start:* as long as no tested point is believed feasible,
//! only the probability of feasibility counts: find a feasible point first.
//!
//! *Reference:* Gardner et al., "Bayesian optimization with inequality constraints" (2014).

use super::{AcquisitionFunction, Belief, ln_expected_improvement, ln_feasibility};
use crate::gaussian_process::FitError;
use crate::random::Generator;

/// Expected feasible improvement.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConstrainedExpectedImprovement;

/// The lowest posterior mean among the tested points that are believed feasible.
fn incumbent(belief: &Belief) -> Option<f64> {
    let mut feasible = vec![true; belief.tested.len()];
    for constraint in &belief.constraints {
        for (is_feasible, posterior) in feasible.iter_mut().zip(constraint.predict_many(&belief.tested)) {
            *is_feasible &= posterior.mean <= 0.0;
        }
    }
    let means = belief.objective.predict_many(&belief.tested).into_iter().map(|posterior| posterior.mean);
    means.zip(feasible).filter(|(_, is_feasible)| *is_feasible).map(|(mean, _)| mean).min_by(f64::total_cmp)
}

impl AcquisitionFunction for ConstrainedExpectedImprovement {
    fn name(&self) -> &'static str {
        "constrained_expected_improvement"
    }

    fn score(
        &self,
        belief: Option<&Belief>,
        candidates: &[Vec<f64>],
        _generator: &mut Generator,
    ) -> Result<Vec<f64>, FitError> {
        let Some(belief) = belief else { return Ok(vec![0.0; candidates.len()]) };
        let mut scores = ln_feasibility(&belief.constraints, candidates);
        if let Some(incumbent) = incumbent(belief) {
            for (score, posterior) in scores.iter_mut().zip(belief.objective.predict_many(candidates)) {
                *score += ln_expected_improvement(posterior, incumbent);
            }
        }
        Ok(scores)
    }
}

//! Expected improvement.
//!
//! *Problem:* choose between what looks good and what is little known. *Rule:* the expected improvement below the
//! incumbent, in closed form, by its logarithm. The incumbent is the lowest *posterior mean* of the tested points, not
//! the lowest measured value: with noise the latter is the luckiest one, and nothing would seem able to improve on it.
//! *Why not probability of improvement:* it prefers certain crumbs. *Bounds and first start:* without a belief all
//! candidates are alike. Constraints are ignored: see `constrained_expected_improvement`.
//!
//! *Reference:* Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions" (1998).

use super::{AcquisitionFunction, Belief, ln_expected_improvement};
use crate::gaussian_process::FitError;
use crate::random::Generator;

/// Expected improvement below the lowest posterior mean of the tested points.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExpectedImprovement;

impl AcquisitionFunction for ExpectedImprovement {
    fn name(&self) -> &'static str {
        "expected_improvement"
    }

    fn score(
        &self,
        belief: Option<&Belief>,
        candidates: &[Vec<f64>],
        _generator: &mut Generator,
    ) -> Result<Vec<f64>, FitError> {
        let Some(belief) = belief else { return Ok(vec![0.0; candidates.len()]) };
        let tested = belief.objective.predict_many(&belief.tested);
        let incumbent = tested.iter().map(|posterior| posterior.mean).fold(f64::INFINITY, f64::min);
        let posteriors = belief.objective.predict_many(candidates);
        Ok(posteriors.into_iter().map(|posterior| ln_expected_improvement(posterior, incumbent)).collect())
    }
}

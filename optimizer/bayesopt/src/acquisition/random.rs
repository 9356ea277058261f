//! The baseline: every candidate is as good as any other.
//!
//! *Problem:* an optimizer that is no better than chance has to be found out. *Rule:* a uniform draw for each
//! candidate, so that the best of them is a uniformly random one. Constraints and beliefs are ignored.

use super::{AcquisitionFunction, Belief};
use crate::gaussian_process::FitError;
use crate::random::Generator;

/// Random search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl AcquisitionFunction for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn is_blind(&self) -> bool {
        true
    }

    fn score(
        &self,
        _belief: Option<&Belief>,
        candidates: &[Vec<f64>],
        generator: &mut Generator,
    ) -> Result<Vec<f64>, FitError> {
        Ok(candidates.iter().map(|_| generator.uniform()).collect())
    }
}

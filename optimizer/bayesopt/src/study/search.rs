//! The candidate with the highest score.
//!
//! *Rule:* a space of few enough points is scored exhaustively, which is exact and, in blocks, cheap. A larger one is
//! sampled, around the best tested points more densely, and the best few candidates are then improved by random steps
//! of shrinking length. *Why not a gradient:* integer and ladder variables make the score a staircase.
//!
//! Deliberately absent: what the score means.

use crate::acquisition::{AcquisitionFunction, Belief};
use crate::gaussian_process::FitError;
use crate::random::Generator;
use crate::space::SearchSpace;

/// Candidates spread over the whole space.
const SPREAD: usize = 2_000;
/// Candidates around each of the best tested points.
const AROUND_TESTED: usize = 100;
/// Points that are improved, and tested points that are looked around.
const KEPT: usize = 5;
/// Rounds of improvement …
const ROUNDS: i32 = 10;
/// … with this many steps from each kept point …
const STEPS: usize = 40;
/// … of this length in the first round, as a share of the space; halved each round.
const STEP_LENGTH: f64 = 0.1;

/// What a search may ask.
pub(crate) struct Search<'a> {
    pub(crate) space: &'a SearchSpace,
    pub(crate) function: &'a dyn AcquisitionFunction,
    pub(crate) belief: Option<&'a Belief>,
    /// Whether a point is out of question.
    pub(crate) is_excluded: &'a dyn Fn(&[f64]) -> bool,
}

impl Search<'_> {
    /// The best of the given points, by chance among equals; `None` if all are excluded.
    pub(crate) fn among(
        &self,
        points: &[Vec<f64>],
        generator: &mut Generator,
    ) -> Result<Option<Vec<f64>>, FitError> {
        Ok(self.ranked(points, generator)?.into_iter().next().map(|(_, point)| point))
    }

    /// The best point of a space too large to enumerate.
    pub(crate) fn anywhere(&self, generator: &mut Generator) -> Result<Option<Vec<f64>>, FitError> {
        let mut points: Vec<Vec<f64>> = (0..SPREAD).map(|_| self.space.sample(generator)).collect();
        if self.belief.is_none() {
            return self.among(&points, generator);
        }
        for tested in self.best_tested() {
            points.extend((0..AROUND_TESTED).map(|_| self.step(&tested, STEP_LENGTH, generator)));
        }
        let mut kept = self.ranked(&points, generator)?;
        kept.truncate(KEPT);
        for round in 0..ROUNDS {
            let length = STEP_LENGTH / 2f64.powi(round);
            let mut steps = Vec::with_capacity(KEPT * STEPS);
            for (_, point) in &kept {
                let columns = self.space.encode_checked(point);
                steps.extend((0..STEPS).map(|_| self.step(&columns, length, generator)));
                steps.push(point.clone());
            }
            kept = self.ranked(&steps, generator)?;
            kept.truncate(KEPT);
        }
        Ok(kept.into_iter().next().map(|(_, point)| point))
    }

    /// Allowed points with their scores, best first, equals in random order, each once among neighbours in rank.
    fn ranked(
        &self,
        points: &[Vec<f64>],
        generator: &mut Generator,
    ) -> Result<Vec<(f64, Vec<f64>)>, FitError> {
        let mut allowed: Vec<&Vec<f64>> = points.iter().filter(|point| !(self.is_excluded)(point)).collect();
        generator.shuffle(&mut allowed);
        let encoded: Vec<Vec<f64>> = allowed.iter().map(|point| self.space.encode_checked(point)).collect();
        let scores = self.function.score(self.belief, &encoded, generator)?;
        let rank = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
        let mut ranked: Vec<(f64, &Vec<f64>)> = scores.into_iter().map(rank).zip(allowed).collect();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        ranked.dedup_by(|(_, a), (_, b)| a == b);
        Ok(ranked.into_iter().take(KEPT).map(|(score, point)| (score, point.clone())).collect())
    }

    /// Encoded tested points with the lowest posterior means.
    fn best_tested(&self) -> Vec<Vec<f64>> {
        let Some(belief) = self.belief else { return Vec::new() };
        let means = belief.objective.predict_many(&belief.tested).into_iter().map(|posterior| posterior.mean);
        let mut ranked: Vec<(f64, &Vec<f64>)> = means.zip(&belief.tested).collect();
        ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        ranked.into_iter().take(KEPT).map(|(_, point)| point.clone()).collect()
    }

    /// A point near the given columns; every other column is left alone, on average.
    fn step(&self, columns: &[f64], length: f64, generator: &mut Generator) -> Vec<f64> {
        let moved: Vec<f64> = columns
            .iter()
            .map(
                |column| {
                    if generator.uniform() < 0.5 { *column } else { column + length * generator.normal() }
                },
            )
            .collect();
        // As many columns as the space has: they were encoded by it.
        self.space.decode(&moved).unwrap_or_else(|_| self.space.sample(generator))
    }
}

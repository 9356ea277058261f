//! Posterior of many points: a flat copy of the factored process, worked through in blocks.
//!
//! *Why beside friedrich's own prediction:* that one solves two triangular systems for each point and allocates
//! matrices of points × observations; this one multiplies with the inverse of the Cholesky factor over blocks that
//! stay in the first cache, which is several times faster (figures in `docs/decisions/0003-gaussian-process.md`).
//! The inverse factor also grows by a row in O(n²) when an observation is added.

use super::Posterior;
use super::kernel::correlation;
use nalgebra::{Cholesky, DMatrix, Dyn};

/// Points worked on at once.
const BLOCK: usize = 64;
/// Points whose sums are kept in registers together.
const LANES: usize = 8;
/// Smallest latent variance, as a share of the signal variance: expected improvement divides by it.
const VARIANCE_FLOOR: f64 = 1e-12;

/// The factored covariance, ready for questions.
#[derive(Debug, Clone)]
pub(crate) struct Predictor {
    signal_variance: f64,
    mean: f64,
    inverse_length_scales: Vec<f64>,
    /// Scaled coordinates of the observations, row by row.
    points: Vec<f64>,
    /// Lower triangle of the inverse of the Cholesky factor, packed row by row.
    inverse_factor: Vec<f64>,
    residuals: Vec<f64>,
    /// Inverse covariance times residuals.
    weights: Vec<f64>,
}

impl Predictor {
    /// `None` if the factor has a zero on its diagonal.
    pub(crate) fn new(
        points: &[&[f64]],
        residuals: Vec<f64>,
        signal_variance: f64,
        mean: f64,
        inverse_length_scales: Vec<f64>,
        factor: &Cholesky<f64, Dyn>,
    ) -> Option<Self> {
        let count = points.len();
        let mut inverse = DMatrix::identity(count, count);
        if !factor.l_dirty().solve_lower_triangular_mut(&mut inverse) {
            return None;
        }
        let inverse_factor = (0..count).flat_map(|row| (0..=row).map(move |column| (row, column)));
        let mut predictor = Self {
            inverse_factor: inverse_factor.map(|place| inverse[place]).collect(),
            points: points.iter().flat_map(|point| scaled(point, &inverse_length_scales)).collect(),
            signal_variance,
            mean,
            inverse_length_scales,
            weights: Vec::new(),
            residuals,
        };
        predictor.weights = predictor.weights_of(&predictor.residuals);
        Some(predictor)
    }

    fn dimension(&self) -> usize {
        self.inverse_length_scales.len()
    }

    fn count(&self) -> usize {
        self.residuals.len()
    }

    fn factor_row(&self, row: usize) -> &[f64] {
        &self.inverse_factor[row * (row + 1) / 2..][..=row]
    }

    /// Inverse covariance times the given residuals, one for each observation.
    pub(crate) fn weights_of(&self, residuals: &[f64]) -> Vec<f64> {
        let mut weights = vec![0.0; self.count()];
        for row in 0..self.count() {
            let factor_row = self.factor_row(row);
            let whitened: f64 = factor_row.iter().zip(residuals).map(|(l, r)| l * r).sum();
            weights.iter_mut().zip(factor_row).for_each(|(weight, l)| *weight += l * whitened);
        }
        weights
    }

    /// Adds an observation whose diagonal noise is given, in O(n²). False, and nothing done, if the covariance would
    /// no longer be positive definite.
    pub(crate) fn grow(&mut self, at: &[f64], residual: f64, noise_variance: f64) -> bool {
        let point: Vec<f64> = scaled(at, &self.inverse_length_scales).collect();
        let covariances: Vec<f64> = self
            .points
            .chunks_exact(self.dimension())
            .map(|other| self.signal_variance * correlation(squared_distance(other, &point)))
            .collect();
        let mut projected = vec![0.0; self.count()];
        let mut explained = 0.0;
        for row in 0..self.count() {
            let factor_row = self.factor_row(row);
            let whitened: f64 = factor_row.iter().zip(&covariances).map(|(l, k)| l * k).sum();
            explained += whitened * whitened;
            projected.iter_mut().zip(factor_row).for_each(|(sum, l)| *sum += l * whitened);
        }
        let left = self.signal_variance + noise_variance - explained;
        if left.is_nan() || left <= VARIANCE_FLOOR * self.signal_variance {
            return false;
        }
        let diagonal = left.sqrt();
        self.inverse_factor.extend(projected.iter().map(|sum| -sum / diagonal));
        self.inverse_factor.push(1.0 / diagonal);
        self.points.extend(point);
        self.residuals.push(residual);
        self.weights = self.weights_of(&self.residuals);
        true
    }

    /// The posterior of each point.
    pub(crate) fn predict<P: AsRef<[f64]>>(&self, at: &[P]) -> Vec<Posterior> {
        let mut posteriors = Vec::with_capacity(at.len());
        self.predict_with(at, std::slice::from_ref(&self.weights), |means, variance| {
            posteriors.push(Posterior { mean: means[0], variance });
        });
        posteriors
    }

    /// For each point in turn, its means under several weights (one for each) and its variance, which they share. A
    /// point of another dimension, or with a coordinate that is not finite, is answered by the prior.
    pub(crate) fn predict_with<P: AsRef<[f64]>>(
        &self,
        at: &[P],
        weights: &[Vec<f64>],
        mut answer: impl FnMut(&[f64], f64),
    ) {
        let mut block = vec![[0.0; BLOCK]; self.count()];
        let mut means = vec![[0.0; BLOCK]; weights.len()];
        let mut of_one = vec![0.0; weights.len()];
        for chunk in at.chunks(BLOCK) {
            self.fill(&mut block, chunk);
            for (sums, weights) in means.iter_mut().zip(weights) {
                *sums = [self.mean; BLOCK];
                for (row, weight) in block.iter().zip(weights) {
                    add_scaled(sums, row, *weight);
                }
            }
            let explained = self.explained(&block);
            for lane in 0..chunk.len() {
                of_one.iter_mut().zip(&means).for_each(|(mean, sums)| *mean = sums[lane]);
                let left = self.signal_variance - explained[lane];
                answer(&of_one, left.max(VARIANCE_FLOOR * self.signal_variance));
            }
        }
    }

    /// Covariances of the chunk's points with the observations; zero for a point that cannot be placed.
    fn fill<P: AsRef<[f64]>>(&self, block: &mut [[f64; BLOCK]], chunk: &[P]) {
        for (lane, point) in chunk.iter().enumerate() {
            let point = point.as_ref();
            let placed = point.len() == self.dimension() && point.iter().all(|x| x.is_finite());
            let point: Vec<f64> = scaled(point, &self.inverse_length_scales).collect();
            for (row, other) in block.iter_mut().zip(self.points.chunks_exact(self.dimension())) {
                row[lane] = if placed {
                    self.signal_variance * correlation(squared_distance(other, &point))
                } else {
                    0.0
                };
            }
        }
    }

    /// The part of the variance that the observations explain: the squared length of inverse factor × covariances. Two
    /// rows and a few lanes at a time, so that the sums stay in registers.
    fn explained(&self, block: &[[f64; BLOCK]]) -> [f64; BLOCK] {
        let mut explained = [0.0; BLOCK];
        for row in (0..self.count()).step_by(2) {
            let upper = self.factor_row(row);
            let lower = if row + 1 < self.count() { self.factor_row(row + 1) } else { &[] };
            for (group, explained) in explained.chunks_exact_mut(LANES).enumerate() {
                let mut sums = [[0.0; LANES]; 2];
                for (column, covariances) in block[..=row].iter().enumerate() {
                    let below = lower.get(column).copied().unwrap_or(0.0);
                    for lane in 0..LANES {
                        let covariance = covariances[group * LANES + lane];
                        sums[0][lane] += upper[column] * covariance;
                        sums[1][lane] += below * covariance;
                    }
                }
                let diagonal = lower.last().copied().unwrap_or(0.0);
                for lane in 0..LANES {
                    let rest =
                        block.get(row + 1).map_or(0.0, |covariances| covariances[group * LANES + lane]);
                    let second = sums[1][lane] + diagonal * rest;
                    explained[lane] += sums[0][lane] * sums[0][lane] + second * second;
                }
            }
        }
        explained
    }
}

#[inline]
fn add_scaled(sums: &mut [f64; BLOCK], row: &[f64; BLOCK], factor: f64) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
}

fn scaled(point: &[f64], inverse_length_scales: &[f64]) -> impl Iterator<Item = f64> {
    point.iter().zip(inverse_length_scales).map(|(x, scale)| x * scale)
}

#[inline]
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

//! Least squares for profiles: which few physical numbers explain measured times, and how well.
//!
//! Problem: the law is not linear in its coefficients. The quota rounds, the visible CPUs and the largest shard bound from below.
//! Rule: minimise the mean Huber loss of ln(predicted / measured) over the logarithms of the coefficients by Nelder and Mead's simplex, from a
//! start that explains the median, begun anew a few times. Errors are relative, so 1 ms on 5 ms weighs as 1 s on 5 s; but where the quota throttles, a run's
//! place in the 20 ms period is not known, so a period is added to both before they are compared.
//! Why not linear least squares: where the quota decides, seconds jump by a period; a linear fit would spread that over the coefficients.
//! Reference: Nelder and Mead, "A simplex method for function minimization", 1965; Huber, "Robust estimation of a location parameter", 1964.

use argmin::core::{CostFunction, Error, Executor, State as _};
use argmin::solver::neldermead::NelderMead;
use gateway_contract::Mebibytes;
use nalgebra::DVector;

use super::{ModelProfile, ProfileError, ServiceWork};
use crate::lambda::{BatchShape, QUOTA_PERIOD_SECONDS, visible_cpus};

/// Beyond this error of the logarithm the loss grows linearly: one bad cell does not bend the others.
const HUBER_LN: f64 = 0.25;
/// Simplex runs; each begins at the last one's end.
const RUNS: usize = 6;
const ITERATIONS: u64 = 600;
/// Fewest places for a fit.
const MIN_CELLS: usize = 3;

/// One measured place: median seconds of its runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Memory.
    pub memory: Mebibytes,
    /// What ran.
    pub batch: BatchShape,
    /// Seconds of the handler.
    pub seconds: f64,
}

impl Cell {
    /// Whether the busy processes could use more CPU than the credit gives.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.memory.vcpus() < f64::from(self.batch.busy()) * (1.0 - 1e-6)
    }
}

/// How far a fit is from what was measured: |predicted / measured − 1|.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FitErrors {
    /// Places compared.
    pub count: usize,
    /// Median.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub worst: f64,
}

/// A profile that was fitted, with its residual error.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The profile.
    pub profile: ModelProfile,
    /// Errors over the places that it was fitted to.
    pub errors: FitErrors,
}

struct Loss<F>(F);

impl<F: Fn(&[f64]) -> f64> CostFunction for Loss<F> {
    type Param = DVector<f64>;
    type Output = f64;

    fn cost(&self, at: &DVector<f64>) -> Result<f64, Error> {
        let positive: Vec<f64> = at.iter().map(|ln| ln.exp()).collect();
        let loss = (self.0)(&positive);
        Ok(if loss.is_finite() { loss } else { f64::MAX })
    }
}

/// Positive numbers near `start` (all above 0) with the least loss.
pub(crate) fn minimise(start: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut best: Vec<f64> = start.iter().map(|value| value.ln()).collect();
    for run in 0..RUNS {
        let step = if run % 2 == 0 { 1.0 } else { -0.5 };
        let corner = |moved: usize| {
            DVector::from_iterator(
                best.len(),
                best.iter().enumerate().map(|(at, ln)| if at + 1 == moved { ln + step } else { *ln }),
            )
        };
        let Ok(solver) = NelderMead::new((0..=best.len()).map(corner).collect()).with_sd_tolerance(1e-12)
        else {
            break;
        };
        let found = Executor::new(Loss(&loss), solver).configure(|state| state.max_iters(ITERATIONS)).run();
        if let Ok(Some(param)) = found.map(|found| found.state.get_best_param().cloned()) {
            best = param.iter().copied().collect();
        }
    }
    best.iter().map(|ln| ln.exp()).collect()
}

/// Errors of pairs of predicted and measured.
#[must_use]
pub fn relative_errors(pairs: impl IntoIterator<Item = (f64, f64)>) -> FitErrors {
    let mut errors: Vec<f64> =
        pairs.into_iter().map(|(predicted, measured)| (predicted / measured - 1.0).abs()).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = ((errors.len() as f64 * share).ceil() as usize).max(1) - 1;
        errors.get(index).copied().unwrap_or(0.0)
    };
    FitErrors { count: errors.len(), median: at(0.5), p95: at(0.95), worst: at(1.0) }
}

/// Loss of one predicted value.
fn huber(predicted: f64, measured: f64) -> f64 {
    let error = (predicted / measured).ln().abs();
    if error <= HUBER_LN { error * error } else { 2.0 * HUBER_LN * error - HUBER_LN * HUBER_LN }
}

impl ServiceWork {
    /// Least squares over measured places. Work units are used where the cells have them, items otherwise; a share of threads is looked for only if asked.
    ///
    /// # Errors
    /// [`ProfileError::TooFew`].
    pub fn fit(cells: &[Cell], with_threads: bool) -> Result<Self, ProfileError> {
        if cells.len() < MIN_CELLS {
            return Err(ProfileError::TooFew { found: cells.len(), needed: MIN_CELLS });
        }
        let has_units = cells.iter().all(|cell| cell.batch.shard_padded_units > 0);
        let size = |cell: &Cell| match has_units {
            true => cell.batch.shard_padded_units as f64,
            false => f64::from(cell.batch.items),
        };
        let mut each: Vec<f64> =
            cells.iter().map(|cell| cell.seconds * cell.memory.vcpus().min(1.0) / size(cell)).collect();
        each.sort_unstable_by(f64::total_cmp);
        let shortest = cells.iter().map(|cell| cell.seconds).fold(f64::INFINITY, f64::min);
        let start = [0.05 * shortest, 0.3 * shortest, each[each.len() / 2], 0.3];
        let of = |values: &[f64]| Self {
            fixed_seconds: values[0],
            process_seconds: values[1],
            item_seconds: if has_units { 0.0 } else { values[2] },
            unit_seconds: if has_units { values[2] } else { 0.0 },
            thread_parallel_share: values.get(3).map_or(0.0, |share| share.min(1.0)),
            coefficient_of_variation: 0.0,
            is_quantised: true,
        };
        let loss = |values: &[f64]| {
            let work = of(values);
            let slack = |cell: &Cell| if cell.is_throttled() { QUOTA_PERIOD_SECONDS } else { 0.0 };
            let of = |cell: &Cell| huber(work.cell_seconds(cell) + slack(cell), cell.seconds + slack(cell));
            cells.iter().map(of).sum::<f64>()
        };
        Ok(of(&minimise(&start[..if with_threads { 4 } else { 3 }], loss)))
    }

    /// Mean seconds at a measured place.
    #[must_use]
    pub fn cell_seconds(&self, cell: &Cell) -> f64 {
        let work = self.work(&cell.batch, 1, visible_cpus(cell.memory));
        self.fixed_seconds + work.seconds(cell.memory, self.is_quantised)
    }

    /// Errors over measured places.
    #[must_use]
    pub fn errors(&self, cells: &[Cell]) -> FitErrors {
        relative_errors(cells.iter().map(|cell| (self.cell_seconds(cell), cell.seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_law_is_found_again() {
        let truth = ServiceWork {
            fixed_seconds: 0.002,
            process_seconds: 0.006,
            item_seconds: 0.0043,
            is_quantised: true,
            ..ServiceWork::default()
        };
        let mut cells = Vec::new();
        for memory in [512, 1024, 1769, 3538] {
            for items in [1, 4, 16, 32] {
                for process_count in [1, 2] {
                    let batch = BatchShape { items, process_count, ..BatchShape::default() };
                    let mut cell = Cell { memory: Mebibytes(memory), batch, seconds: 0.0 };
                    cell.seconds = truth.cell_seconds(&cell);
                    cells.push(cell);
                }
            }
        }
        let fitted = ServiceWork::fit(&cells, false).unwrap();
        assert!((fitted.item_seconds / truth.item_seconds - 1.0).abs() < 0.02, "{fitted:?}");
        let errors = fitted.errors(&cells);
        assert!(errors.median < 0.02 && errors.worst < 0.10, "{errors:?} {fitted:?}");
        // One wild cell among them changes little.
        cells[3].seconds *= 10.0;
        let robust = ServiceWork::fit(&cells, false).unwrap();
        assert!((robust.item_seconds / truth.item_seconds - 1.0).abs() < 0.05, "{robust:?}");
    }

    #[test]
    fn too_few_places_are_refused() {
        assert_eq!(ServiceWork::fit(&[], false), Err(ProfileError::TooFew { found: 0, needed: 3 }));
    }

    #[test]
    fn errors_are_relative_and_ranked() {
        let errors = relative_errors([(1.1, 1.0), (2.0, 2.0), (0.5, 1.0)]);
        assert!((errors.worst - 0.5).abs() < 1e-12 && (errors.median - 0.1).abs() < 1e-12);
    }
}

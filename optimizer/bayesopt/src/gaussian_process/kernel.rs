//! The Matérn-5/2 kernel with a length scale for each input (ARD), and friedrich's view of it with a noise for each
//! observation.
//!
//! *Why our own:* friedrich has no ARD kernel, and its container takes a single noise for all observations. Its
//! `Kernel` trait is wide enough for both: rows get two more columns, the noise variance and a tag. Two rows with the
//! same tag other than zero are the same observation, so their covariance includes the noise; a row with tag zero is
//! a question and has none.
//!
//! *Reference:* Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), equation 4.17.

use friedrich::SRowVector;
use friedrich::kernel::Kernel;
use nalgebra::storage::Storage;
use nalgebra::{Dyn, U1};

/// √5.
const SQRT_5: f64 = 2.236_067_977_499_79;

/// Correlation at a scaled squared distance: 1 at 0, falling to 0.
#[inline]
pub(crate) fn correlation(squared_distance: f64) -> f64 {
    let s = SQRT_5 * squared_distance.sqrt();
    (1.0 + s + s * s / 3.0) * (-s).exp()
}

/// Minus twice the derivative of [`correlation`] by the squared distance. Times z² it is the derivative by the
/// logarithm of a length scale, z being the scaled difference in that coordinate.
#[inline]
pub(crate) fn correlation_slope(squared_distance: f64) -> f64 {
    let s = SQRT_5 * squared_distance.sqrt();
    5.0 / 3.0 * (1.0 + s) * (-s).exp()
}

/// friedrich's kernel over rows `[x₁ … x_d, noise variance, tag]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct NoisyArdMatern52 {
    pub(crate) signal_variance: f64,
    pub(crate) inverse_length_scales: Vec<f64>,
}

impl NoisyArdMatern52 {
    /// A row for an observation; `tag` must be its own and positive.
    pub(crate) fn observation_row(at: &[f64], noise_variance: f64, tag: f64) -> Vec<f64> {
        let mut row = at.to_vec();
        row.extend([noise_variance, tag]);
        row
    }

    /// A row for a question.
    pub(crate) fn question_row(at: &[f64]) -> Vec<f64> {
        Self::observation_row(at, 0.0, 0.0)
    }

    fn squared_distance<S1, S2>(&self, a: &SRowVector<S1>, b: &SRowVector<S2>) -> f64
    where
        S1: Storage<f64, U1, Dyn>,
        S2: Storage<f64, U1, Dyn>,
    {
        let scaled = |(coordinate, scale): (usize, &f64)| (a[coordinate] - b[coordinate]) * scale;
        self.inverse_length_scales.iter().enumerate().map(scaled).map(|z| z * z).sum()
    }
}

impl Kernel for NoisyArdMatern52 {
    fn nb_parameters(&self) -> usize {
        1 + self.inverse_length_scales.len()
    }

    fn kernel<S1: Storage<f64, U1, Dyn>, S2: Storage<f64, U1, Dyn>>(
        &self,
        a: &SRowVector<S1>,
        b: &SRowVector<S2>,
    ) -> f64 {
        let latent = self.signal_variance * correlation(self.squared_distance(a, b));
        let (noise, tag) = (self.inverse_length_scales.len(), self.inverse_length_scales.len() + 1);
        if a[tag] > 0.0 && a[tag].total_cmp(&b[tag]).is_eq() { latent + a[noise] } else { latent }
    }

    fn gradient<S1: Storage<f64, U1, Dyn>, S2: Storage<f64, U1, Dyn>>(
        &self,
        a: &SRowVector<S1>,
        b: &SRowVector<S2>,
    ) -> Vec<f64> {
        // By the logarithm of the variance, then by the logarithm of each inverse length scale.
        let squared_distance = self.squared_distance(a, b);
        let slope = -self.signal_variance * correlation_slope(squared_distance);
        let mut gradient = vec![self.signal_variance * correlation(squared_distance)];
        gradient.extend(self.inverse_length_scales.iter().enumerate().map(|(coordinate, scale)| {
            let z = (a[coordinate] - b[coordinate]) * scale;
            slope * z * z
        }));
        gradient
    }

    fn get_parameters(&self) -> Vec<f64> {
        let mut parameters = vec![self.signal_variance.ln()];
        parameters.extend(self.inverse_length_scales.iter().map(|scale| scale.ln()));
        parameters
    }

    fn set_parameters(&mut self, parameters: &[f64]) {
        if let Some((signal, scales)) = parameters.split_first() {
            self.signal_variance = signal.exp();
            self.inverse_length_scales = scales.iter().map(|scale| scale.exp()).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::RowDVector;

    fn row(values: &[f64]) -> RowDVector<f64> {
        RowDVector::from_row_slice(values)
    }

    #[test]
    fn gradient_meets_finite_differences() {
        let kernel = NoisyArdMatern52 { signal_variance: 1.7, inverse_length_scales: vec![1.3, 0.4] };
        let (a, b) = (row(&[0.1, 0.9, 0.0, 0.0]), row(&[0.6, 0.2, 0.0, 0.0]));
        let parameters = kernel.get_parameters();
        for (index, analytic) in kernel.gradient(&a, &b).into_iter().enumerate() {
            let at = |shift: f64| {
                let mut moved = parameters.clone();
                moved[index] += shift;
                let mut kernel = kernel.clone();
                kernel.set_parameters(&moved);
                kernel.kernel(&a, &b)
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((analytic - numeric).abs() < 1e-8, "{index}: {analytic} {numeric}");
        }
    }

    #[test]
    fn noise_belongs_to_one_observation_only() {
        let kernel = NoisyArdMatern52 { signal_variance: 2.0, inverse_length_scales: vec![1.0] };
        let observation = |tag| row(&NoisyArdMatern52::observation_row(&[0.5], 0.3, tag));
        let question = row(&NoisyArdMatern52::question_row(&[0.5]));
        assert!((kernel.kernel(&observation(1.0), &observation(1.0)) - 2.3).abs() < 1e-15);
        assert!((kernel.kernel(&observation(1.0), &observation(2.0)) - 2.0).abs() < 1e-15);
        assert!((kernel.kernel(&question, &question) - 2.0).abs() < 1e-15);
    }
}

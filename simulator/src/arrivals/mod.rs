//! Arrival processes: one file per process, behind one trait.

mod combined;
mod counts;
mod error;
mod gamma_windows;
mod items;
mod map;
mod mmpp;
mod renewal;
mod sizes;
pub mod spec;
mod trace;
mod trace_arrivals;
mod trace_text;
mod workload;

pub use combined::{BoxedArrivals, Merge, Splice, Times};
pub use counts::Counts;
pub use error::ArrivalError;
use error::above_zero;
pub use gamma_windows::GammaWindows;
pub use items::ItemsSampler;
pub use map::Map;
pub use mmpp::Mmpp2;
pub use renewal::GammaRenewal;
pub use sizes::{RequestSize, SizeLaw, SizeSampler};
pub use trace::{StepLaw, Trace};
pub use trace_arrivals::TraceArrivals;
pub use trace_text::{parse_counts, parse_times};
pub use workload::Shape;

use crate::random::Random;

/// A source of requests in virtual time.
pub trait ArrivalProcess {
    /// Seconds since the start of the next request, never descending; `None`: no more come.
    fn next(&mut self, random: &mut Random) -> Option<f64>;
}

/// Poisson arrivals.
#[derive(Clone, Debug)]
pub struct Poisson {
    rate: f64,
    at: f64,
}

impl Poisson {
    /// Arrivals at this rate per second.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self { rate, at: 0.0 }
    }
}

impl ArrivalProcess for Poisson {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        self.at += random.exponential(self.rate);
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and index of dispersion of the counts in windows of `seconds`.
    pub(super) fn dispersion(process: &mut dyn ArrivalProcess, seconds: f64, windows: usize) -> (f64, f64) {
        let mut random = Random::new(3);
        let mut counts = vec![0.0; windows];
        while let Some(at) = process.next(&mut random) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small window number"
            )]
            match counts.get_mut((at / seconds) as usize) {
                Some(count) => *count += 1.0,
                None => break,
            }
        }
        let mean = counts.iter().sum::<f64>() / windows as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / windows as f64;
        (mean, variance / mean)
    }

    #[test]
    fn poisson_counts_have_dispersion_one() {
        let (mean, index) = dispersion(&mut Poisson::new(8.0), 1.0, 50_000);
        assert!((mean / 8.0 - 1.0).abs() < 0.01 && (index - 1.0).abs() < 0.03, "{mean} {index}");
    }

    #[test]
    fn gamma_windows_have_the_asked_dispersion_at_their_length() {
        for (rate, asked) in [(1.0, 3.0), (20.0, 10.0), (300.0, 3.0)] {
            let (mean, index) = dispersion(&mut GammaWindows::new(rate, asked, 1.0), 1.0, 20_000);
            assert!((mean / rate - 1.0).abs() < 0.05 && (index / asked - 1.0).abs() < 0.1, "{mean} {index}");
        }
    }

    #[test]
    fn a_switching_rate_has_its_mean_and_exceeds_poisson() {
        let mut process = Mmpp2::new([5.0, 50.0], [4.0, 1.0]);
        let (mean, index) = dispersion(&mut process, 1.0, 50_000);
        assert!((mean / 14.0 - 1.0).abs() < 0.05 && index > 5.0, "{mean} {index}");
    }

    #[test]
    fn renewals_tend_to_the_square_of_their_variation() {
        for cv in [0.5, 2.0] {
            let (mean, index) = dispersion(&mut GammaRenewal::new(10.0, cv), 50.0, 4_000);
            assert!(
                (mean / 500.0 - 1.0).abs() < 0.02 && (index / (cv * cv) - 1.0).abs() < 0.15,
                "{mean} {index}"
            );
        }
    }

    #[test]
    fn counts_are_kept_and_ascend() {
        let mut process = Counts::new(vec![3, 0, 5], 60.0);
        let mut random = Random::new(1);
        let times: Vec<f64> = std::iter::from_fn(|| process.next(&mut random)).collect();
        assert_eq!(times.len(), 8);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(times.iter().filter(|&&at| at < 60.0).count(), 3);
        assert!(times[3] >= 120.0 && times[7] < 180.0);
    }
}

//! When enough was measured: the confidence interval of the mean.
//!
//! *Rule*: stop when the 95 % interval of Student's t around the mean is narrower, end to end, than a share of the mean. *Why not a fixed
//! number*: a quiet point needs few invocations, and the time is better spent on noisy ones. *Bounds*: at least five invocations, so that a
//! lucky pair does not end it, and the caller's own number at most. Looking after each invocation makes the true confidence somewhat less
//! than 95 %; the records are kept, so whoever uses them can form an interval of their own.
//! *Reference* for the quantile: Hill's expansion, Abramowitz and Stegun 26.7.5.

/// Fewest invocations that can end a point.
pub(crate) const FEWEST: usize = 5;

/// Width of the 95 % confidence interval of the mean over the mean; infinite for fewer than two values or a mean of zero.
#[must_use]
pub fn relative_width(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 || mean <= 0.0 {
        return f64::INFINITY;
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    2.0 * student_t(count - 1.0) * (variance / count).sqrt() / mean
}

/// 97.5 % quantile of Student's t.
fn student_t(freedom: f64) -> f64 {
    if freedom < 3.0 {
        // The expansion is poor here; these are exact.
        return if freedom < 2.0 { 12.706 } else { 4.303 };
    }
    let z: f64 = 1.959_964;
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z)
            / 92_160.0,
    ];
    let mut power = 1.0;
    terms.iter().fold(z, |sum, term| {
        power *= freedom;
        sum + term / power
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, expected) in
            [(1.0, 12.706), (3.0, 3.182), (4.0, 2.776), (9.0, 2.262), (19.0, 2.093), (120.0, 1.980)]
        {
            assert!((student_t(freedom) - expected).abs() < 0.005, "{freedom}: {}", student_t(freedom));
        }
    }

    #[test]
    fn the_interval_is_that_of_a_worked_example() {
        // Mean 10, standard deviation 1, n = 5: 2 × 2.776 / √5 / 10.
        let values = [10.0 - 1.264_911, 10.0 - 0.632_456, 10.0, 10.0 + 0.632_456, 10.0 + 1.264_911];
        assert!((relative_width(&values) - 0.2483).abs() < 0.001, "{}", relative_width(&values));
        assert!(relative_width(&[1.0]).is_infinite());
        assert!(relative_width(&[3.0; 5]) < 1e-12);
    }
}

//! The law of counts that every detector of this crate tests against: negative binomial with a fixed index of
//! dispersion, Poisson at dispersion 1.
//!
//! *Parametrisation.* A count with mean μ and index of dispersion φ = variance / mean has shape r = μ / (φ − 1) and
//! success probability 1 / φ. When μ changes and φ stays, the factor that depends on the count alone cancels, and the
//! log-likelihood ratio is lnΓ(x + r₁) − lnΓ(r₁) − lnΓ(x + r₀) + lnΓ(r₀) − (r₁ − r₀) ln φ.
//!
//! *Why the index and not the shape stays.* Thinning or adding independent streams of the same kind keeps φ and scales
//! μ, which is what a load change does; a constant shape would make the noise grow with the square of the load.
//!
//! Deliberately absent: learning of μ and φ (see `regime`), sampling (the bench has its own), and counts above
//! [`COUNT_CEILING`], which are cut there because lnΓ has no digits left for their differences.
//!
//! Reference: J. Hilbe, *Negative Binomial Regression*, 2nd ed. 2011, §8 (the "NB1" form, variance linear in the mean).

use libm::lgamma;

/// Counts above this are taken as this: 10¹², far above any arrivals in a window, and where lnΓ still has three digits
/// after the point.
pub const COUNT_CEILING: f64 = 1e12;

/// Below this index of dispersion the Poisson limit is used: the shape would be too large for differences of lnΓ.
const POISSON_BELOW: f64 = 1.02;

/// A count as a float, cut at [`COUNT_CEILING`].
#[must_use]
pub fn count_to_f64(count: u64) -> f64 {
    (count as f64).min(COUNT_CEILING)
}

/// Log-likelihood of `count` under mean `mean` (arrivals per window, above 0) and index of dispersion `dispersion`
/// (at least 1), without the term −lnΓ(count + 1), which is the same under every mean and dispersion.
#[must_use]
pub fn ln_likelihood(count: f64, mean: f64, dispersion: f64) -> f64 {
    if dispersion < POISSON_BELOW {
        return count * mean.ln() - mean;
    }
    let shape = mean / (dispersion - 1.0);
    lgamma(count + shape) - lgamma(shape) - shape * dispersion.ln() + count * (1.0 - 1.0 / dispersion).ln()
}

/// Log-likelihood ratio of mean `after` against mean `before` (both above 0) for one `count` at index of dispersion
/// `dispersion` (at least 1).
#[must_use]
pub fn ln_ratio(count: f64, before: f64, after: f64, dispersion: f64) -> f64 {
    if dispersion < POISSON_BELOW {
        return count * (after / before).ln() - (after - before);
    }
    let (old, new) = (before / (dispersion - 1.0), after / (dispersion - 1.0));
    lgamma(count + new) - lgamma(new) - lgamma(count + old) + lgamma(old) - (new - old) * dispersion.ln()
}

/// Kullback–Leibler divergence in nats of one window, KL(`after` ‖ `before`), for means above 0 at one index of
/// dispersion (at least 1), summed over the support until less than 10⁻¹³ of the mass is left.
///
/// ln(N) / KL is the delay below which no detector with one false alarm in N windows can go, asymptotically
/// (G. Lorden, *Annals of Mathematical Statistics* 42, 1971).
#[must_use]
pub fn divergence(before: f64, after: f64, dispersion: f64) -> f64 {
    let ceiling = after + 60.0 * (dispersion * after).sqrt() + 60.0 * dispersion;
    let (mut sum, mut mass, mut count) = (0.0, 0.0, 0.0);
    while count < ceiling && (mass < 1.0 - 1e-13 || count < after) {
        let weight = (ln_likelihood(count, after, dispersion) - lgamma(count + 1.0)).exp();
        sum += weight * ln_ratio(count, before, after, dispersion);
        mass += weight;
        count += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_sums_to_one() {
        for (mean, dispersion) in [(5.0, 1.0), (20.0, 2.0), (5.0, 27.0)] {
            let mass: f64 = (0..4000)
                .map(f64::from)
                .map(|x| (ln_likelihood(x, mean, dispersion) - lgamma(x + 1.0)).exp())
                .sum();
            assert!((mass - 1.0).abs() < 1e-9, "mean {mean} dispersion {dispersion}: {mass}");
        }
    }

    #[test]
    fn ratio_is_the_difference_of_likelihoods() {
        for dispersion in [1.0, 1.5, 5.0, 27.0] {
            for count in [0.0, 3.0, 40.0, 900.0] {
                let direct = ln_likelihood(count, 30.0, dispersion) - ln_likelihood(count, 20.0, dispersion);
                assert!((ln_ratio(count, 20.0, 30.0, dispersion) - direct).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn divergence_at_dispersion_one_is_the_closed_form_of_poisson() {
        let closed = 30.0 * (1.5_f64).ln() - 10.0;
        assert!((divergence(20.0, 30.0, 1.0) - closed).abs() < 1e-8);
    }

    #[test]
    fn largest_count_gives_finite_ratios() {
        let count = count_to_f64(u64::MAX);
        for dispersion in [1.0, 27.0] {
            assert!(ln_ratio(count, 0.05, 1e12, dispersion).is_finite());
            assert!(ln_ratio(count, 1e12, 0.05, dispersion).is_finite());
        }
    }
}

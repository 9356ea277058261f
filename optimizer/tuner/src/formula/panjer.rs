//! How many items come within a time: moments of the requests while the rate may change, and the law that has them.
//!
//! Rule: given the rate at the start, ∫Λ has a mean and a variance in closed form (a rate that lasts to the end of its window) or by a
//! linear differential equation (a rate that fades). Poisson requests with that much extra variance are taken as negative
//! binomial; with items per request the law is compound, and Panjer's recursion fills it without special functions.
//! Reference: Panjer, "Recursive evaluation of a family of compound distributions", 1981.

/// Below this a tail counts as zero.
pub(crate) const NEGLIGIBLE: f64 = 1e-9;
/// Weights are scaled down when one exceeds this.
const RESCALE: f64 = 1e200;

/// Conditional mean and extra variance (beyond Poisson) of the requests within a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) extra: f64,
}

/// The rate lasts until the end of its window, in which the start falls anywhere.
pub(crate) fn window_moments(t: f64, window: f64, mean: f64, gap: f64, variance: f64) -> Moments {
    if t <= window {
        let kept = t - t * t / (2.0 * window);
        let kept_square = t * t - 2.0 * t * t * t / (3.0 * window);
        let fresh = variance * t * t * t / (3.0 * window);
        return Moments {
            mean: mean * t + gap * kept,
            extra: fresh + gap * gap * (kept_square - kept * kept),
        };
    }
    const PHASES: u32 = 32;
    let fresh: f64 = (0..PHASES)
        .map(|phase| {
            let rest = t - window * (f64::from(phase) + 0.5) / f64::from(PHASES);
            let whole = (rest / window).floor();
            let part = rest - whole * window;
            whole * window * window + part * part
        })
        .sum::<f64>()
        / f64::from(PHASES);
    Moments {
        mean: mean * t + gap * window / 2.0,
        extra: variance * fresh + gap * gap * window * window / 12.0,
    }
}

/// The rate lasts for an exponential time. The variance V of ∫Λ obeys V′ = 2c, c′ = Var Λ − c/memory, c its covariance with Λ.
pub(crate) fn fading_moments(
    times: impl Iterator<Item = f64>,
    memory: f64,
    mean: f64,
    gap: f64,
    variance: f64,
) -> Vec<Moments> {
    const SUBSTEPS: u32 = 4;
    let (mut at, mut extra, mut covariance) = (0.0_f64, 0.0, 0.0);
    let mut moments = Vec::new();
    for t in times {
        let step = (t - at) / f64::from(SUBSTEPS);
        for _ in 0..SUBSTEPS {
            let kept = (-(at + step / 2.0) / memory).exp();
            let rate_variance = (1.0 - kept) * (variance + kept * gap * gap);
            let decay = (-step / memory).exp();
            let next = covariance * decay + rate_variance * memory * (1.0 - decay);
            extra += (covariance + next) * step;
            covariance = next;
            at += step;
        }
        moments.push(Moments { mean: mean * t - gap * memory * (-t / memory).exp_m1(), extra });
    }
    moments
}

/// Probabilities of 0, 1, … items of a compound Poisson or negative binomial count, as many as matter. Gives how many.
pub(crate) fn panjer(moments: Moments, items: &[f64], pmf: &mut [f64]) -> usize {
    let mean = moments.mean.max(0.0);
    if mean < 1e-12 {
        pmf[0] = 1.0;
        return 1;
    }
    // p(n) = Σₖ (a + b·k/n)·q(k)·p(n−k); Poisson: a = 0, b = mean.
    let ratio = moments.extra / mean;
    let is_poisson = ratio < 1e-4;
    let (a, b, ln_first) = if is_poisson {
        (0.0, mean, -mean)
    } else {
        let shape = mean / ratio;
        let a = ratio / (1.0 + ratio);
        (a, (shape - 1.0) * a, -shape * ratio.ln_1p())
    };
    let (mut ln_scale, mut scale) = (ln_first, ln_first.exp());
    let mean_items: f64 = items.iter().enumerate().map(|(at, q)| (at + 1) as f64 * q).sum();
    let beyond = mean * mean_items;
    pmf[0] = 1.0;
    let mut total = 0.0;
    for n in 1..pmf.len() {
        let inverse = 1.0 / n as f64;
        let reach = items.len().min(n);
        let next: f64 = if reach == 1 && items.len() == 1 {
            (a + b * inverse) * pmf[n - 1]
        } else {
            (1..=reach).map(|k| (a + b * k as f64 * inverse) * items[k - 1] * pmf[n - k]).sum()
        };
        pmf[n] = next;
        if next > RESCALE {
            pmf[..=n].iter_mut().for_each(|p| *p /= RESCALE);
            ln_scale += RESCALE.ln();
            scale = ln_scale.exp();
            total = 0.0;
        }
        if n as f64 > beyond {
            total += pmf[n] * scale;
            if pmf[n] * scale * (n as f64) < 0.01 * NEGLIGIBLE && total > 0.0 {
                pmf[..=n].iter_mut().for_each(|p| *p *= scale);
                return n + 1;
            }
        }
    }
    pmf.iter_mut().for_each(|p| *p *= scale);
    pmf.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_far_beyond_the_table_is_certain() {
        let mut pmf = vec![0.0; 64];
        let counted = panjer(Moments { mean: 5_000.0, extra: 100.0 }, &[1.0], &mut pmf);
        assert_eq!(counted, 64);
        assert!(pmf.iter().sum::<f64>() < 1e-12);
        let mut pmf = vec![0.0; 3_000];
        panjer(Moments { mean: 1_000.0, extra: 0.0 }, &[1.0], &mut pmf);
        let mean: f64 = pmf.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((mean - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn negative_binomial_counts_have_the_asked_moments() {
        let mut pmf = vec![0.0; 2_000];
        panjer(Moments { mean: 20.0, extra: 60.0 }, &[0.5, 0.5], &mut pmf);
        let moment =
            |power: i32| pmf.iter().enumerate().map(|(n, p)| p * (n as f64).powi(power)).sum::<f64>();
        assert!((moment(1) - 30.0).abs() < 1e-4);
        // Var = E[N]·Var K + Var N·E[K]²
        assert!((moment(2) - moment(1).powi(2) - (20.0 * 0.25 + 80.0 * 2.25)).abs() < 1e-2);
    }

    #[test]
    fn a_window_and_a_fading_rate_agree_while_the_rate_lasts() {
        let window = window_moments(0.001, 1.0, 10.0, 5.0, 20.0);
        let fading = fading_moments([0.0, 0.001].into_iter(), 1.0, 10.0, 5.0, 20.0)[1];
        assert!((window.mean - fading.mean).abs() < 1e-9 && (window.extra - fading.extra).abs() < 1e-9);
    }

    #[test]
    fn the_window_variance_is_continuous_at_its_length() {
        let (before, after) = (
            window_moments(0.999_999, 1.0, 10.0, 5.0, 20.0),
            window_moments(1.000_001, 1.0, 10.0, 5.0, 20.0),
        );
        assert!((before.mean - after.mean).abs() < 1e-4 && (before.extra / after.extra - 1.0).abs() < 2e-3);
    }
}

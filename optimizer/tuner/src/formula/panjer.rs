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
#[derive(Clone, Copy, Debug, Default)]
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

/// One count's recursion: p(n) = Σₖ (a + b·k/n)·q(k)·p(n−k), p(0) = exp(ln_first). Poisson: a = 0, b = mean.
struct Recursion {
    a: f64,
    b: f64,
    ln_first: f64,
}

impl Recursion {
    fn new(moments: Moments) -> Self {
        let mean = moments.mean.max(0.0);
        let ratio = moments.extra / mean.max(1e-12);
        if ratio < 1e-4 || mean < 1e-12 {
            return Self { a: 0.0, b: mean, ln_first: -mean };
        }
        let shape = mean / ratio;
        let a = ratio / (1.0 + ratio);
        Self { a, b: (shape - 1.0) * a, ln_first: -shape * ratio.ln_1p() }
    }
}

/// Probabilities of 0, 1, … items of compound Poisson or negative binomial counts, several side by side, as many rows as matter to any.
/// Gives how many. `sizes`: items per request with their probabilities, ascending.
pub(crate) fn panjer<const LANES: usize>(
    moments: [Moments; LANES],
    sizes: &[(usize, f64)],
    pmf: &mut [[f64; LANES]],
) -> usize {
    let recursions = moments.map(Recursion::new);
    let (a, b): ([f64; LANES], [f64; LANES]) =
        (std::array::from_fn(|lane| recursions[lane].a), std::array::from_fn(|lane| recursions[lane].b));
    let mut ln_scale: [f64; LANES] = std::array::from_fn(|lane| recursions[lane].ln_first);
    let mut scale = ln_scale.map(f64::exp);
    let mean_size = sizes.iter().map(|&(k, q)| k as f64 * q).sum::<f64>();
    let beyond = moments.iter().map(|moment| moment.mean * mean_size).fold(0.0, f64::max);
    let largest = sizes.last().map_or(1, |size| size.0);
    // So many counts in a row that do not matter; requests of one size leave gaps.
    let mut quiet = 0;
    let mut used = pmf.len();
    pmf[0] = [1.0; LANES];
    for n in 1..pmf.len() {
        let inverse = 1.0 / n as f64;
        let mut next = [0.0_f64; LANES];
        for &(k, q) in sizes.iter().take_while(|size| size.0 <= n) {
            let (before, step) = (&pmf[n - k], k as f64 * inverse);
            for lane in 0..LANES {
                next[lane] += (a[lane] + b[lane] * step) * (q * before[lane]);
            }
        }
        pmf[n] = next;
        for lane in 0..LANES {
            if next[lane] > RESCALE {
                pmf[..=n].iter_mut().for_each(|row| row[lane] /= RESCALE);
                ln_scale[lane] += RESCALE.ln();
                scale[lane] = ln_scale[lane].exp();
            }
        }
        if n as f64 > beyond {
            let heaviest = (0..LANES).map(|lane| pmf[n][lane] * scale[lane]).fold(0.0, f64::max);
            quiet = if heaviest * n as f64 >= 0.01 * NEGLIGIBLE { 0 } else { quiet + 1 };
            if quiet >= largest {
                used = n + 1;
                break;
            }
        }
    }
    for row in &mut pmf[..used] {
        for lane in 0..LANES {
            row[lane] *= scale[lane];
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(moments: Moments, sizes: &[(usize, f64)], length: usize) -> Vec<f64> {
        let mut rows = vec![[0.0]; length];
        let used = panjer([moments], sizes, &mut rows);
        rows[..used].iter().map(|row| row[0]).collect()
    }

    #[test]
    fn a_count_far_beyond_the_table_is_certain() {
        let pmf = one(Moments { mean: 5_000.0, extra: 100.0 }, &[(1, 1.0)], 64);
        assert_eq!(pmf.len(), 64);
        assert!(pmf.iter().sum::<f64>() < 1e-12);
        let pmf = one(Moments { mean: 1_000.0, extra: 0.0 }, &[(1, 1.0)], 3_000);
        let mean: f64 = pmf.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((mean - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn negative_binomial_counts_have_the_asked_moments() {
        let pmf = one(Moments { mean: 20.0, extra: 60.0 }, &[(1, 0.5), (2, 0.5)], 2_000);
        let moment =
            |power: i32| pmf.iter().enumerate().map(|(n, p)| p * (n as f64).powi(power)).sum::<f64>();
        assert!((moment(1) - 30.0).abs() < 1e-4);
        // Var = E[N]·Var K + Var N·E[K]²
        assert!((moment(2) - moment(1).powi(2) - (20.0 * 0.25 + 80.0 * 2.25)).abs() < 1e-2);
    }

    #[test]
    fn requests_of_one_size_leave_gaps_between_counts() {
        let pmf = one(Moments { mean: 2.0, extra: 0.0 }, &[(3, 1.0)], 64);
        assert!((pmf.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((pmf[9] - (-2.0_f64).exp() * 8.0 / 6.0).abs() < 1e-12 && pmf[10] == 0.0);
    }

    #[test]
    fn counts_side_by_side_are_those_of_each() {
        let moments = [(0.0, 0.0), (3.0, 0.0), (900.0, 2_000.0), (40.0, 5.0)];
        let moments = moments.map(|(mean, extra)| Moments { mean, extra });
        let sizes = [(1, 0.7), (4, 0.3)];
        let mut rows = vec![[0.0; 4]; 300];
        let used = panjer(moments, &sizes, &mut rows);
        for (lane, moment) in moments.into_iter().enumerate() {
            for (n, p) in one(moment, &sizes, 300).iter().enumerate() {
                let beside = if n < used { rows[n][lane] } else { 0.0 };
                assert!((p - beside).abs() < 1e-12, "{lane} {n}: {p} {beside}");
            }
        }
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

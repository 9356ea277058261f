//! How many environments a function size needs, and how often one more has to be started.
//!
//! Problem: each size has environments of its own, which Lambda takes away when they were idle for long. What a plan starts anew, and pays INIT for,
//! depends on how its invocations overlap, size by size: three sizes that share the traffic start more than one that has all of it.
//!
//! Rule. Lambda gives an invocation to the environment that was idle for the shortest time, so the k-th environment works exactly while k or more
//! invocations run. It is cold if they have not been so many for the keep-alive T. The number N in flight rises to k as often as it falls
//! from it, ν(k) = k·P(N = k)/S times a second, S the mean seconds in flight; the gaps are taken as exponential. So
//!
//! ```text
//! starts per second = Σ ν(k)·exp(−ν(k)·T)        environments kept = Σ 1 − exp(−ν(k)·T)        k above the mode of N
//! ```
//!
//! N has mean a = λS and variance z·a: binomial for z < 1 (a batch gathers after another has left, so departures are more even than Poisson's), Poisson for
//! z = 1, negative binomial above (a rate that varies). Below the mode environments are hardly ever idle.
//! Why not a share of cold invocations as measured: it is the share of the plan that was measured, and of the growth of the load.
//! Deliberately absent: a load that grows, whose new environments every plan pays for; INIT's own time in flight.
//! Reference: Ross, "Stochastic Processes", 1996, for rates up and down; Klugman, Panjer and Willmot, "Loss Models", for the three laws in one.

use super::counts::ArrivalTable;
use super::fill::FillLaw;

/// What is smaller than the mode's probability by this factor is left out.
const NEGLIGIBLE: f64 = 1e-9;

/// How evenly the batches of a plan leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evenness {
    /// Squared coefficient of variation of the time between batches.
    interval_cv2: f64,
    /// Squared coefficient of variation of the rate.
    rate_cv2: f64,
}

impl Evenness {
    /// Of the batches of `fill`.
    #[must_use]
    pub fn new(table: &ArrivalTable, fill: &FillLaw) -> Self {
        let (mut mean, mut squared, mut interval, mut idle) = (0.0, 0.0, 0.0, 0.0);
        if fill.groups.is_empty() {
            for node in &table.nodes {
                mean += node.time_share * node.rate;
                squared += node.time_share * node.rate * node.rate;
            }
            (interval, idle) = (1.0, 1.0);
        }
        for group in &fill.groups {
            let node = table.nodes[group.node];
            let rate = group.share * fill.batches_per_second / node.time_share.max(1e-12);
            mean += node.time_share * rate;
            squared += node.time_share * rate * rate;
            let between = group.idle_seconds(node.rate);
            interval += group.share * (group.gather_seconds + between);
            idle += group.share * between;
        }
        Self {
            interval_cv2: (idle / interval.max(1e-12)).powi(2).min(1.0),
            rate_cv2: (squared / (mean * mean).max(1e-300) - 1.0).max(0.0),
        }
    }
}

/// Environments of one size under one load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fleet {
    /// Environments that stay.
    pub kept: f64,
    /// Cold starts per second.
    pub starts_per_second: f64,
}

impl Fleet {
    /// Of `share` of the batches (0 to 1), `batches_per_second` of them, each `seconds` in flight; what is idle is kept for `keep_alive_seconds`.
    #[must_use]
    pub fn new(
        evenness: Evenness,
        share: f64,
        batches_per_second: f64,
        seconds: f64,
        keep_alive_seconds: f64,
    ) -> Self {
        let mean = batches_per_second * seconds;
        if !(mean > 1e-12 && mean.is_finite()) {
            return Self::default();
        }
        // A thinned stream is nearer to Poisson's.
        let even = 1.0 - share * (1.0 - evenness.interval_cv2);
        let z = (even + mean * evenness.rate_cv2).max(1e-3);
        let ratio = ratio(mean, z);
        let mut mode = 0.0_f64;
        if mean > 1.0 {
            mode = (mean - 1.0).floor();
            while ratio(mode + 1.0) >= 1.0 {
                mode += 1.0;
            }
        }
        let total = 1.0 + above(mode, &ratio) + below(mode, &ratio);
        let mut fleet = Self { kept: mode, starts_per_second: 0.0 };
        let (mut level, mut weight) = (mode, 1.0);
        loop {
            level += 1.0;
            weight *= ratio(level);
            if weight < NEGLIGIBLE {
                return fleet;
            }
            let rises = level * weight / total / seconds;
            let stays_cold = (-rises * keep_alive_seconds).exp();
            fleet.kept += 1.0 - stays_cold;
            fleet.starts_per_second += rises * stays_cold;
        }
    }
}

/// P(N = k) over P(N = k − 1).
fn ratio(mean: f64, z: f64) -> impl Fn(f64) -> f64 {
    let (alpha, beta) = if z < 1.0 {
        // A binomial law has a whole number of trials.
        let trials = (mean / (1.0 - z)).ceil().max(1.0);
        let odds = (mean / trials).min(0.999) / (1.0 - (mean / trials).min(0.999));
        (-odds, (trials + 1.0) * odds)
    } else {
        let alpha = 1.0 - 1.0 / z;
        (alpha, mean * (1.0 - alpha) - alpha)
    };
    move |k| (alpha + beta / k).max(0.0)
}

/// Sum of the probabilities above a level, its own taken as 1.
fn above(level: f64, ratio: &impl Fn(f64) -> f64) -> f64 {
    let (mut k, mut weight, mut sum) = (level, 1.0, 0.0);
    loop {
        k += 1.0;
        weight *= ratio(k);
        sum += weight;
        if weight < NEGLIGIBLE {
            return sum;
        }
    }
}

fn below(level: f64, ratio: &impl Fn(f64) -> f64) -> f64 {
    let (mut k, mut weight, mut sum) = (level, 1.0, 0.0);
    while k >= 1.0 && weight > NEGLIGIBLE {
        weight /= ratio(k).max(1e-300);
        sum += weight;
        k -= 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const POISSON: Evenness = Evenness { interval_cv2: 1.0, rate_cv2: 0.0 };

    #[test]
    fn rare_batches_each_start_one() {
        let fleet = Fleet::new(POISSON, 1.0, 1e-5, 0.1, 300.0);
        assert!((fleet.starts_per_second / 1e-5 - 1.0).abs() < 0.01, "{fleet:?}");
        assert!(fleet.kept < 0.01);
    }

    #[test]
    fn sizes_that_share_the_traffic_start_more_than_one_that_has_all() {
        let whole = Fleet::new(POISSON, 1.0, 20.0, 0.2, 300.0);
        let part = Fleet::new(POISSON, 0.25, 5.0, 0.2, 300.0);
        assert!(4.0 * part.starts_per_second > 2.0 * whole.starts_per_second, "{whole:?} {part:?}");
        assert!(whole.kept > 8.0 && whole.kept < 20.0 && 4.0 * part.kept > whole.kept);
    }

    #[test]
    fn even_batches_need_fewer_and_a_varying_rate_more() {
        let kept = |interval_cv2, rate_cv2| {
            Fleet::new(Evenness { interval_cv2, rate_cv2 }, 1.0, 30.0, 0.2, 300.0).kept
        };
        assert!(kept(0.2, 0.0) < kept(1.0, 0.0) && kept(1.0, 0.0) < kept(1.0, 0.3));
    }

    #[test]
    fn any_load_gives_finite_numbers() {
        for batches in [0.0, 1e-9, 0.3, 7.0, 5e3, 1e5] {
            for seconds in [1e-4, 0.2, 30.0] {
                for cv2 in [0.0, 0.5, 1.0] {
                    let evenness = Evenness { interval_cv2: cv2, rate_cv2: 1.0 - cv2 };
                    let fleet = Fleet::new(evenness, 1.0, batches, seconds, 300.0);
                    assert!(fleet.kept.is_finite() && fleet.starts_per_second.is_finite(), "{fleet:?}");
                    assert!(fleet.kept >= 0.0 && fleet.starts_per_second >= 0.0);
                }
            }
        }
    }
}

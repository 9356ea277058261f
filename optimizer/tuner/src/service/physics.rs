//! The shape of the service time that Lambda's CPU share dictates: the mean of the Gaussian process.
//!
//! *Problem:* a process with a constant mean must visit every memory size and process count to know them.
//! *Rule:* with n items of which the largest shard has n₁ with u padded units, k = min(n, p) busy processes and a credit of V vCPUs,
//!
//! ```text
//! serial  = t₀ + c₀·n          (decoding, encoding: one thread)
//! shard   = c₁·u + c₂·n₁       (the model: k shards side by side)
//! S = max( serial + shard,                                  nothing is throttled
//!          (serial + k·shard) / V − 20 ms · (1 − V / k) )   the quota's periods decide, if V < k
//! ```
//!
//! Lambda grants 20·V ms of CPU in each 20 ms (CFS bandwidth control), so what fits the first period runs at full speed. The four coefficients
//! are non-negative least squares of relative errors over the cells. What this leaves (caches, memory bandwidth, uneven
//! shards) is the residual that the Gaussian process learns.
//! *First start:* two fills at one operating point are enough for a line; what they cannot tell apart (c₀ from c₂) a weak prior splits.
//! *Reference:* AWS Lambda documentation, "Memory and computing power"; Lawson and Hanson, "Solving Least Squares Problems", 1974.

use serde::{Deserialize, Serialize};

/// Period of the CPU quota, seconds. Source: published throttling measurements of Lambda, 2025.
const QUOTA_PERIOD_S: f64 = 0.020;
/// Memory that buys one vCPU, MiB.
const MIB_PER_VCPU: f64 = 1769.0;
const COEFFICIENTS: usize = 4;
/// Alternations between "which law holds where" and "which coefficients".
const ROUNDS: usize = 6;
const SWEEPS: usize = 200;
/// Prior: relative errors per typical size of each term, as standard deviations. Serial work per item is the least likely.
const PRIOR_SIZE: [f64; COEFFICIENTS] = [1.0, 0.1, 1.0, 1.0];
const PRIOR_WEIGHT: f64 = 0.02;

/// A place in the space of operating points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
    /// Items; need not be whole.
    pub items: f64,
    /// Padded units of the largest shard.
    pub shard_units: f64,
}

/// One observed place.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// Where.
    pub place: Place,
    /// Seconds.
    pub service_s: f64,
    /// How much it counts.
    pub weight: f64,
}

/// The four coefficients, in seconds: per batch, per item, per unit, per item of the largest shard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Physics {
    coefficients: [f64; COEFFICIENTS],
}

impl Place {
    /// vCPUs.
    fn credit(&self) -> f64 {
        f64::from(self.memory_mib) / MIB_PER_VCPU
    }

    /// Processes that have something to do.
    pub(crate) fn busy(&self) -> f64 {
        f64::from(self.process_count).min(self.items).max(1.0)
    }

    /// Items of the largest shard.
    pub(crate) fn shard_items(&self) -> f64 {
        (self.items / self.busy()).max(1.0)
    }

    /// Terms of the two laws, and what is subtracted from the second. `None`: it is never throttled.
    fn terms(&self) -> ([f64; COEFFICIENTS], Option<([f64; COEFFICIENTS], f64)>) {
        let (credit, busy) = (self.credit(), self.busy());
        let full_speed = [1.0, self.items, self.shard_units, self.shard_items()];
        let throttled = (credit < busy).then(|| {
            let shards = busy / credit;
            let terms =
                [1.0 / credit, self.items / credit, self.shard_units * shards, self.shard_items() * shards];
            (terms, QUOTA_PERIOD_S * (1.0 - credit / busy))
        });
        (full_speed, throttled)
    }
}

fn dot(a: &[f64; COEFFICIENTS], b: &[f64; COEFFICIENTS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Physics {
    /// Seconds at a place.
    #[must_use]
    pub fn service_s(&self, place: &Place) -> f64 {
        let (full_speed, throttled) = place.terms();
        let free = dot(&full_speed, &self.coefficients);
        let slow = throttled.map_or(0.0, |(terms, less)| dot(&terms, &self.coefficients) - less);
        free.max(slow).max(1e-6)
    }

    /// Least squares over what was observed; `None` without any.
    #[must_use]
    pub fn fit(observed: &[Observed]) -> Option<Self> {
        let total: f64 = observed.iter().map(|it| it.weight).sum();
        if observed.is_empty() || total <= 0.0 {
            return None;
        }
        // Typical size of each term: where it alone would explain everything.
        let mut sizes = [0.0; COEFFICIENTS];
        for it in observed {
            let (terms, _) = it.place.terms();
            for (size, term) in sizes.iter_mut().zip(terms) {
                *size += it.weight / total * term / it.service_s;
            }
        }
        let has_units =
            observed.iter().any(|it| (it.place.shard_units / it.place.shard_items() - 1.0).abs() > 1e-9);
        if !has_units {
            sizes[2] = 0.0; // units are items: one of the two columns is enough
        }
        let mut physics = Self { coefficients: sizes.map(|size| if size > 0.0 { 0.3 / size } else { 0.0 }) };
        for _ in 0..ROUNDS {
            physics = physics.improve(observed, total, &sizes);
        }
        physics.coefficients.iter().all(|c| c.is_finite()).then_some(physics)
    }

    /// Coordinate descent with each observation under the law that holds for it now.
    fn improve(mut self, observed: &[Observed], total: f64, sizes: &[f64; COEFFICIENTS]) -> Self {
        let rows: Vec<([f64; COEFFICIENTS], f64, f64)> = observed
            .iter()
            .map(|it| {
                let (full_speed, throttled) = it.place.terms();
                let (terms, target) = match throttled {
                    Some((terms, less))
                        if dot(&terms, &self.coefficients) - less > dot(&full_speed, &self.coefficients) =>
                    {
                        (terms, it.service_s + less)
                    }
                    _ => (full_speed, it.service_s),
                };
                (terms.map(|term| term / it.service_s), target / it.service_s, it.weight / total)
            })
            .collect();
        let mut gram = [[0.0; COEFFICIENTS]; COEFFICIENTS];
        let mut right = [0.0; COEFFICIENTS];
        for (terms, target, weight) in &rows {
            for i in 0..COEFFICIENTS {
                right[i] += weight * terms[i] * target;
                for j in 0..COEFFICIENTS {
                    gram[i][j] += weight * terms[i] * terms[j];
                }
            }
        }
        for (i, size) in sizes.iter().enumerate() {
            gram[i][i] += PRIOR_WEIGHT * PRIOR_WEIGHT * (size / PRIOR_SIZE[i]).powi(2);
        }
        for _ in 0..SWEEPS {
            for i in 0..COEFFICIENTS {
                if sizes[i] <= 0.0 || gram[i][i] <= 0.0 {
                    self.coefficients[i] = 0.0;
                    continue;
                }
                let others: f64 =
                    (0..COEFFICIENTS).filter(|&j| j != i).map(|j| gram[i][j] * self.coefficients[j]).sum();
                self.coefficients[i] = ((right[i] - others) / gram[i][i]).max(0.0);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(memory_mib: u32, process_count: u32, items: f64) -> Place {
        let busy = f64::from(process_count).min(items);
        Place { memory_mib, process_count, items, shard_units: (items / busy).ceil() * 16.0 }
    }

    /// 5 ms a batch, 0.1 ms an item, 0.4 ms a unit.
    const TRUTH: Physics = Physics { coefficients: [0.005, 0.0001, 0.0004, 0.0] };

    fn observed(at: &[(u32, u32, f64)]) -> Vec<Observed> {
        at.iter()
            .map(|&(memory, processes, items)| {
                let place = place(memory, processes, items);
                Observed { place, service_s: TRUTH.service_s(&place), weight: 10.0 }
            })
            .collect()
    }

    #[test]
    fn one_memory_size_tells_of_the_others() {
        let fitted =
            Physics::fit(&observed(&[(1769, 1, 1.0), (1769, 1, 4.0), (1769, 1, 8.0), (1769, 1, 16.0)]))
                .unwrap();
        for at in [place(512, 1, 8.0), place(3008, 1, 8.0), place(3538, 2, 16.0), place(1769, 1, 64.0)] {
            let error = fitted.service_s(&at) / TRUTH.service_s(&at) - 1.0;
            assert!(error.abs() < 0.12, "{at:?}: {error}");
        }
    }

    #[test]
    fn a_quota_counts_only_beyond_its_first_period() {
        let short = Physics { coefficients: [0.002, 0.0, 0.0, 0.0] };
        assert!((short.service_s(&place(512, 1, 1.0)) - 0.002).abs() < 1e-12);
        let long = Physics { coefficients: [1.0, 0.0, 0.0, 0.0] };
        let ratio = long.service_s(&place(512, 1, 1.0)) / (1769.0 / 512.0);
        assert!((ratio - 1.0).abs() < 0.01);
    }

    #[test]
    fn more_processes_than_credit_bring_nothing() {
        let (one, two) = (TRUTH.service_s(&place(1769, 1, 64.0)), TRUTH.service_s(&place(1769, 2, 64.0)));
        assert!(two >= one * 0.97, "{one} {two}");
        let (one, two) = (TRUTH.service_s(&place(3538, 1, 64.0)), TRUTH.service_s(&place(3538, 2, 64.0)));
        assert!(one / two > 1.8, "{one} {two}");
    }

    #[test]
    fn nothing_observed_is_no_law() {
        assert_eq!(Physics::fit(&[]), None);
    }
}

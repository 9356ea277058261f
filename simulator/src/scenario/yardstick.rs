//! What a load should cost: the best plan at each of its rates, by the production formula that was told the truth.
//!
//! Rule: rates on a grid of half octaves are searched; between them the logarithm of the cost per request is straight in that of the rate. The load
//! is cut into stretches of at most ten seconds; each costs its requests times the cost at its rate.
//! It knows no cold starts, no learning and no change-points: a tuner comes near it, and hardly ever below.
//! Deliberately absent: size classes (the first stands for all), faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::PackingPolicy;
use optimizer_tuner::formula::{ArrivalLaw, ItemsPerRequest};

use super::error::ScenarioError;
use super::file::{ModelFile, Scenario};
use super::load::Phase;
use crate::bounds::{Known, PlanSearch, SearchLimits};

/// Grid points per octave.
const PER_OCTAVE: f64 = 2.0;
/// Longest stretch of a load that is taken to have one rate, seconds.
const STRETCH_S: f64 = 10.0;
/// Rates below this cost per request what this one does.
const LOWEST: f64 = 0.05;

/// Dollars that a model's requests between these seconds should cost, and how many these are.
///
/// # Errors
/// A profile that does not exist, an objective that no plan can have.
pub fn yardstick(
    scenario: &Scenario,
    model: &ModelFile,
    from_s: f64,
    to_s: f64,
) -> Result<(f64, f64), ScenarioError> {
    let account = scenario.account();
    let network_seconds = scenario.account.network_ms.unwrap_or(4.0) / 1e3;
    let known = Known {
        function: Arc::new(model.truth()?),
        base: model.base()?,
        economics: account.economics.clone(),
        slo_percentile: model.slo_percentile,
        memory_mib: model.memory(),
        max_process_count: model.max_process_count(),
        max_batch_size: model.max_batch_size(),
        network_seconds,
        runtime_seconds: account.runtime_s,
    };
    let search = PlanSearch::new(&known);
    let mut costs = Costs { search, model, known: BTreeMap::new() };
    let (mut usd, mut requests, mut began_s) = (0.0, 0.0, 0.0);
    for phase in &model.load {
        for (middle_s, length_s) in stretches(phase, from_s - began_s, to_s - began_s) {
            let rate = phase.rate(middle_s);
            usd += rate * length_s * costs.usd_per_request(rate, phase.dispersion);
            requests += rate * length_s;
        }
        began_s += phase.for_s;
    }
    Ok((usd, requests))
}

/// Middles and lengths of stretches of a phase, between these of its seconds.
fn stretches(phase: &Phase, from_s: f64, to_s: f64) -> Vec<(f64, f64)> {
    let (from_s, to_s) = (from_s.max(0.0), to_s.min(phase.for_s));
    let mut found = Vec::new();
    let mut at = from_s;
    while at + 1e-9 < to_s {
        let next = (at + STRETCH_S).min(to_s);
        found.push((f64::midpoint(at, next), next - at));
        at = next;
    }
    found
}

struct Costs<'a> {
    search: PlanSearch<'a>,
    model: &'a ModelFile,
    /// Logarithm of dollars per request, by grid point and dispersion in thousandths.
    known: BTreeMap<(i64, u64), f64>,
}

impl Costs<'_> {
    fn usd_per_request(&mut self, rate: f64, dispersion: f64) -> f64 {
        if rate <= 0.0 {
            return 0.0;
        }
        let at = rate.max(LOWEST).log2() * PER_OCTAVE;
        let (low, part) = (at.floor(), at - at.floor());
        let below = self.at(low, dispersion);
        if part < 1e-6 {
            below.exp()
        } else {
            (below + part * (self.at(low + 1.0, dispersion) - below)).exp()
        }
    }

    fn at(&mut self, point: f64, dispersion: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
        let key = (point as i64, (dispersion * 1e3) as u64);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let rate = (point / PER_OCTAVE).exp2();
        let mut law = ArrivalLaw::over_dispersed(rate, dispersion, Duration::from_secs(1));
        if let Ok(items) = ItemsPerRequest::new(self.model.items.clone()) {
            law.items_per_request = items;
        }
        let limits = SearchLimits {
            packing: PackingPolicy::Deadline,
            per_batch_rungs: true,
            max_process_count: self.model.max_process_count(),
            allowed_late: 1.0 - self.model.slo_percentile,
            plans: 1,
            max_latency_laws: 2_000,
        };
        let found = self.search.run(&[(1.0, law)], &limits);
        let usd = found.first().map_or(f64::NAN, |best| best.usd_per_request);
        let value = usd.max(1e-12).ln();
        self.known.insert(key, value);
        value
    }
}

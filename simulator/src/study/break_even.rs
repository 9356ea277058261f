//! `[break_even]`: what the same traffic would cost on servers that are always on, by load.
//!
//! Rule: a request costs the CPU seconds that the profile has for it in a well-filled batch on one vCPU; a server's vCPU is taken as fast as
//! Lambda's of the same architecture. A fleet that does not scale is sized for the busiest minute; one that scales by itself pays for each
//! minute what it needs. Both keep some of their CPU free, since requests come unevenly, and a least number of servers, since servers fail.
//! Deliberately absent: load balancers, storage, traffic between zones, reserved prices: they shift every curve by about the same.

use serde::Deserialize;

use super::numbers::{ascending, count, maybe_positive, not_negative, share};
use crate::report::data::{BreakEven, CostCurve, Crossing, HOURS_PER_MONTH};
use crate::report::number::{duration, plain};

/// What to compare with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakEvenSection {
    /// Mean loads at which the chosen policy is simulated, requests per second, ascending. Default: 1 to 300 in seven steps.
    #[serde(deserialize_with = "ascending")]
    pub requests_per_s: Vec<f64>,
    /// Hours simulated at each load; default: as long as the traffic, at most 2. More: less of the learning in the figure.
    #[serde(deserialize_with = "maybe_positive")]
    pub hours: Option<f64>,
    /// The server; default: by architecture, a current general instance of two vCPUs.
    pub server: Option<Server>,
    /// Least servers of a fleet, at least 1, default 2: one may fail.
    #[serde(deserialize_with = "count")]
    pub min_servers: u32,
    /// Share of a fleet's CPU that is used in the busiest minute, above 0 to 1, default 0.6.
    #[serde(deserialize_with = "share")]
    pub max_utilisation: f64,
}

impl Default for BreakEvenSection {
    fn default() -> Self {
        Self {
            requests_per_s: vec![1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
            hours: None,
            server: None,
            min_servers: 2,
            max_utilisation: 0.6,
        }
    }
}

/// A kind of server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Instance type.
    pub name: String,
    /// vCPUs of one, at least 1.
    #[serde(deserialize_with = "count")]
    pub vcpus: u32,
    /// Dollars per hour of one, 0 or more.
    #[serde(deserialize_with = "not_negative")]
    pub usd_per_hour: f64,
}

/// Longest run at a load unless the study says otherwise, seconds.
const MOST_SECONDS: f64 = 7200.0;

impl BreakEvenSection {
    /// Length of the run at each load, seconds, of traffic that is so long itself.
    pub(super) fn seconds(&self, traffic_seconds: f64) -> f64 {
        self.hours.map_or(traffic_seconds.min(MOST_SECONDS), |hours| hours * 3600.0)
    }
}

/// Managed Instances charge so much more than the instance.
const MANAGED_FACTOR: f64 = 1.15;
/// Least instances of a managed function: one for each of three zones.
const MANAGED_MIN: f64 = 3.0;
/// Share of a managed instance's CPU that is used on average: twice the load must fit in before it scales.
const MANAGED_UTILISATION: f64 = 0.5;

/// Curves go so many times beyond the largest simulated load: batches are full there, and a request gets hardly cheaper.
const BEYOND: f64 = 10.0;

/// Everything that the curves need.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) section: &'a BreakEvenSection,
    pub(super) server: Server,
    /// CPU seconds of a request.
    pub(super) cpu_seconds: f64,
    /// Requests per second of the busiest minute over the mean.
    pub(super) peak_ratio: f64,
    /// Dollars per month of the gateway's hosts.
    pub(super) gateway_usd: f64,
    /// Dollars per million requests by mean load, Lambda with the chosen policy, ascending.
    pub(super) chosen: Vec<(f64, f64)>,
    /// Length of each of those runs, seconds.
    pub(super) seconds: f64,
    pub(super) chosen_label: String,
    /// Dollars per million requests without batches, and the name of that policy.
    pub(super) unbatched: Option<(f64, String)>,
    pub(super) usd_per_million_requests: f64,
}

impl Question<'_> {
    /// Curves and where they cross; `None` without a simulated load.
    pub(super) fn answer(&self) -> Option<BreakEven> {
        let (first, last) = (self.chosen.first()?.0, self.chosen.last()?.0);
        let loads: Vec<f64> =
            (0..=64).map(|n| first * (last * BEYOND / first).powf(f64::from(n) / 64.0)).collect();
        let curve = |label: String, about: String, usd: &dyn Fn(f64) -> f64| CostCurve {
            label,
            about,
            points: loads.iter().map(|&load| (load, usd(load))).collect(),
        };
        let mut curves = vec![curve(
            format!("Lambda with {}, and its gateway", self.chosen_label),
            format!(
                "Simulated for {} at each of {} loads up to {} requests/s (learning included), Lambda's charges and the gateway's host. \
                 Above that load a request is taken to cost the same.",
                duration(self.seconds),
                self.chosen.len(),
                plain(last)
            ),
            &|load| between(&self.chosen, load) * millions(load) + self.gateway_usd,
        )];
        if let Some((usd, label)) = &self.unbatched {
            let about =
                "As simulated for this traffic; without batches a request costs the same at every load."
                    .to_owned();
            curves.push(curve(format!("Lambda: {label}"), about, &|load| usd * millions(load)));
        }
        let Server { name, vcpus, usd_per_hour } = &self.server;
        curves.push(curve(
            format!("EC2 {name}, sized for the busiest minute"),
            format!(
                "Each server has {vcpus} vCPUs and costs ${usd_per_hour} an hour on demand; at least {} of them, {} % busy in the busiest minute; a request takes {} ms of CPU.",
                self.section.min_servers,
                plain(self.section.max_utilisation * 100.0),
                plain(self.cpu_seconds * 1e3)
            ),
            &|load| self.fleet_usd(load * self.peak_ratio, true),
        ));
        curves.push(curve(
            format!("EC2 {name}, scaled without delay"),
            "The same servers, but each minute exactly as many as it needs: no autoscaler is as good."
                .to_owned(),
            &|load| self.fleet_usd(load, false),
        ));
        curves.push(curve(
            format!("Lambda Managed Instances on {name}"),
            format!(
                "Instance price × {MANAGED_FACTOR} + ${} per million requests; at least {MANAGED_MIN} instances, no scale to zero, {} % busy on average so that twice the load fits in.",
                self.usd_per_million_requests,
                MANAGED_UTILISATION * 100.0
            ),
            &|load| self.managed_usd(load),
        ));
        let chosen = &curves[0];
        let crossings = curves.iter().skip(1).map(|other| crossing(chosen, other)).collect();
        Some(BreakEven { curves, crossings })
    }

    fn fleet_usd(&self, load: f64, is_whole: bool) -> f64 {
        let needed = load * self.cpu_seconds / (f64::from(self.server.vcpus) * self.section.max_utilisation);
        let needed = if is_whole { needed.ceil() } else { needed };
        needed.max(f64::from(self.section.min_servers)) * self.server.usd_per_hour * HOURS_PER_MONTH
    }

    fn managed_usd(&self, load: f64) -> f64 {
        let needed = load * self.cpu_seconds / (f64::from(self.server.vcpus) * MANAGED_UTILISATION);
        needed.ceil().max(MANAGED_MIN) * self.server.usd_per_hour * MANAGED_FACTOR * HOURS_PER_MONTH
            + self.usd_per_million_requests * millions(load)
    }
}

/// Millions of requests in a month.
fn millions(load: f64) -> f64 {
    load * HOURS_PER_MONTH * 3600.0 / 1e6
}

/// Between simulated loads: by the logarithm of the load.
fn between(points: &[(f64, f64)], load: f64) -> f64 {
    let next = points.partition_point(|point| point.0 < load);
    match (next.checked_sub(1).and_then(|at| points.get(at)), points.get(next)) {
        (Some(&(low, from)), Some(&(high, to))) => from + (to - from) * (load / low).ln() / (high / low).ln(),
        (None, Some(&(_, usd))) | (Some(&(_, usd)), None) => usd,
        (None, None) => 0.0,
    }
}

/// Where two curves over the same loads cross: the last time that the cheaper one changes.
fn crossing(chosen: &CostCurve, other: &CostCurve) -> Crossing {
    let saved: Vec<(f64, f64)> =
        chosen.points.iter().zip(&other.points).map(|(ours, theirs)| (ours.0, theirs.1 - ours.1)).collect();
    let change = saved.windows(2).rev().find(|pair| (pair[0].1 >= 0.0) != (pair[1].1 >= 0.0));
    let at = change.map(|pair| {
        let way = pair[0].1 / (pair[0].1 - pair[1].1);
        pair[0].0 * (pair[1].0 / pair[0].0).powf(way)
    });
    let before = change.map_or(saved.first(), |pair| pair.first());
    Crossing {
        label: other.label.clone(),
        requests_per_s: at,
        chosen_is_cheaper_below: before.is_some_and(|point| point.1 >= 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(section: &BreakEvenSection) -> Question<'_> {
        Question {
            section,
            server: Server { name: "s".to_owned(), vcpus: 2, usd_per_hour: 0.1 },
            cpu_seconds: 0.012,
            peak_ratio: 2.0,
            gateway_usd: 12.0,
            chosen: vec![(1.0, 1.0), (300.0, 0.5)],
            seconds: 1800.0,
            chosen_label: "ours".to_owned(),
            unbatched: Some((2.0, "unbatched".to_owned())),
            usd_per_million_requests: 0.2,
        }
    }

    #[test]
    fn a_fleet_follows_the_busiest_minute_and_never_falls_below_its_least() {
        let section = BreakEvenSection::default();
        let question = question(&section);
        assert!((question.fleet_usd(1.0, true) - 2.0 * 73.0).abs() < 1e-9);
        // 1000 req/s × 12 ms = 12 vCPUs busy; at 60 % of 2 vCPUs each: 10 servers.
        assert!((question.fleet_usd(1000.0, true) - 10.0 * 73.0).abs() < 1e-9);
        assert!((question.managed_usd(0.0) - 3.0 * 73.0 * 1.15).abs() < 1e-9);
    }

    #[test]
    fn curves_cross_where_the_cheaper_one_changes() {
        let curve = |usd: [f64; 3]| CostCurve {
            label: String::new(),
            about: String::new(),
            points: [1.0, 10.0, 100.0].into_iter().zip(usd).collect(),
        };
        let found = crossing(&curve([1.0, 10.0, 100.0]), &curve([50.0, 50.0, 50.0]));
        let at = found.requests_per_s.unwrap();
        assert!(found.chosen_is_cheaper_below && at > 10.0 && at < 100.0, "{at}");
        let never = crossing(&curve([60.0; 3]), &curve([50.0; 3]));
        assert!(never.requests_per_s.is_none() && !never.chosen_is_cheaper_below);
    }

    #[test]
    fn the_chosen_curve_carries_lambda_and_host() {
        let section = BreakEvenSection::default();
        let found = question(&section).answer().unwrap();
        assert_eq!(found.curves.len(), 5);
        assert!((found.curves[0].points[0].1 - (millions(1.0) + 12.0)).abs() < 1e-9);
        assert!((found.curves[1].points[0].1 - 2.0 * millions(1.0)).abs() < 1e-9);
    }
}

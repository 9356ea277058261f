//! The best plan of a known law of arrivals and the true service law, by the production formula.
//!
//! *Problem:* what is the cheapest plan that keeps the objective, if nothing has to be learned?
//! *Rule:* as the production search, but wider: every place in turn is the slowest that a batch may take, at several closing quantiles; at every
//! fill the cheapest place that is as fast serves, with no bound on the number of rungs; all batch bounds of a ladder. Closing tables carry no
//! margin: the quantile is chosen instead. Plans that wait a fixed delay (`fifo`) are looked at on request. Latency is computed from the
//! cheapest draft on.
//! *Bounds:* several laws may be weighed at once: cost and late share are then means over their requests.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServingPlan};
use optimizer_tuner::formula::{
    ArrivalLaw, ArrivalTable, CloseCurve, CostTable, FillLaw, Gathering, LatencyLaw, LogNormal,
    ServiceLaw as _, WindowWait,
};

use super::known::{Known, KnownPlace, PlaceLaws};

/// Batch bounds that are looked at.
const LADDER: [u32; 21] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384];
/// Shares of the objective that a fixed delay may take.
const DELAY_SHARES: [f64; 17] =
    [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9];
/// Quantiles of the service time by which batches close, as probabilities.
const CLOSING: [f64; 6] = [0.5, 0.75, 0.9, 0.97, 0.99, 0.999];
/// Use of the window above which the formula is not trusted.
const MAX_UTILISATION: f64 = 0.8;

/// What a search may choose from, and how much it looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchLimits {
    /// By deadline (and the delay is the objective), or by a fixed delay.
    pub packing: PackingPolicy,
    /// Whether small batches may run elsewhere than large ones.
    pub per_batch_rungs: bool,
    /// Most processes.
    pub max_process_count: u32,
    /// Late share that a plan may have, 0 to 1.
    pub allowed_late: f64,
    /// Plans wanted.
    pub plans: usize,
    /// Drafts whose latency is computed.
    pub max_latency_laws: usize,
}

/// A plan and what is expected of it, warm.
#[derive(Clone, Debug)]
pub struct PlanScore {
    /// The plan; its revision is the base's.
    pub plan: ServingPlan,
    /// Dollars per request.
    pub usd_per_request: f64,
    /// Share of requests outside the objective; of a plan that misses it, at least so much.
    pub late_share: f64,
    /// Mean items of a batch.
    pub mean_fill: f64,
    /// Mean invocations in flight.
    pub concurrency: f64,
}

/// Built once per function; then asked for any law.
#[derive(Debug)]
pub struct PlanSearch<'a> {
    known: &'a Known,
    places: Vec<KnownPlace>,
    laws: PlaceLaws,
    costs: Vec<CostTable>,
    /// Seconds by closing quantile, place and fill, as the caller sees them.
    uppers: Vec<Vec<Vec<f64>>>,
}

#[derive(Clone, Copy, Debug)]
struct Draft {
    slowest: usize,
    quantile: usize,
    bound: u32,
    delay: Duration,
    is_mixed: bool,
    usd_per_request: f64,
}

impl<'a> PlanSearch<'a> {
    /// Tabulates the function.
    #[must_use]
    pub fn new(known: &'a Known) -> Self {
        let places = known.places();
        let max = known.max_batch_size;
        let row = |&place: &KnownPlace| (0..=max).map(|items| known.billed(place, items)).collect();
        let laws =
            PlaceLaws { laws: places.iter().map(row).collect(), network_seconds: known.network_seconds };
        let fee_usd = known.economics.prices.request_usd();
        let cost = |(index, place): (usize, &KnownPlace)| {
            CostTable::new(&laws, index, max, known.usd_per_second(place.memory_mib), fee_usd)
        };
        let costs = places.iter().enumerate().map(cost).collect();
        let upper = |law: &LogNormal, closing: f64| law.quantile(closing) + known.network_seconds;
        let uppers = CLOSING
            .iter()
            .map(|&closing| {
                let of_place = |row: &Vec<LogNormal>| {
                    let mut most = 0.0_f64;
                    row.iter()
                        .map(|law| {
                            most = most.max(upper(law, closing));
                            most
                        })
                        .collect()
                };
                laws.laws.iter().map(of_place).collect()
            })
            .collect();
        Self { known, places, laws, costs, uppers }
    }

    /// The cheapest plans that keep the objective under these laws (weights are shares of time), cheapest first; if none does, the one that
    /// misses it least.
    #[must_use]
    pub fn run(&self, laws: &[(f64, ArrivalLaw)], limits: &SearchLimits) -> Vec<PlanScore> {
        let horizon = self.known.base.slo_latency.max(Duration::from_millis(1));
        let table = |(weight, law): &(f64, ArrivalLaw)| {
            ArrivalTable::new(law, self.known.max_batch_size, horizon).ok().map(|table| (*weight, table))
        };
        let mut tables: Vec<(f64, ArrivalTable)> = laws.iter().filter_map(table).collect();
        // The law of most requests first: what misses the objective there needs no look at the others.
        let share = |(weight, table): &(f64, ArrivalTable)| weight * table.law().requests_per_second;
        tables.sort_by(|a, b| share(b).total_cmp(&share(a)));
        if tables.is_empty() {
            return Vec::new();
        }
        let mut drafts = self.drafts(&tables, limits);
        drafts.sort_by(|a, b| a.usd_per_request.total_cmp(&b.usd_per_request));
        let mut found: Vec<PlanScore> = Vec::new();
        for draft in drafts.iter().take(limits.max_latency_laws) {
            let scored = self.score(draft, &tables, limits);
            if scored.late_share <= limits.allowed_late {
                found.push(scored);
                if found.len() >= limits.plans {
                    break;
                }
            }
        }
        if found.is_empty() {
            // Nothing waits: what is missed then is missed by every plan.
            let whole = SearchLimits { allowed_late: f64::INFINITY, ..*limits };
            let alone = drafts.iter().filter(|draft| draft.bound == 1 && !draft.is_mixed);
            let scored = alone.map(|draft| self.score(draft, &tables, &whole));
            found.extend(scored.min_by(|a, b| a.late_share.total_cmp(&b.late_share)));
        }
        found
    }

    /// Mean invocations in flight that each request per second adds under a plan, about.
    #[must_use]
    pub fn concurrency_per_request(&self, plan: &ServingPlan, laws: &[(f64, ArrivalLaw)]) -> f64 {
        let full = self.known.max_batch_size.min(plan.max_batch_size);
        let seconds = |items: u32| {
            let rung = &plan.rungs[plan.rung_for(items)];
            let place = KnownPlace { memory_mib: rung.memory_mib, process_count: rung.process_count };
            self.known.billed(place, items).mean() + self.known.network_seconds
        };
        // What gathers in the time that is left, or a full batch.
        let weights: f64 = laws.iter().map(|(weight, _)| weight).sum();
        let rate = laws.iter().map(|(weight, law)| weight * law.requests_per_second).sum::<f64>()
            / weights.max(1e-9);
        let left_s = (self.known.slo_seconds() - seconds(1)).max(0.0).min(plan.max_queue_delay.as_secs_f64());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just before")]
        let items = (1.0 + rate * left_s).clamp(1.0, f64::from(full)) as u32;
        seconds(items) / f64::from(items)
    }

    fn drafts(&self, tables: &[(f64, ArrivalTable)], limits: &SearchLimits) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let mut fill = FillLaw::with_capacity(self.known.max_batch_size);
        let slo = self.known.slo_seconds();
        for slowest in 0..self.places.len() {
            if self.places[slowest].process_count > limits.max_process_count {
                continue;
            }
            for quantile in 0..CLOSING.len() {
                let is_fifo = limits.packing == PackingPolicy::Fifo;
                // A fixed delay does not look at service times.
                if self.uppers[quantile][slowest][1] > slo || (is_fifo && quantile > 0) {
                    continue;
                }
                let curves: Vec<CloseCurve> =
                    tables.iter().map(|(_, table)| self.curve(table, limits, quantile, slowest)).collect();
                let single = vec![slowest; self.known.max_batch_size as usize + 1];
                let mixed = limits.per_batch_rungs.then(|| self.cheapest_within(slowest, quantile, limits));
                for bound in self.bounds() {
                    for delay in self.delays(limits) {
                        let mut usd = [0.0; 2];
                        let mut requests = 0.0;
                        for ((weight, table), curve) in tables.iter().zip(&curves) {
                            fill.set(&Gathering {
                                table,
                                curve,
                                max_batch_size: bound,
                                max_queue_delay: delay,
                            });
                            let share = weight * table.law().requests_per_second;
                            requests += share;
                            usd[0] += share * self.usd_per_request(&fill, &single);
                            usd[1] +=
                                mixed.as_ref().map_or(0.0, |it| share * self.usd_per_request(&fill, it));
                        }
                        let draft = Draft {
                            slowest,
                            quantile,
                            bound,
                            delay,
                            is_mixed: false,
                            usd_per_request: usd[0] / requests,
                        };
                        drafts.push(draft);
                        if mixed.as_ref().is_some_and(|it| *it != single) {
                            drafts.push(Draft {
                                is_mixed: true,
                                usd_per_request: usd[1] / requests,
                                ..draft
                            });
                        }
                    }
                }
            }
        }
        drafts
    }

    fn bounds(&self) -> impl Iterator<Item = u32> + use<> {
        let max = self.known.max_batch_size;
        LADDER.into_iter().filter(move |&bound| bound < max).chain(std::iter::once(max))
    }

    fn delays(&self, limits: &SearchLimits) -> Vec<Duration> {
        let slo = self.known.base.slo_latency;
        match limits.packing {
            PackingPolicy::Deadline => vec![slo],
            PackingPolicy::Fifo => DELAY_SHARES.iter().map(|&share| slo.mul_f64(share)).collect(),
            PackingPolicy::None => vec![Duration::ZERO],
        }
    }

    fn curve(
        &self,
        table: &ArrivalTable,
        limits: &SearchLimits,
        quantile: usize,
        slowest: usize,
    ) -> CloseCurve {
        let uppers = &self.uppers[quantile][slowest];
        CloseCurve::new(table, limits.packing, self.known.base.slo_latency, Duration::ZERO, |items| {
            Duration::from_secs_f64(uppers[(items as usize).min(uppers.len() - 1)])
        })
    }

    /// By fill: the cheapest place that is at least as fast as `slowest`.
    fn cheapest_within(&self, slowest: usize, quantile: usize, limits: &SearchLimits) -> Vec<usize> {
        let uppers = &self.uppers[quantile];
        (0..=self.known.max_batch_size)
            .map(|items| {
                let at = (items as usize).max(1);
                let limit = uppers[slowest][at] * 1.000_001;
                let usd = |index: usize| self.costs[index].batch_usd(items.max(1));
                let fitting = (0..self.places.len()).filter(|&index| {
                    uppers[index][at] <= limit && self.places[index].process_count <= limits.max_process_count
                });
                fitting.min_by(|&a, &b| usd(a).total_cmp(&usd(b))).unwrap_or(slowest)
            })
            .collect()
    }

    fn usd_per_request(&self, fill: &FillLaw, assignment: &[usize]) -> f64 {
        let mut usd = 0.0;
        for (items, p) in fill.pmf().iter().enumerate().skip(1) {
            let items_of = u32::try_from(items).unwrap_or(u32::MAX);
            usd += p * self.costs[assignment[items]].batch_usd(items_of);
        }
        fill.usd_per_request(usd)
    }

    fn assignment(&self, draft: &Draft, limits: &SearchLimits) -> Vec<usize> {
        if draft.is_mixed {
            self.cheapest_within(draft.slowest, draft.quantile, limits)
        } else {
            vec![draft.slowest; self.known.max_batch_size as usize + 1]
        }
    }

    fn score(&self, draft: &Draft, tables: &[(f64, ArrivalTable)], limits: &SearchLimits) -> PlanScore {
        let assignment = self.assignment(draft, limits);
        let mut fill = FillLaw::with_capacity(self.known.max_batch_size);
        let (mut late, mut in_flight, mut batches, mut weights) = (0.0, 0.0, 0.0, 0.0);
        let share = |weight: f64, table: &ArrivalTable| weight * table.law().requests_per_second;
        let requests: f64 = tables.iter().map(|(weight, table)| share(*weight, table)).sum();
        for (weight, table) in tables {
            let curve = self.curve(table, limits, draft.quantile, draft.slowest);
            let gathering =
                Gathering { table, curve: &curve, max_batch_size: draft.bound, max_queue_delay: draft.delay };
            fill.set(&gathering);
            let (late_share, concurrency) = self.latency(&gathering, &fill, &assignment);
            late += share(*weight, table) * late_share;
            in_flight += weight * concurrency;
            batches += weight * fill.batches_per_second();
            weights += weight;
            if late > limits.allowed_late * requests {
                break;
            }
        }
        PlanScore {
            plan: self.plan(draft, &assignment, limits),
            usd_per_request: draft.usd_per_request,
            late_share: late / requests,
            mean_fill: requests / batches,
            concurrency: in_flight / weights,
        }
    }

    /// Late share and mean invocations in flight.
    fn latency(&self, gathering: &Gathering<'_>, fill: &FillLaw, assignment: &[usize]) -> (f64, f64) {
        let (mut seconds, mut square) = (0.0, 0.0);
        for (items, &p) in fill.pmf().iter().enumerate().skip(1) {
            let law = self.laws.billed_seconds(u32::try_from(items).unwrap_or(u32::MAX), assignment[items]);
            let whole = law.mean() + self.known.network_seconds;
            seconds += p * whole;
            square += p * (whole * whole + law.mean().powi(2) * law.ln_std.powi(2).exp_m1());
        }
        let cv = (square / (seconds * seconds) - 1.0).max(0.0).sqrt();
        let law = LogNormal::from_mean(seconds, cv);
        let window = WindowWait::new(gathering.table, fill, self.known.base.max_in_flight, law);
        let mut latency = LatencyLaw::default();
        let rung = |items: u32| assignment[(items as usize).min(assignment.len() - 1)];
        latency.set(gathering, fill, window, &self.laws, rung);
        let late = latency.upper_tail(self.known.slo_seconds());
        let late = if window.utilisation > MAX_UTILISATION { 1.0 } else { late };
        (late, fill.batches_per_second() * seconds)
    }

    fn plan(&self, draft: &Draft, assignment: &[usize], limits: &SearchLimits) -> ServingPlan {
        let mut rungs: Vec<gateway_contract::Rung> = Vec::new();
        for items in 1..=draft.bound {
            let place = self.places[assignment[items as usize]];
            match rungs.last_mut() {
                Some(last)
                    if last.memory_mib == place.memory_mib && last.process_count == place.process_count =>
                {
                    last.max_items = items;
                }
                _ => rungs.push(self.known.rung(items, place)),
            }
        }
        let uppers = &self.uppers[draft.quantile][draft.slowest];
        ServingPlan {
            packing: limits.packing,
            max_batch_size: draft.bound,
            max_queue_delay: draft.delay,
            deadline_margin: Duration::ZERO,
            service_time_upper: self
                .known
                .table(draft.bound, |items| uppers[(items as usize).min(uppers.len() - 1)]),
            rungs,
            canary: None,
            hold_out: None,
            environments: None,
            ..self.known.base.clone()
        }
    }
}

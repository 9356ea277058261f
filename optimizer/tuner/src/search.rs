//! The plan search: the best operating point under a law of arrivals, by formula, from what is believed of the service time.
//!
//! *Problem:* among batch size × processes × memory × queue delay, with a place for each fill (rungs), find the cheapest plan that keeps the
//! objective, within milliseconds.
//! *Rule:* a plan closes batches by a table of upper service times. For each function size and process count there is one such table per
//! closing quantile, and for each of them the cheapest place at every fill that is at least as fast: that is the rung map, with no
//! search at all. What remains is a list of batch bounds and delays; the law of fill makes each a dot product. Latency, which costs
//! more, is computed from the cheapest plan on until one keeps the objective.
//! *Exploration:* the same sums with service times one standard deviation of the unknown lower tell which plan could be best, and
//! which place in it is worth a trial.
//! *Bounds:* at most [`MAX_BATCH`] items a batch and [`MAX_RUNGS`] rungs are looked at.

use std::time::Duration;

use gateway_contract::{PackingPolicy, PriceTable, ServiceTimeTable};
use optimizer_bayesopt::normal;

use crate::environments::{before_learning, keep_calls};
use crate::event::{Expectation, PointSummary};
use crate::formula::{
    ArrivalLaw, ArrivalTable, CloseCurve, CostTable, Evenness, FillLaw, Fleet, Gathering, LatencyLaw,
    LogNormal, ServiceLaw, WindowWait,
};
use crate::service::belief::{Belief, Predicted, RungPoint};
use crate::service::knowledge::Knowledge;
use crate::settings::{Objective, TunerSettings};
use crate::tuner::Economics;
use crate::warm_up::STAYS_WARM;

/// Largest batch that is looked at, items.
pub(crate) const MAX_BATCH: u32 = 512;
/// Most rungs of a plan.
const MAX_RUNGS: usize = 4;
/// A place is left for another only if that is cheaper by this share.
const RUNG_GAIN: f64 = 0.01;
/// Latency laws computed per search.
const MAX_LATENCY_LAWS: usize = 24;
/// A place counts as known when no more than this is unknown of its ln S at the fills that matter.
pub(crate) const KNOWN_LN_STD: f64 = 0.10;
/// Share of batches on unknown places from which a plan is not known.
const DOUBTFUL: f64 = 0.25;
/// Closing quantiles, as shares of the objective's deviations: the objective's, and two that are cheaper and may still keep the share over all
/// requests, since most have waited less than the oldest.
const CLOSING: [f64; QUANTILES] = [1.0, 0.5, 0.0];
const QUANTILES: usize = 3;
/// The best plan may close by so many times so many deviations less than its quantile.
const REFINEMENTS: u32 = 4;
const REFINED_BY: f64 = 0.3;
/// Use of the window above which a plan is not chosen.
const MAX_UTILISATION: f64 = 0.8;

/// An operating point: everything of a plan that is chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) max_batch_size: u32,
    pub(crate) max_queue_delay: Duration,
    /// By fill: the largest fill, and where it runs.
    pub(crate) rungs: Vec<(u32, RungPoint)>,
    /// Standard deviations above the mean at which service times are taken when batches are closed.
    pub(crate) close_z: f64,
}

/// A point with what is expected of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) point: Point,
    pub(crate) expected: Expectation,
    /// Lower is better.
    pub(crate) score: f64,
    /// Whether the objective is kept.
    pub(crate) is_feasible: bool,
    /// Whether all of its places are known.
    pub(crate) is_known: bool,
    /// Environments that it keeps, by MiB.
    pub(crate) fleets: Vec<(u32, f64)>,
}

/// A place worth a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Temptation {
    pub(crate) place: RungPoint,
    /// Dollars per request that are expected of the best plan with it.
    pub(crate) usd_per_request: f64,
    /// What is not known of the logarithm of that.
    pub(crate) ln_std: f64,
}

impl Temptation {
    /// Expected improvement over a cost, as a share of it. Reference: Jones, Schonlau and Welch, 1998.
    pub(crate) fn expected_gain(&self, usd_per_request: f64) -> f64 {
        let std = self.ln_std.max(1e-6);
        let z = (usd_per_request / self.usd_per_request).ln() / std;
        std * (normal::density(z) + z * normal::distribution(z))
    }
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) best: Option<Scored>,
    pub(crate) runner_up: Option<Scored>,
    /// Places that are not known and might be better.
    pub(crate) temptations: Vec<Temptation>,
    /// Each item alone.
    pub(crate) unbatched: Option<Unbatched>,
}

/// The cheapest place for items that run alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbatched {
    pub(crate) place: RungPoint,
    /// Dollars per request, all its items counted.
    pub(crate) usd_per_request: f64,
}

/// Everything that a search rests on. Built once per belief and law; immutable.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    settings: &'a TunerSettings,
    slo: Duration,
    margin: Duration,
    max_in_flight: u32,
    table: ArrivalTable,
    places: Vec<Place>,
    rows: Rows,
    fee_usd: f64,
    max_items: u32,
    caution: f64,
    /// Share of late answers that a plan may be expected to have.
    allowed_late: f64,
    /// Upper service times in seconds by closing quantile, place and fill; then those to hope for.
    uppers: [Vec<Vec<f64>>; QUANTILES + 1],
}

/// Index of the hopeful times in [`Search::uppers`].
const HOPEFUL: usize = QUANTILES;

#[derive(Debug)]
struct Place {
    point: RungPoint,
    costs: CostTable,
    /// Dollars of a batch if what is unknown turned out one deviation lower; index n.
    hopeful_usd: Vec<f64>,
    usd_per_second: f64,
    init_s: f64,
    /// For how long an environment that serves no batch is there, seconds.
    stays_s: f64,
}

/// Service law by place (the law's "rung") and fill.
#[derive(Debug)]
struct Rows {
    rows: Vec<Vec<Predicted>>,
    drift: f64,
    extra_s: f64,
    overhead_s: (f64, f64),
}

impl ServiceLaw for Rows {
    fn billed_seconds(&self, items: u32, rung: usize) -> LogNormal {
        let at = self.at(items, rung);
        let mean = at.ln_mean + self.drift;
        // Shifting a log-normal by a little keeps it nearly one.
        let shifted = (mean.exp() + self.extra_s).ln();
        LogNormal { ln_mean: shifted, ln_std: at.noise_std.max(1e-4) * (mean - shifted).exp() }
    }

    fn overhead_seconds(&self, _items: u32, _rung: usize) -> f64 {
        (self.overhead_s.0 - self.extra_s).max(0.0)
    }
}

impl Rows {
    fn at(&self, items: u32, rung: usize) -> Predicted {
        let row = &self.rows[rung];
        row[(items as usize).min(row.len() - 1)]
    }

    /// Upper service time as the caller sees it: `z` deviations up (noise and what is not known), overhead included.
    fn upper_s(&self, items: u32, rung: usize, z: f64, unknown: f64) -> f64 {
        let at = self.at(items, rung);
        let spread = at.noise_std.hypot(at.unknown_std * unknown.max(0.0));
        let service = (at.ln_mean + self.drift + z * spread + unknown.min(0.0) * at.unknown_std).exp();
        service + self.overhead_s.0 + self.overhead_s.1
    }
}

/// Factor of the late share that a plan may be expected to have. Negative caution says that the formula expects too many late answers here; positive
/// caution must not be undone by a lower closing quantile.
fn leniency(caution: f64) -> f64 {
    if caution < 0.0 { (-caution).exp() } else { (-0.5 * caution).exp() }
}

/// What the objective's percentile is in standard deviations.
pub(crate) fn percentile_z(share: f64) -> f64 {
    normal::quantile(share.clamp(0.5, 0.999_999))
}

/// What a search starts from.
pub(crate) struct Situation<'a, 'b> {
    pub(crate) settings: &'a TunerSettings,
    pub(crate) base: &'b gateway_contract::ServingPlan,
    pub(crate) economics: &'b Economics,
    pub(crate) knowledge: &'b Knowledge,
    pub(crate) belief: &'b Belief,
    pub(crate) law: &'b ArrivalLaw,
    /// Deviations added to every closing quantile.
    pub(crate) caution: f64,
    /// Places to leave alone.
    pub(crate) vetoed: &'b dyn Fn(RungPoint) -> bool,
}

impl<'a> Search<'a> {
    /// `None`: no place is allowed, or the law is out of range.
    pub(crate) fn new(situation: &Situation<'a, '_>) -> Option<Self> {
        let &Situation { settings, base, economics, knowledge, belief, law, caution, vetoed } = situation;
        let max_items = settings.bounds.batch_size.1.min(MAX_BATCH);
        let points: Vec<RungPoint> =
            places(settings).into_iter().filter(|&it| allowed(knowledge, it) && !vetoed(it)).collect();
        let rows = Rows {
            rows: points.iter().map(|&point| belief.row(point, max_items)).collect(),
            drift: knowledge.drift_ln(),
            extra_s: knowledge.billing_extra_s(),
            overhead_s: knowledge.overhead_s(),
        };
        let fee_usd = economics.prices.request_usd();
        let places: Vec<Place> = points
            .iter()
            .enumerate()
            .map(|(index, &point)| Place::new(situation, point, index, &rows, max_items))
            .collect();
        if places.is_empty() {
            return None;
        }
        let z = percentile_z(settings.slo_percentile);
        let allowed_late = (1.0 - settings.slo_percentile) * leniency(caution);
        let caution = caution.max(0.0);
        let uppers = std::array::from_fn(|index| {
            let z = CLOSING.get(index).map_or(z, |share| share * z) + caution;
            let unknown = if index == HOPEFUL { -1.0 } else { 1.0 };
            let row =
                |place| (0..=max_items).map(|items| rows.upper_s(items.max(1), place, z, unknown)).collect();
            (0..places.len()).map(row).collect()
        });
        let horizon = base.slo_latency.min(settings.bounds.queue_delay).max(Duration::from_millis(1));
        Some(Self {
            settings,
            slo: base.slo_latency,
            margin: base.deadline_margin,
            max_in_flight: base.max_in_flight.min(settings.account.concurrency),
            table: ArrivalTable::new(law, max_items, horizon).ok()?,
            places,
            rows,
            fee_usd,
            max_items,
            caution,
            allowed_late,
            uppers,
        })
    }

    /// Looks at everything.
    pub(crate) fn run(&self) -> Found {
        let mut drafts = Vec::new();
        let mut temptations: Vec<Temptation> = Vec::new();
        let mut fill = FillLaw::with_capacity(self.max_items);
        for slowest in 0..self.places.len() {
            for quantile in 0..QUANTILES {
                self.add_drafts(slowest, quantile, &mut fill, &mut drafts);
            }
            temptations.extend(self.hope(slowest, &mut fill));
        }
        let (best, runner_up) = self.choose(drafts);
        Found { best, runner_up, temptations, unbatched: self.unbatched() }
    }

    /// What is expected of a point, if its places are still allowed.
    pub(crate) fn score(&self, point: &Point) -> Option<Scored> {
        self.score_with(point, true)
    }

    /// The quantile of latency costs most, and the objective of least cost does not need it.
    fn score_with(&self, point: &Point, with_quantile: bool) -> Option<Scored> {
        let assignment = self.assignment_of(point)?;
        let curve = self.curve(|items| self.upper_of(point, &assignment, items));
        let mut fill = FillLaw::with_capacity(self.max_items);
        let gathering =
            self.gathering(&curve, point.max_batch_size.min(self.max_items), point.max_queue_delay);
        fill.set(&gathering);
        let usd = self.usd_per_request(&fill, &assignment);
        Some(self.finish(point.clone(), &assignment, &gathering, &fill, usd, with_quantile))
    }

    /// The table by which the engine closes batches, at a few fills.
    pub(crate) fn upper_table(&self, point: &Point) -> Option<ServiceTimeTable> {
        let assignment = self.assignment_of(point)?;
        closing_table(point.max_batch_size, |items| {
            Duration::from_secs_f64(self.upper_of(point, &assignment, items).min(900.0))
        })
    }

    /// Late share that a plan may be expected to have.
    pub(crate) fn allowed_late(&self) -> f64 {
        self.allowed_late
    }

    /// Upper service time of a batch on one place, seconds, as a canary must be taken.
    pub(crate) fn upper_on(&self, place: RungPoint, items: u32) -> Option<f64> {
        let index = self.places.iter().position(|it| it.point == place)?;
        let z = percentile_z(self.settings.slo_percentile) + self.caution;
        Some(self.rows.upper_s(items.min(self.max_items), index, z, 1.0))
    }

    /// Dollars of a batch on one place, as expected.
    pub(crate) fn batch_usd(&self, place: RungPoint, items: u32) -> Option<f64> {
        let found = self.places.iter().find(|it| it.point == place)?;
        Some(found.costs.batch_usd(items.min(self.max_items)))
    }

    /// Dollars that starting the environments of a point costs, once, where a size is not warm.
    pub(crate) fn switch_usd(&self, scored: &Scored, is_warm: impl Fn(u32) -> bool) -> f64 {
        let cold = scored.fleets.iter().filter(|(memory_mib, _)| !is_warm(*memory_mib));
        cold.map(|&(memory_mib, kept)| kept.ceil() * self.start_usd(memory_mib)).sum()
    }

    /// Dollars of one environment's INIT.
    pub(crate) fn start_usd(&self, memory_mib: u32) -> f64 {
        let place = self.places.iter().find(|it| it.point.memory_mib == memory_mib);
        place.map_or(0.0, |place| place.init_s * place.usd_per_second)
    }

    /// Deviations of a closing quantile, caution left out.
    fn closing_z(&self, quantile: usize) -> f64 {
        percentile_z(self.settings.slo_percentile) * CLOSING[quantile.min(QUANTILES - 1)]
    }

    fn bounds(&self) -> impl Iterator<Item = u32> {
        let (low, high) = (self.settings.bounds.batch_size.0, self.max_items);
        let ladder = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
        let inner = ladder.into_iter().filter(move |&bound| bound > low && bound < high);
        std::iter::once(low).chain(inner).chain((high > low).then_some(high))
    }

    fn delays(&self) -> Vec<Duration> {
        let longest = self.slo.min(self.settings.bounds.queue_delay);
        match self.settings.objective {
            Objective::Cost => vec![longest],
            Objective::Latency { .. } | Objective::Weighted { .. } => {
                (0..8).map(|halvings| longest / (1 << halvings)).chain([Duration::ZERO]).collect()
            }
        }
    }

    fn gathering<'c>(
        &'c self,
        curve: &'c CloseCurve,
        max_batch_size: u32,
        max_queue_delay: Duration,
    ) -> Gathering<'c> {
        Gathering { table: &self.table, curve, max_batch_size, max_queue_delay }
    }

    fn curve(&self, upper_s: impl Fn(u32) -> f64) -> CloseCurve {
        let mut most = 0.0_f64;
        let uppers: Vec<Duration> = (0..=self.max_items)
            .map(|items| {
                most = most.max(upper_s(items.max(1)));
                Duration::from_secs_f64(most.min(1e6))
            })
            .collect();
        CloseCurve::new(&self.table, PackingPolicy::Deadline, self.slo, self.margin, |items| {
            uppers[items as usize]
        })
    }

    /// Plans that close by one place's service times.
    fn add_drafts(&self, slowest: usize, quantile: usize, fill: &mut FillLaw, drafts: &mut Vec<Draft>) {
        let uppers = &self.uppers[quantile][slowest];
        let upper = |items: u32| uppers[items as usize];
        if upper(1) + self.margin.as_secs_f64() > self.slo.as_secs_f64() {
            // Not even one item can be done in time: such a plan closes by its delay alone.
            drafts.push(Draft::alone(slowest, quantile));
            return;
        }
        let curve = self.curve(upper);
        let single = vec![slowest; self.max_items as usize + 1];
        let mixed = if self.settings.bounds.per_batch_rungs {
            self.cheapest_within(slowest, quantile)
        } else {
            single.clone()
        };
        for bound in self.bounds() {
            for delay in self.delays() {
                fill.set(&self.gathering(&curve, bound, delay));
                for (assignment, is_mixed) in [(&single, false), (&mixed, true)] {
                    if is_mixed && mixed == single {
                        continue;
                    }
                    drafts.push(Draft {
                        slowest,
                        quantile,
                        bound,
                        delay,
                        is_mixed,
                        usd_per_request: self.usd_per_request(fill, assignment),
                        roughly_s: self.roughly_s(fill, bound, delay, uppers),
                        is_known: self.doubtful_share(fill, assignment) < DOUBTFUL,
                    });
                }
            }
        }
    }

    /// By fill: the cheapest place that is at least as fast as `slowest`, with few changes: a place is left for one that is
    /// clearly cheaper.
    fn cheapest_within(&self, slowest: usize, quantile: usize) -> Vec<usize> {
        let uppers = &self.uppers[quantile];
        let mut chosen = vec![slowest; self.max_items as usize + 1];
        let mut current = slowest;
        let mut changes = 1;
        for items in (1..=self.max_items).rev() {
            let at = items as usize;
            let limit = uppers[slowest][at] * 1.000_001;
            let usd = |index: usize| self.places[index].costs.batch_usd(items);
            let fitting = (0..self.places.len()).filter(|&index| uppers[index][at] <= limit);
            let cheapest = fitting.min_by(|&a, &b| usd(a).total_cmp(&usd(b))).unwrap_or(slowest);
            let is_out = uppers[current][at] > limit;
            if is_out && changes >= MAX_RUNGS {
                current = slowest;
            } else if is_out || (changes < MAX_RUNGS && usd(cheapest) < (1.0 - RUNG_GAIN) * usd(current)) {
                changes += usize::from(cheapest != current);
                current = cheapest;
            }
            chosen[at] = current;
        }
        chosen
    }

    /// The cheapest plan under this place's times if the unknown were one deviation lower, and the place in it worth a trial.
    fn hope(&self, slowest: usize, fill: &mut FillLaw) -> Option<Temptation> {
        let uppers = &self.uppers[HOPEFUL];
        let upper = |items: u32| uppers[slowest][items as usize];
        if upper(1) + self.margin.as_secs_f64() > self.slo.as_secs_f64() {
            return None;
        }
        let curve = self.curve(upper);
        let chosen: Vec<usize> = (0..=self.max_items)
            .map(|items| {
                let items = items.max(1);
                let candidates = (0..self.places.len()).filter(|&index| {
                    index == slowest
                        || (self.settings.bounds.per_batch_rungs
                            && uppers[index][items as usize] <= upper(items) * 1.000_001)
                });
                let hopeful = |index: usize| self.places[index].hopeful_usd[items as usize];
                candidates.min_by(|&a, &b| hopeful(a).total_cmp(&hopeful(b))).unwrap_or(slowest)
            })
            .collect();
        let mut best: Option<(f64, Temptation)> = None;
        for bound in self.bounds() {
            fill.set(&self.gathering(&curve, bound, self.slo.min(self.settings.bounds.queue_delay)));
            let (mut usd, mut expected) = (0.0, 0.0);
            let mut doubt = vec![0.0; self.places.len()];
            for (items, p) in fill.pmf().iter().enumerate().skip(1).filter(|(_, p)| **p > 0.0) {
                let place = chosen[items];
                let hopeful = self.places[place].hopeful_usd[items];
                usd += p * hopeful;
                expected += p * self.places[place].costs.batch_usd(u32::try_from(items).unwrap_or(u32::MAX));
                let unknown = self.rows.rows[place][items].unknown_std;
                if unknown > KNOWN_LN_STD {
                    doubt[place] += p * hopeful * unknown;
                }
            }
            let cold = self.cold_usd_per_request(fill, &chosen);
            let (usd, expected) = (fill.usd_per_request(usd) + cold, fill.usd_per_request(expected) + cold);
            let doubtful =
                doubt.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).filter(|(_, it)| **it > 0.0);
            if let Some((place, _)) = doubtful
                && best.is_none_or(|(least, _)| usd < least)
            {
                let place = self.places[place].point;
                best = Some((
                    usd,
                    Temptation { place, usd_per_request: expected, ln_std: (expected / usd).ln() },
                ));
            }
        }
        best.map(|(_, temptation)| temptation)
    }

    fn usd_per_request(&self, fill: &FillLaw, assignment: &[usize]) -> f64 {
        let mut usd = 0.0;
        for (items, p) in fill.pmf().iter().enumerate().skip(1) {
            let place = &self.places[assignment[items]];
            usd += p * place.costs.batch_usd(u32::try_from(items).unwrap_or(u32::MAX));
        }
        fill.usd_per_request(usd) + self.cold_usd_per_request(fill, assignment)
    }

    /// Environments by function size.
    fn fleets(&self, fill: &FillLaw, assignment: &[usize]) -> Vec<(usize, Fleet)> {
        let evenness = Evenness::new(&self.table, fill);
        let overhead_s = self.rows.overhead_s.0 - self.rows.extra_s;
        let mut sizes: Vec<(usize, f64, f64)> = Vec::with_capacity(MAX_RUNGS);
        for (items, &p) in fill.pmf().iter().enumerate().skip(1).filter(|(_, p)| **p > 0.0) {
            let index = assignment[items];
            let place = &self.places[index];
            let seconds = place.costs.billed_seconds(u32::try_from(items).unwrap_or(u32::MAX)) + overhead_s;
            let memory_mib = place.point.memory_mib;
            match sizes.iter_mut().find(|(at, ..)| self.places[*at].point.memory_mib == memory_mib) {
                Some((_, share, sum)) => {
                    *share += p;
                    *sum += p * seconds;
                }
                None => sizes.push((index, p, p * seconds)),
            }
        }
        let fleet = |(index, share, sum): (usize, f64, f64)| {
            let per_second = share * fill.batches_per_second();
            let seconds = sum / share;
            (index, Fleet::new(evenness, share, per_second, seconds, self.places[index].stays_s))
        };
        sizes.into_iter().map(fleet).collect()
    }

    /// INIT of the environments that come and go while the load stays as it is.
    fn cold_usd_per_request(&self, fill: &FillLaw, assignment: &[usize]) -> f64 {
        let usd_per_second = |(index, fleet): &(usize, Fleet)| {
            let place = &self.places[*index];
            fleet.starts_per_second * place.init_s * place.usd_per_second
        };
        let each = self.fleets(fill, assignment);
        each.iter().map(usd_per_second).sum::<f64>() / self.table.law().requests_per_second
    }

    /// The wait of the oldest in a usual batch, and the batch's upper service time.
    fn roughly_s(&self, fill: &FillLaw, bound: u32, delay: Duration, uppers: &[f64]) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the bound")]
        let usual = (fill.mean().ceil() as usize).min(uppers.len() - 1);
        let law = self.table.law();
        let to_fill = f64::from(bound - 1) / (law.requests_per_second * law.items_per_request.mean());
        let closing = self.slo.as_secs_f64() - uppers[usual] - self.margin.as_secs_f64();
        delay.as_secs_f64().min(closing).min(2.0 * to_fill).max(0.0) + uppers[usual]
    }

    fn doubtful_share(&self, fill: &FillLaw, assignment: &[usize]) -> f64 {
        let each = fill.pmf().iter().enumerate().skip(1);
        each.filter(|(items, _)| self.rows.rows[assignment[*items]][*items].unknown_std > KNOWN_LN_STD)
            .map(|(_, p)| p)
            .sum()
    }

    /// The cheapest draft that keeps the objective, and the next; if none does, the one that misses it least.
    fn choose(&self, mut drafts: Vec<Draft>) -> (Option<Scored>, Option<Scored>) {
        drafts.sort_by(|a, b| self.rank(a).total_cmp(&self.rank(b)));
        let is_cost = self.settings.objective == Objective::Cost;
        if drafts.iter().any(|draft| draft.is_known) {
            // What is not known has to be tried first.
            drafts.retain(|draft| draft.is_known);
        }
        let mut scored: Vec<Scored> = Vec::new();
        let mut seen: Vec<(usize, u32, bool)> = Vec::new();
        for draft in drafts {
            let feasible = scored.iter().filter(|it| it.is_feasible).count();
            if (is_cost && feasible >= 2) || scored.len() >= MAX_LATENCY_LAWS * if is_cost { 1 } else { 3 } {
                break;
            }
            let signature = (draft.slowest, draft.bound, draft.is_mixed);
            if is_cost && seen.iter().filter(|it| **it == signature).count() >= 2 {
                continue;
            }
            seen.push(signature);
            if let Some(candidate) = self.score_with(&self.point_of(&draft), !is_cost) {
                scored.push(candidate);
            }
        }
        let rank = |it: &Scored| (!it.is_known, !it.is_feasible);
        scored.sort_by(|a, b| {
            rank(a).cmp(&rank(b)).then_with(|| match (a.is_feasible, b.is_feasible) {
                (false, false) => a.expected.late_share.total_cmp(&b.expected.late_share),
                _ => a.score.total_cmp(&b.score),
            })
        });
        let mut scored = scored.into_iter();
        let mut next = || {
            let candidate = scored.next()?;
            if is_cost { self.score(&self.refined(candidate).point) } else { Some(candidate) }
        };
        (next(), next())
    }

    /// Closes later in small steps, as far as the objective is kept, it pays, and fills stay known.
    fn refined(&self, mut best: Scored) -> Scored {
        for _ in 0..REFINEMENTS {
            let point = Point { close_z: best.point.close_z - REFINED_BY, ..best.point.clone() };
            match self.score_with(&point, false) {
                Some(next)
                    if best.is_feasible
                        && next.is_feasible
                        && next.is_known >= best.is_known
                        && next.score < best.score =>
                {
                    best = next;
                }
                _ => break,
            }
        }
        best
    }

    /// About the score of a draft.
    fn rank(&self, draft: &Draft) -> f64 {
        let usd = draft.usd_per_request;
        match self.settings.objective {
            Objective::Cost => usd,
            Objective::Latency { max_usd_per_million } => {
                draft.roughly_s * if usd * 1e6 <= max_usd_per_million { 1.0 } else { 1e3 }
            }
            Objective::Weighted { cost_weight } => {
                cost_weight * usd.ln() + (1.0 - cost_weight) * draft.roughly_s.ln()
            }
        }
    }

    fn point_of(&self, draft: &Draft) -> Point {
        let assignment = if draft.is_mixed {
            self.cheapest_within(draft.slowest, draft.quantile)
        } else {
            vec![draft.slowest; self.max_items as usize + 1]
        };
        let mut rungs: Vec<(u32, RungPoint)> = Vec::new();
        for items in 1..=draft.bound {
            let place = self.places[assignment[items as usize]].point;
            match rungs.last_mut() {
                Some((last, at)) if *at == place => *last = items,
                _ => rungs.push((items, place)),
            }
        }
        Point {
            max_batch_size: draft.bound,
            max_queue_delay: draft.delay,
            rungs,
            close_z: self.closing_z(draft.quantile),
        }
    }

    /// Index of the place of each fill; `None` if one is not allowed any more.
    fn assignment_of(&self, point: &Point) -> Option<Vec<usize>> {
        let mut assignment = vec![0; self.max_items as usize + 1];
        let mut first = 0;
        for &(last, at) in &point.rungs {
            let index = self.places.iter().position(|it| it.point == at)?;
            let end = (last as usize).min(self.max_items as usize);
            assignment[first..=end].fill(index);
            first = end;
        }
        let last = *assignment.get(first)?;
        assignment[first..].fill(last);
        Some(assignment)
    }

    fn upper_of(&self, point: &Point, assignment: &[usize], items: u32) -> f64 {
        let items = items.clamp(1, self.max_items);
        self.rows.upper_s(items, assignment[items as usize], point.close_z + self.caution, 1.0)
    }

    fn finish(
        &self,
        point: Point,
        assignment: &[usize],
        gathering: &Gathering<'_>,
        fill: &FillLaw,
        usd: f64,
        with_quantile: bool,
    ) -> Scored {
        let (mut seconds, mut square, mut unknown, mut billed) = (0.0, 0.0, 0.0_f64, 0.0);
        let mut doubtful = 0.0;
        for (items, &p) in fill.pmf().iter().enumerate().skip(1) {
            let at = u32::try_from(items).unwrap_or(u32::MAX);
            let law = self.rows.billed_seconds(at, assignment[items]);
            let whole = law.mean() + self.rows.overhead_seconds(at, assignment[items]);
            seconds += p * whole;
            square += p * (whole * whole + law.mean().powi(2) * law.ln_std.powi(2).exp_m1());
            let part = p
                * self.places[assignment[items]].costs.billed_seconds(at)
                * self.places[assignment[items]].usd_per_second;
            let std = self.rows.rows[assignment[items]][items].unknown_std;
            billed += part;
            unknown += part * std;
            if std > KNOWN_LN_STD {
                doubtful += p;
            }
        }
        let cv = (square / (seconds * seconds) - 1.0).max(0.0).sqrt();
        let in_flight = LogNormal::from_mean(seconds, cv);
        let window = WindowWait::new(&self.table, fill, self.max_in_flight, in_flight);
        let mut latency = LatencyLaw::default();
        let rung = |items: u32| assignment[(items as usize).min(assignment.len() - 1)];
        latency.set(gathering, fill, window, &self.rows, rung);
        let late_share = latency.upper_tail(self.slo.as_secs_f64());
        let latency_s = if with_quantile { latency.quantile(self.settings.slo_percentile) } else { f64::NAN };
        let whole = billed + self.fee_usd;
        let expected = Expectation {
            usd_per_million: usd * 1e6,
            ln_cost_std: if whole > 0.0 { unknown / whole } else { 0.0 },
            latency_ms: latency_s * 1e3,
            late_share,
            mean_fill: fill.mean(),
            concurrency: fill.batches_per_second() * seconds,
        };
        let per_second = fill.batches_per_second();
        let fits = window.utilisation <= MAX_UTILISATION
            && per_second <= 10.0 * f64::from(self.settings.account.concurrency);
        let within = late_share <= self.allowed_late;
        let (score, in_budget) = match self.settings.objective {
            Objective::Cost => (usd.ln(), true),
            Objective::Latency { max_usd_per_million } => (latency_s.ln(), usd * 1e6 <= max_usd_per_million),
            Objective::Weighted { cost_weight } => {
                (cost_weight * usd.ln() + (1.0 - cost_weight) * latency_s.ln(), true)
            }
        };
        let is_known = doubtful < DOUBTFUL;
        let fleets = self.fleets(fill, assignment);
        let fleets =
            fleets.iter().map(|(index, fleet)| (self.places[*index].point.memory_mib, fleet.kept)).collect();
        Scored { point, expected, score, is_feasible: within && fits && in_budget, is_known, fleets }
    }

    /// Each item alone at its cheapest place that is fast enough.
    fn unbatched(&self) -> Option<Unbatched> {
        let items = self.table.law().items_per_request.mean();
        let slo = self.slo.as_secs_f64();
        let z = percentile_z(self.settings.slo_percentile);
        let one = |index: usize| self.places[index].costs.batch_usd(1);
        let fast = (0..self.places.len()).filter(|&index| self.rows.upper_s(1, index, z, 0.0) <= slo);
        let by_usd = |a: &usize, b: &usize| one(*a).total_cmp(&one(*b));
        let cheapest = fast.min_by(by_usd).or_else(|| (0..self.places.len()).min_by(by_usd))?;
        Some(Unbatched { place: self.places[cheapest].point, usd_per_request: one(cheapest) * items })
    }
}

/// A plan before its latency is known.
#[derive(Clone, Debug)]
struct Draft {
    slowest: usize,
    quantile: usize,
    bound: u32,
    delay: Duration,
    is_mixed: bool,
    usd_per_request: f64,
    /// About the latency of the slowest, seconds: only to rank drafts whose law is not computed yet.
    roughly_s: f64,
    is_known: bool,
}

impl Draft {
    /// One item at a time, dearest: only taken when nothing keeps the objective.
    fn alone(slowest: usize, quantile: usize) -> Self {
        Self {
            slowest,
            quantile,
            bound: 1,
            delay: Duration::ZERO,
            is_mixed: false,
            usd_per_request: f64::MAX,
            roughly_s: f64::MAX,
            is_known: false,
        }
    }
}

impl Place {
    fn new(
        situation: &Situation<'_, '_>,
        point: RungPoint,
        index: usize,
        rows: &Rows,
        max_items: u32,
    ) -> Self {
        let &Situation { settings, economics, knowledge, .. } = situation;
        let fee_usd = economics.prices.request_usd();
        let usd_per_second = usd_per_second(&economics.prices, economics, point.memory_mib);
        let costs = CostTable::new(rows, index, max_items, usd_per_second, fee_usd);
        let hopeful_usd = (0..=max_items)
            .map(|items| {
                let billed = costs.billed_seconds(items.max(1)) * (-rows.at(items, index).unknown_std).exp();
                billed * usd_per_second + fee_usd
            })
            .collect();
        let init_s = knowledge.init_s(point.memory_mib);
        let kept =
            before_learning(settings).map_or(0, |_| keep_calls(settings, init_s, usd_per_second, fee_usd));
        let stays_s = STAYS_WARM.as_secs_f64() * (1.0 + f64::from(kept));
        Self { point, costs, hopeful_usd, usd_per_second, init_s, stays_s }
    }
}

/// Upper service times at a few fills up to `bound`, never descending: the table by which the engine closes batches.
pub(crate) fn closing_table(bound: u32, upper: impl Fn(u32) -> Duration) -> Option<ServiceTimeTable> {
    let mut points: Vec<(u32, Duration)> = Vec::new();
    let mut items = 1;
    loop {
        let upper = upper(items);
        points.push((items, points.last().map_or(upper, |&(_, before)| before.max(upper))));
        if items >= bound {
            return ServiceTimeTable::new(points).ok();
        }
        items = (items + (items / 4).max(1)).min(bound);
    }
}

/// Dollars per billed second of a size.
pub(crate) fn usd_per_second(prices: &PriceTable, economics: &Economics, memory_mib: u32) -> f64 {
    let per_gb = prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
    gateway_contract::Mebibytes(memory_mib).gibibytes() * per_gb
}

/// All places within the bounds. More processes than vCPUs (rounded up) only share what one process less had.
pub(crate) fn places(settings: &TunerSettings) -> Vec<RungPoint> {
    let bounds = &settings.bounds;
    let sizes = bounds.memory_mib.iter().filter(|&&size| size <= settings.account.memory_ceiling);
    sizes
        .flat_map(|&size| {
            let (low, high) = bounds.process_count;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 6")]
            let useful = (size.vcpus().ceil() as u32).clamp(low, high.max(low));
            (low..=useful).map(move |process_count| RungPoint { memory_mib: size.0, process_count })
        })
        .collect()
}

pub(crate) fn allowed(knowledge: &Knowledge, place: RungPoint) -> bool {
    knowledge.memory_floor.allows(place.process_count, place.memory_mib)
}

impl Point {
    /// For events.
    pub(crate) fn summary(&self) -> PointSummary {
        PointSummary {
            max_batch_size: self.max_batch_size,
            max_queue_delay_ms: self.max_queue_delay.as_secs_f64() * 1e3,
            rungs: self.rungs.iter().map(|&(last, at)| (last, at.memory_mib, at.process_count)).collect(),
        }
    }
}

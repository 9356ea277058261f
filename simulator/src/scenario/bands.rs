//! Bands: what is measured of a run, and within which bounds it must lie.

use gateway_contract::ModelId;
use optimizer_tuner::TunerAction;
use serde::Deserialize;

use super::error::ScenarioError;
use super::file::Scenario;
use super::observe::{End, Ended, Sent, Witness};
use super::yardstick::yardstick;
use crate::deployment::{self, DeploymentReport, ModelReport};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Dollars over those of the yardstick, for the requests that were answered.
    CostRatio,
    /// Dollars per million answered requests.
    UsdPerMillion,
    /// Share of the requests that were answered within the objective; shed and failed ones were not.
    WithinSlo,
    /// Median latency of answered requests, ms.
    P50Ms,
    /// Their 99th percentile, ms.
    P99Ms,
    /// Share of the requests that was refused at the door.
    ShedShare,
    /// Share of the requests that ended without all values.
    FailedShare,
    /// Answered requests per second.
    AnsweredPerS,
    /// Items per batch that ran.
    MeanFill,
    /// Invocations per batch formed.
    InvocationsPerBatch,
    /// Invocations that started an environment.
    ColdStarts,
    /// Seconds from the band's beginning to the first change-point seen; the band's length if there is none.
    DetectionDelayS,
    /// Change-points seen.
    ChangePoints,
    /// Trials begun.
    Trials,
    /// Plans put into force, beside the first.
    PlanChanges,
    /// Plans given up.
    Rollbacks,
    /// Seconds from the band's beginning until, for 30 s on end, 95 of 100 requests kept the objective.
    RecoveryS,
}

/// Within which bounds a measured value must lie.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// What is measured.
    pub measure: Measure,
    /// Of which model. Default: the first.
    pub model: Option<String>,
    /// From this second on. Default 0.
    #[serde(default)]
    pub from_s: f64,
    /// Up to this second. Default: the end.
    pub to_s: Option<f64>,
    /// Not below.
    pub at_least: Option<f64>,
    /// Not above.
    pub at_most: Option<f64>,
    /// Why these bounds, and what was measured when they were set.
    pub why: String,
}

impl Band {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let (low, high) = (self.at_least.unwrap_or(f64::NEG_INFINITY), self.at_most.unwrap_or(f64::INFINITY));
        let can_fail = self.at_least.is_some() || self.at_most.is_some();
        if can_fail && low <= high && self.to_s.is_none_or(|to| to > self.from_s) && !self.why.is_empty() {
            return Ok(());
        }
        Err(ScenarioError::field("bands", format!("cannot be kept, cannot fail or has no reason: {self:?}")))
    }
}

/// A value and its band.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The band.
    pub band: Band,
    /// The value; not a number if there was nothing to measure.
    pub value: f64,
}

impl Measured {
    /// Whether it lies within.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.band.at_least.is_none_or(|low| self.value >= low)
            && self.band.at_most.is_none_or(|high| self.value <= high)
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Band { measure, model, from_s, to_s, at_least, at_most, .. } = &self.band;
        write!(f, "{measure:?} of {} from {from_s} s", model.as_deref().unwrap_or("the model"))?;
        if let Some(to_s) = to_s {
            write!(f, " to {to_s} s")?;
        }
        write!(f, ": {:.4}", self.value)?;
        if let Some(low) = at_least {
            write!(f, ", at least {low}")?;
        }
        if let Some(high) = at_most {
            write!(f, ", at most {high}")?;
        }
        Ok(())
    }
}

/// Runs a scenario with one seed: a value for each band, and the rules that did not hold, in words.
///
/// # Errors
/// A scenario that cannot be run.
pub fn run(scenario: &Scenario, seed: u64) -> Result<(Vec<Measured>, Vec<String>), ScenarioError> {
    let mut witness = Witness::new(scenario.account());
    let report = deployment::run(scenario.config(seed)?, &mut witness)?;
    witness.watch.close(&report);
    let broken = witness.watch.findings().first().iter().map(ToString::to_string).collect();
    let run = Run { scenario, report: &report, witness: &witness };
    let measured: Result<Vec<Measured>, ScenarioError> = scenario
        .bands
        .iter()
        .map(|band| Ok(Measured { band: band.clone(), value: run.measure(band)? }))
        .collect();
    Ok((measured?, broken))
}

struct Run<'a> {
    scenario: &'a Scenario,
    report: &'a DeploymentReport,
    witness: &'a Witness,
}

/// What a band looks at.
struct Scope<'a> {
    model: ModelId,
    report: &'a ModelReport,
    from_s: f64,
    to_s: f64,
}

impl Scope<'_> {
    fn holds(&self, model: ModelId, at_s: f64) -> bool {
        model == self.model && self.from_s <= at_s && at_s < self.to_s
    }
}

impl Run<'_> {
    fn measure(&self, band: &Band) -> Result<f64, ScenarioError> {
        let id = band.model.as_ref().map_or(Ok(ModelId(0)), |name| self.scenario.model(name))?;
        let Some(report) = self.report.models.get(usize::from(id.0)) else {
            return Err(ScenarioError::field("model", "is not there"));
        };
        let to_s = band.to_s.unwrap_or(f64::INFINITY);
        let scope = Scope { model: id, report, from_s: band.from_s, to_s };
        Ok(match band.measure {
            Measure::CostRatio => self.cost_ratio(&scope)?,
            Measure::UsdPerMillion => {
                let (usd, answered) = spent(&scope);
                usd / answered * 1e6
            }
            Measure::WithinSlo => {
                self.share(&scope, |end, slo_s| matches!(end, End::Answered(s) if s <= slo_s))
            }
            Measure::ShedShare => self.share(&scope, |end, _| end == End::Shed),
            Measure::FailedShare => self.share(&scope, |end, _| end == End::Failed),
            Measure::P50Ms => self.latency_ms(&scope, 0.5),
            Measure::P99Ms => self.latency_ms(&scope, 0.99),
            Measure::AnsweredPerS => {
                let answered = self.ended(&scope).filter(|it| matches!(it.end, End::Answered(_))).count();
                answered as f64 / (to_s.min(self.scenario.seconds()) - band.from_s)
            }
            Measure::MeanFill => {
                let ran: Vec<f64> =
                    self.sent(&scope).filter(|it| it.has_run).map(|it| f64::from(it.items)).collect();
                ran.iter().sum::<f64>() / ran.len() as f64
            }
            Measure::InvocationsPerBatch => {
                let (all, first) = self.sent(&scope).fold((0.0, 0.0), |(all, first), it| {
                    (all + 1.0, first + f64::from(u8::from(it.is_first)))
                });
                all / first
            }
            Measure::ColdStarts => self.sent(&scope).filter(|it| it.is_cold).count() as f64,
            Measure::DetectionDelayS => {
                let first = events(&scope, |it| matches!(it, TunerAction::ChangePoint { .. })).next();
                first.unwrap_or(to_s.min(self.scenario.seconds())) - band.from_s
            }
            Measure::ChangePoints => count(&scope, |it| matches!(it, TunerAction::ChangePoint { .. })),
            Measure::Trials => count(&scope, |it| matches!(it, TunerAction::TrialStarted { .. })),
            Measure::Rollbacks => count(&scope, |it| matches!(it, TunerAction::RolledBack { .. })),
            Measure::PlanChanges => {
                let later = scope.report.plans.iter().skip(1);
                later.filter(|(at_s, _)| scope.holds(id, *at_s)).count() as f64
            }
            Measure::RecoveryS => self.recovery_s(&scope),
        })
    }

    fn ended<'s>(&'s self, scope: &'s Scope<'_>) -> impl Iterator<Item = &'s Ended> {
        self.witness.ended.iter().filter(|it| scope.holds(it.model, it.arrived_s))
    }

    fn sent<'s>(&'s self, scope: &'s Scope<'_>) -> impl Iterator<Item = &'s Sent> {
        self.witness.sent.iter().filter(|it| scope.holds(it.model, it.at_s))
    }

    fn slo_s(&self, scope: &Scope<'_>) -> f64 {
        self.scenario.models.get(usize::from(scope.model.0)).map_or(f64::NAN, |model| model.slo_ms / 1e3)
    }

    fn share(&self, scope: &Scope<'_>, is_it: impl Fn(End, f64) -> bool) -> f64 {
        let slo_s = self.slo_s(scope);
        let (mut all, mut these) = (0.0, 0.0);
        for ended in self.ended(scope) {
            all += 1.0;
            these += f64::from(u8::from(is_it(ended.end, slo_s)));
        }
        these / all
    }

    fn latency_ms(&self, scope: &Scope<'_>, probability: f64) -> f64 {
        let mut latencies: Vec<f64> = self
            .ended(scope)
            .filter_map(|it| match it.end {
                End::Answered(seconds) => Some(seconds),
                End::Failed | End::Shed => None,
            })
            .collect();
        latencies.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let rank = (probability * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).map_or(f64::NAN, |seconds| seconds * 1e3)
    }

    fn cost_ratio(&self, scope: &Scope<'_>) -> Result<f64, ScenarioError> {
        let Some(model) = self.scenario.models.get(usize::from(scope.model.0)) else {
            return Err(ScenarioError::field("model", "is not there"));
        };
        let (usd, answered) = spent(scope);
        let to_s = scope.to_s.min(self.scenario.seconds());
        let (best_usd, requests) = yardstick(self.scenario, model, scope.from_s, to_s)?;
        Ok(usd / answered / (best_usd / requests))
    }

    /// From the scope's beginning: the first second from which on 95 of 100 requests kept the objective for 30 s.
    fn recovery_s(&self, scope: &Scope<'_>) -> f64 {
        const STEADY_S: usize = 30;
        let slo_s = self.slo_s(scope);
        let to_s = scope.to_s.min(self.scenario.seconds());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a scenario")]
        let length = (to_s - scope.from_s).max(0.0) as usize;
        let mut seconds = vec![(0_u32, 0_u32); length];
        for ended in self.ended(scope) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a second of a scenario"
            )]
            let at = (ended.arrived_s - scope.from_s) as usize;
            if let Some((all, kept)) = seconds.get_mut(at) {
                *all += 1;
                *kept += u32::from(matches!(ended.end, End::Answered(s) if s <= slo_s));
            }
        }
        let is_steady = |stretch: &[(u32, u32)]| {
            let (all, kept) = stretch.iter().fold((0, 0), |(all, kept), it| (all + it.0, kept + it.1));
            f64::from(kept) >= 0.95 * f64::from(all)
        };
        seconds.windows(STEADY_S).position(is_steady).unwrap_or(length) as f64
    }
}

/// Dollars billed, and requests answered, in the windows of a scope.
fn spent(scope: &Scope<'_>) -> (f64, f64) {
    let (mut usd, mut answered) = (0.0, 0.0);
    for record in &scope.report.windows {
        let ended_s = record.stats.ended_at.as_nanos() as f64 / 1e9;
        if ended_s > scope.from_s && ended_s <= scope.to_s {
            usd += record.usd;
            answered += record.stats.answered as f64;
        }
    }
    (usd, answered)
}

fn events<'s>(
    scope: &'s Scope<'_>,
    is_it: impl Fn(&TunerAction) -> bool + 's,
) -> impl Iterator<Item = f64> + 's {
    let times = scope.report.events.iter().filter(move |event| is_it(&event.what));
    let times = times.map(|event| event.at.as_nanos() as f64 / 1e9);
    times.filter(|at_s| scope.holds(scope.model, *at_s))
}

fn count(scope: &Scope<'_>, is_it: impl Fn(&TunerAction) -> bool) -> f64 {
    events(scope, is_it).count() as f64
}

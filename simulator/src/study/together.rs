//! Records of runs put together into a report.

use super::break_even::Question;
use super::cells::{Cell, Purpose};
use super::facts::{facts, setup, usual_server};
use super::policy::PolicyName;
use super::prepared::Prepared;
use super::record::CellRecord;
use crate::bounds::physical_floor_usd;
use crate::lambda::{BatchShape, FunctionModel as _};
use crate::report::data::{BreakEven, Figures, Host, Objective, PolicyReport, Report, Role, Spread};

/// The report of a study from the records of its runs; runs that are missing are left out.
#[must_use]
pub fn report(prepared: &Prepared, records: &[CellRecord]) -> Report {
    let study = prepared.study();
    let load = prepared.load();
    let policies = study.policies.iter().enumerate();
    let mut policies: Vec<PolicyReport> = policies
        .filter_map(|(place, &policy)| policy_report(prepared, records, policy, place == 0))
        .collect();
    // Bounds last, in the order of the study otherwise.
    policies.sort_by_key(|policy| policy.role == Role::Bound);
    let gateway = Host {
        name: study.gateway.name.clone(),
        usd_per_hour: study.gateway.usd_per_hour,
        count: study.gateway.count,
    };
    let floor_usd = physical_floor_usd(&prepared.known()) * 1e6;
    Report {
        title: study.title.clone(),
        made_by: format!("penstock {}", env!("CARGO_PKG_VERSION")),
        setup: setup(prepared),
        objective: Objective { slo_ms: study.model.slo_ms, percentile: study.model.slo_percentile },
        seconds: prepared.seconds(),
        mean_requests_per_s: load.mean,
        peak_requests_per_s: load.peak,
        seeds: prepared.seeds().collect(),
        floor_usd_per_million: floor_usd * study.sizes.mean_items(),
        break_even: break_even(prepared, records, &policies, &gateway),
        policies,
        gateway,
        facts: facts(prepared),
    }
}

fn find<'a>(records: &'a [CellRecord], cell: &Cell) -> Option<&'a CellRecord> {
    let key = cell.key();
    records.iter().find(|record| record.key == key)
}

fn policy_report(
    prepared: &Prepared,
    records: &[CellRecord],
    policy: PolicyName,
    is_chosen: bool,
) -> Option<PolicyReport> {
    let runs =
        prepared.seeds().filter_map(|seed| find(records, &Cell { policy, seed, purpose: Purpose::Traffic }));
    let runs: Vec<&CellRecord> = runs.collect();
    let portrait = policy.portrait();
    let detail = runs.iter().find_map(|record| record.detail.clone()).unwrap_or_default();
    (!runs.is_empty()).then(|| PolicyReport {
        name: portrait.name.to_owned(),
        label: portrait.label.to_owned(),
        about: portrait.about.to_owned(),
        role: if is_chosen { Role::Chosen } else { portrait.role },
        needs_gateway: portrait.needs_gateway,
        figures: figures(&runs),
        detail,
    })
}

fn figures(runs: &[&CellRecord]) -> Figures {
    let spread = |of: fn(&CellRecord) -> f64| Spread::of(&runs.iter().map(|run| of(run)).collect::<Vec<_>>());
    Figures {
        usd_per_million: spread(CellRecord::usd_per_million),
        duration_usd_per_million: spread(|run| run.per_million(run.duration_usd)),
        fee_usd_per_million: spread(|run| run.per_million(run.fee_usd)),
        cold_usd_per_million: spread(|run| run.per_million(run.cold_usd)),
        outside_slo_share: spread(CellRecord::outside_slo_share),
        p50_ms: spread(|run| run.p50_ms),
        at_percentile_ms: spread(|run| run.at_percentile_ms),
        mean_fill: spread(|run| run.mean_fill),
        cold_share: spread(|run| run.cold_starts as f64 / run.invocations.max(1) as f64),
        lost_share: spread(|run| run.lost as f64 / run.requests.max(1) as f64),
        trials: spread(|run| run.trials as f64),
        plan_changes: spread(|run| run.plan_changes as f64),
    }
}

fn break_even(
    prepared: &Prepared,
    records: &[CellRecord],
    policies: &[PolicyReport],
    gateway: &Host,
) -> Option<BreakEven> {
    let study = prepared.study();
    let section = study.break_even.as_ref()?;
    let policy = *study.policies.first()?;
    let seconds = section.seconds(prepared.seconds());
    let chosen = section.requests_per_s.iter().filter_map(|&load| {
        let cell = Cell { policy, seed: study.first_seed, purpose: Purpose::Load(load) };
        // The load that came of it: a part of the traffic may have another mean than the whole.
        find(records, &cell).map(|record| (record.requests as f64 / seconds, record.usd_per_million()))
    });
    let unbatched = policies.iter().find(|policy| !policy.needs_gateway && policy.role == Role::Baseline);
    let load = prepared.load();
    let question = Question {
        section,
        server: section.server.clone().unwrap_or_else(|| usual_server(study.prices.architecture)),
        cpu_seconds: cpu_seconds(prepared),
        peak_ratio: load.peak / load.mean,
        gateway_usd: gateway.usd_per_month(),
        chosen: chosen.collect(),
        seconds,
        chosen_label: policy.portrait().label.to_owned(),
        unbatched: unbatched.map(|policy| (policy.figures.usd_per_million.mean, policy.label.clone())),
        usd_per_million_requests: study.prices.economics().prices.usd_per_million_requests,
    };
    question.answer()
}

/// CPU seconds of a request on a server: its items in the largest batch on one vCPU that takes no more than half the objective.
fn cpu_seconds(prepared: &Prepared) -> f64 {
    let profile = prepared.profile();
    let seconds = |items: u32| {
        let shape = BatchShape::uniform(items, 1, profile.units(0));
        profile.law(gateway_contract::Mebibytes(1769), &shape).mean()
    };
    let half = prepared.study().model.slo_ms / 2e3;
    let batches = [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|&items| items == 1 || seconds(items) <= half);
    let per_item = batches.map(|items| seconds(items) / f64::from(items)).fold(f64::INFINITY, f64::min);
    per_item * prepared.study().sizes.mean_items()
}

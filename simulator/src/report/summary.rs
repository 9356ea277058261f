//! The answer in a few sentences.

use super::data::{PolicyReport, Report, Role};
use super::number::{dollars, milliseconds, percent, plain};
use super::savings::{monthly, saved_share};

/// A figure with words below it.
#[derive(Clone, Debug)]
pub(super) struct Headline {
    pub(super) figure: String,
    pub(super) words: String,
}

/// Whether a policy kept the objective over its seeds.
pub(super) fn keeps_slo(report: &Report, policy: &PolicyReport) -> bool {
    policy.figures.outside_slo_share.mean <= 1.0 - report.objective.percentile + 1e-9
}

/// The cheapest baseline, hosts included, among those that keep the objective.
pub(super) fn best_baseline(report: &Report) -> Option<&PolicyReport> {
    let baselines = report.policies.iter().filter(|policy| policy.role == Role::Baseline);
    let keeping = baselines.filter(|policy| keeps_slo(report, policy));
    keeping.min_by(|a, b| monthly(report, a).usd().total_cmp(&monthly(report, b).usd()))
}

pub(super) fn headlines(report: &Report) -> Vec<Headline> {
    let Some(chosen) = report.policies.first() else { return Vec::new() };
    let figures = &chosen.figures;
    let mut all = vec![
        Headline {
            figure: dollars(figures.usd_per_million.mean),
            words: format!("per million requests on Lambda, with {}", chosen.label),
        },
        Headline {
            figure: dollars(monthly(report, chosen).usd()),
            words: format!(
                "per month of this traffic ({} requests/s on average), gateway's host included",
                plain(report.mean_requests_per_s)
            ),
        },
        Headline {
            figure: percent(1.0 - figures.outside_slo_share.mean),
            words: format!(
                "answered within {}; promised: {}",
                milliseconds(report.objective.slo_ms),
                percent(report.objective.percentile)
            ),
        },
    ];
    let alone = report.policies.iter().find(|policy| policy.role == Role::Baseline && !policy.needs_gateway);
    let best = best_baseline(report);
    all.extend(best.and_then(|other| saving(report, other, ", the cheapest baseline that keeps the SLO")));
    let alone = alone.filter(|alone| best.is_none_or(|best| best.name != alone.name));
    all.extend(alone.and_then(|other| saving(report, other, "")));
    all.extend(gap_to_bound(report, chosen));
    all
}

fn saving(report: &Report, other: &PolicyReport, which: &str) -> Option<Headline> {
    let share = saved_share(report, other)?;
    let (word, share) = if share >= 0.0 { ("cheaper", share) } else { ("dearer", -share) };
    let words = format!("{word} than “{}”{which}, hosts included", other.label);
    Some(Headline { figure: percent(share), words })
}

fn gap_to_bound(report: &Report, chosen: &PolicyReport) -> Option<Headline> {
    let usd = |policy: &&PolicyReport| policy.figures.usd_per_million.mean;
    let bounds = report.policies.iter().filter(|policy| policy.role == Role::Bound);
    let bound = bounds.min_by(|a, b| usd(a).total_cmp(&usd(b)))?;
    let ratio = chosen.figures.usd_per_million.mean / bound.figures.usd_per_million.mean;
    let words = format!("of Lambda's charges with “{}”, which nobody can run", bound.label);
    ratio.is_finite().then(|| Headline { figure: format!("{} ×", plain(ratio)), words })
}

//! The policies that a study may name, and what a report says about each. How each works is in the header of its file in
//! [`crate::controllers`] or [`crate::bounds`].

use serde::{Deserialize, Serialize};

use crate::report::data::Role;

/// A policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// Penstock's tuner, starting from the configured plan and knowing nothing.
    Penstock,
    /// Black-box Bayesian optimization with change-points.
    BlackBox,
    /// The configured plan, never changed.
    Pinned,
    /// No batching, at the memory size that is cheapest within the objective.
    UnbatchedBest,
    /// No batching at 1769 MiB.
    #[serde(rename = "unbatched_1769")]
    Unbatched1769,
    /// No batching at 3008 MiB.
    #[serde(rename = "unbatched_3008")]
    Unbatched3008,
    /// 32 items or 5 s.
    Kserve,
    /// A fixed delay and a bound, the best in hindsight.
    Triton,
    /// BATCH.
    Batch,
    /// MBS.
    Mbs,
    /// HarmonyBatch's CPU functions.
    HarmonyBatch,
    /// The best plan in hindsight, never changed.
    BestFixed,
    /// The best plan of each minute, with its arrivals known, and no cold starts.
    Oracle,
    /// The oracle's schedule, cold starts paid.
    Clairvoyant,
}

/// What a report says of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portrait {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) about: &'static str,
    pub(super) role: Role,
    pub(super) needs_gateway: bool,
}

impl PolicyName {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 14] = [
        Self::Penstock,
        Self::BlackBox,
        Self::Pinned,
        Self::UnbatchedBest,
        Self::Unbatched1769,
        Self::Unbatched3008,
        Self::Kserve,
        Self::Triton,
        Self::Batch,
        Self::Mbs,
        Self::HarmonyBatch,
        Self::BestFixed,
        Self::Oracle,
        Self::Clairvoyant,
    ];

    /// Its name in studies.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.portrait().name
    }

    /// The policy of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// What it is in a comparison.
    #[must_use]
    pub fn role(self) -> Role {
        self.portrait().role
    }

    pub(super) fn portrait(self) -> Portrait {
        let baseline =
            |name, label, about| Portrait { name, label, about, role: Role::Baseline, needs_gateway: true };
        let alone = |name, label, about| Portrait { needs_gateway: false, ..baseline(name, label, about) };
        let bound = |name, label, about| Portrait { role: Role::Bound, ..baseline(name, label, about) };
        match self {
            Self::Penstock => baseline(
                "penstock",
                "Penstock",
                "The production tuner. It starts from the configured plan, knows nothing of the model, learns the service time from what it serves, and \
                 chooses batch size, queue delay, memory and processes by formula. Learning is included in all figures.",
            ),
            Self::BlackBox => baseline(
                "black_box",
                "Black-box search (Cai et al. 2023)",
                "Bayesian optimization over whole plans, each measured in production, begun again after each change-point. Knows nothing beforehand.",
            ),
            Self::Pinned => baseline(
                "pinned",
                "Configured plan, pinned",
                "The plan that the study starts from, never changed.",
            ),
            Self::UnbatchedBest => alone(
                "unbatched_best",
                "Unbatched, best memory",
                "One invocation for each request, at the memory size that is cheapest within the SLO once it is warm (chosen knowing the model).",
            ),
            Self::Unbatched1769 => alone(
                "unbatched_1769",
                "Unbatched, 1769 MiB",
                "One invocation for each request, at the memory that buys one vCPU.",
            ),
            Self::Unbatched3008 => alone(
                "unbatched_3008",
                "Unbatched, 3008 MiB",
                "One invocation for each request, at the largest memory of a new account.",
            ),
            Self::Kserve => baseline(
                "kserve",
                "KServe-style (32 items or 5 s)",
                "The inference batcher of KServe with its documented defaults, at the memory size that is cheapest for full batches.",
            ),
            Self::Triton => baseline(
                "triton",
                "Triton-style (fixed delay)",
                "A dynamic batcher with a fixed queue delay and a largest batch; size, bound and delay are the best in hindsight for the whole traffic.",
            ),
            Self::Batch => baseline(
                "batch",
                "BATCH (SC 2020)",
                "A Markovian arrival process fitted to the past, then every memory size × batch × time-out by an analytic model; told the true service law.",
            ),
            Self::Mbs => baseline(
                "mbs",
                "MBS-style (VLDB 2022)",
                "Bayesian optimization over the same analytic model, every ten minutes; told the true service law.",
            ),
            Self::HarmonyBatch => baseline(
                "harmony_batch",
                "HarmonyBatch, CPU (2024)",
                "Function size and batch from the rate of the minute before; told the true service law.",
            ),
            Self::BestFixed => bound(
                "best_fixed",
                "Best fixed plan in hindsight",
                "One plan for the whole traffic, chosen knowing the model and all arrivals. Cold starts are paid.",
            ),
            Self::Oracle => bound(
                "oracle",
                "Oracle",
                "The best plan of each minute, chosen knowing the model and the arrivals to come, run through the production engine without cold starts.",
            ),
            Self::Clairvoyant => bound(
                "clairvoyant",
                "Clairvoyant (pays cold starts)",
                "The oracle's schedule with cold starts paid; environments are warmed before each change of plan.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name_and_read_by_it() {
        for policy in PolicyName::ALL {
            assert_eq!(PolicyName::named(policy.name()), Some(policy));
            let read: PolicyName = serde_json::from_value(policy.name().into()).unwrap();
            assert_eq!(read, policy);
        }
    }
}

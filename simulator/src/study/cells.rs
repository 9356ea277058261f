//! The independent runs of a study.

use gateway_contract::Mebibytes;

use super::policy::PolicyName;
use super::prepared::Prepared;
use crate::lambda::FunctionModel as _;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Purpose {
    /// The study's own traffic.
    Traffic,
    /// Its traffic scaled to so many requests per second on average, to find where servers are cheaper.
    Load(f64),
}

/// One run: a policy, a seed, and a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The policy.
    pub policy: PolicyName,
    /// The seed.
    pub seed: u64,
    /// The load.
    pub purpose: Purpose,
}

impl Cell {
    /// A name that tells the runs of one study apart.
    #[must_use]
    pub fn key(&self) -> String {
        let name = self.policy.name();
        match self.purpose {
            Purpose::Traffic => format!("{name} seed {}", self.seed),
            Purpose::Load(load) => format!("{name} seed {} at {load} req/s", self.seed),
        }
    }
}

impl Prepared {
    /// Whether a policy can run this model at all: the memory that it is bound to must hold it.
    pub(super) fn fits(&self, policy: PolicyName) -> bool {
        let bound_to = match policy {
            PolicyName::Unbatched1769 => Mebibytes(1769),
            PolicyName::Unbatched3008 => Mebibytes(3008),
            PolicyName::Penstock
            | PolicyName::BlackBox
            | PolicyName::Pinned
            | PolicyName::UnbatchedBest
            | PolicyName::Kserve
            | PolicyName::Triton
            | PolicyName::Batch
            | PolicyName::Mbs
            | PolicyName::HarmonyBatch
            | PolicyName::BestFixed
            | PolicyName::Oracle
            | PolicyName::Clairvoyant => return true,
        };
        self.profile().memory_used(1) <= bound_to
    }

    /// All runs of the study, those first that take longest.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let study = self.study();
        let mut cells = Vec::new();
        for seed in self.seeds() {
            let cell = |&policy: &PolicyName| Cell { policy, seed, purpose: Purpose::Traffic };
            cells.extend(study.policies.iter().filter(|policy| self.fits(**policy)).map(cell));
        }
        // Bounds look at many plans, policies that decide look at every window.
        cells.sort_by_key(|cell| match cell.policy {
            PolicyName::Oracle | PolicyName::Clairvoyant | PolicyName::BestFixed => 0,
            PolicyName::Penstock | PolicyName::BlackBox | PolicyName::Batch | PolicyName::Mbs => 1,
            PolicyName::Pinned
            | PolicyName::UnbatchedBest
            | PolicyName::Unbatched1769
            | PolicyName::Unbatched3008
            | PolicyName::Kserve
            | PolicyName::Triton
            | PolicyName::HarmonyBatch => 2,
        });
        if let (Some(section), Some(&policy)) = (&study.break_even, study.policies.first()) {
            let cell = |&load: &f64| Cell { policy, seed: study.first_seed, purpose: Purpose::Load(load) };
            cells.extend(section.requests_per_s.iter().rev().map(cell));
        }
        cells
    }
}

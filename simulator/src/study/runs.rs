//! One run: a policy, a seed and a load, through the production engine.

use std::sync::Arc;

use gateway_contract::{Mebibytes, ServingPlan};
use optimizer_tuner::PolicyKind;

use super::cells::{Cell, Purpose};
use super::hindsight::Hindsight;
use super::policy::PolicyName;
use super::prepared::Prepared;
use super::problem::Problem;
use super::record::CellRecord;
use super::traffic::size_law;
use crate::bounds::{Known, PlanSearch};
use crate::controllers::batch::batch;
use crate::controllers::harmony_batch::harmony_batch;
use crate::controllers::mbs::mbs;
use crate::controllers::{best_unbatched, kserve, triton};
use crate::deployment::{
    self, ColdStarts, Controller, DeploymentConfig, FixedPlan, ModelConfig, ModelReport, Records,
    TunerController, Unobserved,
};

/// Steps of a run's curves, at most.
const STEPS: f64 = 1440.0;

/// Runs a cell.
///
/// # Errors
/// A study whose numbers cannot be served together.
pub fn run(prepared: &Prepared, cell: &Cell) -> Result<CellRecord, Problem> {
    let study = prepared.study();
    let load = Traffic::of(prepared, cell);
    let known = prepared.known();
    let (controller, cold_starts) = controller(prepared, cell, &known, &load)?;
    let report = load.run(prepared, controller, cold_starts, Records::Merged(load.windows_per_step()))?;
    let has_detail = cell.seed == study.first_seed && cell.purpose == Purpose::Traffic;
    Ok(CellRecord::of(cell, &report, study.model.slo_percentile, load.seconds, has_detail))
}

/// The traffic of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// Times the study's own rate.
    factor: f64,
    pub(super) seconds: f64,
    seed: u64,
}

impl Traffic {
    fn of(prepared: &Prepared, cell: &Cell) -> Self {
        match (cell.purpose, &prepared.study().break_even) {
            (Purpose::Load(load), Some(section)) => Self {
                factor: load / prepared.load().mean,
                seconds: section.seconds(prepared.seconds()),
                seed: cell.seed,
            },
            (Purpose::Load(_) | Purpose::Traffic, _) => {
                Self { factor: 1.0, seconds: prepared.seconds(), seed: cell.seed }
            }
        }
    }

    fn windows_per_step(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "windows of a second; saturates"
        )]
        let windows = (self.seconds / STEPS).ceil().max(1.0) as u32;
        windows
    }

    /// One policy under this traffic. Equal traffic has equal arrivals, whatever the policy.
    pub(super) fn run(
        &self,
        prepared: &Prepared,
        controller: Box<dyn Controller>,
        cold_starts: ColdStarts,
        records: Records,
    ) -> Result<ModelReport, Problem> {
        let study = prepared.study();
        let timeout = study.model.request_timeout_ms;
        let model = ModelConfig {
            sizes: size_law(&study.sizes),
            slo_percentile: study.model.slo_percentile,
            request_timeout: timeout.map(|ms| std::time::Duration::from_secs_f64(ms / 1e3)),
            ..ModelConfig::new(
                prepared.profile().name.clone(),
                Arc::<crate::profile::ModelProfile>::clone(prepared.profile()),
                prepared.arrivals(self.factor)?,
                controller,
            )
        };
        let config = DeploymentConfig {
            account: deployment::Account { cold_starts, ..prepared.account() },
            records,
            ..DeploymentConfig::new(vec![model], self.seconds, self.seed)
        };
        let report =
            deployment::run(config, &mut Unobserved).map_err(|error| Problem::whole(&study.title, error))?;
        let model = report.models.into_iter().next();
        model.ok_or_else(|| Problem::whole(&study.title, "a run without a model"))
    }
}

/// Who chooses the plans of a cell, and whether cold starts are paid.
fn controller(
    prepared: &Prepared,
    cell: &Cell,
    known: &Known,
    load: &Traffic,
) -> Result<(Box<dyn Controller>, ColdStarts), Problem> {
    let fixed = |plan: ServingPlan| -> Box<dyn Controller> { Box::new(FixedPlan::new(plan)) };
    let unbatched = |memory| fixed(known.unbatched(Mebibytes(memory)));
    let tuned = |policy| -> Result<Box<dyn Controller>, Problem> {
        let settings = prepared.settings(policy, cell.seed);
        let tuner = TunerController::new(settings, prepared.base().clone(), prepared.account().economics);
        let tuner = tuner.map_err(|error| Problem::whole(&prepared.study().title, error))?;
        Ok(Box::new(tuner))
    };
    let hindsight = || Hindsight::look(prepared, known, load);
    let controller = match cell.policy {
        PolicyName::Penstock => tuned(PolicyKind::GreyBox)?,
        PolicyName::BlackBox => tuned(PolicyKind::BlackBox)?,
        PolicyName::Pinned => fixed(prepared.base().clone()),
        PolicyName::UnbatchedBest => fixed(best_unbatched(known).plan),
        PolicyName::Unbatched1769 => unbatched(1769),
        PolicyName::Unbatched3008 => unbatched(3008),
        PolicyName::Kserve => fixed(kserve(known).plan),
        PolicyName::Triton => {
            let laws = hindsight()?.laws();
            fixed(triton(known, &PlanSearch::new(known), &laws).plan)
        }
        PolicyName::Batch => Box::new(batch(known)),
        PolicyName::Mbs => Box::new(mbs(known, cell.seed)),
        PolicyName::HarmonyBatch => Box::new(harmony_batch(known)),
        PolicyName::BestFixed => fixed(hindsight()?.best_fixed()?),
        PolicyName::Oracle => return Ok((Box::new(hindsight()?.oracle()?), ColdStarts::Free)),
        PolicyName::Clairvoyant => Box::new(hindsight()?.clairvoyant()?),
    };
    Ok((controller, ColdStarts::Paid))
}

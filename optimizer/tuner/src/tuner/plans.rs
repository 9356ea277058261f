//! Operating points as serving plans, and plans on their way into force.

use std::time::Duration;

use gateway_contract::{
    EnvironmentPolicy, Mebibytes, PackingPolicy, PlanRevision, Rung, ServiceTimeTable, ServingPlan,
};

use super::Tuner;
use super::account::{Previous, Realised};
use crate::event::{Candidate, SwitchReason, TunerAction};
use crate::search::{Point, Scored};
use crate::service::belief::RungPoint;

/// Service times of the plan in force that differ by less than this are left as they are.
const REFRESH_FROM: f64 = 0.07;

impl Scored {
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { point: self.point.summary(), expected: self.expected }
    }
}

impl Tuner {
    /// A plan that serves a point; everything else is the configuration's.
    pub(super) fn plan_of(&self, point: &Point, service_time_upper: ServiceTimeTable) -> ServingPlan {
        let rungs: Vec<Rung> =
            point.rungs.iter().map(|&(max_items, place)| self.rung(max_items, place)).collect();
        let environments = self.environments(&rungs);
        ServingPlan {
            packing: PackingPolicy::Deadline,
            max_batch_size: point.max_batch_size,
            max_queue_delay: point.max_queue_delay,
            service_time_upper,
            rungs,
            canary: None,
            hold_out: self.hold_out(point.max_batch_size),
            environments,
            ..self.base.clone()
        }
    }

    /// How sparingly the environments of these sizes are used: by the one whose INIT is longest.
    fn environments(&self, rungs: &[Rung]) -> Option<EnvironmentPolicy> {
        let init_s = |rung: &&Rung| self.knowledge.init_s(rung.memory_mib.0);
        let slowest = rungs.iter().max_by(|a, b| init_s(a).total_cmp(&init_s(b)))?;
        let price =
            crate::search::usd_per_second(&self.economics.prices, &self.economics, slowest.memory_mib.0);
        let request_usd = self.economics.prices.request_usd();
        crate::environments::learned(&self.settings, init_s(&slowest), price, request_usd)
    }

    /// A place by its alias: the configured name where the configuration has one of this size, else `mem-<MiB>`.
    pub(super) fn rung(&self, max_items: u32, place: RungPoint) -> Rung {
        let memory_mib = Mebibytes(place.memory_mib);
        let configured = self.base.rungs.iter().find(|rung| rung.memory_mib == memory_mib);
        let qualifier =
            configured.map_or_else(|| format!("mem-{}", place.memory_mib), |rung| rung.qualifier.clone());
        Rung { max_items, qualifier, memory_mib, process_count: place.process_count }
    }

    /// Puts a plan into force under the next revision, unless it could not be served.
    pub(super) fn put_in_force(&mut self, plan: ServingPlan) -> bool {
        let parent = self.plan.revision;
        let plan = ServingPlan {
            model: self.base.model,
            revision: PlanRevision(parent.0 + 1),
            parent: Some(parent),
            ..plan
        };
        if plan.validate().is_err() {
            return false;
        }
        self.plan = plan.clone();
        self.plans.push_back(plan);
        true
    }

    pub(super) fn return_to_base(&mut self) {
        self.point = None;
        let same =
            ServingPlan { revision: self.plan.revision, parent: self.plan.parent, ..self.base.clone() };
        if same != self.plan {
            self.put_in_force(self.base.clone());
        }
    }

    /// Puts a chosen point into force, or only says that it would.
    pub(super) fn switch(
        &mut self,
        chosen: &Scored,
        table: ServiceTimeTable,
        reason: SwitchReason,
        before: Option<Candidate>,
        runner_up: Option<Candidate>,
    ) {
        let is_watching = self.settings.policy == crate::settings::PolicyKind::Observe;
        let plan = self.plan_of(&chosen.point, table);
        let service_time_upper = self.plan.service_time_upper.clone();
        if !is_watching && !self.put_in_force(plan) {
            return;
        }
        if !is_watching {
            if let Some(point) = self.point.take() {
                let (realised, drift_ln) = (self.realised, self.knowledge.drift_ln());
                self.previous = Some(Previous { point, service_time_upper, realised, drift_ln });
            }
            self.begin_record();
        }
        self.point = Some(chosen.point.clone());
        self.window_of_last_switch = self.windows;
        self.counts.switches += 1;
        self.emit(TunerAction::Switched {
            revision: self.plan.revision.0,
            reason,
            chosen: chosen.candidate(),
            before,
            runner_up,
        });
    }

    /// What is measured from now on is another plan's, once its first batch has come back.
    pub(super) fn begin_record(&mut self) {
        self.realised = Realised::default();
        self.is_serving = false;
    }

    /// Gives the plan in force fresh service times if they have moved.
    pub(super) fn refresh(&mut self, table: ServiceTimeTable) {
        let bound = self.plan.max_batch_size;
        let old = &self.plan.service_time_upper;
        let moved = [1, bound.div_ceil(4), bound.div_ceil(2), bound].into_iter().any(|items| {
            let (old, new) = (old.upper(items).as_secs_f64(), table.upper(items).as_secs_f64());
            (new / old.max(1e-9)).ln().abs() > REFRESH_FROM
        });
        if !moved || self.canary.is_some() || self.settings.policy == crate::settings::PolicyKind::Observe {
            return;
        }
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let upper_ms = (milliseconds(table.upper(1)), milliseconds(table.upper(bound)));
        if self.put_in_force(ServingPlan {
            service_time_upper: table,
            hold_out: self.hold_out(bound),
            ..self.plan.clone()
        }) {
            self.emit(TunerAction::Refreshed { revision: self.plan.revision.0, upper_ms });
        }
    }
}

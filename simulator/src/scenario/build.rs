//! Makes a deployment of a scenario.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::TunerSettings;
use optimizer_tuner::settings::{AccountLimits, ExplorationLimits, SearchBounds};

use super::error::ScenarioError;
use super::file::{FaultFile, ModelFile, PlanFile, Scenario};
use super::load::Phases;
use crate::deployment::{
    Account, Controller, DeploymentConfig, Fault, FaultKind, FixedPlan, ModelConfig, NetworkLaw, Patience,
    Records, Scheduled, SizeClass, SizeLaw, TunerController,
};
use crate::lambda::{BatchShape, FunctionModel as _, KeepAlive, LimitSettings, ThrottleReason};
use crate::profile::{ModelProfile, example};

/// Memory sizes with an alias, unless a scenario says otherwise, MiB.
const MEMORY: [u32; 4] = [512, 1024, 1769, 3008];

impl Scenario {
    /// The account.
    #[must_use]
    pub fn account(&self) -> Account {
        let (file, usual) = (&self.account, Account::default());
        Account {
            limits: LimitSettings {
                concurrency: file.concurrency.unwrap_or(usual.limits.concurrency),
                environments_per_10_s: file
                    .environments_per_10_s
                    .unwrap_or(usual.limits.environments_per_10_s),
                ..usual.limits
            },
            keep_alive: file.keep_alive_s.map_or(usual.keep_alive, KeepAlive::Fixed),
            network: file.network_ms.map_or(usual.network, |ms| NetworkLaw::LogNormal(ms / 1e3, 0.3)),
            ..usual
        }
    }

    /// A deployment of it with this seed.
    ///
    /// # Errors
    /// Profiles, models or faults that do not exist; settings that are out of range.
    pub fn config(&self, seed: u64) -> Result<DeploymentConfig, ScenarioError> {
        let account = self.account();
        let models: Result<Vec<ModelConfig>, ScenarioError> =
            self.models.iter().map(|model| model.config(&account, seed)).collect();
        let faults: Result<Vec<Fault>, ScenarioError> =
            self.faults.iter().map(|fault| self.fault(fault)).collect();
        Ok(DeploymentConfig {
            account,
            faults: faults?,
            records: Records::Every,
            ..DeploymentConfig::new(models?, self.seconds(), seed)
        })
    }

    /// Place of a model by name.
    pub(super) fn model(&self, name: &str) -> Result<ModelId, ScenarioError> {
        let at = self.models.iter().position(|model| model.name() == name);
        at.and_then(|at| u16::try_from(at).ok())
            .map(ModelId)
            .ok_or_else(|| ScenarioError::field("model", format!("names `{name}`, which is not there")))
    }

    fn fault(&self, file: &FaultFile) -> Result<Fault, ScenarioError> {
        let missing =
            |field: &'static str| ScenarioError::field(field, format!("is needed by `{}`", file.kind));
        let factor = || file.factor.ok_or_else(|| missing("factor"));
        let share = || file.share.ok_or_else(|| missing("share"));
        let memory = || file.memory_mib.map(Mebibytes).ok_or_else(|| missing("memory_mib"));
        let kind = match file.kind.as_str() {
            "slow" => FaultKind::Slow(factor()?),
            "slow_at" => FaultKind::SlowAt(memory()?, factor()?),
            "no_report" => FaultKind::NoReport,
            "throttled" => FaultKind::Throttled(ThrottleReason::ConcurrentInvocationLimitExceeded),
            "lost_responses" => FaultKind::LostResponses { share: share()? },
            "function_errors" => FaultKind::FunctionErrors { share: share()? },
            "partial_failures" => FaultKind::PartialFailures { share: share()? },
            "poison_items" => FaultKind::PoisonItems { share: share()? },
            "unreachable" => FaultKind::Unreachable,
            "refused_at" => FaultKind::RefusedAt(memory()?),
            "out_of_memory_above" => {
                FaultKind::OutOfMemoryAbove { items: file.items.ok_or_else(|| missing("items"))? }
            }
            "large_answers" => FaultKind::LargeAnswers(factor()?),
            "cold_storm" => FaultKind::ColdStorm,
            "drain" => FaultKind::Drain,
            other => {
                return Err(ScenarioError::field("kind", format!("is `{other}`, which no fault is called")));
            }
        };
        let fault = Fault::new(file.from_s, file.to_s, kind);
        match &file.model {
            Some(name) => Ok(fault.of(self.model(name)?)),
            None => Ok(fault),
        }
    }
}

impl ModelFile {
    /// The truth about its function.
    pub(super) fn truth(&self) -> Result<ModelProfile, ScenarioError> {
        let mut profile = example(&self.profile)?;
        if !self.class_units.is_empty() {
            profile.class_units.clone_from(&self.class_units);
        }
        Ok(profile)
    }

    fn sizes(&self) -> SizeLaw {
        let shares: &[f64] = if self.class_shares.is_empty() { &[1.0] } else { &self.class_shares };
        SizeLaw {
            items_pmf: self.items.clone(),
            classes: shares.iter().map(|&share| SizeClass { share, ..SizeClass::default() }).collect(),
        }
    }

    fn config(&self, account: &Account, seed: u64) -> Result<ModelConfig, ScenarioError> {
        let profile = self.truth()?;
        let controller = self.controller(&profile, account, seed)?;
        let arrivals = Box::new(Phases::new(self.load.clone()));
        let patience =
            |leave: &super::file::LeaveFile| Patience { share: leave.share, mean_s: leave.mean_ms / 1e3 };
        Ok(ModelConfig {
            sizes: self.sizes(),
            slo_percentile: self.slo_percentile,
            request_timeout: self.timeout_ms.map(Duration::from_millis),
            patience: self.leave.as_ref().map(patience),
            reserved_concurrency: self.reserved_concurrency,
            ..ModelConfig::new(self.name(), Arc::new(profile), arrivals, controller)
        })
    }

    fn controller(
        &self,
        profile: &ModelProfile,
        account: &Account,
        seed: u64,
    ) -> Result<Box<dyn Controller>, ScenarioError> {
        let plans: Result<Vec<(f64, ServingPlan)>, ScenarioError> =
            self.plans.iter().map(|plan| Ok((plan.from_s, self.plan(plan, profile)?))).collect();
        let plans = plans?;
        match plans.split_first() {
            Some(((_, only), [])) => Ok(Box::new(FixedPlan::new(only.clone()))),
            Some(((_, first), later)) => Ok(Box::new(Scheduled::new(first.clone(), later.to_vec()))),
            None => {
                let (settings, base) = (self.settings(account, seed), self.base()?);
                let tuner = TunerController::new(settings, base, account.economics.clone());
                Ok(Box::new(tuner.map_err(|error| ScenarioError::field("tuner", error.to_string()))?))
            }
        }
    }

    /// Memory sizes that plans may use.
    pub(super) fn memory(&self) -> Vec<Mebibytes> {
        let listed: &[u32] = if self.tuner.memory_mib.is_empty() { &MEMORY } else { &self.tuner.memory_mib };
        listed.iter().copied().map(Mebibytes).collect()
    }

    pub(super) fn max_batch_size(&self) -> u32 {
        self.tuner.max_batch_size.unwrap_or(128)
    }

    pub(super) fn max_process_count(&self) -> u32 {
        self.tuner.max_process_count.unwrap_or(6)
    }

    fn settings(&self, account: &Account, seed: u64) -> TunerSettings {
        let usual = TunerSettings::default();
        let memory_mib = self.memory();
        let ceiling = memory_mib.last().copied().unwrap_or(usual.account.memory_ceiling);
        TunerSettings {
            slo_percentile: self.slo_percentile,
            bounds: SearchBounds {
                batch_size: (1, self.max_batch_size()),
                process_count: (1, self.max_process_count()),
                memory_mib,
                ..usual.bounds
            },
            account: AccountLimits {
                memory_ceiling: ceiling.max(usual.account.memory_ceiling),
                concurrency: account.limits.concurrency,
            },
            exploration: ExplorationLimits {
                max_share: self.tuner.max_share.unwrap_or(usual.exploration.max_share),
                max_usd_per_hour: self.tuner.max_usd_per_hour.unwrap_or(usual.exploration.max_usd_per_hour),
                ..usual.exploration
            },
            seed,
            ..usual
        }
    }

    /// What serves before anything is known: batches of up to 16 at the size that has one vCPU, or the smallest above.
    pub(super) fn base(&self) -> Result<ServingPlan, ScenarioError> {
        let memory = self.memory();
        let size = memory.iter().find(|size| size.0 >= Mebibytes::PER_VCPU).or(memory.last());
        let size = size.copied().unwrap_or(Mebibytes(Mebibytes::PER_VCPU));
        let slo = Duration::from_secs_f64(self.slo_ms / 1e3);
        let table = ServiceTimeTable::new(vec![(1, slo.mul_f64(0.4)), (16, slo.mul_f64(0.8))]);
        let table = table.map_err(|error| ScenarioError::field("slo_ms", error.to_string()))?;
        let plan = ServingPlan {
            model: ModelId(0),
            revision: PlanRevision(1),
            parent: None,
            packing: PackingPolicy::Deadline,
            max_batch_size: self.max_batch_size().min(16),
            max_queue_delay: slo,
            max_in_flight: self.bounds.max_in_flight.unwrap_or(200),
            queue_capacity_items: self.bounds.queue_capacity_items.unwrap_or(10_000),
            queue_capacity_bytes: 1 << 28,
            max_request_payload_bytes: 6_000_000,
            max_response_payload_bytes: 6_000_000,
            slo_latency: slo,
            deadline_margin: Duration::from_millis(5),
            service_time_upper: table,
            rungs: vec![rung(16, size, 1)],
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits::default(),
        };
        Ok(plan)
    }

    fn plan(&self, file: &PlanFile, profile: &ModelProfile) -> Result<ServingPlan, ScenarioError> {
        let base = self.base()?;
        let (memory, processes) = (Mebibytes(file.memory_mib), file.process_count.unwrap_or(1));
        let packing = match file.packing.as_deref() {
            None | Some("deadline") => PackingPolicy::Deadline,
            Some("fifo") => PackingPolicy::Fifo,
            Some("none") => PackingPolicy::None,
            Some(other) => return Err(ScenarioError::field("packing", format!("is `{other}`"))),
        };
        // Three times the spread above the mean: late by a service time that is longer than that once in a thousand.
        let upper = |items: u32| {
            let law = profile.law(memory, &BatchShape::uniform(items, processes, profile.units(0)));
            Duration::from_secs_f64(law.quantile(0.999) + 0.005)
        };
        let mut points: Vec<(u32, Duration)> = Vec::new();
        for items in 1..=file.max_batch_size {
            points.push((items, points.last().map_or(upper(items), |last| last.1.max(upper(items)))));
        }
        let table = ServiceTimeTable::new(points);
        Ok(ServingPlan {
            packing,
            max_batch_size: file.max_batch_size,
            max_queue_delay: file
                .max_queue_delay_ms
                .map_or(base.max_queue_delay, |ms| Duration::from_secs_f64(ms / 1e3)),
            service_time_upper: table
                .map_err(|error| ScenarioError::field("max_batch_size", error.to_string()))?,
            rungs: vec![rung(file.max_batch_size, memory, processes)],
            ..base
        })
    }
}

fn rung(max_items: u32, memory_mib: Mebibytes, process_count: u32) -> Rung {
    Rung { max_items, qualifier: format!("mem-{}", memory_mib.0), memory_mib, process_count }
}

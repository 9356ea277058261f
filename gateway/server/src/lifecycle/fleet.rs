//! The served models and their plans in force, behind one lock: what a reload replaces and what the control loop steers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use gateway_contract::{Architecture, ModelId, PlanRevision, PriceTable, ServiceObservation, ServingPlan};
use optimizer_tuner::{TunerSettings, TunerState};
use tokio::task::JoinHandle;

use super::assembly::{Assembly, OutOfIds};
use crate::config::Settings;
use crate::driver::{DriverHandle, Invoke, Liveness, ModelSet, spawn};
use crate::registry::Registry;
use crate::telemetry::Catalogue;

/// The models, the driver that serves them and the registry that the front ends read.
pub(crate) struct Fleet {
    inner: Mutex<Inner>,
    driver: DriverHandle,
    registry: Arc<ArcSwap<Registry>>,
}

struct Inner {
    assembly: Assembly,
    settings: Arc<Settings>,
    /// What the account itself says, once it is known.
    account_concurrency: Option<u32>,
    /// What each tuner had learned when it was last saved, by model name.
    learned: BTreeMap<String, Arc<TunerState>>,
}

/// A model as the control loop sees it.
#[derive(Clone, Debug)]
pub(crate) struct Steered {
    pub(crate) id: ModelId,
    pub(crate) name: String,
    pub(crate) function: Arc<str>,
    pub(crate) architecture: Architecture,
    /// Name and version in its manifest.
    pub(crate) manifest: (String, String),
    /// The configured plan, under the revision in force.
    pub(crate) base: ServingPlan,
    /// The plan in force.
    pub(crate) plan: ServingPlan,
    pub(crate) policy: TunerSettings,
    pub(crate) max_warm_up_environments: u32,
    /// For a tuner without learned state.
    pub(crate) first_observations: Vec<ServiceObservation>,
    pub(crate) prices: PriceTable,
}

/// Why a plan was not put into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotApplied {
    /// A reload has removed the model, or given it another id.
    #[error("the model is not served any more")]
    Gone,
    /// Its revision is not above the one in force.
    #[error("revision {given} is not above {in_force}, the one in force")]
    Stale { given: u64, in_force: u64 },
    /// The engine could not serve it.
    #[error("the plan is not valid: {0}")]
    Invalid(#[from] gateway_contract::PlanError),
    /// It cannot happen to a model that has an id.
    #[error(transparent)]
    OutOfIds(#[from] OutOfIds),
}

impl Fleet {
    /// Builds the models of `settings` and starts a driver for them.
    ///
    /// # Errors
    /// More models than ids.
    pub(crate) fn start<S: Invoke>(
        settings: Arc<Settings>,
        invoker: S,
        catalogue: &Arc<Catalogue>,
    ) -> Result<(Self, Liveness, JoinHandle<()>), OutOfIds> {
        let mut assembly = Assembly::new(catalogue.clone());
        let (models, registry) = assembly.build(&settings)?;
        let (driver, liveness, supervisor) = spawn(models, invoker, catalogue.clone(), settings.driver);
        let registry = Arc::new(ArcSwap::from_pointee(registry));
        let fleet = Self {
            inner: Mutex::new(Inner {
                assembly,
                settings,
                account_concurrency: None,
                learned: BTreeMap::new(),
            }),
            driver,
            registry,
        };
        Ok((fleet, liveness, supervisor))
    }

    pub(crate) fn driver(&self) -> &DriverHandle {
        &self.driver
    }

    pub(crate) fn registry(&self) -> &Arc<ArcSwap<Registry>> {
        &self.registry
    }

    /// The configuration in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.lock().settings.clone()
    }

    /// All models. Of the account's concurrency as configured and as AWS told, the smaller counts.
    pub(crate) fn steered(&self) -> Vec<Steered> {
        let inner = self.lock();
        let models = inner.settings.models.iter();
        let mut steered: Vec<Steered> =
            models.filter_map(|model| inner.assembly.steered(model, &inner.settings)).collect();
        if let Some(told) = inner.account_concurrency {
            for model in &mut steered {
                let concurrency = &mut model.policy.account.concurrency;
                *concurrency = told.min(*concurrency).max(1);
            }
        }
        steered
    }

    /// Takes in what the account says.
    pub(crate) fn note_account_concurrency(&self, sandboxes: u32) {
        self.lock().account_concurrency = Some(sandboxes);
    }

    /// Takes in what a tuner has learned.
    pub(crate) fn note_learned(&self, model: &str, state: TunerState) {
        self.lock().learned.insert(model.to_owned(), Arc::new(state));
    }

    /// What a model's tuner had learned when it was last saved, or before it was started.
    pub(crate) fn learned(&self, model: &str) -> Option<Arc<TunerState>> {
        self.lock().learned.get(model).cloned()
    }

    /// Puts another configuration into force, as a whole.
    pub(crate) fn reload(&self, settings: Arc<Settings>) -> Result<(), OutOfIds> {
        let mut inner = self.lock();
        let (models, registry) = inner.assembly.build(&settings)?;
        inner.settings = settings;
        self.publish(models, registry);
        Ok(())
    }

    /// Puts another plan of a model into force.
    ///
    /// # Errors
    /// Why it was not; the one before stays.
    pub(crate) fn set_plan(&self, plan: ServingPlan) -> Result<(), NotApplied> {
        plan.validate()?;
        let mut inner = self.lock();
        let in_force = inner.assembly.plan_mut(plan.model).ok_or(NotApplied::Gone)?;
        let (revision, parent) = (in_force.revision, in_force.parent);
        if plan.revision == revision && (ServingPlan { parent, ..plan.clone() }) == *in_force {
            return Ok(()); // a reload has put the same into force before it was asked for
        }
        if plan.revision <= revision {
            let (PlanRevision(given), PlanRevision(in_force)) = (plan.revision, in_force.revision);
            return Err(NotApplied::Stale { given, in_force });
        }
        *in_force = plan;
        let settings = inner.settings.clone();
        let (models, registry) = inner.assembly.build(&settings)?;
        self.publish(models, registry);
        Ok(())
    }

    /// Called with the lock held, so that what is published last is the newest.
    fn publish(&self, models: Arc<ModelSet>, registry: Registry) {
        // The driver first: a request validated against the new registry must find its model there.
        self.driver.update_models(models);
        self.registry.store(Arc::new(registry));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

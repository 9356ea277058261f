//! Settings → what the driver and the front ends hold. Remembers across reloads what must survive them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gateway_contract::{ModelId, PlanRevision, ServingPlan};
use workers_protocol::ModelManifest;

use super::fleet::Steered;
use crate::config::{ModelSettings, Settings};
use crate::driver::{ModelRuntime, ModelSet, ResponseEstimate};
use crate::http::openai::TokenCounter;
use crate::registry::{Registry, ServedModel};
use crate::statistics::ModelStatistics;
use crate::telemetry::{Catalogue, ModelMetrics};

/// What is kept of each model name that was ever served.
#[derive(Debug)]
struct Kept {
    id: ModelId,
    manifest: ModelManifest,
    function: Arc<str>,
    /// In force: the configured one, or what the control loop has put in its place.
    plan: ServingPlan,
    /// As the file says.
    configured: ServingPlan,
    /// Whether the file leaves the choice of plans to the control loop.
    is_steered: bool,
    statistics: Arc<ModelStatistics>,
    tokens: Arc<TokenCounter>,
    response_item_bytes: Arc<ResponseEstimate>,
}

/// Builds snapshots of the served models.
#[derive(Debug)]
pub(super) struct Assembly {
    catalogue: Arc<Catalogue>,
    kept: BTreeMap<String, Kept>,
    next_id: u16,
}

/// More models, or changes of a model's manifest, than ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all model ids of this process are used up; restart it")]
pub struct OutOfIds;

impl Assembly {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, kept: BTreeMap::new(), next_id: 0 }
    }

    /// Builds a snapshot. A model whose manifest or function changed gets a new id, so that what still waits under the old
    /// one is served as it was validated; a changed plan keeps the id and becomes a new revision.
    pub(super) fn build(&mut self, settings: &Settings) -> Result<(Arc<ModelSet>, Registry), OutOfIds> {
        let mut set = ModelSet { models: BTreeMap::new(), prices: Arc::new(settings.prices.clone()) };
        let mut served = Vec::with_capacity(settings.models.len());
        for model in &settings.models {
            let runtime = self.runtime(model)?;
            served.push(ServedModel {
                id: runtime.id,
                name: model.name.clone(),
                manifest: model.manifest.clone(),
                plan: runtime.plan.clone(),
                statistics: runtime.statistics.clone(),
                tokens: self.kept.get(&model.name).map(|kept| kept.tokens.clone()).unwrap_or_default(),
            });
            set.models.insert(runtime.id, Arc::new(runtime));
        }
        self.set_prices(settings);
        Ok((Arc::new(set), Registry::new(served)))
    }

    fn runtime(&mut self, model: &ModelSettings) -> Result<ModelRuntime, OutOfIds> {
        let kept = self.keep(model)?;
        Ok(ModelRuntime {
            id: kept.id,
            name: model.name.clone(),
            function: kept.function.clone(),
            architecture: model.architecture,
            manifest: model.manifest.clone(),
            plan: kept.plan.clone(),
            default_timeout: model.default_timeout,
            statistics: kept.statistics.clone(),
            response_item_bytes: kept.response_item_bytes.clone(),
            metrics: ModelMetrics::new(self.catalogue.clone(), &model.name),
        })
    }

    fn keep(&mut self, model: &ModelSettings) -> Result<&Kept, OutOfIds> {
        let before = self.kept.remove(&model.name);
        let is_steered = model.policy.policy.chooses();
        let kept = match before {
            Some(mut kept) if kept.manifest == model.manifest && *kept.function == *model.function => {
                let is_other = kept.configured != model.plan || kept.is_steered;
                if is_other && !is_steered {
                    let parent = kept.plan.revision;
                    kept.plan = ServingPlan {
                        model: kept.id,
                        revision: PlanRevision(parent.0 + 1),
                        parent: Some(parent),
                        ..model.plan.clone()
                    };
                }
                // A steered model keeps its plan: the control loop hears of the change and answers with a new one.
                (kept.configured, kept.is_steered) = (model.plan.clone(), is_steered);
                kept
            }
            before => {
                let id = ModelId(self.next_id);
                let folder = model.manifest_path.parent().unwrap_or(Path::new(""));
                self.next_id = self.next_id.checked_add(1).ok_or(OutOfIds)?;
                let revision = PlanRevision(1);
                Kept {
                    id,
                    manifest: model.manifest.clone(),
                    function: model.function.as_str().into(),
                    plan: ServingPlan { model: id, revision, parent: None, ..model.plan.clone() },
                    configured: model.plan.clone(),
                    is_steered,
                    statistics: before.map(|kept| kept.statistics).unwrap_or_default(),
                    response_item_bytes: Arc::new(ResponseEstimate::new(&model.manifest)),
                    tokens: Arc::new(TokenCounter::new(&model.manifest, folder)),
                }
            }
        };
        Ok(self.kept.entry(model.name.clone()).insert_entry(kept).into_mut())
    }

    /// The plan in force of a model that is served.
    pub(super) fn plan_mut(&mut self, id: ModelId) -> Option<&mut ServingPlan> {
        self.kept.values_mut().map(|kept| &mut kept.plan).find(|plan| plan.model == id)
    }

    /// A model as the control loop sees it; `None`: it was never built.
    pub(super) fn steered(&self, model: &ModelSettings, settings: &Settings) -> Option<Steered> {
        let kept = self.kept.get(&model.name)?;
        let (revision, parent) = (kept.plan.revision, kept.plan.parent);
        Some(Steered {
            id: kept.id,
            name: model.name.clone(),
            function: kept.function.clone(),
            architecture: model.architecture,
            manifest: (kept.manifest.name.clone(), kept.manifest.version.clone()),
            base: ServingPlan { model: kept.id, revision, parent, ..kept.configured.clone() },
            plan: kept.plan.clone(),
            policy: model.policy.clone(),
            max_warm_up_environments: model.max_warm_up_environments,
            first_observations: model.first_observations.clone(),
            prices: settings.prices.clone(),
        })
    }

    fn set_prices(&self, settings: &Settings) {
        let set = |component, architecture, value| {
            self.catalogue.price_info.with_label_values(&[component, architecture]).set(value);
        };
        for (architecture, price) in [("x86_64", &settings.prices.x86_64), ("arm64", &settings.prices.arm64)]
        {
            let first = price.tiers.first().map_or(0.0, |tier| tier.usd_per_gb_second);
            set("usd_per_gb_second", architecture, first);
        }
        set("usd_per_million_requests", "any", settings.prices.usd_per_million_requests);
        set("gateway_usd_per_hour", "any", settings.gateway_usd_per_hour);
    }
}

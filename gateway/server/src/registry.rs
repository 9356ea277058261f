//! The models that this gateway serves, as the front ends see them: an immutable snapshot, swapped on reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_contract::{ModelId, ServingPlan};
use workers_protocol::ModelManifest;

use crate::http::openai::TokenCounter;
use crate::statistics::ModelStatistics;

/// One served model.
#[derive(Debug)]
pub struct ServedModel {
    /// Its id in the engine.
    pub id: ModelId,
    /// Name in URLs: the key of its configuration section.
    pub name: String,
    /// What its `model.toml` says.
    pub manifest: ModelManifest,
    /// The plan in force when the snapshot was taken.
    pub plan: ServingPlan,
    /// Counters behind the statistics extension; they outlive reloads.
    pub statistics: Arc<ModelStatistics>,
    /// Counts the tokens of texts.
    pub tokens: Arc<TokenCounter>,
}

/// All served models.
#[derive(Debug, Default)]
pub struct Registry {
    models: BTreeMap<String, Arc<ServedModel>>,
}

impl Registry {
    /// Builds a snapshot.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = ServedModel>) -> Self {
        Self { models: models.into_iter().map(|model| (model.name.clone(), Arc::new(model))).collect() }
    }

    /// The model of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.models.get(name)
    }

    /// All models, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values()
    }
}

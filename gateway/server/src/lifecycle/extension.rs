//! Room beside the gateway's own parts: routes on both listeners and work in the background, of crates that this one does not know.
//!
//! Bulk jobs are the one extension there is. Deliberately absent: anything that could change how live requests are served.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use gateway_policy::share::LiveLoad;
use optimizer_tuner::TunerState;

use super::Fleet;
use crate::config::{ModelSettings, Settings};
use crate::http::HttpConfig;
use crate::registry::{Registry, ServedModel};
use crate::telemetry::Catalogue;

/// What an extension may see of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(super) fleet: Arc<Fleet>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) http: Arc<HttpConfig>,
}

impl Host {
    /// The configuration in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.fleet.settings()
    }

    /// The served models, as they are now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.fleet.registry().load_full()
    }

    /// A served model and what the configuration says of it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<(Arc<ServedModel>, ModelSettings)> {
        let settings = self.settings();
        let configured = settings.models.iter().find(|model| model.name == name)?;
        Some((self.registry().get(name)?.clone(), configured.clone()))
    }

    /// Sandboxes that this gateway may have at a time, of all models: as configured or, if less, as the account says.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        let models = self.fleet.steered();
        models.iter().map(|model| model.policy.account.concurrency).min().unwrap_or(1).max(1)
    }

    /// Bounds of the HTTP side.
    #[must_use]
    pub fn http(&self) -> &Arc<HttpConfig> {
        &self.http
    }

    /// Where to count.
    #[must_use]
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What live traffic has taught of a model, half a minute old at most; `None`: nothing yet, or nobody learns.
    #[must_use]
    pub fn learned(&self, model: &str) -> Option<Arc<TunerState>> {
        self.fleet.learned(model)
    }

    /// Live traffic since the last call: for one caller. `None` while the driver starts again.
    pub async fn live_load(&self) -> Option<LiveLoad> {
        self.fleet.driver().live_load().await
    }
}

/// Ends an extension's work in order.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an extension brings.
pub struct Extension {
    /// Routes of the public listener, beside the gateway's own.
    pub routes: Router,
    /// Routes of the admin listener, below `/control`.
    pub admin_routes: Router,
    /// Polled once the gateway drains, within `drain_limit`.
    pub stop: Stop,
}

impl Default for Extension {
    /// Nothing.
    fn default() -> Self {
        Self { routes: Router::new(), admin_routes: Router::new(), stop: Box::pin(std::future::ready(())) }
    }
}

/// Why an extension does not start: text for people.
pub type ExtensionError = Box<dyn std::error::Error + Send + Sync>;

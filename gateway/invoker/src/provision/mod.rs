//! The one way to AWS's configuration API: an alias `mem-<MiB>` for each memory size that a model may use, made ahead of serving.
//!
//! Memory belongs to a function's version, and versions are immutable. So for each size `$LATEST` is given that memory, published,
//! and an alias is pointed at the version; `$LATEST` gets its own memory back at the end, also after a failure. [`plan`] decides
//! from what is there and calls nothing; [`Provisioner`] acts. Both start from the state of the function alone, so that a second
//! run changes nothing, and a run that was cut off is finished by the next.
//!
//! Deliberately absent: anything that serves requests. Nothing on the way of a request may use this module; it has its own command
//! and its own IAM role. Code, environment and permissions of functions are never changed, and whole functions never deleted.

mod api;
mod apply;
mod error;
mod limits;
mod patience;
mod plan;
mod progress;
mod prune;
mod sdk;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::ConfigurationApi;

use crate::InvokerConfig;

pub use apply::{FunctionReport, Row, RowResult};
pub use error::ProvisionError;
pub use limits::{AccountLimits, REQUESTS_PER_SECOND_PER_SANDBOX, account_limits};
pub use patience::Patience;
pub use plan::{Action, AliasPlan, FunctionPlan, Ladder, alias_name, plan};
pub use progress::Progress;
pub use prune::{PruneReport, Prunes};
pub use state::{AliasState, Content, FunctionState, PublishedVersion};

/// Makes aliases. One at a time per function: two at once get in each other's way, are noticed, and one of them gives up.
#[derive(Clone, Debug)]
pub struct Provisioner {
    api: ConfigurationApi,
    stop: Stop,
}

/// Ends a run early: what is under way is finished or given up, and `$LATEST` gets its memory back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Provisioner {
    /// Builds the client; calls nothing yet.
    pub async fn new(config: &InvokerConfig, patience: Patience, stop: Stop) -> Self {
        Self::of(config.client().await, patience, stop)
    }

    pub(crate) fn of(client: aws_sdk_lambda::Client, patience: Patience, stop: Stop) -> Self {
        Self { api: ConfigurationApi::new(client, patience, stop.clone()), stop }
    }

    /// Waits until a version can be invoked.
    pub(crate) async fn settled(&self, function: &str, version: u64) -> Result<(), ProvisionError> {
        self.api.settled(function, Some(version)).await.map(drop)
    }

    /// What a function has now. Waits for an update in progress to end.
    ///
    /// # Errors
    /// [`ProvisionError`], among them that there is no such function.
    pub async fn state(&self, function: &str) -> Result<FunctionState, ProvisionError> {
        self.api.state(function).await
    }
}

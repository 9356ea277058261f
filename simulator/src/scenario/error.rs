//! Scenarios that cannot be run.

use crate::deployment::DeploymentError;
use crate::profile::ProfileError;

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not the TOML that is expected; the text says line, column and field.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A profile that does not exist.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A value outside its range, or a name that nothing has.
    #[error("`{field}` {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The world cannot be run.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
}

impl ScenarioError {
    pub(super) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }
}

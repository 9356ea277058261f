//! The functions that exist: `$LATEST` with its asynchronous updates, versions, aliases. Decides conflicts and revisions;
//! what requests and answers look like is the API's matter. States are computed from instants, so nothing has to tick.

use crate::api::ApiError;
use crate::fleet::Fleet;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// All functions.
#[derive(Default)]
pub(crate) struct Registry {
    functions: RwLock<BTreeMap<String, Arc<Function>>>,
}

/// One function.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arn: String,
    state: Mutex<FunctionState>,
}

/// What changes about a function.
pub(crate) struct FunctionState {
    /// `$LATEST` as it was last written.
    pub(crate) latest: Arc<Fleet>,
    /// What serves `$LATEST` until the update is over.
    previous: Option<Arc<Fleet>>,
    ready_at: Instant,
    is_new: bool,
    /// Published versions by number.
    pub(crate) versions: BTreeMap<u64, Arc<Fleet>>,
    next_version: u64,
    /// Aliases by name.
    pub(crate) aliases: BTreeMap<String, Alias>,
}

/// A name for one version, or for two with weights.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    /// Share of each additional version, 0..=1.
    pub(crate) weights: BTreeMap<String, f64>,
    pub(crate) revision_id: String,
}

/// State and last update of `$LATEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpdateState {
    pub(crate) state: &'static str,
    pub(crate) last_update: &'static str,
}

impl Registry {
    /// The function `name`.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned()
    }

    /// All functions by name.
    pub(crate) fn all(&self) -> Vec<Arc<Function>> {
        self.functions.read().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a function that becomes active after `delay`. False when the name is taken.
    pub(crate) fn insert(&self, latest: Arc<Fleet>, delay: Duration) -> Option<Arc<Function>> {
        let mut functions = self.functions.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = latest.version.name.clone();
        if functions.contains_key(&name) {
            return None;
        }
        let arn = latest.version.arn.clone();
        let state = FunctionState {
            latest,
            previous: None,
            ready_at: Instant::now() + delay,
            is_new: true,
            versions: BTreeMap::new(),
            next_version: 1,
            aliases: BTreeMap::new(),
        };
        let function = Arc::new(Function { name: name.clone(), arn, state: Mutex::new(state) });
        functions.insert(name, Arc::clone(&function));
        Some(function)
    }

    /// Removes a function with everything that it has.
    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name)
    }
}

impl Function {
    /// Runs `change` on the state. The lock is held meanwhile: no waiting inside.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut FunctionState) -> T) -> T {
        let mut state = lock(&self.state);
        state.settle(Instant::now());
        change(&mut state)
    }

    /// Every fleet of the function.
    pub(crate) fn fleets(&self) -> Vec<Arc<Fleet>> {
        self.with(|state| {
            let current = [Some(&state.latest), state.previous.as_ref()];
            current.into_iter().flatten().chain(state.versions.values()).cloned().collect()
        })
    }

    /// The fleet that serves `qualifier`; `unit` in 0..1 chooses between the versions of a weighted alias.
    ///
    /// # Errors
    /// As the API answers: unknown qualifier, or a function that is not active yet.
    pub(crate) fn resolve(
        &self,
        qualifier: Option<&str>,
        unit: impl FnOnce() -> f64,
    ) -> Result<Arc<Fleet>, ApiError> {
        self.with(|state| {
            if state.is_new && state.update_state().state == "Pending" {
                return Err(ApiError::function_pending());
            }
            let qualifier = match qualifier {
                None | Some("$LATEST") => {
                    return Ok(Arc::clone(state.previous.as_ref().unwrap_or(&state.latest)));
                }
                Some(qualifier) => qualifier,
            };
            let not_found = || ApiError::function_not_found(&format!("{}:{qualifier}", self.arn));
            if let Some(alias) = state.aliases.get(qualifier) {
                let version = alias.choose(unit);
                return match version {
                    "$LATEST" => Ok(Arc::clone(state.previous.as_ref().unwrap_or(&state.latest))),
                    version => state.version(version).ok_or_else(not_found),
                };
            }
            state.version(qualifier).ok_or_else(not_found)
        })
    }
}

impl Alias {
    /// The version for a number in 0..1: the additional versions take their weights from the top.
    fn choose(&self, unit: impl FnOnce() -> f64) -> &str {
        if self.weights.is_empty() {
            return &self.version;
        }
        let mut left = unit();
        for (version, weight) in &self.weights {
            if left < *weight {
                return version;
            }
            left -= weight;
        }
        &self.version
    }
}

impl FunctionState {
    /// Ends an update whose time has come: the old `$LATEST` gives up its sandboxes.
    fn settle(&mut self, now: Instant) {
        if now >= self.ready_at {
            self.is_new = false;
            if let Some(previous) = self.previous.take() {
                previous.retire();
            }
        }
    }

    /// State and last update of `$LATEST`.
    pub(crate) fn update_state(&self) -> UpdateState {
        match (Instant::now() < self.ready_at, self.is_new) {
            (true, true) => UpdateState { state: "Pending", last_update: "InProgress" },
            (true, false) => UpdateState { state: "Active", last_update: "InProgress" },
            (false, _) => UpdateState { state: "Active", last_update: "Successful" },
        }
    }

    /// Refuses changes while an update is in progress, and changes that were made to another revision.
    ///
    /// # Errors
    /// `ResourceConflictException` or `PreconditionFailedException`.
    pub(crate) fn check_change(&self, arn: &str, revision_id: Option<&str>) -> Result<(), ApiError> {
        let state = self.update_state();
        if state.state == "Pending" {
            return Err(ApiError::function_pending());
        }
        if state.last_update == "InProgress" {
            return Err(ApiError::update_in_progress(arn));
        }
        match revision_id {
            Some(revision) if revision != self.latest.version.revision_id => {
                Err(ApiError::revision_mismatch())
            }
            _ => Ok(()),
        }
    }

    /// Replaces `$LATEST`; the old one serves until `delay` is over.
    pub(crate) fn replace_latest(&mut self, latest: Arc<Fleet>, delay: Duration) {
        let old = std::mem::replace(&mut self.latest, latest);
        self.previous = Some(old);
        self.ready_at = Instant::now() + delay;
        if delay.is_zero() {
            self.settle(self.ready_at);
        }
    }

    /// The published version `number`.
    pub(crate) fn version(&self, number: &str) -> Option<Arc<Fleet>> {
        number.parse().ok().and_then(|number: u64| self.versions.get(&number)).cloned()
    }

    /// The number that the next published version gets, and counts it.
    pub(crate) fn take_version_number(&mut self) -> u64 {
        let number = self.next_version;
        self.next_version += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(weights: &[(&str, f64)]) -> Alias {
        Alias {
            name: "live".into(),
            version: "1".into(),
            description: String::new(),
            weights: weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect(),
            revision_id: String::new(),
        }
    }

    #[test]
    fn an_alias_without_weights_is_its_version() {
        assert_eq!(alias(&[]).choose(|| unreachable!()), "1");
    }

    #[test]
    fn additional_versions_take_their_share() {
        let alias = alias(&[("2", 0.25)]);
        let share = (0..100).filter(|index| alias.choose(|| f64::from(*index) / 100.0) == "2").count();
        assert_eq!(share, 25);
    }
}

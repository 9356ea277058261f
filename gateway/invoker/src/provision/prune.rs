//! What the ladder has no use for any more: which aliases and versions, and deleting them.
//!
//! Aliases go only if we named them. Versions go only with an alias that goes, or if we published them and no alias had them when
//! the run began: a version that an alias has just left stays until the next run, as the way back. Versions are deleted one by
//! one and by number; a function as a whole never.

use std::collections::BTreeSet;

use super::api::told;
use super::plan::memory_of_alias;
use super::sdk::Failure;
use super::{Action, AliasPlan, FunctionState, Ladder, Progress, ProvisionError, Provisioner};

/// What may be deleted of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prunes {
    /// Aliases.
    pub aliases: BTreeSet<String>,
    /// Published versions.
    pub versions: BTreeSet<u64>,
}

/// What was deleted of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What is gone.
    pub deleted: Prunes,
    /// Versions that an alias uses after all.
    pub in_use: BTreeSet<u64>,
}

impl Prunes {
    /// Whether there is nothing to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty() && self.versions.is_empty()
    }

    pub(super) fn of(state: &FunctionState, wanted: &[AliasPlan], ladder: &Ladder) -> Self {
        let unwanted = |name: &String| {
            memory_of_alias(name).is_some_and(|memory| !ladder.sizes.contains(&memory))
                && !ladder.keep.contains(name)
        };
        let aliases: BTreeSet<String> = state.aliases.keys().filter(|name| unwanted(name)).cloned().collect();
        let going: Vec<_> = aliases.iter().filter_map(|name| state.aliases.get(name)).collect();
        let staying: Vec<_> = state
            .aliases
            .iter()
            .filter(|(name, _)| !aliases.contains(*name))
            .map(|(_, alias)| alias)
            .collect();
        let planned: BTreeSet<u64> = wanted
            .iter()
            .filter_map(|alias| match &alias.action {
                Action::Keep { version } => Some(*version),
                Action::Point { version, .. } => *version,
            })
            .collect();
        let versions = state.versions.iter().filter(|version| {
            let number = version.version;
            let is_ours = version.description == super::apply::description(version.memory);
            let goes = is_ours || going.iter().any(|alias| alias.uses(number));
            let stays = staying.iter().any(|alias| alias.uses(number))
                || planned.contains(&number)
                || ladder.keep.contains(&number.to_string());
            goes && !stays
        });
        let versions = versions.map(|version| version.version).collect();
        Self { aliases, versions }
    }
}

impl Provisioner {
    /// Deletes. What is gone already is no error.
    ///
    /// # Errors
    /// The first that stops it; what was deleted until then is gone, and a new run goes on from there.
    pub async fn prune(
        &self,
        function: &str,
        prunes: &Prunes,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<PruneReport, ProvisionError> {
        let mut report = PruneReport::default();
        for alias in &prunes.aliases {
            self.go_on()?;
            self.api.delete_alias(function, alias).await.map_err(told(function))?;
            progress(Progress::AliasDeleted { function: function.to_owned(), alias: alias.clone() });
            report.deleted.aliases.insert(alias.clone());
        }
        if prunes.versions.is_empty() {
            return Ok(report);
        }
        // Looked at again: an alias may have been pointed at one of them meanwhile.
        let aliases = self.api.aliases(function).await.map_err(told(function))?;
        for &version in &prunes.versions {
            self.go_on()?;
            if aliases.values().any(|alias| alias.uses(version)) {
                report.in_use.insert(version);
                continue;
            }
            match self.api.delete_version(function, version).await {
                Ok(()) | Err((_, Failure::NotFound(_))) => {
                    progress(Progress::VersionDeleted { function: function.to_owned(), version });
                    report.deleted.versions.insert(version);
                }
                Err((_, Failure::Conflict(_))) => {
                    report.in_use.insert(version);
                }
                Err(failed) => return Err(told(function)(failed)),
            }
        }
        Ok(report)
    }

    /// An error once a stop was asked for.
    pub(super) fn go_on(&self) -> Result<(), ProvisionError> {
        if self.stop.is_asked() { Err(ProvisionError::Stopped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::super::plan::tests::{alias, ladder, state, version};
    use super::*;

    fn prunes(state: FunctionState, ladder: &Ladder) -> (Vec<String>, Vec<u64>) {
        let prunes = plan(state, ladder).prunes;
        (prunes.aliases.into_iter().collect(), prunes.versions.into_iter().collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn aliases_that_left_the_ladder_go_with_their_versions() {
        let versions = vec![version(1, 512, "new"), version(2, 1024, "new")];
        let state = state(versions, &[("mem-512", alias(1)), ("mem-1024", alias(2))]);
        assert_eq!(prunes(state, &ladder(&[1024])), (names(&["mem-512"]), vec![1]));
    }

    #[test]
    fn a_version_that_another_alias_uses_stays() {
        let versions = vec![version(1, 512, "new")];
        let state = state(versions, &[("mem-512", alias(1)), ("live", alias(1))]);
        assert_eq!(prunes(state, &ladder(&[])), (names(&["mem-512"]), Vec::new()));
    }

    #[test]
    fn what_is_not_ours_or_must_be_kept_stays() {
        let foreign =
            super::super::PublishedVersion { description: "by hand".to_owned(), ..version(1, 512, "new") };
        let versions = vec![foreign, version(2, 1024, "new"), version(3, 2048, "new")];
        let state = state(versions, &[("live", alias(9)), ("mem-1024", alias(2))]);
        let mut ladder = ladder(&[]);
        ladder.keep = ["mem-1024".to_owned(), "3".to_owned()].into();
        assert_eq!(prunes(state, &ladder), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_version_that_an_alias_has_left_goes_with_the_next_run() {
        let versions = vec![version(1, 1024, "older"), version(2, 1024, "old")];
        let state = state(versions, &[("mem-1024", alias(2))]);
        assert_eq!(prunes(state, &ladder(&[1024])), (Vec::new(), vec![1]), "version 2 is the way back");
    }

    #[test]
    fn a_version_that_is_about_to_be_used_stays() {
        let state = state(vec![version(1, 1024, "new")], &[]);
        assert_eq!(prunes(state, &ladder(&[1024])), (Vec::new(), Vec::new()));
    }
}

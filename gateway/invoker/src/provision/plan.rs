//! What is there and what is wanted → what to do. Pure: calls nothing.

use std::collections::{BTreeMap, BTreeSet};

use gateway_contract::Mebibytes;

use super::{AliasState, FunctionState, Prunes};

/// What a function should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    /// Memory sizes, each to get an alias.
    pub sizes: BTreeSet<Mebibytes>,
    /// Aliases and versions that pruning must leave alone though no size here needs them.
    pub keep: BTreeSet<String>,
}

/// What to do with a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionPlan {
    /// What it has.
    pub state: FunctionState,
    /// The wanted aliases by memory, ascending.
    pub aliases: Vec<AliasPlan>,
    /// What the ladder has no use for.
    pub prunes: Prunes,
}

/// What to do with an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasPlan {
    /// Its name.
    pub alias: String,
    /// The memory that its version must have.
    pub memory: Mebibytes,
    /// What is missing.
    pub action: Action,
}

/// What is missing of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep {
        /// Where it points.
        version: u64,
    },
    /// It must be made, or pointed elsewhere.
    Point {
        /// A version that fits and is there; `None`: one must be published.
        version: Option<u64>,
        /// The alias as it is; `None`: it must be made.
        existing: Option<AliasState>,
    },
}

impl FunctionPlan {
    /// Whether all aliases are there already.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.aliases.iter().all(|alias| matches!(alias.action, Action::Keep { .. }))
    }
}

/// The alias of a memory size.
#[must_use]
pub fn alias_name(memory: Mebibytes) -> String {
    format!("mem-{}", memory.0)
}

/// The memory size that an alias is named for, if it is one of ours.
pub(super) fn memory_of_alias(alias: &str) -> Option<Mebibytes> {
    let digits = alias.strip_prefix("mem-")?;
    let memory = Mebibytes(digits.parse().ok()?);
    (alias_name(memory) == alias).then_some(memory)
}

/// Decides. A version fits if it has exactly the wanted memory and otherwise runs what `$LATEST` runs now.
#[must_use]
pub fn plan(state: FunctionState, ladder: &Ladder) -> FunctionPlan {
    // The newest version that fits, by memory: later ones replace earlier ones.
    let fitting: BTreeMap<Mebibytes, u64> = state
        .versions
        .iter()
        .filter(|version| version.content == state.latest)
        .map(|version| (version.memory, version.version))
        .collect();
    let fits = |alias: &AliasState, memory| {
        let version = state.versions.iter().find(|version| version.version.to_string() == alias.version)?;
        let fits = version.memory == memory && version.content == state.latest && alias.weighted.is_empty();
        fits.then_some(version.version)
    };
    let wanted = ladder.sizes.iter().map(|&memory| {
        let alias = alias_name(memory);
        let existing = state.aliases.get(&alias);
        let action = match existing.and_then(|existing| fits(existing, memory)) {
            Some(version) => Action::Keep { version },
            None => Action::Point { version: fitting.get(&memory).copied(), existing: existing.cloned() },
        };
        AliasPlan { alias, memory, action }
    });
    let aliases: Vec<AliasPlan> = wanted.collect();
    let prunes = Prunes::of(&state, &aliases, ladder);
    FunctionPlan { state, aliases, prunes }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Content, PublishedVersion};
    use super::*;

    pub(in super::super) fn content(code: &str) -> Content {
        let mut content = Content::default();
        code.clone_into(&mut content.code_sha256);
        content
    }

    pub(in super::super) fn version(version: u64, memory: u32, code: &str) -> PublishedVersion {
        let description = super::super::apply::description(Mebibytes(memory));
        PublishedVersion { version, memory: Mebibytes(memory), content: content(code), description }
    }

    pub(in super::super) fn alias(version: u64) -> AliasState {
        AliasState { version: version.to_string(), weighted: Vec::new(), revision_id: None }
    }

    pub(in super::super) fn state(
        versions: Vec<PublishedVersion>,
        aliases: &[(&str, AliasState)],
    ) -> FunctionState {
        FunctionState {
            function: "f".to_owned(),
            latest_memory: Mebibytes(512),
            latest: content("new"),
            versions,
            aliases: aliases.iter().map(|(name, alias)| ((*name).to_owned(), alias.clone())).collect(),
            reserved_concurrency: None,
        }
    }

    pub(in super::super) fn ladder(sizes: &[u32]) -> Ladder {
        Ladder { sizes: sizes.iter().copied().map(Mebibytes).collect(), keep: BTreeSet::new() }
    }

    fn action(state: FunctionState, size: u32) -> Action {
        plan(state, &ladder(&[size])).aliases.remove(0).action
    }

    #[test]
    fn an_alias_on_a_version_with_its_memory_and_the_current_code_is_kept() {
        let state = state(vec![version(3, 1024, "new")], &[("mem-1024", alias(3))]);
        assert!(plan(state.clone(), &ladder(&[1024])).is_done());
        assert_eq!(action(state, 1024), Action::Keep { version: 3 });
    }

    #[test]
    fn an_alias_on_old_code_or_other_memory_is_pointed_elsewhere() {
        let old = state(vec![version(3, 1024, "old")], &[("mem-1024", alias(3))]);
        assert_eq!(action(old, 1024), Action::Point { version: None, existing: Some(alias(3)) });
        let other = state(vec![version(3, 512, "new")], &[("mem-1024", alias(3))]);
        assert_eq!(action(other, 1024), Action::Point { version: None, existing: Some(alias(3)) });
        let latest = AliasState { version: "$LATEST".to_owned(), ..alias(0) };
        let unpublished = state(Vec::new(), &[("mem-1024", latest.clone())]);
        assert_eq!(action(unpublished, 1024), Action::Point { version: None, existing: Some(latest) });
    }

    #[test]
    fn a_version_that_a_run_left_behind_is_used_again() {
        let versions = vec![version(3, 1024, "new"), version(4, 1024, "new"), version(5, 1024, "old")];
        assert_eq!(action(state(versions, &[]), 1024), Action::Point { version: Some(4), existing: None });
    }

    #[test]
    fn an_alias_that_sends_some_traffic_elsewhere_is_pointed_at_its_version_alone() {
        let split = AliasState { weighted: vec!["2".to_owned()], ..alias(3) };
        let versions = vec![version(2, 512, "new"), version(3, 1024, "new")];
        let state = state(versions, &[("mem-1024", split.clone())]);
        assert_eq!(action(state, 1024), Action::Point { version: Some(3), existing: Some(split) });
    }

    #[test]
    fn only_names_that_we_give_are_ours() {
        assert_eq!(memory_of_alias("mem-1769"), Some(Mebibytes(1769)));
        for other in ["mem-", "mem-01769", "mem-1769b", "mem--1", "live", "mem-+5"] {
            assert_eq!(memory_of_alias(other), None, "{other}");
        }
    }
}

//! Which memory sizes each function needs, by the configuration. Pure.

use std::collections::{BTreeMap, BTreeSet};

use gateway_contract::Mebibytes;
use gateway_invoker::provision::{Ladder, alias_name};
use gateway_server::config::{Loaded, ModelSettings, PolicyKindConfig};

/// What to do for a function. Models may share one.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Name or ARN.
    pub(super) function: String,
    /// The chosen models that it runs.
    pub(super) models: Vec<String>,
    /// What it should have.
    pub(super) ladder: Ladder,
    /// Sizes that cannot be done without.
    pub(super) needed: BTreeSet<Mebibytes>,
    /// For people.
    pub(super) notes: Vec<String>,
}

/// The work for the chosen models (none given: all), with these sizes instead of the configured ones if any are given.
///
/// # Errors
/// A chosen model that the configuration does not have.
pub(super) fn works(loaded: &Loaded, chosen: &[String], sizes: &[u32]) -> Result<Vec<Work>, String> {
    let models = &loaded.settings.models;
    if let Some(unknown) = chosen.iter().find(|name| models.iter().all(|model| model.name != **name)) {
        return Err(format!("the configuration has no model `{unknown}`"));
    }
    let is_chosen = |model: &ModelSettings| chosen.is_empty() || chosen.contains(&model.name);
    let mut works: BTreeMap<String, Work> = BTreeMap::new();
    for model in models.iter().filter(|model| is_chosen(model)) {
        let work = works.entry(function_key(&model.function).to_owned()).or_default();
        if work.models.is_empty() {
            work.function.clone_from(&model.function);
        }
        work.models.push(model.name.clone());
        let (rungs, policy) = (rung_sizes(model), policy_sizes(loaded, model, &mut work.notes));
        if sizes.is_empty() {
            work.needed.extend(&rungs);
            work.ladder.sizes.extend(rungs.iter().chain(&policy));
        } else {
            work.needed.extend(sizes.iter().copied().map(Mebibytes));
            work.ladder.sizes.extend(sizes.iter().copied().map(Mebibytes));
        }
        note_latest(model, &mut work.notes);
    }
    // What any model's plan names, and all that a model which was not chosen may use, is not ours to prune.
    for model in models {
        if let Some(work) = works.get_mut(function_key(&model.function)) {
            let qualifiers = model.plan.rungs.iter().map(|rung| rung.qualifier.clone());
            work.ladder.keep.extend(qualifiers.filter(|qualifier| !qualifier.is_empty()));
            if !is_chosen(model) {
                let policy = policy_sizes(loaded, model, &mut Vec::new());
                work.ladder.keep.extend(policy.into_iter().map(alias_name));
            }
        }
    }
    Ok(works.into_values().collect())
}

/// Sizes behind the aliases of the configured plan, as far as they have the names that we give.
fn rung_sizes(model: &ModelSettings) -> BTreeSet<Mebibytes> {
    let rungs = model.plan.rungs.iter();
    rungs.filter(|rung| rung.qualifier == alias_name(rung.memory_mib)).map(|rung| rung.memory_mib).collect()
}

/// Sizes that the model's policy may choose; none where it chooses nothing.
fn policy_sizes(loaded: &Loaded, model: &ModelSettings, notes: &mut Vec<String>) -> BTreeSet<Mebibytes> {
    let configured = loaded.config.models.get(&model.name).and_then(|model| model.policy.as_ref());
    if configured.is_none_or(|policy| policy.kind == PolicyKindConfig::Pinned) {
        return BTreeSet::new();
    }
    let ceiling = model.policy.account.memory_ceiling;
    let (allowed, above): (BTreeSet<_>, BTreeSet<_>) =
        model.policy.bounds.memory_mib.iter().copied().partition(|&memory| memory <= ceiling);
    for memory in above {
        notes.push(format!("{memory} is left out: `control.account_memory_ceiling_mib` is {}", ceiling.0));
    }
    allowed
}

fn note_latest(model: &ModelSettings, notes: &mut Vec<String>) {
    if model.plan.rungs.iter().any(|rung| rung.qualifier.is_empty()) {
        notes.push(format!(
            "the plan of `{}` serves from `$LATEST`, whose memory changes while versions are published",
            model.name
        ));
    }
}

/// The same for a function's name and its ARN.
fn function_key(function: &str) -> &str {
    function.rsplit_once(":function:").map_or(function, |(_, name)| name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use gateway_server::config::{Source, load_text};

    const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [4] }]
outputs = [{ name = "y", datatype = "FP32", shape = [4] }]
"#;

    const RUNGS: &str =
        "rungs = [{ max_items = 8, memory_mib = 1769 }, { max_items = 32, memory_mib = 3538 }]";

    pub(in super::super) fn loaded(text: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
        let source = Source { path: Some(folder.path().join("penstock.toml")), ..Source::default() };
        load_text(text, &source).unwrap()
    }

    pub(in super::super) fn model(name: &str, function: &str, rest: &str) -> String {
        format!("[models.{name}]\nmanifest = 'model.toml'\nfunction = '{function}'\n{rest}\n")
    }

    fn sizes(work: &Work) -> Vec<u32> {
        work.ladder.sizes.iter().map(|memory| memory.0).collect()
    }

    #[test]
    fn a_ladder_is_the_policys_sizes_and_the_plans_own() {
        let text = model(
            "a",
            "f",
            &format!("[models.a.plan]\n{RUNGS}\n[models.a.policy]\nmemory_mib = [1024, 1769]"),
        );
        let works = works(&loaded(&text), &[], &[]).unwrap();
        assert_eq!(sizes(&works[0]), [1024, 1769, 3538]);
        assert_eq!(works[0].needed, [Mebibytes(1769), Mebibytes(3538)].into());
    }

    #[test]
    fn without_a_policy_that_chooses_only_the_plans_sizes_are_needed() {
        let text = model("a", "f", "") + &model("b", "g", "[models.b.policy]\nkind = 'pinned'");
        let works = works(&loaded(&text), &[], &[]).unwrap();
        assert_eq!((sizes(&works[0]), sizes(&works[1])), (vec![1769], vec![1769]));
    }

    #[test]
    fn models_of_one_function_share_its_ladder_by_name_or_arn() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let text = model("a", "f", "[models.a.plan]\nmemory_mib = 512")
            + &model("b", arn, "[models.b.plan]\nmemory_mib = 1024");
        let loaded = loaded(&text);
        let all = works(&loaded, &[], &[]).unwrap();
        assert_eq!((all.len(), sizes(&all[0])), (1, vec![512, 1024]));
        let one = works(&loaded, &["a".to_owned()], &[]).unwrap();
        assert_eq!(sizes(&one[0]), [512]);
        assert!(one[0].ladder.keep.contains("mem-1024"), "the other model's alias must not be pruned");
    }

    #[test]
    fn given_sizes_replace_the_configured_ones_but_what_the_plan_uses_is_never_pruned() {
        let loaded = loaded(&model("a", "f", ""));
        let works = works(&loaded, &[], &[2048, 512]).unwrap();
        assert_eq!(sizes(&works[0]), [512, 2048]);
        assert!(works[0].ladder.keep.contains("mem-1769"));
        assert_eq!(works[0].needed.len(), 2);
    }

    #[test]
    fn sizes_above_the_configured_ceiling_are_left_out_and_named() {
        let policy =
            "[models.a.policy]\nmemory_mib = [1024, 4096]\n[control]\naccount_memory_ceiling_mib = 3008";
        let works = works(&loaded(&model("a", "f", policy)), &[], &[]).unwrap();
        assert_eq!(sizes(&works[0]), [1024, 1769]);
        assert!(works[0].notes[0].contains("4096 MiB is left out"), "{:?}", works[0].notes);
    }

    #[test]
    fn qualifiers_with_names_of_their_own_are_left_to_who_made_them() {
        let text = model("a", "f", "[models.a.plan]\nqualifier = 'live'");
        let live = works(&loaded(&text), &[], &[]).unwrap();
        assert!(live[0].ladder.sizes.is_empty() && live[0].ladder.keep.contains("live"));
        let text = model("a", "f", "[models.a.plan]\nqualifier = ''");
        let latest = works(&loaded(&text), &[], &[]).unwrap();
        assert!(latest[0].notes[0].contains("$LATEST"), "{:?}", latest[0].notes);
    }

    #[test]
    fn an_unknown_model_is_named() {
        let error = works(&loaded(&model("a", "f", "")), &["b".to_owned()], &[]).unwrap_err();
        assert!(error.contains("`b`"), "{error}");
    }
}

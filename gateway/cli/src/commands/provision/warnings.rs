//! Where the configuration asks for more than the account allows. Pure.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;
use gateway_invoker::provision::AccountLimits;
use gateway_server::config::Loaded;

use super::ladder::Work;

/// Limits as they are found, against the configuration.
pub(super) struct Warnings<'a> {
    loaded: &'a Loaded,
    limits: Option<AccountLimits>,
    /// By function, as configured.
    reserved: BTreeMap<String, Option<u32>>,
    memory_ceiling: Option<Mebibytes>,
}

impl<'a> Warnings<'a> {
    pub(super) fn new(loaded: &'a Loaded, limits: Option<AccountLimits>) -> Self {
        Self { loaded, limits, reserved: BTreeMap::new(), memory_ceiling: None }
    }

    /// Reserved concurrency of a function that was looked at.
    pub(super) fn note_reserved(&mut self, function: &str, reserved: Option<u32>) {
        self.reserved.insert(function.to_owned(), reserved);
    }

    /// Largest memory, as a refusal told it.
    pub(super) fn note_ceiling(&mut self, ceiling: Mebibytes) {
        self.memory_ceiling = Some(self.memory_ceiling.map_or(ceiling, |known| known.min(ceiling)));
    }

    /// One line each.
    pub(super) fn finish(self, works: &[Work]) -> Vec<String> {
        let mut lines = Vec::new();
        let control = &self.loaded.config.control;
        if let Some(ceiling) = self.memory_ceiling.filter(|it| it.0 < control.account_memory_ceiling_mib) {
            lines.push(format!(
                "functions may have at most {ceiling}: set `control.account_memory_ceiling_mib = {}`",
                ceiling.0
            ));
        }
        let Some(limits) = self.limits else { return lines };
        if control.account_concurrency > limits.concurrency {
            lines.push(format!(
                "`control.account_concurrency` is {}, the account has {}: set it to that",
                control.account_concurrency, limits.concurrency
            ));
        }
        for work in works {
            // A function that could not be read is not judged.
            if let Some(&reserved) = self.reserved.get(&work.function) {
                lines.extend(self.function(work, limits, reserved));
            }
        }
        lines
    }

    fn function(&self, work: &Work, limits: AccountLimits, reserved: Option<u32>) -> Vec<String> {
        let allowed = limits.of_function(reserved);
        let whose = if reserved.is_some() { "reserved for it" } else { "unreserved in the account" };
        let models = self.loaded.settings.models.iter().filter(|model| work.models.contains(&model.name));
        let mut lines = Vec::new();
        let mut sum = 0_u32;
        for model in models {
            let wanted = model.plan.max_in_flight;
            sum = sum.saturating_add(wanted);
            if wanted > allowed {
                lines.push(format!(
                    "`models.{}.plan.max_in_flight` is {wanted}, but `{}` may have {allowed} sandboxes ({whose}): more are throttled",
                    model.name, work.function
                ));
            }
        }
        if lines.is_empty() && sum > allowed {
            lines.push(format!(
                "the models of `{}` want {sum} sandboxes in all, but it may have {allowed} ({whose})",
                work.function
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::tests::{loaded, model};
    use super::super::ladder::works;
    use super::*;

    const LIMITS: AccountLimits = AccountLimits { concurrency: 50, unreserved_concurrency: 40 };

    fn lines(text: &str, reserved: Option<u32>) -> Vec<String> {
        let loaded = loaded(text);
        let works = works(&loaded, &[], &[]).unwrap();
        let mut warnings = Warnings::new(&loaded, Some(LIMITS));
        warnings.note_reserved("f", reserved);
        warnings.finish(&works)
    }

    #[test]
    fn a_plan_within_the_limits_is_no_reason_to_warn() {
        let fits =
            model("a", "f", "[models.a.plan]\nmax_in_flight = 40\n[control]\naccount_concurrency = 50");
        assert_eq!(lines(&fits, None), Vec::<String>::new());
    }

    #[test]
    fn plans_that_want_more_sandboxes_than_allowed_are_named() {
        let text =
            model("a", "f", "[models.a.plan]\nmax_in_flight = 41\n[control]\naccount_concurrency = 60");
        let found = lines(&text, None);
        assert!(found[0].contains("`control.account_concurrency` is 60, the account has 50"), "{found:?}");
        assert!(
            found[1].contains("max_in_flight` is 41") && found[1].contains("40 sandboxes (unreserved"),
            "{found:?}"
        );
        assert!(lines(&text, Some(10))[1].contains("10 sandboxes (reserved"));
        assert_eq!(lines(&text, Some(41)).len(), 1);
    }

    #[test]
    fn models_that_share_a_function_are_added_up() {
        let text = model("a", "f", "[models.a.plan]\nmax_in_flight = 30")
            + &model("b", "f", "[models.b.plan]\nmax_in_flight = 30\n[control]\naccount_concurrency = 50");
        assert!(lines(&text, None)[0].contains("want 60 sandboxes"), "{:?}", lines(&text, None));
    }

    #[test]
    fn a_ceiling_that_was_met_is_named_with_the_key_to_set() {
        let loaded = loaded(&model("a", "f", ""));
        let mut warnings = Warnings::new(&loaded, None);
        warnings.note_ceiling(Mebibytes(3008));
        let found = warnings.finish(&[]);
        assert!(found[0].contains("account_memory_ceiling_mib = 3008"), "{found:?}");
    }
}

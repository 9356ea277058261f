//! The fault script: rules that make chosen invocations go wrong. Only decides; what a fault does to a connection or a
//! sandbox is done where those are. Deterministic: equal scripts, seeds and orders of invocations give equal faults.

use crate::ids::{mix, unit};
use crate::limits::ThrottleReason;
use serde::{Deserialize, Serialize};

/// One rule. An invocation that matches all given conditions is counted; of the counted ones, those chosen by `after`,
/// `every`, `count` and `probability` get the action. The first rule that fires wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Function name, with `*` for any run of characters. Default `*`.
    #[serde(default = "any")]
    pub function: String,
    /// Qualifier as the caller gave it (alias, version, `$LATEST`). Default: any.
    #[serde(default)]
    pub qualifier: Option<String>,
    /// Text that must occur in the payload. Default: none.
    #[serde(default)]
    pub contains: Option<String>,
    /// Matching invocations to let pass first. Default 0.
    #[serde(default)]
    pub after: u64,
    /// Take only every n-th matching invocation after that. Default 1.
    #[serde(default = "one")]
    pub every: u64,
    /// Fire at most so often. Default: no bound.
    #[serde(default)]
    pub count: Option<u64>,
    /// Fire with this probability, 0..=1. Default 1.
    #[serde(default = "certain")]
    pub probability: f64,
    /// Seed of the probability. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// What goes wrong.
    pub action: FaultAction,
}

fn any() -> String {
    "*".to_owned()
}

fn one() -> u64 {
    1
}

fn certain() -> f64 {
    1.0
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// 429 without execution.
    Throttle {
        /// `Reason` of the answer.
        #[serde(default = "default_reason")]
        reason: ThrottleReason,
        /// Seconds in `Retry-After`. Default 1.
        #[serde(default = "one")]
        retry_after_seconds: u64,
    },
    /// An HTTP error without execution.
    Status {
        /// 400..=599.
        code: u16,
        /// AWS error type; default `ServiceException`.
        #[serde(default = "default_error_type")]
        error_type: String,
    },
    /// The execution starts late.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// The connection is reset (RST) instead of an answer.
    ResetAfterSend {
        /// Whether the function runs before. Default true.
        #[serde(default = "yes")]
        execute: bool,
    },
    /// The function runs, then the connection is closed without an answer.
    LostResponse,
    /// The sandbox is killed in the middle of the invocation.
    Kill {
        /// Milliseconds after the invocation was handed over. Default 0.
        #[serde(default)]
        after_ms: u64,
    },
    /// The function runs and its answer counts as larger than 6 MB.
    Oversize,
}

fn default_reason() -> ThrottleReason {
    ThrottleReason::ConcurrentInvocationLimitExceeded
}

fn default_error_type() -> String {
    "ServiceException".to_owned()
}

fn yes() -> bool {
    true
}

/// A script and how far it has come.
#[derive(Debug, Default)]
pub struct FaultScript {
    rules: Vec<(FaultRule, Progress)>,
}

#[derive(Debug, Default)]
struct Progress {
    matched: u64,
    fired: u64,
}

impl FaultScript {
    /// A script at its beginning.
    #[must_use]
    pub fn new(rules: Vec<FaultRule>) -> Self {
        Self { rules: rules.into_iter().map(|rule| (rule, Progress::default())).collect() }
    }

    /// Whether there is nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The fault of this invocation, if any. Every rule up to the one that fires counts the invocation.
    pub fn decide(&mut self, function: &str, qualifier: &str, payload: &[u8]) -> Option<FaultAction> {
        self.rules.iter_mut().find_map(|(rule, progress)| {
            let matches = rule.matches(function, qualifier, payload);
            (matches && progress.fires(rule)).then(|| rule.action.clone())
        })
    }

    /// Each rule with how many invocations it matched and how often it fired.
    pub fn progress(&self) -> impl Iterator<Item = (&FaultRule, u64, u64)> {
        self.rules.iter().map(|(rule, progress)| (rule, progress.matched, progress.fired))
    }
}

impl Progress {
    fn fires(&mut self, rule: &FaultRule) -> bool {
        let index = self.matched;
        self.matched += 1;
        let Some(position) = index.checked_sub(rule.after) else {
            return false;
        };
        let chosen = position % rule.every.max(1) == rule.every.max(1) - 1
            && rule.count.is_none_or(|count| self.fired < count)
            && unit(mix(rule.seed ^ mix(index))) < rule.probability;
        self.fired += u64::from(chosen);
        chosen
    }
}

impl FaultRule {
    fn matches(&self, function: &str, qualifier: &str, payload: &[u8]) -> bool {
        glob(self.function.as_bytes(), function.as_bytes())
            && self.qualifier.as_deref().is_none_or(|wanted| wanted == qualifier)
            && self.contains.as_deref().is_none_or(|text| occurs(text.as_bytes(), payload))
    }
}

fn occurs(needle: &[u8], payload: &[u8]) -> bool {
    needle.is_empty() || payload.windows(needle.len()).any(|window| window == needle)
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of bytes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(byte, text)| byte == first && glob(rest, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        toml::from_str(text).unwrap()
    }

    fn fired(text: &str, invocations: u64) -> Vec<u64> {
        let mut script = FaultScript::new(vec![rule(text)]);
        (0..invocations).filter(|_| script.decide("f", "live", b"{}").is_some()).collect()
    }

    #[test]
    fn after_every_and_count_choose_invocations() {
        assert_eq!(fired("after = 2\ncount = 3\naction = { kind = 'lost_response' }", 10), [2, 3, 4]);
        assert_eq!(fired("every = 3\naction = { kind = 'oversize' }", 10), [2, 5, 8]);
        assert_eq!(fired("action = { kind = 'oversize' }", 2), [0, 1]);
    }

    #[test]
    fn probability_is_met_and_repeats_with_its_seed() {
        let text = "probability = 0.3\nseed = 5\naction = { kind = 'oversize' }";
        let first = fired(text, 2000);
        assert!((500..700).contains(&first.len()), "{}", first.len());
        assert_eq!(first, fired(text, 2000));
        assert_ne!(first, fired(&text.replace("= 5", "= 6"), 2000));
    }

    #[test]
    fn all_conditions_must_hold() {
        let rule =
            rule("function = 'mini*'\nqualifier = 'live'\ncontains = 'poison'\naction = { kind = 'kill' }");
        assert!(rule.matches("minilm", "live", b"{\"x\":\"poison\"}"));
        assert!(!rule.matches("bert", "live", b"poison"));
        assert!(!rule.matches("minilm", "1", b"poison"));
        assert!(!rule.matches("minilm", "live", b"pois on"));
    }

    #[test]
    fn globs_match_runs_of_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*-x", "fn-x", true),
            ("f", "fn", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fires_wins() {
        let rules = vec![
            rule("count = 1\naction = { kind = 'delay', delay_ms = 5 }"),
            rule("action = { kind = 'status', code = 503 }"),
        ];
        let mut script = FaultScript::new(rules);
        assert_eq!(script.decide("f", "", b""), Some(FaultAction::Delay { delay_ms: 5 }));
        let error_type = "ServiceException".to_owned();
        assert_eq!(script.decide("f", "", b""), Some(FaultAction::Status { code: 503, error_type }));
    }

    #[test]
    fn an_unknown_key_of_an_action_is_refused() {
        assert!(toml::from_str::<FaultRule>("action = { kind = 'delay', delay = 5 }").is_err());
        assert!(toml::from_str::<FaultRule>("acton = 1\naction = { kind = 'oversize' }").is_err());
    }
}

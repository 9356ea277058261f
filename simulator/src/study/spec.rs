//! The file: what to simulate, with defaults for everything but the model and its traffic.

use serde::Deserialize;

use super::account::AccountSection;
use super::break_even::BreakEvenSection;
use super::numbers::{count, maybe_positive, percentile, positive};
use super::policy::PolicyName;
use super::prices::{GatewaySection, PricesSection};
use super::problem::Problem;
use crate::arrivals::SizeLaw;
use crate::arrivals::spec::ArrivalSpec;

/// A study as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Its name, for the head of the report.
    pub title: String,
    /// Length of the traffic, hours; default: the trace's own length, else 2.
    #[serde(default, deserialize_with = "maybe_positive")]
    pub hours: Option<f64>,
    /// Seeds that each policy runs with, at least 1, default 3. More: a better idea of the spread.
    #[serde(default = "three", deserialize_with = "count")]
    pub seeds: u32,
    /// First seed, default 1.
    #[serde(default = "one")]
    pub first_seed: u64,
    /// What to compare, the policy that is asked about first. Default: Penstock, the unbatched ones, published ones and bounds.
    #[serde(default = "usual")]
    pub policies: Vec<PolicyName>,
    /// The model and its objective.
    pub model: ModelSection,
    /// When requests arrive.
    pub arrivals: ArrivalSpec,
    /// What they hold; default: one item.
    #[serde(default)]
    pub sizes: SizeLaw,
    /// The plan at the start.
    #[serde(default)]
    pub start: StartSection,
    /// The account.
    #[serde(default)]
    pub account: AccountSection,
    /// Lambda's prices.
    #[serde(default)]
    pub prices: PricesSection,
    /// The gateway's host.
    #[serde(default)]
    pub gateway: GatewaySection,
    /// Against servers; left out: not asked for.
    pub break_even: Option<BreakEvenSection>,
}

/// The model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The name of a profile that ships with the simulator, or a file: `.toml` (written by hand) or `.jsonl` (a sweep of the real function).
    pub profile: String,
    /// Latency that is promised, milliseconds, above 0.
    #[serde(deserialize_with = "positive")]
    pub slo_ms: f64,
    /// Share of requests for which it is promised, 0.5 to 0.9999, default 0.99.
    #[serde(default = "ninety_nine", deserialize_with = "percentile")]
    pub slo_percentile: f64,
    /// Milliseconds after which a request is given up; default: never.
    #[serde(default, deserialize_with = "maybe_positive")]
    pub request_timeout_ms: Option<f64>,
}

/// What serves before anything is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartSection {
    /// MiB; default 1769, or the smallest size that holds the model.
    pub memory_mib: Option<u32>,
    /// Processes, at least 1, default 1.
    #[serde(deserialize_with = "count")]
    pub process_count: u32,
    /// Items, at least 1, default 32.
    #[serde(deserialize_with = "count")]
    pub max_batch_size: u32,
    /// Longest wait to fill a batch, milliseconds, default 20.
    #[serde(deserialize_with = "super::numbers::not_negative")]
    pub max_queue_delay_ms: f64,
    /// What a batch is taken to last until it is known, milliseconds, default 100.
    #[serde(deserialize_with = "super::numbers::not_negative")]
    pub service_time_upper_ms: f64,
}

impl Default for StartSection {
    /// The defaults of the gateway's configuration.
    fn default() -> Self {
        Self {
            memory_mib: None,
            process_count: 1,
            max_batch_size: 32,
            max_queue_delay_ms: 20.0,
            service_time_upper_ms: 100.0,
        }
    }
}

fn three() -> u32 {
    3
}

fn one() -> u64 {
    1
}

fn ninety_nine() -> f64 {
    0.99
}

fn usual() -> Vec<PolicyName> {
    vec![
        PolicyName::Penstock,
        PolicyName::UnbatchedBest,
        PolicyName::Unbatched3008,
        PolicyName::Kserve,
        PolicyName::Triton,
        PolicyName::Batch,
        PolicyName::HarmonyBatch,
        PolicyName::BestFixed,
        PolicyName::Oracle,
        PolicyName::Clairvoyant,
    ]
}

impl Study {
    /// What runs depend on, as text: equal for studies whose runs may stand for each other's. Not what is compared, nor how often.
    #[must_use]
    pub fn essence(&self) -> String {
        let load_hours = self.break_even.as_ref().and_then(|section| section.hours);
        let same = Self {
            title: String::new(),
            seeds: 1,
            policies: Vec::new(),
            gateway: GatewaySection::default(),
            break_even: None,
            ..self.clone()
        };
        format!("{same:?} {load_hours:?}")
    }

    /// Reads a study; unknown keys are errors.
    ///
    /// # Errors
    /// The line and what is wrong in it.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, Problem> {
        let study: Self = toml::from_str(text).map_err(|error| Problem::toml(file, text, &error))?;
        let line =
            |key: &str| text.lines().position(|line| line.trim_start().starts_with(key)).map(|at| at + 1);
        let problem = |key: &str, reason: &str| Problem {
            file: file.to_owned(),
            line: line(key),
            reason: format!("`{key}`: {reason}"),
        };
        if study.policies.is_empty() {
            return Err(problem("policies", "names no policy"));
        }
        let twice = (1..study.policies.len()).any(|at| study.policies[..at].contains(&study.policies[at]));
        if twice {
            return Err(problem("policies", "names a policy twice"));
        }
        let largest = study.account.memory_mib.last().copied().unwrap_or_default();
        if study.start.memory_mib.is_some_and(|memory| !(128..=largest).contains(&memory)) {
            return Err(problem("memory_mib", "must be a size from 128 to the largest of `[account]`"));
        }
        Ok(study)
    }
}

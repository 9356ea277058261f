//! `[models.NAME.policy]`: who chooses the operating point of a model, within which bounds, and when a choice is given up.

use std::path::PathBuf;

use gateway_contract::Mebibytes;
use optimizer_changepoint::DetectorKind;
use optimizer_tuner::settings::{
    AccountLimits, EnvironmentSettings, ExplorationLimits, GuardSettings, Objective, PolicyKind,
    SearchBounds, SettingsError, TunerSettings,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ControlConfig, Milliseconds};

/// Who chooses the operating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// `grey_box`: learns the service time and computes cost and latency from it. `black_box`: measures whole plans and searches again
    /// after each change of the load. `grid`, `random`: measure listed or random plans. `pinned`: the plan of the file. `observe`: as
    /// `grey_box`, but only recommends. Default `grey_box` where this section stands, `pinned` where it does not.
    pub kind: PolicyKindConfig,
    /// What is best among the plans that keep `slo_latency_ms`. `cost`: least dollars per request. `latency`: least latency for at most
    /// `max_usd_per_million`. `weighted`: both logarithms, by `cost_weight`. Default `cost`.
    pub objective: ObjectiveConfig,
    /// Budget of the objective `latency`, dollars per million requests, above 0. More: faster and dearer plans. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub max_usd_per_million: Option<f64>,
    /// For the objective `weighted`: 0, only latency counts, to 1, only cost; default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cost_weight: f64,
    /// Share of requests that must be answered within `slo_latency_ms`, 0.5 to 0.9999, default 0.99. More: safer and dearer plans.
    #[schemars(range(min = 0.5, max = 0.9999))]
    pub slo_percentile: f64,
    /// Memory sizes that may be used, MiB, 128 to 10,240, ascending, each behind an alias `mem-<size>` made by `penstock provision`.
    /// Default 512, 1,024, 1,769 and 3,008. More sizes: cheaper plans may be found, at the price of more cold fleets. One without an
    /// alias is left out, with an event, until the alias is there.
    #[schemars(length(min = 1))]
    pub memory_mib: Vec<u32>,
    /// Smallest `max_batch_size` that may be chosen, items, at least 1, default 1.
    #[schemars(range(min = 1, max = 10_000))]
    pub min_batch_size: u32,
    /// Largest `max_batch_size` that may be chosen, items, to 10,000, default 128. More: cheaper where the load fills it.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_batch_size: u32,
    /// Fewest model processes that may be chosen, 1 to 64, default 1.
    #[schemars(range(min = 1, max = 64))]
    pub min_process_count: u32,
    /// Most model processes that may be chosen, 1 to 64, default 6 (as many as Lambda's largest size has vCPUs).
    #[schemars(range(min = 1, max = 64))]
    pub max_process_count: u32,
    /// Longest `max_queue_delay` that may be chosen, above 0, default 10,000; the latency objective bounds it further. Less: earlier answers.
    pub max_queue_delay_ms: Milliseconds,
    /// Whether small batches may run on another memory size than large ones, default true. False: one size at a time, fewer cold fleets.
    pub per_batch_rungs: bool,
    /// Length of a window, 100 to 3,600,000, default 1,000. Less: changes are noticed sooner, at more CPU. More: less noise in each window.
    pub window_ms: Milliseconds,
    /// Change-point detector. `bocpd`: Bayesian. `cusum`: sequential baseline. `none`: the load is followed only slowly. Default `bocpd`.
    pub detector: DetectorConfig,
    /// Relative gain in the objective below which the plan in force is kept, 0 to below 1, default 0.03. More: fewer changes of plan.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dead_band: f64,
    /// Windows that a plan is measured for by `black_box`, `grid` and `random`, at least 1, default 30. More: less noise, slower search.
    #[schemars(range(min = 1))]
    pub windows_per_trial: u32,
    /// Seed of everything random, default 1.
    pub seed: u64,
    /// Sandboxes that are started by no-op calls before a plan with another memory size is put in force, 0 to 1,000, default 10. As
    /// many as the plan is expected to need, and no more than this. 0: none; the switch then meets cold sandboxes.
    #[schemars(range(min = 0, max = 1000))]
    pub max_warm_up_environments: u32,
    /// Whether a batch that finds all execution environments at work waits for one of them, at most the model's INIT and one service time long, rather than
    /// start another one; default true. Others are started beside it by no-op calls when too much waits. Only with `grey_box`. False: every batch goes out at
    /// once; more cold starts, each billed.
    pub wait_for_environments: bool,
    /// Whether idle environments are kept warm by no-op calls until those have cost as much as starting them again would; default true. Only where batches
    /// wait for environments. False: Lambda takes idle ones away after some minutes, and the next peak starts them again.
    pub keep_environments: bool,
    /// What is known of the model before it has served anything: the measured invocations that `penstock profile` leaves in `profiles/MODEL.jsonl`,
    /// relative to this file. Taken up at the first start only; learned state goes before it. Without it learning begins with the traffic. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_profile: Option<PathBuf>,
    /// How much may be tried.
    pub exploration: ExplorationConfig,
    /// When a plan is given up.
    pub guard: GuardConfig,
}

/// Who chooses the operating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKindConfig {
    /// Learns the service time.
    #[default]
    GreyBox,
    /// Measures whole plans.
    BlackBox,
    /// Measures a list.
    Grid,
    /// Measures random plans.
    Random,
    /// The configured plan.
    Pinned,
    /// Recommends only.
    Observe,
}

impl From<PolicyKindConfig> for PolicyKind {
    fn from(kind: PolicyKindConfig) -> Self {
        match kind {
            PolicyKindConfig::GreyBox => Self::GreyBox,
            PolicyKindConfig::BlackBox => Self::BlackBox,
            PolicyKindConfig::Grid => Self::Grid,
            PolicyKindConfig::Random => Self::Random,
            PolicyKindConfig::Pinned => Self::Pinned,
            PolicyKindConfig::Observe => Self::Observe,
        }
    }
}

/// What is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveConfig {
    /// Least dollars per request.
    #[default]
    Cost,
    /// Least latency within a budget.
    Latency,
    /// A weighted mean of both.
    Weighted,
}

/// Change-point detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectorConfig {
    /// Bayesian online detection.
    #[default]
    Bocpd,
    /// Page's cumulative sum.
    Cusum,
    /// Never alarms.
    None,
}

/// How much may be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Largest share of batches that may run elsewhere than on the plan in force, 0 (never try) to 0.5, default 0.1. More: faster
    /// learning, and more requests on plans that are not yet known.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub max_share: f64,
    /// Most dollars an hour that trying may cost beyond the plan in force, 0 or more, default 1.
    #[schemars(range(min = 0.0))]
    pub max_usd_per_hour: f64,
    /// Expected improvement, as a share of the cost in force, below which a trial is not begun, 0 to below 1, default 0.02. More: fewer trials.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_gain: f64,
    /// Batches that a trial runs for before it is judged, at least 1, default 12. More: surer and dearer.
    #[schemars(range(min = 1))]
    pub batches_per_trial: u32,
    /// Share of items that run alone, on the memory that is cheapest for one, to measure what batching saves, 0 (never) to 0.1, default
    /// 0.0005. They come in runs of ten, one after the other. More: a surer figure sooner, at what batching would have saved on them.
    #[schemars(range(min = 0.0, max = 0.1))]
    pub hold_out_share: f64,
}

/// When a plan is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Batches of a new plan within which it is judged, at least 1, default 60. Fewer: a bad plan is left sooner, a good one sometimes too.
    #[schemars(range(min = 1))]
    pub probation_batches: u32,
    /// Windows with traffic but without a usable observation after which the configured plan serves again, at least 1, default 60.
    #[schemars(range(min = 1))]
    pub blind_after_windows: u32,
    /// Windows during which a plan that was given up is not tried again, default 180.
    pub hold_off_windows: u32,
}

impl Default for ExplorationConfig {
    fn default() -> Self {
        let limits = ExplorationLimits::default();
        Self {
            max_share: limits.max_share,
            max_usd_per_hour: limits.max_usd_per_hour,
            min_gain: limits.min_gain,
            batches_per_trial: limits.batches_per_trial,
            hold_out_share: limits.hold_out_share,
        }
    }
}

impl Default for GuardConfig {
    fn default() -> Self {
        let guard = GuardSettings::default();
        Self {
            probation_batches: guard.probation_batches,
            blind_after_windows: guard.blind_after_windows,
            hold_off_windows: guard.hold_off_windows,
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let tuner = TunerSettings::default();
        Self {
            kind: PolicyKindConfig::GreyBox,
            objective: ObjectiveConfig::Cost,
            max_usd_per_million: None,
            cost_weight: 0.5,
            slo_percentile: tuner.slo_percentile,
            memory_mib: tuner.bounds.memory_mib.iter().map(|memory| memory.0).collect(),
            min_batch_size: tuner.bounds.batch_size.0,
            max_batch_size: tuner.bounds.batch_size.1,
            min_process_count: tuner.bounds.process_count.0,
            max_process_count: tuner.bounds.process_count.1,
            max_queue_delay_ms: Milliseconds::new(10_000),
            per_batch_rungs: tuner.bounds.per_batch_rungs,
            window_ms: Milliseconds::new(1000),
            detector: DetectorConfig::Bocpd,
            dead_band: tuner.dead_band,
            windows_per_trial: tuner.windows_per_trial,
            seed: tuner.seed,
            max_warm_up_environments: 10,
            wait_for_environments: tuner.environments.waits,
            keep_environments: tuner.environments.keeps,
            first_profile: None,
            exploration: ExplorationConfig::default(),
            guard: GuardConfig::default(),
        }
    }
}

impl PolicyConfig {
    /// What a model without this section has.
    #[must_use]
    pub fn pinned() -> Self {
        Self { kind: PolicyKindConfig::Pinned, ..Self::default() }
    }

    /// For the tuner.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn tuner(&self, control: &ControlConfig) -> Result<TunerSettings, SettingsError> {
        let window = self.window_ms.duration();
        let wrong = |field, reason| Err(SettingsError { field, reason });
        if !(100..=3_600_000).contains(&window.as_millis()) {
            return wrong("window_ms", "must be 100 to 3600000");
        }
        if self.max_warm_up_environments > 1000 {
            return wrong("max_warm_up_environments", "must be 0 to 1000");
        }
        if self.guard.probation_batches == 0 || self.guard.blind_after_windows == 0 {
            return wrong("guard", "must have batches and windows of at least 1");
        }
        let objective = match (self.objective, self.max_usd_per_million) {
            (ObjectiveConfig::Cost, _) => Objective::Cost,
            (ObjectiveConfig::Latency, None) => {
                return wrong("max_usd_per_million", "must be given for the objective `latency`");
            }
            (ObjectiveConfig::Latency, Some(max_usd_per_million)) => {
                Objective::Latency { max_usd_per_million }
            }
            (ObjectiveConfig::Weighted, _) => Objective::Weighted { cost_weight: self.cost_weight },
        };
        let settings = TunerSettings {
            policy: self.kind.into(),
            objective,
            slo_percentile: self.slo_percentile,
            bounds: self.bounds(),
            account: AccountLimits {
                memory_ceiling: Mebibytes(control.account_memory_ceiling_mib),
                concurrency: control.account_concurrency,
            },
            window,
            detector: match self.detector {
                DetectorConfig::Bocpd => DetectorKind::Bocpd,
                DetectorConfig::Cusum => DetectorKind::Cusum,
                DetectorConfig::None => DetectorKind::None,
            },
            exploration: ExplorationLimits {
                max_share: self.exploration.max_share,
                max_usd_per_hour: self.exploration.max_usd_per_hour,
                min_gain: self.exploration.min_gain,
                batches_per_trial: self.exploration.batches_per_trial,
                hold_out_share: self.exploration.hold_out_share,
            },
            guard: GuardSettings {
                probation_batches: self.guard.probation_batches,
                blind_after_windows: self.guard.blind_after_windows,
                hold_off_windows: self.guard.hold_off_windows,
            },
            environments: EnvironmentSettings {
                waits: self.wait_for_environments,
                keeps: self.keep_environments,
            },
            dead_band: self.dead_band,
            windows_per_trial: self.windows_per_trial,
            seed: self.seed,
        };
        settings.validate()?;
        Ok(settings)
    }

    fn bounds(&self) -> SearchBounds {
        SearchBounds {
            batch_size: (self.min_batch_size, self.max_batch_size),
            process_count: (self.min_process_count, self.max_process_count),
            memory_mib: self.memory_mib.iter().copied().map(Mebibytes).collect(),
            queue_delay: self.max_queue_delay_ms.duration(),
            per_batch_rungs: self.per_batch_rungs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_tuners_own() {
        let settings = PolicyConfig::default().tuner(&ControlConfig::default()).unwrap();
        let account = settings.account;
        assert_eq!(settings, TunerSettings { account, ..TunerSettings::default() });
    }

    #[test]
    fn what_the_tuner_would_refuse_is_named() {
        let refused = |policy: PolicyConfig| policy.tuner(&ControlConfig::default()).unwrap_err().field;
        let base = PolicyConfig::default;
        assert_eq!(refused(PolicyConfig { memory_mib: vec![1024, 512], ..base() }), "memory_mib");
        assert_eq!(refused(PolicyConfig { min_batch_size: 9, max_batch_size: 8, ..base() }), "batch_size");
        assert_eq!(
            refused(PolicyConfig { objective: ObjectiveConfig::Latency, ..base() }),
            "max_usd_per_million"
        );
        assert_eq!(refused(PolicyConfig { window_ms: Milliseconds::new(1), ..base() }), "window_ms");
    }
}

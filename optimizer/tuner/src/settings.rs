//! What an operator decides: policy, objective, bounds, budgets, guard. Plain values; the shell reads them from its configuration.

use std::time::Duration;

use gateway_contract::Mebibytes;
use optimizer_changepoint::DetectorKind;
use serde::{Deserialize, Serialize};

/// Who chooses the operating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Learns the service time and computes cost and latency from it. The default.
    #[default]
    GreyBox,
    /// Measures whole plans and searches by constrained expected improvement; starts again after each change-point.
    BlackBox,
    /// Measures every plan of a list.
    Grid,
    /// Measures random plans: the baseline of the searches.
    Random,
    /// The configured plan, always.
    Pinned,
    /// As `grey_box`, but only recommends.
    Observe,
}

impl PolicyKind {
    /// Whether it may put other plans into force than the configured one.
    #[must_use]
    pub const fn chooses(self) -> bool {
        match self {
            Self::GreyBox | Self::BlackBox | Self::Grid | Self::Random => true,
            Self::Pinned | Self::Observe => false,
        }
    }
}

/// What "best" means. The latency objective (`slo_latency` of the plan at `slo_percentile`) always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Objective {
    /// Least dollars per request.
    #[default]
    Cost,
    /// Least latency at the percentile, for at most so many dollars per million requests.
    Latency {
        /// The budget.
        max_usd_per_million: f64,
    },
    /// Least `cost_weight`·ln(cost) + (1 − `cost_weight`)·ln(latency).
    Weighted {
        /// 0: only latency counts, 1: only cost.
        cost_weight: f64,
    },
}

/// Where plans are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchBounds {
    /// Smallest and largest `max_batch_size`, items.
    pub batch_size: (u32, u32),
    /// Smallest and largest `process_count`.
    pub process_count: (u32, u32),
    /// Memory sizes that have an alias, ascending.
    pub memory_mib: Vec<Mebibytes>,
    /// Longest `max_queue_delay`; shorter ones are tried as well.
    pub queue_delay: Duration,
    /// Whether a plan may run small batches elsewhere than large ones.
    pub per_batch_rungs: bool,
}

/// Limits of the account, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccountLimits {
    /// Largest function memory.
    pub memory_ceiling: Mebibytes,
    /// Environments at a time; requests per second are ten times that.
    pub concurrency: u32,
}

/// Bounds of exploration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExplorationLimits {
    /// Largest share of batches that may run on a canary, 0 (never explore) to 0.5.
    pub max_share: f64,
    /// Most dollars per hour that exploration may cost beyond the incumbent.
    pub max_usd_per_hour: f64,
    /// Expected improvement, as a share of the cost, below which a trial is not worth it.
    pub min_gain: f64,
    /// Batches that a canary runs for before it is judged.
    pub batches_per_trial: u32,
    /// Share of items that run alone, to measure what batching saves, 0 (never) to 0.1.
    pub hold_out_share: f64,
}

/// How execution environments are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentSettings {
    /// Whether a batch waits for an environment at work rather than start another one.
    pub waits: bool,
    /// Whether idle environments are kept by no-op calls; only where batches wait.
    pub keeps: bool,
}

/// When a plan is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardSettings {
    /// Batches of a new plan within which it is judged.
    pub probation_batches: u32,
    /// Windows without a usable observation, while there is traffic, after which the tuner counts as blind.
    pub blind_after_windows: u32,
    /// Windows during which a plan that was given up is not tried again.
    pub hold_off_windows: u32,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TunerSettings {
    /// Who chooses.
    pub policy: PolicyKind,
    /// What is best.
    pub objective: Objective,
    /// Share of requests that must be answered within `slo_latency`, 0.5 to 0.9999.
    pub slo_percentile: f64,
    /// Where to look.
    pub bounds: SearchBounds,
    /// Limits of the account.
    pub account: AccountLimits,
    /// Length of a window.
    pub window: Duration,
    /// Change-point detector.
    pub detector: DetectorKind,
    /// Bounds of exploration.
    pub exploration: ExplorationLimits,
    /// When a plan is given up.
    pub guard: GuardSettings,
    /// How execution environments are used.
    pub environments: EnvironmentSettings,
    /// Relative gain in the objective below which the plan in force is kept.
    pub dead_band: f64,
    /// Windows that each plan is measured for by the policies that measure whole plans.
    pub windows_per_trial: u32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for TunerSettings {
    fn default() -> Self {
        Self {
            policy: PolicyKind::GreyBox,
            objective: Objective::Cost,
            slo_percentile: 0.99,
            bounds: SearchBounds::default(),
            account: AccountLimits::default(),
            window: Duration::from_secs(1),
            detector: DetectorKind::Bocpd,
            exploration: ExplorationLimits::default(),
            guard: GuardSettings::default(),
            environments: EnvironmentSettings { waits: true, keeps: true },
            dead_band: 0.03,
            windows_per_trial: 30,
            seed: 1,
        }
    }
}

impl Default for SearchBounds {
    fn default() -> Self {
        Self {
            batch_size: (1, 128),
            process_count: (1, 6),
            memory_mib: [512, 1024, 1769, 3008].map(Mebibytes).to_vec(),
            queue_delay: Duration::from_secs(10),
            per_batch_rungs: true,
        }
    }
}

impl Default for AccountLimits {
    /// What a new account has.
    fn default() -> Self {
        Self { memory_ceiling: Mebibytes(3008), concurrency: 1000 }
    }
}

impl Default for ExplorationLimits {
    fn default() -> Self {
        Self {
            max_share: 0.1,
            max_usd_per_hour: 1.0,
            min_gain: 0.02,
            batches_per_trial: 12,
            hold_out_share: 0.0005,
        }
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { probation_batches: 60, blind_after_windows: 60, hold_off_windows: 180 }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct SettingsError {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub reason: &'static str,
}

impl TunerSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let check = |holds: bool, field, reason| {
            if holds { Ok(()) } else { Err(SettingsError { field, reason }) }
        };
        let bounds = &self.bounds;
        check((0.5..=0.9999).contains(&self.slo_percentile), "slo_percentile", "must be 0.5 to 0.9999")?;
        let (low, high) = bounds.batch_size;
        check(low >= 1 && low <= high && high <= 10_000, "batch_size", "must ascend within 1 to 10000")?;
        let (low, high) = bounds.process_count;
        check(low >= 1 && low <= high && high <= 64, "process_count", "must ascend within 1 to 64")?;
        let in_range = |memory: &Mebibytes| (Mebibytes::LAMBDA_MIN..=Mebibytes::LAMBDA_MAX).contains(memory);
        let ascends = bounds.memory_mib.windows(2).all(|pair| pair[0] < pair[1]);
        check(
            !bounds.memory_mib.is_empty() && ascends && bounds.memory_mib.iter().all(in_range),
            "memory_mib",
            "must list sizes of 128 to 10240, ascending",
        )?;
        check(
            bounds.memory_mib[0] <= self.account.memory_ceiling,
            "memory_mib",
            "must begin within the account's memory ceiling",
        )?;
        check(!bounds.queue_delay.is_zero(), "queue_delay", "must be above zero")?;
        check(self.account.concurrency >= 1, "concurrency", "must be at least 1")?;
        check(!self.window.is_zero(), "window", "must be above zero")?;
        check((0.0..=0.5).contains(&self.exploration.max_share), "max_share", "must be 0 to 0.5")?;
        check((0.0..=0.1).contains(&self.exploration.hold_out_share), "hold_out_share", "must be 0 to 0.1")?;
        check(self.exploration.max_usd_per_hour >= 0.0, "max_usd_per_hour", "must be 0 or more")?;
        check((0.0..1.0).contains(&self.exploration.min_gain), "min_gain", "must be 0 or more and below 1")?;
        check(self.exploration.batches_per_trial >= 1, "batches_per_trial", "must be at least 1")?;
        check((0.0..1.0).contains(&self.dead_band), "dead_band", "must be 0 or more and below 1")?;
        check(self.windows_per_trial >= 1, "windows_per_trial", "must be at least 1")?;
        match self.objective {
            Objective::Cost => Ok(()),
            Objective::Latency { max_usd_per_million } => {
                check(max_usd_per_million > 0.0, "max_usd_per_million", "must be above 0")
            }
            Objective::Weighted { cost_weight } => {
                check((0.0..=1.0).contains(&cost_weight), "cost_weight", "must be 0 to 1")
            }
        }
    }
}

//! The scenario file: every key with its unit and default. Unknown keys are errors.

use serde::Deserialize;

use super::bands::Band;
use super::error::ScenarioError;
use super::load::Phase;

/// A situation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What happens, in a sentence.
    pub situation: String,
    /// The account; ordinary if not said.
    #[serde(default)]
    pub account: AccountFile,
    /// Models, at least one. Each one's load says how long it lasts.
    pub models: Vec<ModelFile>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<FaultFile>,
    /// What must come of it.
    pub bands: Vec<Band>,
}

/// The account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountFile {
    /// Executions at a time, of all functions. Default 1,000.
    pub concurrency: Option<u32>,
    /// New environments of one function in 10 s. Default 1,000.
    pub environments_per_10_s: Option<u32>,
    /// For how long idle environments are kept, seconds. Default 300.
    pub keep_alive_s: Option<f64>,
    /// Round trip beyond the function, median, ms. Default 4.
    pub network_ms: Option<f64>,
}

/// A model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name. Default: its profile's.
    pub name: Option<String>,
    /// A profile that ships with the simulator.
    pub profile: String,
    /// Latency objective, ms.
    pub slo_ms: f64,
    /// Percentile that must keep it. Default 0.99.
    #[serde(default = "percentile")]
    pub slo_percentile: f64,
    /// Hard deadline of each request, ms. Default: none.
    pub timeout_ms: Option<u64>,
    /// Share of the clients that leave, with a mean patience in ms.
    pub leave: Option<LeaveFile>,
    /// The load, phase after phase.
    pub load: Vec<Phase>,
    /// Probabilities of 1, 2, … items per request. Default: one item.
    #[serde(default = "one_item")]
    pub items: Vec<f64>,
    /// Work units of an item by size class, instead of the profile's.
    #[serde(default)]
    pub class_units: Vec<u64>,
    /// Shares of the requests by size class. Default: one class.
    #[serde(default)]
    pub class_shares: Vec<f64>,
    /// Concurrency of its own.
    pub reserved_concurrency: Option<u32>,
    /// The tuner's settings. Default: its defaults, with all memory sizes from 512 to 3008 MiB.
    #[serde(default)]
    pub tuner: TunerFile,
    /// Fixed plans instead of a tuner: the first from the start, the others from their seconds on.
    #[serde(default)]
    pub plans: Vec<PlanFile>,
    /// What all plans have in common.
    #[serde(default)]
    pub bounds: BoundsFile,
}

fn percentile() -> f64 {
    0.99
}

fn one_item() -> Vec<f64> {
    vec![1.0]
}

/// Clients that leave.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveFile {
    /// Share, 0 to 1.
    pub share: f64,
    /// Mean patience, ms.
    pub mean_ms: f64,
}

/// What the tuner may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunerFile {
    /// Memory sizes with an alias, MiB, ascending.
    #[serde(default)]
    pub memory_mib: Vec<u32>,
    /// Most processes. Default 6.
    pub max_process_count: Option<u32>,
    /// Largest batch, items. Default 128.
    pub max_batch_size: Option<u32>,
    /// Largest share of batches on a canary. Default 0.1.
    pub max_share: Option<f64>,
    /// Most dollars per hour for exploration. Default 1.
    pub max_usd_per_hour: Option<f64>,
}

/// A plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// From this second on. Default 0.
    #[serde(default)]
    pub from_s: f64,
    /// `none`, `fifo` or `deadline`. Default `deadline`.
    pub packing: Option<String>,
    /// Size bound of a batch, items.
    pub max_batch_size: u32,
    /// Longest wait, ms. Default: the objective.
    pub max_queue_delay_ms: Option<f64>,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Processes. Default 1.
    pub process_count: Option<u32>,
}

/// Bounds that every plan of a model has.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundsFile {
    /// Parallel invocations. Default 200.
    pub max_in_flight: Option<u32>,
    /// Waiting items. Default 10,000.
    pub queue_capacity_items: Option<u32>,
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// What: `slow`, `slow_at`, `no_report`, `throttled`, `lost_responses`, `function_errors`, `partial_failures`, `poison_items`, `unreachable`,
    /// `refused_at`, `out_of_memory_above`, `large_answers`, `cold_storm` or `drain`.
    pub kind: String,
    /// From, seconds.
    pub from_s: f64,
    /// To, seconds.
    pub to_s: f64,
    /// The model concerned. Default: all.
    pub model: Option<String>,
    /// Factor of `slow`, `slow_at`, `large_answers`.
    pub factor: Option<f64>,
    /// Share of `lost_responses`, `function_errors`, `partial_failures`, `poison_items`, 0 to 1.
    pub share: Option<f64>,
    /// Memory of `slow_at` and `refused_at`, MiB.
    pub memory_mib: Option<u32>,
    /// Fill of `out_of_memory_above`, items.
    pub items: Option<u32>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// With line and column, or the field that is out of range.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        if scenario.models.is_empty() {
            return Err(ScenarioError::field("models", "must name at least one"));
        }
        if scenario.bands.is_empty() {
            return Err(ScenarioError::field("bands", "must say what has to come of it"));
        }
        for band in &scenario.bands {
            band.check()?;
        }
        for model in &scenario.models {
            model.load.iter().try_for_each(Phase::check)?;
        }
        Ok(scenario)
    }

    /// How long requests arrive: as long as the longest load, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let of = |model: &ModelFile| model.load.iter().map(|phase| phase.for_s).sum::<f64>();
        self.models.iter().map(of).fold(0.0, f64::max)
    }
}

impl ModelFile {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.profile)
    }
}

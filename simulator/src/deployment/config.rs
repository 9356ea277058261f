//! What a deployment is made of: an account, its models, what goes wrong.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Architecture, Mebibytes, PlanError, PriceTable};
use optimizer_tuner::Economics;

use super::controller::Controller;
use super::fault::Fault;
use crate::arrivals::ArrivalProcess;
use crate::lambda::{FunctionModel, KeepAlive, LimitSettings};
use crate::random::Random;

/// Models that share an account, and what happens to them.
pub struct DeploymentConfig {
    /// The account.
    pub account: Account,
    /// The models; a model's id is its place here. At least one.
    pub models: Vec<ModelConfig>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How long requests arrive, seconds. What is open then is still answered.
    pub seconds: f64,
    /// Length of a control window, of all models; a tuner's own setting must be the same.
    pub window: Duration,
    /// Which windows are kept in the report.
    pub records: Records,
    /// The seed of everything random.
    pub seed: u64,
}

impl DeploymentConfig {
    /// These models on an ordinary account, windows of a second, all of them kept, nothing goes wrong.
    #[must_use]
    pub fn new(models: Vec<ModelConfig>, seconds: f64, seed: u64) -> Self {
        Self {
            account: Account::default(),
            models,
            faults: Vec::new(),
            seconds,
            window: Duration::from_secs(1),
            records: Records::Every,
            seed,
        }
    }
}

impl fmt::Debug for DeploymentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeploymentConfig")
            .field("account", &self.account)
            .field("models", &self.models)
            .field("faults", &self.faults)
            .field("seconds", &self.seconds)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Which windows a report keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Records {
    /// None: memory does not grow with time, and windows that no controller wants are not counted at all.
    None,
    /// Every window by itself: some 300 bytes each.
    #[default]
    Every,
    /// So many windows (at least 1) in one record.
    Merged(u32),
}

/// One model and its load.
pub struct ModelConfig {
    /// Its name, for reports.
    pub name: String,
    /// The truth about its function.
    pub profile: Arc<dyn FunctionModel>,
    /// When requests arrive.
    pub arrivals: Box<dyn ArrivalProcess>,
    /// What they hold.
    pub sizes: SizeLaw,
    /// Who chooses its plans.
    pub controller: Box<dyn Controller>,
    /// Percentile of the latency objective, for `WindowStats::latency_at_percentile`.
    pub slo_percentile: f64,
    /// Hard deadline of each request after its arrival; `None`: callers wait for ever.
    pub request_timeout: Option<Duration>,
    /// Clients that leave before they are answered; `None`: none does.
    pub patience: Option<Patience>,
    /// Reserved concurrency of its function; `None`: it shares the account's with the others.
    pub reserved_concurrency: Option<u32>,
    /// Time-out of its function, INIT excluded; at most 900 s.
    pub function_timeout: Duration,
}

impl ModelConfig {
    /// A model with requests of one small item, an objective at the 99th percentile and no deadline.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        profile: Arc<dyn FunctionModel>,
        arrivals: Box<dyn ArrivalProcess>,
        controller: Box<dyn Controller>,
    ) -> Self {
        Self {
            name: name.into(),
            profile,
            arrivals,
            sizes: SizeLaw::default(),
            controller,
            slo_percentile: 0.99,
            request_timeout: None,
            patience: None,
            reserved_concurrency: None,
            function_timeout: Duration::from_secs(900),
        }
    }
}

impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("name", &self.name)
            .field("sizes", &self.sizes)
            .field("slo_percentile", &self.slo_percentile)
            .field("request_timeout", &self.request_timeout)
            .field("patience", &self.patience)
            .field("reserved_concurrency", &self.reserved_concurrency)
            .field("function_timeout", &self.function_timeout)
            .finish_non_exhaustive()
    }
}

/// What requests hold. All items of a request are of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeLaw {
    /// Probabilities of 1, 2, … items.
    pub items_pmf: Vec<f64>,
    /// Size classes; a class's number is its place here. At least one.
    pub classes: Vec<SizeClass>,
}

impl Default for SizeLaw {
    /// One small item.
    fn default() -> Self {
        Self::items(vec![1.0])
    }
}

impl SizeLaw {
    /// Small items of one class, 1, 2, … of them with these probabilities.
    #[must_use]
    pub fn items(items_pmf: Vec<f64>) -> Self {
        Self { items_pmf, classes: vec![SizeClass::default()] }
    }

    /// Single small items, of classes with these shares.
    #[must_use]
    pub fn classes(shares: &[f64]) -> Self {
        let class = |&share: &f64| SizeClass { share, ..SizeClass::default() };
        Self { items_pmf: vec![1.0], classes: shares.iter().map(class).collect() }
    }
}

/// Requests of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizeClass {
    /// Share of the requests; shares need not add up to 1.
    pub share: f64,
    /// Priority of its requests, 0 is most urgent.
    pub priority: u8,
    /// Encoded bytes of an item.
    pub item_bytes: u32,
    /// Encoded bytes of an item's answer, as the gateway estimates them.
    pub response_bytes: u32,
}

impl Default for SizeClass {
    /// Small enough that no byte bound matters.
    fn default() -> Self {
        Self { share: 1.0, priority: 0, item_bytes: 64, response_bytes: 64 }
    }
}

/// Clients that leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Share of the clients that leave, 0 to 1, unless they are answered first.
    pub share: f64,
    /// Mean of their exponential patience, seconds.
    pub mean_s: f64,
}

/// An AWS account, and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Concurrency, request rate and scaling rate.
    pub limits: LimitSettings,
    /// For how long idle environments are kept.
    pub keep_alive: KeepAlive,
    /// Whether environments have to be started.
    pub cold_starts: ColdStarts,
    /// Seconds until INIT begins (finding a host, fetching code): waited for, not billed. Not published; default 0.
    pub placement_s: f64,
    /// Round trip beyond the function.
    pub network: NetworkLaw,
    /// What a throttle asks the caller to wait; `None`: nothing is said, as usual.
    pub retry_after: Option<Duration>,
    /// Billed beyond the handler by the runtime, seconds.
    pub runtime_s: f64,
    /// Prices as they are billed.
    pub economics: Economics,
    /// Largest encoded request and answer, bytes: 6 MB each.
    pub payload_bytes: u64,
}

impl Default for Account {
    /// An ordinary account in us-east-1, reached from within the region.
    fn default() -> Self {
        Self {
            limits: LimitSettings::default(),
            keep_alive: KeepAlive::default(),
            cold_starts: ColdStarts::Paid,
            placement_s: 0.0,
            network: NetworkLaw::Fixed(0.004),
            retry_after: None,
            runtime_s: 0.001,
            economics: Economics {
                prices: PriceTable::default(),
                architecture: Architecture::X86_64,
                month_gb_seconds: 0.0,
            },
            payload_bytes: 6 * 1024 * 1024,
        }
    }
}

impl Account {
    /// Dollars of a second on this size.
    pub(super) fn usd_per_second(&self, memory: Mebibytes) -> f64 {
        let economics = &self.economics;
        memory.gibibytes()
            * economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds)
    }
}

/// Whether environments have to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColdStarts {
    /// As on Lambda: INIT is waited for and billed.
    #[default]
    Paid,
    /// Every environment is warm already: for bounds that know no cold starts.
    Free,
}

/// Round trip between gateway and function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NetworkLaw {
    /// So many seconds.
    Fixed(f64),
    /// Log-normal: median in seconds, standard deviation of the logarithm.
    LogNormal(f64, f64),
}

impl NetworkLaw {
    #[inline]
    pub(super) fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::LogNormal(median, ln_std) => median * (ln_std * random.normal()).exp(),
        }
    }
}

/// A deployment that cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeploymentError {
    /// No model, or more than ids.
    #[error("{0} models; from 1 to 65535 can be run")]
    Models(usize),
    /// A number outside its range.
    #[error("`{field}` {reason}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// A plan that the engine cannot serve.
    #[error("plan {revision} of model `{model}`: {error}")]
    Plan {
        /// The model.
        model: String,
        /// The plan's revision.
        revision: u64,
        /// What is wrong with it.
        error: PlanError,
    },
    /// The engine asks to be woken again and again without time passing: a defect of the engine.
    #[error("the engine does not get on at {at_s} s")]
    Stuck {
        /// Seconds.
        at_s: f64,
    },
}

impl DeploymentConfig {
    pub(super) fn check(&self) -> Result<(), DeploymentError> {
        if self.models.is_empty() || self.models.len() > usize::from(u16::MAX) {
            return Err(DeploymentError::Models(self.models.len()));
        }
        let check = |holds: bool, field, reason| {
            if holds { Ok(()) } else { Err(DeploymentError::OutOfRange { field, reason }) }
        };
        check((0.0..=1e9).contains(&self.seconds), "seconds", "must be 0 to 1e9")?;
        check(self.window >= Duration::from_millis(1), "window", "must be at least 1 ms")?;
        check(self.records != Records::Merged(0), "records", "must merge at least 1 window")?;
        check(self.account.runtime_s >= 0.0, "runtime_s", "must be 0 or more")?;
        check(self.account.placement_s >= 0.0, "placement_s", "must be 0 or more")?;
        for model in &self.models {
            let shares: f64 = model.sizes.classes.iter().map(|class| class.share).sum();
            check(shares > 0.0 && shares.is_finite(), "classes", "must have shares above 0")?;
            let items: f64 = model.sizes.items_pmf.iter().sum();
            check(items > 0.0 && items.is_finite(), "items_pmf", "must have probabilities above 0")?;
            check((0.0..=1.0).contains(&model.slo_percentile), "slo_percentile", "must be 0 to 1")?;
            check(!model.function_timeout.is_zero(), "function_timeout", "must be above 0")?;
        }
        Ok(())
    }
}

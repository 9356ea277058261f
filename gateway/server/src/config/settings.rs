//! What a configuration means, checked: nothing behind this point looks at the file's shape.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_contract::{Architecture, ModelId, PlanRevision, PriceTable, ServiceObservation, ServingPlan};
use gateway_invoker::InvokerConfig;
use optimizer_tuner::TunerSettings;
use optimizer_tuner::environments::before_learning;
use workers_protocol::ModelManifest;

use super::traces::trace_settings;
use super::{BulkConfig, Config, ControlConfig, ListenConfig, LogConfig, ModelConfig, PolicyConfig};
use crate::driver::DriverLimits;
use crate::http::HttpConfig;
use crate::telemetry::Tenants;
use crate::telemetry::traces::TraceSettings;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: ListenConfig,
    /// Bounds of the HTTP side.
    pub http: HttpConfig,
    /// Bounds in front of the engine.
    pub driver: DriverLimits,
    /// How to reach Lambda.
    pub invoker: InvokerConfig,
    /// What Lambda costs.
    pub prices: PriceTable,
    /// Dollars per hour of this host.
    pub gateway_usd_per_hour: f64,
    /// How long to keep serving once not ready.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that.
    pub drain_limit: Duration,
    /// Log output.
    pub log: LogConfig,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<TraceSettings>,
    /// Whose requests are counted apart; `None`: nobody's.
    pub tenants: Option<Tenants>,
    /// How often to call each alias with a no-op; `None`: never.
    pub probe_interval: Option<Duration>,
    /// Where learned state is kept; `None`: nowhere.
    pub state_directory: Option<PathBuf>,
    /// URL of a copy of it.
    pub state_copy: Option<String>,
    /// URL of what is shared with other gateways.
    pub state_shared: Option<String>,
    /// Silence after which another gateway takes over.
    pub lease: Duration,
    /// Bulk jobs, `directory` resolved; `None`: no routes for them.
    pub bulk: Option<BulkConfig>,
    /// The models, by name ascending.
    pub models: Vec<ModelSettings>,
}

/// A model of a valid configuration. Ids and revisions of the plan are given when it is put into force.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Name in URLs.
    pub name: String,
    /// Function name or ARN.
    pub function: String,
    /// For prices.
    pub architecture: Architecture,
    /// Where the manifest was read.
    pub manifest_path: PathBuf,
    /// What it says.
    pub manifest: ModelManifest,
    /// Deadline of requests that name none.
    pub default_timeout: Option<Duration>,
    /// Its plan, with model 0 and revision 1.
    pub plan: ServingPlan,
    /// Who chooses another one.
    pub policy: TunerSettings,
    /// Sandboxes to start before a switch to another memory size, at most.
    pub max_warm_up_environments: u32,
    /// What its tuner is told at its first start.
    pub first_observations: Vec<ServiceObservation>,
}

/// A key and what is wrong with it.
type Invalid = (String, String);

impl Settings {
    /// Checks every value and reads the manifests. Relative paths start at `base`.
    pub(super) fn build(config: &Config, base: &Path) -> Result<Self, Vec<Invalid>> {
        let mut invalid: Vec<Invalid> = Vec::new();
        let sections = [
            ("limits", config.limits.check()),
            ("aws", config.aws.check()),
            ("prices", config.prices.check()),
            ("log", check_log(&config.log)),
            ("listen", check_listen(&config.listen)),
            ("control", config.control.check()),
            ("state", config.state.check()),
            ("bulk", config.bulk.check()),
        ];
        for (section, checked) in sections {
            if let Err((key, reason)) = checked {
                invalid.push((format!("{section}.{key}"), reason.to_owned()));
            }
        }
        let traces = trace_settings(&config.traces, base).unwrap_or_else(|(key, reason)| {
            invalid.push((format!("traces.{key}"), reason));
            None
        });
        let tenants = config.tenants.tenants().unwrap_or_else(|(key, reason)| {
            invalid.push((format!("tenants.{key}"), reason));
            None
        });
        let mut models = Vec::with_capacity(config.models.len());
        for (name, model) in &config.models {
            match model_settings(name, model, &config.control, base) {
                Ok(settings) => models.push(settings),
                Err((key, reason)) => invalid.push((format!("models.{name}{key}"), reason)),
            }
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(Self {
            listen: ListenConfig {
                hand_over: config.listen.hand_over.as_ref().map(|path| base.join(path)),
                ..config.listen.clone()
            },
            http: config.limits.http(),
            driver: config.limits.driver(),
            invoker: config.aws.invoker(),
            prices: config.prices.table(),
            gateway_usd_per_hour: config.prices.gateway_usd_per_hour,
            drain_delay: config.drain.drain_delay_ms.duration(),
            drain_limit: config.drain.drain_limit_ms.duration(),
            log: config.log.clone(),
            traces,
            tenants,
            probe_interval: Some(config.control.probe_interval_ms.duration())
                .filter(|interval| !interval.is_zero()),
            state_directory: config.state.directory.as_ref().map(|directory| base.join(directory)),
            state_copy: config.state.copy.clone(),
            state_shared: config.state.shared.clone(),
            lease: config.state.lease_ms.duration(),
            bulk: config
                .bulk
                .directory
                .as_ref()
                .map(|directory| BulkConfig { directory: Some(base.join(directory)), ..config.bulk.clone() }),
            models,
        })
    }
}

fn check_listen(listen: &ListenConfig) -> Result<(), (&'static str, &'static str)> {
    if listen.public_address == listen.admin_address && listen.public_address.port() != 0 {
        return Err(("admin_address", "must differ from `public_address`"));
    }
    Ok(())
}

fn check_log(log: &LogConfig) -> Result<(), (&'static str, &'static str)> {
    if !(1..=10_000).contains(&log.max_repeats_per_minute) {
        return Err(("max_repeats_per_minute", "must be 1 to 10000"));
    }
    let parsed = tracing_subscriber::EnvFilter::try_new(&log.filter);
    parsed.map(drop).map_err(|_| ("filter", "is not a list of `level` or `target=level`"))
}

fn model_settings(
    name: &str,
    model: &ModelConfig,
    control: &ControlConfig,
    base: &Path,
) -> Result<ModelSettings, Invalid> {
    let fits = (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !fits {
        return Err((String::new(), "is not a name of 1 to 64 letters, digits, `-`, `_` or `.`".to_owned()));
    }
    if model.function.is_empty() || model.function.len() > 170 || model.function.contains(char::is_whitespace)
    {
        return Err((
            ".function".to_owned(),
            "must be a function name or ARN of 1 to 170 characters".to_owned(),
        ));
    }
    let given = base.join(&model.manifest);
    let manifest_path = if given.is_dir() { given.join("model.toml") } else { given };
    let at_manifest = |reason: String| (".manifest".to_owned(), reason);
    let text = std::fs::read_to_string(&manifest_path)
        .map_err(|error| at_manifest(format!("cannot be read at `{}`: {error}", manifest_path.display())))?;
    let manifest =
        ModelManifest::parse(&text).map_err(|error| at_manifest(format!("is not valid: {error}")))?;
    let plan = model
        .plan
        .plan(ModelId(0), PlanRevision(1))
        .map_err(|error| (".plan".to_owned(), error.to_string()))?;
    let policy = model.policy.clone().unwrap_or_else(PolicyConfig::pinned);
    let tuner = policy
        .tuner(control)
        .map_err(|error| (format!(".policy.{}", error.field), error.reason.to_owned()))?;
    let plan = ServingPlan { environments: before_learning(&tuner), ..plan };
    let first_observations = match &policy.first_profile {
        Some(path) => super::first_profile::read(&base.join(path))
            .map_err(|reason| (".policy.first_profile".to_owned(), reason))?,
        None => Vec::new(),
    };
    Ok(ModelSettings {
        name: name.to_owned(),
        function: model.function.clone(),
        architecture: model.architecture.into(),
        manifest_path,
        manifest,
        default_timeout: model.default_timeout_ms.map(super::Milliseconds::duration),
        plan,
        policy: tuner,
        max_warm_up_environments: policy.max_warm_up_environments,
        first_observations,
    })
}

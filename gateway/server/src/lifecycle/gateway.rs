//! A running gateway: listeners, driver, and the state that reloads swap.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use gateway_invoker::InvokerConfig;
use gateway_invoker::provision::account_limits;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::admin;
use super::assembly::OutOfIds;
use super::extension::{Extension, ExtensionError, Host, Stop};
use super::fleet::Fleet;
use crate::config::{ConfigError, Loaded, Source, changed_restart_keys, config_hash, load};
use crate::control::{ControlHandle, Parts, spawn as spawn_control};
use crate::driver::{DriverHandle, Invoke, Liveness};
use crate::http::{HttpConfig, HttpState, NoTelemetry, PublicApplication, Readiness, serve as serve_http};
use crate::telemetry::traces::{TraceError, TraceExporter};
use crate::telemetry::{Catalogue, HttpMetrics, PERIOD};

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The metrics catalogue is inconsistent.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Too many models.
    #[error(transparent)]
    OutOfIds(#[from] OutOfIds),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// A part beside the gateway's own did not start.
    #[error(transparent)]
    Extension(ExtensionError),
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// Hash of the configuration now in force.
    pub hash: String,
    /// Whether anything changed.
    pub changed: bool,
    /// Changed keys that take effect only after a restart.
    pub needs_restart: Vec<String>,
    /// Names of the models now served.
    pub models: Vec<String>,
}

/// What the listeners, the reloader and the stop share.
pub(super) struct Shared {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) driver: DriverHandle,
    pub(super) liveness: Liveness,
    pub(super) readiness: Readiness,
    pub(super) fleet: Arc<Fleet>,
    pub(super) control: ControlHandle,
    pub(super) loaded: ArcSwap<Loaded>,
    source: Source,
    /// One reload at a time.
    reloading: Mutex<()>,
    host_cost_since: Mutex<Instant>,
}

/// A running gateway. Dropping it closes everything at once; [`Gateway::shutdown`] drains first.
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
    public_address: SocketAddr,
    admin_address: SocketAddr,
    public_stop: CancellationToken,
    public: JoinHandle<()>,
    admin: JoinHandle<()>,
    supervisor: JoinHandle<()>,
    control: JoinHandle<()>,
    /// Tells of repeated failures that have ceased.
    tell: JoinHandle<()>,
    traces: Option<TraceExporter>,
    stop_extension: Stop,
}

impl Gateway {
    /// Binds both listeners, starts the driver and turns ready. `source` is what reloads read.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start<S: Invoke>(loaded: Loaded, source: Source, invoker: S) -> Result<Self, StartError> {
        Self::start_with(loaded, source, invoker, async |_| Ok(Extension::default())).await
    }

    /// Like [`Gateway::start`], with a part beside the gateway's own; it is made before anything is accepted.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_with<S: Invoke>(
        loaded: Loaded,
        source: Source,
        invoker: S,
        extend: impl AsyncFnOnce(Host) -> Result<Extension, ExtensionError>,
    ) -> Result<Self, StartError> {
        Self::start_counted(loaded, source, invoker, extend, Arc::new(Catalogue::new()?)).await
    }

    /// Like [`Gateway::start_with`], counting in a catalogue that is there already.
    pub(super) async fn start_counted<S: Invoke>(
        loaded: Loaded,
        source: Source,
        invoker: S,
        extend: impl AsyncFnOnce(Host) -> Result<Extension, ExtensionError>,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let (public_listener, public_address) = bind(settings.listen.public_address).await?;
        let (admin_listener, admin_address) = bind(settings.listen.admin_address).await?;
        catalogue.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let settings = Arc::new(settings.clone());
        let traces = settings.traces.as_ref();
        let traces = traces.map(|traces| TraceExporter::start(traces, &catalogue)).transpose()?;
        let (tracer, traces) = traces.unzip();
        let (fleet, liveness, supervisor) = Fleet::start(settings, invoker.clone(), &catalogue)?;
        let fleet = Arc::new(fleet);
        let driver = fleet.driver().clone();
        let readiness = Readiness::default();
        let (control_handle, control) = spawn_control(Parts {
            fleet: fleet.clone(),
            invoker,
            catalogue: catalogue.clone(),
            readiness: readiness.clone(),
        });
        let shared = Arc::new(Shared {
            catalogue,
            driver,
            liveness,
            readiness,
            fleet,
            control: control_handle,
            loaded: ArcSwap::from_pointee(loaded.clone()),
            source,
            reloading: Mutex::new(()),
            host_cost_since: Mutex::new(Instant::now()),
        });
        shared.note_loaded(&loaded, None);
        let http = loaded.settings.http.clone();
        let host = Host {
            fleet: shared.fleet.clone(),
            catalogue: shared.catalogue.clone(),
            http: Arc::new(http.clone()),
        };
        let extension = extend(host).await.map_err(StartError::Extension)?;
        let telemetry = Arc::new(HttpMetrics::new(shared.catalogue.clone()));
        let state = HttpState::new(
            shared.driver.clone(),
            shared.fleet.registry().clone(),
            shared.readiness.clone(),
            http.clone(),
            telemetry.clone(),
        )
        .with_tracer(tracer.unwrap_or_default());
        let public_stop = CancellationToken::new();
        let stop = public_stop.clone();
        let application = PublicApplication::new(state).merge(extension.routes);
        let public =
            tokio::spawn(
                async move { serve_http(public_listener, application, &http, stop, telemetry).await },
            );
        let admin_router = admin::router(shared.clone());
        let admin = tokio::spawn(async move {
            let config = HttpConfig { max_connections: ADMIN_CONNECTIONS, ..HttpConfig::default() };
            serve_http(
                admin_listener,
                admin_router,
                &config,
                CancellationToken::new(),
                Arc::new(NoTelemetry),
            )
            .await;
        });
        let catalogue = shared.catalogue.clone();
        let tell = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                catalogue.failures.tell_ceased();
            }
        });
        shared.readiness.set_ready();
        tracing::info!(%public_address, %admin_address, models = ?shared.model_names(), "gateway is serving");
        Ok(Self {
            shared,
            public_address,
            admin_address,
            public_stop,
            public,
            admin,
            supervisor,
            control,
            tell,
            traces,
            stop_extension: extension.stop,
        })
    }

    /// Where the inference protocol is served.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where metrics and health are served.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The driver, for callers that bypass HTTP.
    #[must_use]
    pub fn driver(&self) -> &DriverHandle {
        &self.shared.driver
    }

    /// The metrics.
    #[must_use]
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.shared.catalogue
    }

    /// Reads the configuration again and swaps it in as a whole. On failure the old one stays in force.
    ///
    /// # Errors
    /// What is wrong with the new one.
    pub fn reload(&self) -> Result<ReloadReport, ConfigError> {
        self.shared.reload()
    }

    /// Drains and stops: ready turns false, `drain_delay` passes, nothing more is accepted, what waits is flushed, what is in
    /// flight may finish until `drain_limit`. Returns whether everything finished.
    pub async fn shutdown(self) -> bool {
        let settings = self.shared.loaded.load().settings.clone();
        self.shared.readiness.set_draining();
        tracing::info!(delay = ?settings.drain_delay, limit = ?settings.drain_limit, "draining: not ready any more");
        tokio::time::sleep(settings.drain_delay).await;
        self.public_stop.cancel();
        let mut public = self.public;
        let stop_extension = self.stop_extension;
        let finish = async {
            // Requests whose head has arrived still get in; then waiting batches are flushed instead of filled.
            let early = tokio::time::timeout(LATE_REQUESTS, &mut public).await;
            tokio::join!(self.shared.driver.drain(), stop_extension);
            if early.is_err() {
                let _ = (&mut public).await;
            }
        };
        let is_finished = tokio::time::timeout(settings.drain_limit, finish).await.is_ok();
        public.abort();
        if tokio::time::timeout(CONTROL_LIMIT, self.shared.control.stop()).await.is_err() {
            tracing::warn!("the control loop did not stop in time; what it learned last is lost");
        }
        if let Some(traces) = self.traces {
            traces.stop(TRACES_LIMIT).await;
        }
        self.admin.abort();
        self.tell.abort();
        self.supervisor.abort();
        self.control.abort();
        if is_finished {
            tracing::info!("drained: every request was answered");
        } else {
            tracing::warn!("the drain limit has passed: requests in flight are cut off");
        }
        is_finished
    }
}

/// Scrapers and health checks; more are turned away.
const ADMIN_CONNECTIONS: usize = 256;
/// Time for the control loop to write what it learned.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);
/// Time for the last spans to reach their collector.
const TRACES_LIMIT: Duration = Duration::from_secs(5);
/// Time for requests that are just being read when accepting stops.
const LATE_REQUESTS: Duration = Duration::from_millis(50);

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let fail = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl Shared {
    fn model_names(&self) -> Vec<String> {
        self.fleet.registry().load().iter().map(|model| model.name.clone()).collect()
    }

    /// Sets the metrics that tell which configuration is in force.
    fn note_loaded(&self, loaded: &Loaded, before: Option<&Loaded>) {
        if let Some(before) = before {
            let _ = self.catalogue.config_info.remove_label_values(&[&*config_hash(&before.config)]);
        }
        self.catalogue.config_info.with_label_values(&[&*config_hash(&loaded.config)]).set(1);
        self.catalogue.config_last_reload_successful.set(1);
        self.catalogue.config_last_reload_success.set(unix_seconds());
    }

    pub(super) fn reload(&self) -> Result<ReloadReport, ConfigError> {
        let result = load(&self.source).and_then(|loaded| self.apply(loaded));
        let label = if result.is_ok() { "success" } else { "failure" };
        self.catalogue.config_reloads.with_label_values(&[label]).inc();
        match &result {
            Ok(report) => tracing::info!(
                hash = %report.hash, changed = report.changed, needs_restart = ?report.needs_restart, models = ?report.models,
                "configuration reloaded"
            ),
            Err(error) => {
                self.catalogue.config_last_reload_successful.set(0);
                tracing::error!(%error, "configuration not reloaded; the old one stays in force");
            }
        }
        result
    }

    /// Asks AWS once how many sandboxes the account may have, for the plan search. Serving does not wait for it, and goes on without.
    pub(super) async fn learn_account_limits(self: Arc<Self>, account: InvokerConfig) {
        match account_limits(&account).await {
            Ok(limits) => {
                tracing::info!(concurrency = limits.concurrency, "the account's limit is known");
                self.fleet.note_account_concurrency(limits.concurrency);
                self.control.reload();
            }
            Err(error) => tracing::warn!(
                %error, "the account's limits are not known: `control.account_concurrency` counts; allow lambda:GetAccountSettings"
            ),
        }
    }

    fn apply(&self, loaded: Loaded) -> Result<ReloadReport, ConfigError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = self.loaded.load_full();
        self.fleet.reload(Arc::new(loaded.settings.clone())).map_err(|error| {
            ConfigError::Problems(vec![crate::config::Problem {
                place: "models".to_owned(),
                position: None,
                message: error.to_string(),
            }])
        })?;
        self.control.reload();
        self.note_loaded(&loaded, Some(&before));
        let report = ReloadReport {
            hash: config_hash(&loaded.config),
            changed: before.config != loaded.config || before.settings.models != loaded.settings.models,
            needs_restart: changed_restart_keys(&before.config, &loaded.config),
            models: self.model_names(),
        };
        self.loaded.store(Arc::new(loaded));
        Ok(report)
    }

    /// Adds what the host has cost since the last call.
    pub(super) fn count_host_cost(&self) {
        let hourly = self.loaded.load().settings.gateway_usd_per_hour;
        let mut since = self.host_cost_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hours = since.elapsed().as_secs_f64() / 3600.0;
        *since = Instant::now();
        if hourly > 0.0 {
            let labels = &["_gateway", "gateway_host"];
            self.catalogue.cost_usd.with_label_values(labels).inc_by(hourly * hours);
            self.catalogue.savings_usd.with_label_values(labels).sub(hourly * hours);
        }
    }

    pub(super) fn watched_paths(&self) -> Vec<std::path::PathBuf> {
        watched_paths(&self.source, &self.loaded.load())
    }
}

/// The files behind a configuration: itself and its models' manifests.
pub(super) fn watched_paths(source: &Source, loaded: &Loaded) -> Vec<std::path::PathBuf> {
    let manifests = loaded.settings.models.iter().map(|model| model.manifest_path.clone());
    source.path.iter().cloned().chain(manifests).collect()
}

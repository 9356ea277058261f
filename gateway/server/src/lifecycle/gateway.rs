//! A running gateway: listeners, driver, and the state that reloads swap.

use std::net::{SocketAddr, TcpListener as BoundListener};
use std::os::fd::OwnedFd;
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
use super::sockets::{Sockets, address_of};
use crate::config::{ConfigError, Loaded, Source, changed_restart_keys, config_hash, load};
use crate::control::{ControlHandle, Parts, spawn as spawn_control};
use crate::driver::{DriverHandle, Invoke, Liveness};
use crate::http::{
    HttpConfig, HttpState, NoTelemetry, PublicApplication, Readiness, Shutdown, serve as serve_http,
};
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
    /// What a successor may have.
    sockets: Arc<[OwnedFd; 2]>,
    /// Cancelled: it accepts.
    open: CancellationToken,
    public_stop: Shutdown,
    admin_stop: Shutdown,
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
        let sockets = Sockets::default();
        Self::start_with(loaded, source, invoker, sockets, async |_| Ok(Extension::default())).await
    }

    /// Like [`Gateway::start`], on sockets that are bound already, as far as there are any, and with a part beside the gateway's own; it is made before
    /// anything is accepted.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_with<S: Invoke>(
        loaded: Loaded,
        source: Source,
        invoker: S,
        sockets: Sockets,
        extend: impl AsyncFnOnce(Host) -> Result<Extension, ExtensionError>,
    ) -> Result<Self, StartError> {
        Self::start_counted(loaded, source, invoker, sockets, extend, Arc::new(Catalogue::new()?)).await
    }

    /// Like [`Gateway::start_with`], counting in a catalogue that is there already.
    pub(super) async fn start_counted<S: Invoke>(
        loaded: Loaded,
        source: Source,
        invoker: S,
        sockets: Sockets,
        extend: impl AsyncFnOnce(Host) -> Result<Extension, ExtensionError>,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let Sockets { public, admin, are_shared } = sockets;
        let (public_listener, public_address, public_socket) =
            bind("public_address", settings.listen.public_address, public).await?;
        let (admin_listener, admin_address, admin_socket) =
            bind("admin_address", settings.listen.admin_address, admin).await?;
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
            identity: identity().into(),
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
        let telemetry = Arc::new(HttpMetrics::new(shared.catalogue.clone(), loaded.settings.tenants.clone()));
        let state = HttpState::new(
            shared.driver.clone(),
            shared.fleet.registry().clone(),
            shared.readiness.clone(),
            http.clone(),
            telemetry.clone(),
        )
        .with_tracer(tracer.unwrap_or_default());
        let (public_stop, admin_stop) = (Shutdown::default(), Shutdown::default());
        let open = CancellationToken::new();
        if !are_shared {
            open.cancel();
        }
        let (stop, opened) = (public_stop.clone(), open.clone());
        let application = PublicApplication::new(state).merge(extension.routes);
        let public = tokio::spawn(async move {
            if is_opened(&opened, &stop).await {
                serve_http(public_listener, application, &http, stop, telemetry).await;
            }
        });
        let (admin_router, stop, opened) =
            (admin::router(shared.clone(), extension.admin_routes), admin_stop.clone(), open.clone());
        let admin = tokio::spawn(async move {
            let config = HttpConfig { max_connections: ADMIN_CONNECTIONS, ..HttpConfig::default() };
            if is_opened(&opened, &stop).await {
                serve_http(admin_listener, admin_router, &config, stop, Arc::new(NoTelemetry)).await;
            }
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
            sockets: Arc::new([public_socket, admin_socket]),
            open,
            public_stop,
            admin_stop,
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

    /// Accepts on sockets that are shared with another process.
    pub(super) fn open(&self) {
        self.open.cancel();
    }

    /// What a successor is given.
    pub(super) fn sockets(&self) -> Arc<[OwnedFd; 2]> {
        self.sockets.clone()
    }

    /// Drains and stops: ready turns false, `drain_delay` passes, nothing more is accepted, what waits is flushed, what is in
    /// flight may finish until `drain_limit`. Returns whether everything finished.
    pub async fn shutdown(self) -> bool {
        let delay = self.shared.loaded.load().settings.drain_delay;
        self.shared.readiness.set_draining();
        self.public_stop.leave();
        tracing::info!(?delay, "draining: not ready any more");
        tokio::time::sleep(delay).await;
        self.end(Duration::ZERO).await
    }

    /// Ends while another process accepts on the same sockets: nobody needs to be warned, so accepting ends at once, and clients that keep
    /// their connections are given half of `drain_limit` to hear with an answer that it was the last. Returns whether everything finished.
    pub(super) async fn hand_over(self) -> bool {
        let linger = self.shared.loaded.load().settings.drain_limit / 2;
        self.shared.readiness.set_draining();
        self.public_stop.close();
        self.admin_stop.finish();
        self.end(linger).await
    }

    async fn end(self, linger: Duration) -> bool {
        drop(self.sockets); // or the kernel would go on queueing connections that nobody takes
        let limit = self.shared.loaded.load().settings.drain_limit;
        let (mut public, mut control) = (self.public, Some(self.shared.control.stop()));
        let (mut stop_extension, mut is_stopped) = (self.stop_extension, false);
        if !linger.is_zero() {
            // What was learned goes first: the successor waits for it.
            stop_control(control.take()).await;
            let stop = async {
                (&mut stop_extension).await;
                is_stopped = true;
            };
            let _ = tokio::time::timeout(linger, async { tokio::join!(&mut public, stop) }).await;
        }
        self.public_stop.finish();
        let finish = async {
            // Requests whose head has arrived still get in; then waiting batches are flushed instead of filled.
            let early =
                public.is_finished() || tokio::time::timeout(LATE_REQUESTS, &mut public).await.is_ok();
            let stop = async {
                if !is_stopped {
                    stop_extension.await;
                }
            };
            tokio::join!(self.shared.driver.drain(), stop);
            if !early {
                let _ = (&mut public).await;
            }
        };
        let is_finished = tokio::time::timeout(limit.saturating_sub(linger), finish).await.is_ok();
        public.abort();
        stop_control(control).await;
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

async fn stop_control(stopping: Option<impl Future<Output = ()>>) {
    if let Some(stopping) = stopping
        && tokio::time::timeout(CONTROL_LIMIT, stopping).await.is_err()
    {
        tracing::warn!("the control loop did not stop in time; what it learned last is lost");
    }
}

/// Scrapers and health checks; more are turned away.
const ADMIN_CONNECTIONS: usize = 256;
/// Time for the control loop to write what it learned.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);
/// How often readiness is looked at while the process starts.
const READY_LOOK: Duration = Duration::from_millis(20);
/// Time for the last spans to reach their collector.
const TRACES_LIMIT: Duration = Duration::from_secs(5);
/// Time for requests that are just being read when accepting stops.
const LATE_REQUESTS: Duration = Duration::from_millis(50);

/// Waits until it is time to accept; false if it never was.
async fn is_opened(open: &CancellationToken, stop: &Shutdown) -> bool {
    tokio::select! {
        biased;
        () = open.cancelled() => true,
        () = stop.closed() => false,
    }
}

/// Binds an address, or takes the socket that is bound already. Gives another descriptor of it for a successor.
async fn bind(
    key: &str,
    address: SocketAddr,
    given: Option<BoundListener>,
) -> Result<(TcpListener, SocketAddr, OwnedFd), StartError> {
    let fail = |source| StartError::Listen { address, source };
    let bound = match given {
        Some(given) => {
            let at = address_of(&given).map_err(fail)?;
            if at != address && address.port() != 0 {
                tracing::warn!(key, configured = %address, %at, "the socket that was passed has another address than the configuration; it is used");
            }
            given.set_nonblocking(true).map_err(fail)?;
            given
        }
        None => TcpListener::bind(address).await.and_then(TcpListener::into_std).map_err(fail)?,
    };
    let other = bound.try_clone().map_err(fail)?;
    let listener = TcpListener::from_std(bound).map_err(fail)?;
    let at = listener.local_addr().map_err(fail)?;
    Ok((listener, at, other.into()))
}

/// Names this process among all gateways, for good: host, process and start.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}/{}/{:x}", host.trim(), std::process::id(), started.as_nanos())
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl Shared {
    pub(super) fn model_names(&self) -> Vec<String> {
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

    /// Waits until traffic is wanted and each configured alias was looked at once. Tells `why` not whenever that changes.
    pub(super) async fn until_ready(&self, why: impl Fn(&str)) {
        let mut told = None;
        loop {
            if self.readiness.is_probed() && self.readiness.is_ready() && self.liveness.is_alive() {
                return;
            }
            let unservable = self.readiness.unservable();
            if unservable != told {
                let text = unservable.as_ref().map_or_else(
                    || "starting".to_owned(),
                    |(model, why)| format!("not ready: model `{model}` cannot be served: {why}"),
                );
                why(&text);
                told = unservable;
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    /// Answers once the driver and the control loop have; false if the driver was given up.
    pub(super) async fn is_alive(&self) -> bool {
        let (driver, ()) = tokio::join!(self.driver.answers(), self.control.answers());
        driver && self.liveness.is_alive()
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

#[cfg(test)]
mod tests {
    use gateway_invoker::LambdaInvoker;

    use super::*;
    use crate::config::load_text;

    const NOWHERE: &str = "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
        [aws]\nendpoint_url = \"http://127.0.0.1:9\"\ncredentials = \"static-test\"\n";

    #[tokio::test]
    async fn a_driver_that_was_given_up_gives_no_sign_of_life() {
        let source = Source::default();
        let loaded = load_text(NOWHERE, &source).unwrap();
        let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
        let gateway = Gateway::start(loaded, source, invoker).await.unwrap();
        assert!(gateway.shared.is_alive().await);
        let mut panics = 0;
        while gateway.shared.is_alive().await {
            panics += 1;
            assert!(panics < 100, "it is given up in the end");
            gateway.driver().panic_now();
        }
        assert!(panics > 1, "one panic is not the end: another driver answers");
        assert!(!gateway.shared.is_alive().await, "and stays given up");
    }
}

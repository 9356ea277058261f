//! A local Lambda: the Invoke and configuration API that real AWS clients use, sandboxes with the real Runtime API, a
//! metered CPU and memory share, and the bill. [`run`] serves until it is told to stop; [`Emulator`] is the same with a
//! handle. What is emulated exactly and what approximately is listed in this crate's README.
//!
//! Deliberately absent: signatures, permissions, container images, layers, extensions, event sources, provisioned
//! concurrency, and isolation of sandboxes from the machine.
#![forbid(unsafe_code)]

mod admin;
mod api;
pub mod billing;
mod clock;
pub mod config;
mod executor;
pub mod faults;
mod fleet;
mod host;
mod http_io;
mod ids;
mod initialise;
mod ledger;
pub mod limits;
pub mod metering;
mod registry;
pub mod report;
mod sandbox;
mod server;
mod sync;
mod versions;

pub use config::{ConfigError, EmulatorConfig};

use host::Host;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Why the emulator could not run.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The configuration has a value out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder for code cannot be used.
    #[error("cannot use the state folder: {0}")]
    State(std::io::Error),
    /// The requested metering is not permitted.
    #[error(transparent)]
    Metering(#[from] metering::MeterError),
    /// A declared function is unusable.
    #[error("{0}")]
    Function(String),
}

/// A running emulator. Dropping it leaves sandboxes behind; call [`Emulator::shutdown`].
pub struct Emulator {
    address: SocketAddr,
    host: Arc<Host>,
    tasks: Vec<JoinHandle<()>>,
    janitor: Option<metering::Janitor>,
    /// Removed with the emulator, after its sandboxes.
    _temporary: Option<tempfile::TempDir>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Emulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Emulator {
    /// Starts serving.
    ///
    /// # Errors
    /// [`EmulatorError`]; nothing is left running.
    pub async fn start(config: EmulatorConfig) -> Result<Self, EmulatorError> {
        config.validate()?;
        let address = config.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| EmulatorError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| EmulatorError::Listen { address, source })?;
        let (code_dir, temporary) = match &config.state_dir {
            Some(folder) => {
                (folder.join(format!("emulator-{}-{}", std::process::id(), address.port())), None)
            }
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("penstock-emulator-")
                    .tempdir()
                    .map_err(EmulatorError::State)?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        std::fs::create_dir_all(&code_dir).map_err(EmulatorError::State)?;
        let meter = metering::open_meter(&config.metering)?;
        let janitor = metering::Janitor::start(&meter.groups());
        let seed = config.seed.unwrap_or_else(seed_of_the_clock);
        let host = Arc::new(Host::new(config, meter, code_dir, seed));
        for function in &host.config.function {
            api::declare(&host, function).map_err(|error| EmulatorError::Function(error.to_string()))?;
        }
        tracing::info!(
            %address, metering = ?host.meter.mechanism(), cpu_scale = host.config.metering.cpu_scale,
            functions = host.config.function.len(), "local Lambda is listening; signatures are accepted unchecked"
        );
        let tasks = vec![
            tokio::spawn(server::serve(Arc::clone(&host), listener)),
            tokio::spawn(reap(Arc::clone(&host))),
        ];
        Ok(Self { address, host, tasks, janitor, _temporary: temporary })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all sandboxes, removes control groups and temporary files.
    pub async fn shutdown(self) {
        self.host.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        for function in self.host.registry.all() {
            function.fleets().iter().for_each(|fleet| fleet.kill_all());
        }
        let gone = tokio::time::timeout(Duration::from_secs(10), self.host.all_sandboxes_gone()).await;
        if gone.is_err() {
            tracing::warn!("some sandboxes did not end within 10 s");
        }
        let host = Arc::clone(&self.host);
        let _ = tokio::task::spawn_blocking(move || {
            host.meter.close();
            let _ = std::fs::remove_dir_all(&host.code_dir);
        })
        .await;
        if let Some(janitor) = self.janitor {
            janitor.dismiss();
        }
    }
}

/// Serves until `shutdown` is ready, then cleans up.
///
/// # Errors
/// [`EmulatorError`] when it cannot start.
pub async fn run(config: EmulatorConfig, shutdown: impl Future) -> Result<(), EmulatorError> {
    let emulator = Emulator::start(config).await?;
    shutdown.await;
    emulator.shutdown().await;
    Ok(())
}

/// Ends sandboxes that were idle for too long.
async fn reap(host: Arc<Host>) {
    let keep_alive = Duration::from_millis(host.config.lifecycle.keep_alive_ms);
    let every = (keep_alive / 4).clamp(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = host.stop.cancelled() => return,
        }
        let now = Instant::now();
        for function in host.registry.all() {
            function.fleets().iter().for_each(|fleet| fleet.reap(keep_alive, now));
        }
    }
}

fn seed_of_the_clock() -> u64 {
    let nanos =
        SystemTime::now().duration_since(UNIX_EPOCH).map(|elapsed| elapsed.subsec_nanos()).unwrap_or(0);
    u64::from(nanos) << 32 | u64::from(std::process::id())
}

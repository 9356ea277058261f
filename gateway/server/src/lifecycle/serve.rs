//! The process: configuration to exit, driven by signals.

use std::sync::Arc;

use gateway_invoker::LambdaInvoker;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::extension::{Extension, ExtensionError, Host};
use super::gateway::{Gateway, StartError, watched_paths};
use super::watch::FileWatch;
use crate::config::{ConfigError, Loaded, Source, load};
use crate::telemetry::Catalogue;

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is not valid: exit code 78.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The gateway did not start: exit code 1.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be received: exit code 1.
    #[error("signals: {0}")]
    Signals(#[source] std::io::Error),
    /// Logs cannot be written: exit code 1.
    #[error("log output: {0}")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A second signal came while draining: exit code 130.
    #[error("stopped at once by a second signal")]
    Interrupted,
}

/// SIGTERM and SIGINT alike: both mean stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn install_signals() -> std::io::Result<(StopSignals, Signal)> {
    let stop = StopSignals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    Ok((stop, signal(SignalKind::hangup())?))
}

/// Runs the gateway until SIGTERM or SIGINT and a drain, or a second such signal. SIGHUP and file changes reload.
///
/// # Errors
/// [`ServeError`]; each variant names its exit code.
pub async fn serve(source: Source) -> Result<(), ServeError> {
    serve_with(source, async |_, _| Ok(Extension::default())).await
}

/// Like [`serve`], with a part beside the gateway's own. It gets the one way to Lambda too.
///
/// # Errors
/// [`ServeError`]; each variant names its exit code.
pub async fn serve_with(
    source: Source,
    extend: impl AsyncFnOnce(Host, LambdaInvoker) -> Result<Extension, ExtensionError>,
) -> Result<(), ServeError> {
    let loaded = load(&source)?;
    let catalogue = Arc::new(Catalogue::new().map_err(StartError::from)?);
    let bound = crate::telemetry::logs::install(&loaded.settings.log, &catalogue).map_err(ServeError::Log)?;
    let told = tokio::spawn(bound.clone().tell_for_ever());
    let ended = run(source, loaded, extend, catalogue).await;
    told.abort();
    bound.tell(None);
    ended
}

async fn run(
    source: Source,
    loaded: Loaded,
    extend: impl AsyncFnOnce(Host, LambdaInvoker) -> Result<Extension, ExtensionError>,
    catalogue: Arc<Catalogue>,
) -> Result<(), ServeError> {
    let (mut stop, mut hangup) = install_signals().map_err(ServeError::Signals)?;
    // Watched from the start: a change while the gateway comes up is found afterwards.
    let mut watched = watched_paths(&source, &loaded);
    let mut watch = FileWatch::start(&watched);
    let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
    let account = loaded.settings.invoker.clone();
    let lambda = invoker.clone();
    let extend = async move |host| extend(host, lambda).await;
    let gateway = Gateway::start_counted(loaded, source, invoker, extend, catalogue).await?;
    let limits = tokio::spawn(gateway.shared.clone().learn_account_limits(account));
    loop {
        let changed = async {
            match &mut watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.recv() => break,
            _ = hangup.recv() => {}
            () = changed => {}
        }
        // The outcome is logged and counted where it is known; the loop goes on either way.
        let _ = gateway.reload();
        let wanted = gateway.shared.watched_paths();
        if wanted != watched {
            watch = FileWatch::start(&wanted);
            watched = wanted;
        }
    }
    limits.abort();
    tokio::select! {
        _ = gateway.shutdown() => Ok(()),
        () = stop.recv() => Err(ServeError::Interrupted),
    }
}

//! The process: configuration to exit, driven by signals.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_invoker::LambdaInvoker;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::extension::{Extension, ExtensionError, Host};
use super::gateway::{Gateway, StartError, watched_paths};
use super::hand_over::{HandOver, HandOverError, Predecessor, Successor};
use super::notify::ServiceManager;
use super::sockets::Sockets;
use super::watch::FileWatch;
use crate::config::{ConfigError, ListenConfig, Loaded, Source, load};
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
    /// The running gateway does not hand over: exit code 1. It serves on.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// This process was not ready in time to take over: exit code 1. The running gateway serves on.
    #[error("not ready within {} s, so the running gateway serves on; see the log for what is not ready", .0.as_secs())]
    NotReady(Duration),
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

/// Longest wait of a running gateway for this one is a little longer: whoever gives up first is this process, which can say why.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(110);

/// Runs the gateway until SIGTERM or SIGINT and a drain, or a second such signal, or until a new process has taken over. SIGHUP and file changes reload.
///
/// # Errors
/// [`ServeError`]; each variant names its exit code.
pub async fn serve(source: Source, sockets: Sockets) -> Result<(), ServeError> {
    serve_with(source, sockets, async |_, _| Ok(Extension::default())).await
}

/// Like [`serve`], with a part beside the gateway's own. It gets the one way to Lambda too.
///
/// # Errors
/// [`ServeError`]; each variant names its exit code.
pub async fn serve_with(
    source: Source,
    sockets: Sockets,
    extend: impl AsyncFnOnce(Host, LambdaInvoker) -> Result<Extension, ExtensionError>,
) -> Result<(), ServeError> {
    let loaded = load(&source)?;
    let catalogue = Arc::new(Catalogue::new().map_err(StartError::from)?);
    let bound = crate::telemetry::logs::install(&loaded.settings.log, &catalogue).map_err(ServeError::Log)?;
    let told = tokio::spawn(bound.clone().tell_for_ever());
    let ended = run(source, loaded, sockets, extend, catalogue).await;
    told.abort();
    bound.tell(None);
    ended
}

async fn run(
    source: Source,
    loaded: Loaded,
    sockets: Sockets,
    extend: impl AsyncFnOnce(Host, LambdaInvoker) -> Result<Extension, ExtensionError>,
    catalogue: Arc<Catalogue>,
) -> Result<(), ServeError> {
    let (mut stop, hangup) = install_signals().map_err(ServeError::Signals)?;
    // Watched from the start: a change while the gateway comes up is found afterwards.
    let watched = watched_paths(&source, &loaded);
    let watch = FileWatch::start(&watched);
    let listen = loaded.settings.listen.clone();
    let (predecessor, sockets) = take_over(&listen, sockets).await?;
    let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
    let account = loaded.settings.invoker.clone();
    let lambda = invoker.clone();
    let extend = async move |host| extend(host, lambda).await;
    let gateway = Gateway::start_counted(loaded, source, invoker, sockets, extend, catalogue).await?;
    let limits = tokio::spawn(gateway.shared.clone().learn_account_limits(account));
    let alive = gateway.shared.clone();
    let watchdog = tokio::spawn(async move { ServiceManager.watchdog(|| alive.is_alive()).await });
    let mut service = Service { gateway, predecessor, hand_over: None, hangup, watch, watched };
    let end = service.run(&mut stop, listen.hand_over.as_deref()).await;
    limits.abort();
    let Service { gateway, hand_over, .. } = service;
    drop(hand_over);
    let ended = async {
        match end {
            End::Stopped => {
                ServiceManager.stopping("draining");
                gateway.shutdown().await;
                Ok(())
            }
            End::HandedOver => {
                ServiceManager.stopping("handed over; draining");
                gateway.hand_over().await;
                Ok(())
            }
            End::NotTakenOver(error) => {
                // It may have accepted connections beside the running gateway: they are answered like all others.
                gateway.hand_over().await;
                Err(error)
            }
        }
    };
    let result = tokio::select! {
        result = ended => result,
        () = stop.recv() => Err(ServeError::Interrupted),
    };
    watchdog.abort();
    result
}

/// Gets the sockets of a running gateway, where there is one and the service manager has passed none.
async fn take_over(
    listen: &ListenConfig,
    sockets: Sockets,
) -> Result<(Option<Predecessor>, Sockets), ServeError> {
    let Some(path) = listen.hand_over.clone() else { return Ok((None, sockets)) };
    let asked = tokio::task::spawn_blocking(move || Predecessor::ask(&path)).await;
    let Some((predecessor, given)) = asked.unwrap_or(Ok(None))? else { return Ok((None, sockets)) };
    tracing::info!(
        pid = predecessor.pid,
        "a running gateway has handed its sockets over; it ends when this one is ready"
    );
    // Another address than before is bound anew; the old one's queue ends with its owner.
    let fits = |socket: &std::net::TcpListener, address: std::net::SocketAddr| {
        address.port() == 0 || socket.local_addr().is_ok_and(|bound| bound == address)
    };
    let sockets = Sockets {
        public: sockets.public.or(given.public.filter(|socket| fits(socket, listen.public_address))),
        admin: sockets.admin.or(given.admin.filter(|socket| fits(socket, listen.admin_address))),
        are_shared: true,
    };
    Ok((Some(predecessor), sockets))
}

/// Why the gateway ends.
enum End {
    Stopped,
    HandedOver,
    NotTakenOver(ServeError),
}

/// A gateway among signals, files, a service manager, the process before and the one after.
struct Service {
    gateway: Gateway,
    predecessor: Option<Predecessor>,
    hand_over: Option<HandOver>,
    hangup: Signal,
    watch: Option<FileWatch>,
    watched: Vec<std::path::PathBuf>,
}

/// What the loop woke for.
enum Event {
    Stop,
    Ready,
    NotReady,
    Change,
    Successor(Successor),
}

impl Service {
    async fn run(&mut self, stop: &mut StopSignals, path: Option<&Path>) -> End {
        let mut is_ready = false;
        let give_up = tokio::time::Instant::now() + TAKE_OVER_LIMIT;
        loop {
            match self.next(stop, is_ready, give_up).await {
                Event::Stop => return End::Stopped,
                Event::NotReady => return End::NotTakenOver(ServeError::NotReady(TAKE_OVER_LIMIT)),
                Event::Ready => match self.ready(path).await {
                    Ok(()) => is_ready = true,
                    Err(error) => return End::NotTakenOver(error),
                },
                Event::Successor(successor) => {
                    let pid = successor.pid;
                    match successor.accept() {
                        Ok(()) => {
                            tracing::info!(pid, "a new process has taken over; this one drains");
                            return End::HandedOver;
                        }
                        Err(error) => {
                            tracing::warn!(pid, %error, "the new process has gone; this one serves on")
                        }
                    }
                }
                Event::Change => self.reload(is_ready),
            }
        }
    }

    async fn next(&mut self, stop: &mut StopSignals, is_ready: bool, give_up: tokio::time::Instant) -> Event {
        let shared = &self.gateway.shared;
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let successor = async {
            match &mut self.hand_over {
                Some(hand_over) => hand_over.successor().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.recv() => Event::Stop,
            _ = self.hangup.recv() => Event::Change,
            () = changed => Event::Change,
            () = shared.until_ready(|why| ServiceManager.status(why)), if !is_ready => Event::Ready,
            () = tokio::time::sleep_until(give_up), if !is_ready && self.predecessor.is_some() => Event::NotReady,
            successor = successor => Event::Successor(successor),
        }
    }

    /// Ready for the first time: the process before this one may go, and one after it may come.
    async fn ready(&mut self, path: Option<&Path>) -> Result<(), ServeError> {
        if let Some(predecessor) = self.predecessor.take() {
            let pid = predecessor.pid;
            self.gateway.open();
            let heard = tokio::task::spawn_blocking(move || predecessor.ready()).await;
            if let Ok(heard) = heard {
                heard?;
            }
            tracing::info!(pid, "taken over");
        }
        if let Some(path) = path {
            match HandOver::listen(path, self.gateway.sockets()) {
                Ok(hand_over) => self.hand_over = Some(hand_over),
                Err(error) => tracing::error!(%error, "the next upgrade cannot take the sockets over"),
            }
        }
        ServiceManager.ready(&self.status());
        tracing::info!("ready");
        Ok(())
    }

    fn status(&self) -> String {
        let models = self.gateway.shared.model_names();
        format!("serving {} on {}", models.join(", "), self.gateway.public_address())
    }

    fn reload(&mut self, is_ready: bool) {
        if is_ready {
            ServiceManager.reloading();
        }
        // The outcome is logged and counted where it is known; the service goes on either way.
        let reloaded = self.gateway.reload();
        let wanted = self.gateway.shared.watched_paths();
        if wanted != self.watched {
            self.watch = FileWatch::start(&wanted);
            self.watched = wanted;
        }
        if is_ready {
            let status = match reloaded {
                Ok(_) => self.status(),
                Err(_) => format!("{}; the last reload failed, see the log", self.status()),
            };
            ServiceManager.ready(&status);
        }
    }
}

//! Starting a sandbox: its cell, its Runtime API port, and the bootstrap with Lambda's environment and nothing of the
//! host's. The bootstrap is started through a one-line shell that enters the control groups before it becomes the
//! bootstrap, so that no instruction of the function runs unmetered.

use super::logs::LogBuffer;
use super::{InitEnding, Sandbox, Slot, runtime_api};
use crate::config::LifecycleConfig;
use crate::metering::{CellSpec, Meter, MeterError, visible_cpus};
use crate::report::Failure;
use crate::versions::FunctionVersion;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Enters each group given as an argument, then becomes the program. Descriptors are limited as on Lambda.
const ENTER: &str = "ulimit -n 1024 2>/dev/null; program=$1; shift; \
    for group; do echo $$ > \"$group\" || exit 125; done; exec \"$program\"";

/// What a sandbox needs of the emulator.
pub(crate) struct Surroundings<'a> {
    pub(crate) meter: &'a dyn Meter,
    pub(crate) lifecycle: LifecycleConfig,
    pub(crate) region: &'a str,
    pub(crate) forward_logs: bool,
    pub(crate) id: u64,
}

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the sandbox cannot be metered: {0}")]
    Meter(#[from] MeterError),
    #[error("the sandbox cannot be started: {0}")]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Entrypoint(String),
}

impl StartError {
    /// The failure that the caller sees.
    pub(crate) fn failure(&self) -> Failure {
        Failure::InvalidEntrypoint { reason: self.to_string() }
    }
}

/// Starts a sandbox of `version`. INIT's ending comes through the receiver; `gone` is called once when the sandbox has
/// ended and is cleaned up.
///
/// # Errors
/// [`StartError`]; nothing is left behind.
pub(crate) async fn start(
    around: Surroundings<'_>,
    version: &FunctionVersion,
    gone: impl FnOnce(u64) + Send + 'static,
) -> Result<(Arc<Sandbox>, oneshot::Receiver<InitEnding>), StartError> {
    let bootstrap = version.code.folder.join("bootstrap");
    check_entrypoint(&bootstrap)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let runtime_api = listener.local_addr()?;
    let marker = format!("AWS_LAMBDA_RUNTIME_API={runtime_api}");
    let spec = CellSpec { name: format!("sandbox-{}", around.id), memory_mib: version.memory_mib, marker };
    let cell = around.meter.open(&spec)?;
    let started = Instant::now();
    let (mut child, pipe) = spawn(&bootstrap, &environment(version, &around, runtime_api), &cell.entry())
        .inspect_err(|_| cell.close())?;
    let pid = child.id().unwrap_or(0);
    cell.started(pid);
    let (init, init_ending) = oneshot::channel();
    let logs = Arc::new(LogBuffer::new(&version.name, around.forward_logs, pipe));
    let slot = Slot {
        dead: false,
        frozen: false,
        epoch: 0,
        init: Some(init),
        queued: None,
        active: None,
        waiting: None,
    };
    let sandbox = Arc::new(Sandbox {
        id: around.id,
        pid,
        runtime_api,
        cell,
        logs: Arc::clone(&logs),
        lifecycle: around.lifecycle,
        started,
        slot: Mutex::new(slot),
    });
    let api = tokio::spawn(runtime_api::serve(Arc::clone(&sandbox), listener));
    let pump = tokio::spawn(async move { logs.pump().await });
    let owned = Arc::clone(&sandbox);
    tokio::spawn(async move {
        let status = child.wait().await.ok();
        owned.exited(status);
        api.abort();
        let id = owned.id;
        // Ending the remaining processes and removing groups waits for the kernel.
        let _ = tokio::task::spawn_blocking(move || {
            owned.cell.kill();
            owned.cell.close();
        })
        .await;
        pump.abort();
        gone(id);
    });
    Ok((sandbox, init_ending))
}

fn check_entrypoint(bootstrap: &Path) -> Result<(), StartError> {
    let metadata = std::fs::metadata(bootstrap).ok().filter(std::fs::Metadata::is_file);
    let mode = metadata.map(|metadata| metadata.permissions().mode());
    match mode {
        Some(mode) if mode & 0o111 != 0 => Ok(()),
        Some(_) => Err(StartError::Entrypoint("fork/exec /var/task/bootstrap: permission denied".to_owned())),
        None => {
            let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
            Err(StartError::Entrypoint(text.to_owned()))
        }
    }
}

fn spawn(
    bootstrap: &Path,
    environment: &[(String, String)],
    groups: &[std::path::PathBuf],
) -> std::io::Result<(Child, tokio::net::unix::pipe::Receiver)> {
    let (reader, writer) = std::io::pipe()?;
    let folder = bootstrap.parent().unwrap_or_else(|| Path::new("/"));
    let child = Command::new("/bin/sh")
        .arg("-c")
        .arg(ENTER)
        .arg("sh")
        .arg(bootstrap)
        .args(groups)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .kill_on_drop(true)
        .spawn()?;
    let receiver = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?;
    Ok((child, receiver))
}

/// The environment as AWS documents it for OS-only runtimes, then the function's own. `PENSTOCK_VISIBLE_CPUS` tells the
/// CPUs that an environment of this size would see: a reported value, not cores that exist here.
fn environment(
    version: &FunctionVersion,
    around: &Surroundings<'_>,
    runtime_api: SocketAddr,
) -> Vec<(String, String)> {
    let folder = version.code.folder.display();
    let region = around.region;
    let fixed = [
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", version.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", version.version.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", version.memory_mib.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", version.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[{}]sandbox-{}", version.version, around.id)),
        ("AWS_REGION", region.to_owned()),
        ("AWS_DEFAULT_REGION", region.to_owned()),
        ("AWS_ACCESS_KEY_ID", "emulated".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "emulated".to_owned()),
        ("AWS_SESSION_TOKEN", "emulated".to_owned()),
        ("LAMBDA_TASK_ROOT", folder.to_string()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("LD_LIBRARY_PATH", format!("/lib64:/usr/lib64:/var/runtime:{folder}:{folder}/lib:/opt/lib")),
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("_HANDLER", version.handler.clone()),
        ("PENSTOCK_VISIBLE_CPUS", visible_cpus(version.memory_mib).to_string()),
    ];
    let mut all: Vec<(String, String)> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(version.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

//! Other servers with a batcher, from their Python packages, run here so that a ratio is taken in one run on one machine.
//!
//! Each serves an echo of 16 FP32 numbers in its own best-suited protocol: Triton the binary tensor extension, mosec JSON.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::build;
use crate::load;
use crate::setup::Setup;

/// The packages; Triton's own dependencies are for its Python front end, which is not used.
const PACKAGES: [&[&str]; 2] = [&["mosec==0.9.8", "numpy==2.4.6"], &["--no-deps", "nvidia-pytriton==0.7.0"]];

/// A peer that runs.
pub(super) struct Peer {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// `HOST:PORT`.
    pub(super) address: String,
    /// The request that it is loaded with.
    pub(super) request: Vec<u8>,
    child: Child,
}

impl Peer {
    /// Root of its process tree.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It leads a process group of its own, so that its workers go with it; what is gone already is no error.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Where the peers are installed, and the interpreter's library folder, which Triton needs to be told.
pub(super) struct Peers {
    python: PathBuf,
    site_packages: PathBuf,
    library_folder: String,
    python_version: String,
    run: PathBuf,
    scripts: PathBuf,
}

impl Peers {
    /// Installs them if they are not there.
    pub(super) fn install(setup: &Setup) -> Result<Self> {
        let folder = setup.cache().join("peers");
        let python = folder.join("bin/python");
        if !folder.join("installed").exists() {
            eprintln!("gateway: installing peers (about 260 MB, once)");
            build::run(Command::new(setup.venv()?).args(["-m", "venv"]).arg(&folder))?;
            for packages in PACKAGES {
                build::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
            }
            fs::write(folder.join("installed"), "")?;
        }
        let ask = |code: &str| -> Result<String> {
            let output =
                Command::new(&python).args(["-c", &format!("import sysconfig; print({code})")]).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        let run = setup.cache().join("runs/peers");
        fs::create_dir_all(&run)?;
        Ok(Self {
            site_packages: PathBuf::from(ask("sysconfig.get_path('purelib')")?),
            library_folder: ask("sysconfig.get_config_var('LIBDIR')")?,
            python_version: ask("sysconfig.get_python_version()")?,
            scripts: setup.workspace().join("xtask/peers"),
            python,
            run,
        })
    }

    /// Starts Triton with its dynamic batcher.
    pub(super) fn triton(&self) -> Result<Peer> {
        let repository = self.run.join("triton");
        fs::create_dir_all(repository.join("identity/1"))?;
        fs::copy(self.scripts.join("triton_echo.pbtxt"), repository.join("identity/config.pbtxt"))?;
        fs::copy(self.scripts.join("triton_echo.py"), repository.join("identity/1/model.py"))?;
        let server = self.site_packages.join("pytriton/tritonserver");
        let backends = self.run.join("backends");
        fs::create_dir_all(backends.join("python"))?;
        // The package keeps the backend's stub apart, one per interpreter version; the server wants it beside the backend.
        let stub =
            server.join("python_backend_stubs").join(&self.python_version).join("triton_python_backend_stub");
        fs::copy(&stub, backends.join("python/triton_python_backend_stub"))
            .with_context(|| stub.display().to_string())?;
        for file in ["libtriton_python.so", "triton_python_backend_utils.py"] {
            fs::copy(server.join("backends/python").join(file), backends.join("python").join(file))?;
        }
        let port = free_port()?;
        let libraries =
            format!("{}:{}", self.library_folder, self.site_packages.join("nvidia_pytriton.libs").display());
        let mut command = Command::new(server.join("bin/tritonserver"));
        command.arg(format!("--model-repository={}", repository.display()));
        command.arg(format!("--backend-directory={}", backends.display()));
        command.args([
            "--http-address=127.0.0.1",
            &format!("--http-port={port}"),
            "--allow-grpc=false",
            "--allow-metrics=false",
        ]);
        command.env("LD_LIBRARY_PATH", libraries).env("PEER_SITE_PACKAGES", &self.site_packages);
        self.start("triton", command, port, load::oip_fp32_16("identity"), "/v2/health/ready")
    }

    /// Starts mosec with its batcher.
    pub(super) fn mosec(&self) -> Result<Peer> {
        let port = free_port()?;
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join("mosec_echo.py")).args([
            "--address",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        command.current_dir(&self.run);
        let body = serde_json::json!({ "x": (0..16).map(f64::from).collect::<Vec<_>>() }).to_string();
        let request = load::post("/inference", &[("Content-Type", "application/json")], body.as_bytes());
        self.start("mosec", command, port, request, "/")
    }

    fn start(
        &self,
        name: &'static str,
        mut command: Command,
        port: u16,
        request: Vec<u8>,
        ready: &str,
    ) -> Result<Peer> {
        let log = File::create(self.run.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let peer = Peer { name, address: format!("127.0.0.1:{port}"), request, child };
        wait_ready(&peer, ready, &self.run)?;
        Ok(peer)
    }
}

fn wait_ready(peer: &Peer, path: &str, run: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if crate::stack::get(&format!("http://{}{path}", peer.address)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{} was not ready within a minute; its log is in {}", peer.name, run.display())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

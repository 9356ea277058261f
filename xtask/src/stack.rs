//! Starts and stops a whole local Penstock: the emulator with predeclared functions, and the gateway in front of it.
//!
//! Both run as the `penstock` command that people run, each with a configuration file that stays in the run's folder to be read.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::build::{self, Binaries};
use crate::setup::Setup;

/// Ports of a local Penstock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Public listener of the gateway.
    pub(crate) public: u16,
    /// Admin and metrics listener of the gateway.
    pub(crate) admin: u16,
    /// The emulator.
    pub(crate) emulator: u16,
}

impl Ports {
    /// The documented defaults.
    pub(crate) const DEFAULT: Self = Self { public: 8080, admin: 8081, emulator: 9001 };

    /// Three that are free now.
    pub(crate) fn free() -> Result<Self> {
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let port = |index: usize| -> Result<u16> { Ok(listeners[index].local_addr()?.port()) };
        Ok(Self { public: port(0)?, admin: port(1)?, emulator: port(2)? })
    }
}

/// A model to serve, and how.
#[derive(Debug, Clone)]
pub(crate) struct ModelSpec {
    /// Name in URLs.
    pub(crate) name: String,
    /// Folder with `model.toml`.
    pub(crate) folder: PathBuf,
    /// Memory of the function, MiB.
    pub(crate) memory_mib: u32,
    /// Lines of `[models.NAME.plan]` beside memory.
    pub(crate) plan: String,
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct StackSpec {
    /// Names the run's folder.
    pub(crate) name: &'static str,
    /// Where to listen.
    pub(crate) ports: Ports,
    /// Cores of this machine that one Lambda vCPU is.
    pub(crate) cpu_scale: f64,
    /// Most environments of the local Lambda.
    pub(crate) account_concurrency: u32,
    /// The models.
    pub(crate) models: Vec<ModelSpec>,
    /// Further lines of the emulator's configuration.
    pub(crate) emulator_extra: String,
    /// Further lines of the gateway's `[listen]`.
    pub(crate) listen_extra: String,
    /// Further sections of the gateway's configuration.
    pub(crate) gateway_extra: String,
}

/// A running local Penstock. Dropping it stops both processes.
#[derive(Debug)]
pub(crate) struct Stack {
    gateway: Child,
    emulator: Child,
    /// Where it listens.
    pub(crate) ports: Ports,
    /// Configuration, logs and worker packages of this run.
    pub(crate) folder: PathBuf,
}

impl Stack {
    /// Writes the configuration, starts both processes and waits until the gateway is ready.
    ///
    /// # Errors
    /// When a port is taken, a process ends early, or the gateway is not ready within a minute; says where the logs are.
    pub(crate) fn start(setup: &Setup, binaries: &Binaries, spec: &StackSpec) -> Result<Self> {
        for port in [spec.ports.public, spec.ports.admin, spec.ports.emulator] {
            TcpListener::bind(("127.0.0.1", port))
                .with_context(|| format!("port {port} of 127.0.0.1 is needed"))?;
        }
        let folder = setup.cache().join("runs").join(spec.name);
        fs::create_dir_all(&folder)?;
        let package = package(setup, binaries, &folder)?;
        let emulator_config = folder.join("emulator.toml");
        fs::write(&emulator_config, emulator_toml(spec, &package, &folder))?;
        let gateway_config = folder.join("gateway.toml");
        fs::write(&gateway_config, gateway_toml(spec))?;

        let emulator = spawn(
            &binaries.penstock,
            &["emulate", "--config"],
            &emulator_config,
            &folder.join("emulator.log"),
        )?;
        let gateway =
            spawn(&binaries.penstock, &["serve", "--config"], &gateway_config, &folder.join("gateway.log"))?;
        let mut stack = Self { gateway, emulator, ports: spec.ports, folder };
        stack.wait_ready()?;
        Ok(stack)
    }

    /// Starts a stack that serves `identity` in batches of up to 32, without a quota below the machine: for measurements of everything
    /// around a model, where cost is counted and not speed.
    ///
    /// # Errors
    /// As [`Stack::start`], or when something cannot be built.
    pub(crate) fn start_identity(
        setup: &Setup,
        name: &'static str,
        max_in_flight: u32,
        emulator_extra: &str,
    ) -> Result<Self> {
        let folder = setup.models(&["identity"])?.remove(0);
        let binaries = build::binaries(setup.workspace())?;
        let plan = format!(
            "packing = \"deadline\"\nmax_batch_size = 32\nmax_queue_delay_ms = 2\nslo_latency_ms = 500\nprocess_count = 1\n\
             max_in_flight = {max_in_flight}\nservice_time_upper_ms = [[1, 10], [32, 20]]"
        );
        let spec = StackSpec {
            name,
            ports: Ports::free()?,
            cpu_scale: 2.0,
            account_concurrency: 100,
            models: vec![ModelSpec { name: "identity".to_owned(), folder, memory_mib: 1769, plan }],
            emulator_extra: emulator_extra.to_owned(),
            listen_extra: "hand_over = \"hand-over.sock\"".to_owned(),
            gateway_extra: String::new(),
        };
        Self::start(setup, &binaries, &spec)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/v2/health/ready", self.ports.public);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            for (name, child) in [("emulator", &mut self.emulator), ("gateway", &mut self.gateway)] {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "the {name} ended with {status}; its log: {}",
                        self.folder.join(format!("{name}.log")).display()
                    );
                }
            }
            if get(&url).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the gateway was not ready within a minute; logs in {}", self.folder.display())
    }

    /// Reads the gateway's metrics.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn metrics(&self) -> Result<crate::measure::Metrics> {
        Ok(crate::measure::Metrics::parse(&get(&format!("http://127.0.0.1:{}/metrics", self.ports.admin))?))
    }

    /// Process ids of gateway and emulator.
    pub(crate) fn pids(&self) -> (u32, u32) {
        (self.gateway.id(), self.emulator.id())
    }

    /// Kills the gateway with a signal that it cannot catch, starts another one with the same configuration and waits until it is ready.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub(crate) fn kill_gateway(&mut self, binaries: &Binaries) -> Result<()> {
        self.gateway.kill()?;
        self.gateway.wait()?;
        let (config, log) = (self.folder.join("gateway.toml"), self.folder.join("gateway-2.log"));
        self.gateway = spawn(&binaries.penstock, &["serve", "--config"], &config, &log)?;
        self.wait_ready()
    }

    /// Starts another gateway with the same configuration, which takes over from the running one, and waits until that one has ended. Gives how long the
    /// old one took to end.
    ///
    /// # Errors
    /// When the old one does not end within half a minute, or not in order.
    pub(crate) fn upgrade_gateway(&mut self, binaries: &Binaries, number: usize) -> Result<Duration> {
        let (config, log) =
            (self.folder.join("gateway.toml"), self.folder.join(format!("gateway-{number}.log")));
        let begin = Instant::now();
        let next = spawn(&binaries.penstock, &["serve", "--config"], &config, &log)?;
        let mut old = std::mem::replace(&mut self.gateway, next);
        loop {
            if let Some(status) = old.try_wait()? {
                anyhow::ensure!(status.success(), "the gateway that was replaced ended with {status}");
                break;
            }
            if self.gateway.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
                end(&mut old, Duration::from_secs(5))?;
                bail!("the new gateway did not take over; its log: {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(begin.elapsed())
    }

    /// Waits until either process ends: how the demo keeps serving.
    ///
    /// # Errors
    /// When a process cannot be waited for.
    pub(crate) fn wait(&mut self) -> Result<()> {
        while self.gateway.try_wait()?.is_none() && self.emulator.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Asks the gateway to drain and end, then the emulator.
    ///
    /// # Errors
    /// When the gateway does not end with success within half a minute.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = end(&mut self.gateway, Duration::from_secs(30))?;
        end(&mut self.emulator, Duration::from_secs(10))?;
        if !status.success() {
            bail!("the gateway ended with {status}; its log: {}", self.folder.join("gateway.log").display());
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for child in [&mut self.gateway, &mut self.emulator] {
            // Errors cannot be reported from here, and a process that is gone is what is wanted.
            let _ = end(child, Duration::from_secs(5));
        }
    }
}

/// An emulator alone, without functions. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Emulator {
    child: Child,
    /// Its address as a URL.
    pub(crate) endpoint: String,
}

impl Emulator {
    /// Starts it on a free port and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer within ten seconds.
    pub(crate) fn start(setup: &Setup, binaries: &Binaries) -> Result<Self> {
        let folder = setup.cache().join("runs/emulator");
        fs::create_dir_all(&folder)?;
        let port = Ports::free()?.emulator;
        let config = folder.join("emulator.toml");
        fs::write(&config, format!("listen = \"127.0.0.1:{port}\"\n"))?;
        let child =
            spawn(&binaries.penstock, &["emulate", "--config"], &config, &folder.join("emulator.log"))?;
        let emulator = Self { child, endpoint: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if get(&format!("{}/_penstock/health", emulator.endpoint)).is_ok() {
                return Ok(emulator);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the emulator did not answer; its log is in {}", folder.display())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Nothing can be reported from here, and a process that is gone is what is wanted.
        let _ = end(&mut self.child, Duration::from_secs(5));
    }
}

/// Asks a process to end and waits; after `limit` it is killed.
///
/// # Errors
/// When it cannot be signalled or waited for.
pub(crate) fn end(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let deadline = Instant::now() + limit;
    if child.try_wait()?.is_none() {
        kill(pid, Signal::SIGTERM)?;
    }
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    Ok(child.wait()?)
}

/// Reads a small page.
///
/// # Errors
/// When there is no answer with status 200.
pub(crate) fn get(url: &str) -> Result<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
    Ok(agent.get(url).call().with_context(|| url.to_owned())?.body_mut().read_to_string()?)
}

/// Starts a program with a configuration file, its output going to a log.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn spawn(program: &Path, arguments: &[&str], config: &Path, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    let mut command = Command::new(program);
    command.args(arguments).arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// The worker's package as Lambda would unpack it, without a model: `bootstrap` and `lib/libonnxruntime.so`.
///
/// # Errors
/// When a file cannot be copied.
pub(crate) fn package(setup: &Setup, binaries: &Binaries, run: &Path) -> Result<PathBuf> {
    let library = setup.onnxruntime_library()?;
    let package = run.join("package");
    fs::create_dir_all(package.join("lib"))?;
    for (from, to) in
        [(&binaries.bootstrap, package.join("bootstrap")), (&library, package.join("lib/libonnxruntime.so"))]
    {
        let _ = fs::remove_file(&to);
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(package)
}

fn emulator_toml(spec: &StackSpec, package: &Path, folder: &Path) -> String {
    let mut text = format!(
        "listen = \"127.0.0.1:{}\"\nstate_dir = {:?}\n\n[metering]\ncpu_scale = {:?}\n\n[limits]\naccount_concurrency = {}\n\n{}\n",
        spec.ports.emulator,
        folder.join("emulator"),
        spec.cpu_scale,
        spec.account_concurrency,
        spec.emulator_extra
    );
    for model in &spec.models {
        let _ = write!(
            text,
            "\n[[function]]\nname = \"penstock-{}\"\npackage_dir = {package:?}\nmemory_mib = [{}]\ntimeout_seconds = 60\nlinks = {{ model = {:?} }}\n",
            model.name, model.memory_mib, model.folder
        );
    }
    text
}

fn gateway_toml(spec: &StackSpec) -> String {
    let mut text = format!(
        "[listen]\npublic_address = \"127.0.0.1:{}\"\nadmin_address = \"127.0.0.1:{}\"\n{}\n\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://127.0.0.1:{}\"\ncredentials = \"static-test\"\n",
        spec.ports.public, spec.ports.admin, spec.listen_extra, spec.ports.emulator
    );
    for model in &spec.models {
        let _ = write!(
            text,
            "\n[models.{0}]\nmanifest = {1:?}\nfunction = \"penstock-{0}\"\n\n[models.{0}.plan]\nmemory_mib = {2}\n{3}\n",
            model.name,
            model.folder.join("model.toml"),
            model.memory_mib,
            model.plan.trim()
        );
    }
    text += &spec.gateway_extra;
    text
}

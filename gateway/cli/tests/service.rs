//! `penstock serve` under a service manager, and upgraded while it serves.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use self::lambda::{lambda, read_message};
use self::process::{EndsAtDrop, Gateway, MANIFEST, ask};

#[path = "support/lambda.rs"]
mod lambda;
#[path = "support/process.rs"]
mod process;

/// Writes a configuration; `listen` are further keys of that section.
fn config(folder: &Path, lambda: SocketAddr, listen: &str) -> PathBuf {
    std::fs::write(folder.join("model.toml"), MANIFEST).unwrap();
    let path = folder.join("penstock.toml");
    let text = format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n{listen}\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://{lambda}\"\ncredentials = \"static-test\"\n\
         [drain]\ndrain_delay_ms = 50\ndrain_limit_ms = 4000\n[state]\ndirectory = \"state\"\n\
         [models.identity]\nmanifest = \"model.toml\"\nfunction = \"identity\"\n[models.identity.plan]\nmax_queue_delay_ms = 1\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A service manager's ear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, path }
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// The first message with this text; gives all up to it.
    fn hears_of(&self, text: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|last: &String| !last.contains(text)) {
            all.push(self.hears());
        }
        all
    }
}

#[test]
fn the_service_manager_hears_of_start_life_reload_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let config = config(folder.path(), lambda(Duration::ZERO), "");
    let mut command = Gateway::of(&config);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "600000");
    let mut gateway = Gateway::start(&mut command);
    let before = manager.hears_of("READY=1");
    assert!(before.last().unwrap().contains("STATUS=serving identity on 127.0.0.1:"), "{before:?}");
    assert!(!gateway.address("admin_address=").is_empty(), "it listened before it said so");
    for _ in 0..5 {
        manager.hears_of("WATCHDOG=1");
    }
    gateway.signal(Signal::SIGHUP);
    let reload = manager.hears_of("RELOADING=1").pop().unwrap();
    let time = reload.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    manager.hears_of("READY=1");
    std::fs::write(&config, "nonsense").unwrap();
    assert!(manager.hears_of("READY=1").last().unwrap().contains("the last reload failed"));
    gateway.signal(Signal::SIGTERM);
    manager.hears_of("STOPPING=1");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn the_service_manager_is_not_told_ready_while_the_alias_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let nowhere = missing_function();
    let mut command = Gateway::of(&config(folder.path(), nowhere, ""));
    command.env("NOTIFY_SOCKET", &manager.path);
    let _gateway = Gateway::start(&mut command);
    let heard = manager.hears_of("cannot be served");
    assert!(!heard.iter().any(|message| message.contains("READY=1")), "{heard:?}");
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(manager.socket.recv(&mut [0; 1024]).is_err(), "it waits for the alias");
}

/// A Lambda without functions.
fn missing_function() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while read_message(&mut reader).is_some() {
                    let body = r#"{"Type":"User","Message":"Function not found"}"#;
                    let length = body.len();
                    let _ = write!(
                        writer,
                        "HTTP/1.1 404 X\r\nx-amzn-errortype: ResourceNotFoundException\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                }
            });
        }
    });
    address
}

/// `penstock serve` with two sockets at the places where systemd puts them.
fn with_sockets(config: &Path, first: OwnedFd, second: OwnedFd, names: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_penstock"), "serve", "--config"]).arg(config);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    command
}

#[test]
fn sockets_of_a_service_manager_are_used_and_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), lambda(Duration::ZERO), "");
    let (public, admin) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let [at, admin_at] = [public.local_addr().unwrap(), admin.local_addr().unwrap()];
    let passed = |socket: &TcpListener| OwnedFd::from(socket.try_clone().unwrap());
    let start =
        || Gateway::start(&mut with_sockets(&config, passed(&admin), passed(&public), "admin:public"));
    let mut gateway = start();
    let line = gateway.said("gateway is serving");
    assert!(line.contains(&format!("public_address={at}")), "{line}");
    assert!(line.contains(&format!("admin_address={admin_at}")), "{line}");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended().code(), Some(0));
    // Nobody serves, and yet nobody is refused: the next process answers.
    let mut waiting = TcpStream::connect(at).unwrap();
    let _next = start();
    assert_eq!(ask(&mut waiting, 7).unwrap().0, 7.0);
}

#[test]
fn sockets_that_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), lambda(Duration::ZERO), "");
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    for (first, second, names, reason) in [
        (tcp(), tcp(), "public:metrics", "`metrics`"),
        (tcp(), udp(), "public:admin", "`admin` that was passed is not a listening TCP socket"),
        (tcp(), tcp(), "public:public", "two sockets with the name `public`"),
        (tcp(), tcp(), "public", "2 sockets were passed (LISTEN_FDS), but 1 names"),
    ] {
        let output = with_sockets(&config, first, second, names).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

/// What a load met.
#[derive(Debug, Default)]
struct Met {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// Asks until `over`: on a new connection each time, or on one as long as it is not told to leave.
fn load(address: &str, keeps: bool, over: &AtomicBool, met: &Met) {
    let mut kept: Option<TcpStream> = None;
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let stream = kept.take().map_or_else(|| TcpStream::connect(address), Ok);
        let Ok(mut stream) = stream else {
            met.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        match ask(&mut stream, number) {
            Some((answer, may_stay)) if answer == number as f64 => {
                met.answered.fetch_add(1, Ordering::Relaxed);
                kept = (keeps && may_stay).then_some(stream);
            }
            _ => {
                met.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn upgrades_under_load_refuse_and_lose_nothing() {
    const UPGRADES: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let lambda = lambda(Duration::from_millis(5));
    let config = config(folder.path(), lambda, "hand_over = \"hand-over.sock\"");
    let mut gateway = Gateway::start(&mut Gateway::of(&config));
    let address = gateway.address("public_address=");
    gateway.said(" ready");
    let (over, met) = (AtomicBool::new(false), Met::default());
    std::thread::scope(|scope| {
        let _ends = EndsAtDrop(&over);
        for keeps in [true, true, false, false] {
            let (address, over, met) = (&address, &over, &met);
            scope.spawn(move || load(address, keeps, over, met));
        }
        for _ in 0..UPGRADES {
            std::thread::sleep(Duration::from_millis(300));
            let mut next = Gateway::start(&mut Gateway::of(&config));
            assert_eq!(next.address("public_address="), address);
            next.said("taken over");
            assert_eq!(gateway.ended().code(), Some(0), "the process before ends in order");
            gateway = next;
        }
        std::thread::sleep(Duration::from_millis(300));
    });
    assert!(gateway.is_running());
    assert_eq!((met.refused.into_inner(), met.failed.into_inner()), (0, 0));
    assert!(met.answered.into_inner() > 40);
}

#[test]
fn a_new_process_that_dies_before_it_is_ready_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), lambda(Duration::ZERO), "hand_over = \"hand-over.sock\"");
    let mut gateway = Gateway::start(&mut Gateway::of(&config));
    let address = gateway.address("public_address=");
    gateway.said(" ready");
    // Its function is missing, so it is never ready.
    let endpoint = format!("aws.endpoint_url=http://{}", missing_function());
    let mut next = Gateway::start(Gateway::of(&config).args(["--set", &endpoint]));
    next.said("has handed its sockets over");
    next.said("THE CONFIGURED PLAN CANNOT BE SERVED");
    next.signal(Signal::SIGKILL);
    next.ended();
    gateway.said("no hand-over");
    assert!(gateway.is_running());
    let answered = |number| ask(&mut TcpStream::connect(&address).unwrap(), number).unwrap().0;
    assert_eq!(answered(5), 5.0);
    // And the next one takes over as if nothing had been.
    let mut next = Gateway::start(&mut Gateway::of(&config));
    next.said("taken over");
    assert_eq!(gateway.ended().code(), Some(0));
    assert_eq!(answered(6), 6.0);
    next.said("this gateway learns from now on");
}

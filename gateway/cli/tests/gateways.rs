//! Two gateways on one machine that share what they learn and their jobs: one is killed, one is stopped and wakes up again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::lambda::lambda;
use self::node::Node;
use self::process::{EndsAtDrop, MANIFEST, ask};

#[path = "support/lambda.rs"]
mod lambda;
#[path = "support/node.rs"]
mod node;
#[path = "../../bulk/tests/jobs/postgres.rs"]
mod postgres;
#[path = "support/process.rs"]
mod process;
#[path = "../../lease/tests/stores/s3.rs"]
mod s3;

const LEASE_MS: u64 = 1000;

/// Windows are long, so that tuners decide nothing of their own while a test looks.
fn config(folder: &Path, name: &str, lambda: SocketAddr, more: &str) -> PathBuf {
    std::fs::write(folder.join("model.toml"), MANIFEST).unwrap();
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "[listen]\npublic_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://{lambda}\"\ncredentials = \"static-test\"\n\
         [drain]\ndrain_delay_ms = 10\ndrain_limit_ms = 5000\n\
         [models.identity]\nmanifest = \"model.toml\"\nfunction = \"identity\"\n\
         [models.identity.plan]\nmax_batch_size = 8\nmax_queue_delay_ms = 1\n[models.identity.policy]\nkind = \"grey_box\"\nwindow_ms = 60000\n{more}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

impl Node {
    fn model(&self) -> Value {
        let (_, answer) = Self::send(&self.admin, "GET /control/models/identity", b"");
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    fn leads(&self) -> bool {
        self.model()["leads"] == true
    }

    fn batch_size(&self) -> u64 {
        self.model()["plan"]["max_batch_size"].as_u64().unwrap_or(0)
    }

    fn pin(&self, size: u64) -> (u16, String) {
        let body = json!({ "max_batch_size": size }).to_string();
        let (status, answer) = Self::send(&self.admin, "POST /control/models/identity/pin", body.as_bytes());
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    fn answers(&self, number: u64) -> bool {
        answers(&self.public, number)
    }
}

fn answers(address: &str, number: u64) -> bool {
    TcpStream::connect(address)
        .is_ok_and(|mut stream| ask(&mut stream, number).is_some_and(|(answer, _)| answer == number as f64))
}

fn wait(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

/// Long for a machine that is busy with other tests; what is measured is told.
const PATIENCE: Duration = Duration::from_secs(20);

fn one_decides(folder: &Path, shared: &str, environment: &[(&str, String)]) {
    let lambda = lambda(Duration::from_millis(2));
    let start = |name: &str| {
        let more = format!("[state]\ndirectory = \"{name}\"\nshared = \"{shared}\"\nlease_ms = {LEASE_MS}");
        Node::start(&config(folder, name, lambda, &more), environment)
    };
    let mut nodes = [start("a"), start("b")];
    wait("one leads", PATIENCE, || nodes.iter().any(Node::leads));
    if nodes[1].leads() {
        nodes.reverse();
    }
    let [mut leader, mut follower] = nodes;
    std::thread::sleep(Duration::from_millis(2 * LEASE_MS));
    assert!(leader.leads() && !follower.leads(), "one leads, and goes on to");

    // The leader's plan is everybody's; the follower decides nothing.
    let (status, text) = follower.pin(2);
    assert!(status == 409 && text.contains("decides for this model"), "{status} {text}");
    assert_eq!(leader.pin(3).0, 200);
    wait("the follower serves the leader's plan", PATIENCE, || follower.batch_size() == 3);

    // The leader is killed: nothing is lost on the other, which goes on with the plan.
    let (over, answered, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let address = follower.public.clone();
    std::thread::scope(|scope| {
        let _ends = EndsAtDrop(&over);
        let (address, over, answered, failed) = (&address, &over, &answered, &failed);
        scope.spawn(move || {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let count = if answers(address, number) { answered } else { failed };
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        leader.process.signal(Signal::SIGKILL);
        let took = wait("the other leads", PATIENCE, || follower.leads());
        eprintln!("taken over in {took:?}");
        assert_eq!(follower.batch_size(), 3, "it goes on with the plan");
    });
    assert_eq!(failed.into_inner(), 0);
    assert!(answered.into_inner() > 20);

    // The new leader is stopped for longer than its lease; a third takes over, decides otherwise, and the old one wakes up.
    let third = start("c");
    follower.process.signal(Signal::SIGSTOP);
    wait("the third leads", PATIENCE, || third.leads());
    assert_eq!(third.batch_size(), 3, "what was published is what it goes on with");
    assert_eq!(third.pin(5).0, 200);
    std::thread::sleep(Duration::from_millis(LEASE_MS));
    follower.process.signal(Signal::SIGCONT);
    follower.process.said("the lease has ended");
    wait("the old leader follows", PATIENCE, || follower.batch_size() == 5);
    assert!(third.leads() && !follower.leads() && third.batch_size() == 5);

    // One that ends in order is replaced at once, not after its lease.
    let mut third = third;
    third.process.signal(Signal::SIGTERM);
    assert_eq!(third.process.ended().code(), Some(0));
    wait("the last one leads", PATIENCE, || follower.leads());
    assert_eq!(follower.batch_size(), 5);
    leader.process.ended();
}

#[test]
fn one_of_two_decides_through_a_shared_folder_and_an_old_leader_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let shared = format!("file://{}", folder.path().join("shared").display());
    one_decides(folder.path(), &shared, &[]);
}

#[test]
fn one_of_two_decides_through_s3_and_an_old_leader_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("AWS_ENDPOINT_URL", format!("http://{}", s3::start())),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ];
    one_decides(folder.path(), "s3://bucket/shared", &environment);
}

#[test]
fn one_of_two_decides_through_postgresql_and_an_old_leader_is_fenced() {
    let Some(server) = postgres::Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    one_decides(folder.path(), &server.url(), &[]);
}

#[test]
fn a_gateway_whose_store_is_out_of_reach_serves() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[state]\nshared = \"postgres://penstock@127.0.0.1:9/x\"\nlease_ms = 1000";
    let mut node = Node::start(&config(folder.path(), "a", lambda(Duration::ZERO), more), &[]);
    node.process.said("THE SHARED STORE CANNOT BE USED");
    assert!(node.answers(4));
    assert!(!node.leads() && node.batch_size() == 8, "the configured plan serves");
}

const LINES: usize = 1200;

#[test]
fn a_job_goes_on_at_the_other_gateway_and_no_line_is_answered_twice() {
    let folder = tempfile::tempdir().unwrap();
    let lambda = lambda(Duration::from_millis(40));
    let more = format!("[bulk]\ndirectory = \"bulk\"\nmax_parallelism = 2\n[state]\nlease_ms = {LEASE_MS}");
    let start = |name: &str| Node::start(&config(folder.path(), name, lambda, &more), &[]);
    let (a, mut b) = (start("a"), start("b"));

    // Killed: the other one takes the job up at its next look.
    let id = a.submit(LINES);
    wait("some lines are answered", PATIENCE, || a.done(&id).1 >= 100);
    a.process.signal(Signal::SIGKILL);
    b.process.said("a batch that nobody runs is taken up");
    let before = b.done(&id).1;
    wait("it goes on", PATIENCE, || b.done(&id).1 > before);
    let mut c = start("c");
    wait("it ends", Duration::from_secs(60), || b.done(&id).0);
    b.answered_once(&id, LINES);

    // Stopped, with the job's lock in its hands: the other one takes the job after its lease, and the old one finds that out when it wakes.
    let id = b.submit(LINES);
    wait("some lines are answered", PATIENCE, || b.done(&id).1 >= 100);
    // A process that is stopped inside a transaction of SQLite holds the whole database: then it is stopped once more.
    let is_taken = (0..10).any(|_| {
        b.process.signal(Signal::SIGSTOP);
        let limit = Duration::from_millis(5 * LEASE_MS);
        c.process.said_within("a batch that nobody runs is taken up", limit).is_some() || {
            b.process.signal(Signal::SIGCONT);
            std::thread::sleep(Duration::from_millis(30));
            false
        }
    });
    assert!(is_taken, "the other gateway takes the job");
    let before = c.done(&id).1;
    wait("it goes on", PATIENCE, || c.done(&id).1 > before + 100);
    b.process.signal(Signal::SIGCONT);
    b.process.said("another gateway runs the batch");
    wait("it ends", Duration::from_secs(60), || c.done(&id).0);
    c.answered_once(&id, LINES);
    b.answered_once(&id, LINES);
}

//! A PostgreSQL of our own: a fresh cluster in a temporary folder, on a socket in that folder only.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts it, newest first.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
];
/// PostgreSQL refuses to run as root: then it runs as `nobody`.
const NOBODY: u32 = 65_534;

pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

fn binaries() -> Option<PathBuf> {
    let given = std::env::var_os("PENSTOCK_POSTGRES_BIN").map(PathBuf::from);
    given.into_iter().chain(FOLDERS.map(PathBuf::from)).find(|folder| folder.join("initdb").exists())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if std::fs::metadata("/proc/self").is_ok_and(|look| std::os::unix::fs::MetadataExt::uid(&look) == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// Starts one; `None`, and loudly, if there is no PostgreSQL on this machine.
    pub(crate) fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed: package postgresql");
            eprintln!(
                "SKIPPED: no PostgreSQL here (Debian: postgresql), so the store was only tested on SQLite"
            );
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let _not_root = std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY));
        let data = folder.path().join("data");
        let made = command(&binaries.join("initdb"))
            .args(["--auth=trust", "--username=penstock", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .arg("--pgdata")
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let child = command(&binaries.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !folder.path().join(".s.PGSQL.5432").exists() {
            assert!(Instant::now() < until, "PostgreSQL does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, folder })
    }

    pub(crate) fn url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://penstock@{folder}/postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

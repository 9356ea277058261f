//! Cleans up when the emulator itself is killed: a tiny shell waits for the emulator's end of a pipe to close, then ends
//! all processes of its groups (frozen ones would otherwise stay for ever) and removes the groups. A proper end tells it to
//! do nothing.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A line means a proper end; the end of the pipe without one means that the emulator is gone.
const SCRIPT: &str = r#"
if read -r _; then exit 0; fi
for root; do
  for group in $(find "$root" -depth -type d 2>/dev/null); do
    for pid in $(cat "$group/cgroup.procs" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    [ -e "$group/freezer.state" ] && echo THAWED > "$group/freezer.state"
    [ -e "$group/cgroup.freeze" ] && echo 0 > "$group/cgroup.freeze"
  done
done 2>/dev/null
sleep 0.3
for root; do find "$root" -depth -type d -exec rmdir {} \; 2>/dev/null; done
"#;

/// The waiting shell.
pub(crate) struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts to watch over the groups at `roots`; `None` without groups or without a shell.
    pub(crate) fn start(roots: &[PathBuf]) -> Option<Self> {
        if roots.is_empty() {
            return None;
        }
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg("sh")
            .args(roots)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        // A group of its own, so that a Ctrl-C at the terminal reaches the emulator only.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = command
            .spawn()
            .inspect_err(|error| tracing::warn!(%error, "no janitor: groups stay if this process is killed"));
        started.ok().map(|child| Self { child })
    }

    /// Tells it that all is cleaned up.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}

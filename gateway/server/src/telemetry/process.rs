//! `process_*` metrics, read from `/proc/self` when scraped. Names as Prometheus client libraries give them.

use std::fmt::Write as _;

/// Clock ticks per second of `/proc/self/stat`: `USER_HZ`, 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// `/proc/self/status` says `kB` and means KiB.
const KIB: u64 = 1024;

/// Appends the metrics to a text exposition. What cannot be read is left out.
pub(super) fn append(text: &mut String) {
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(kib) = field("VmRSS") {
        put("process_resident_memory_bytes", "gauge", "Resident memory.", (kib * KIB) as f64);
    }
    if let Some(kib) = field("VmSize") {
        put("process_virtual_memory_bytes", "gauge", "Virtual memory.", (kib * KIB) as f64);
    }
    if let Some(threads) = field("Threads") {
        put("process_threads", "gauge", "Threads.", threads as f64);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        put("process_open_fds", "gauge", "Open file descriptors.", entries.count() as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        put("process_cpu_seconds_total", "counter", "User and system CPU time.", seconds);
    }
}

/// CPU time of this process so far, seconds.
#[must_use]
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command in parentheses may hold anything; fields are counted after its end. utime and stime are 14 and 15.
    let after = stat.rsplit_once(')')?.1;
    let mut fields = after.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

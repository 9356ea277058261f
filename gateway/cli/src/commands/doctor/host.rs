//! This host: versions, descriptors, disk, and the age of the price table.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_contract::PriceTable;
use gateway_server::config::Loaded;
use rustix::process::{Resource, getrlimit};

use super::finding::Findings;

/// Files, listeners, the connections to AWS that wait, and room.
const OTHER_DESCRIPTORS: u64 = 128;
/// Below this much free space learned state and jobs are in danger, bytes.
const LEAST_FREE: u64 = 256 << 20;
/// List prices are looked at again after so many months.
const PRICES_KEEP_MONTHS: i64 = 6;

pub(super) fn version(findings: &mut Findings) {
    let (version, protocol) = (env!("CARGO_PKG_VERSION"), gateway_invoker::PROTOCOL_VERSION);
    findings.ok("version", format!("penstock {version}, worker protocol {protocol}"));
}

pub(super) fn look(loaded: &Loaded, findings: &mut Findings) {
    descriptors(loaded, findings);
    if let Some(directory) = &loaded.settings.state_directory {
        folder("state.directory", directory, findings);
    } else if loaded.settings.models.iter().any(|model| model.policy.policy.chooses()) {
        findings.warning(
            "state.directory",
            "what the tuner learns is not kept over a restart".to_owned(),
            "set `[state] directory`",
        );
    }
    if let Some(directory) = loaded.settings.bulk.as_ref().and_then(|bulk| bulk.directory.as_deref()) {
        folder("bulk.directory", directory, findings);
    }
}

fn descriptors(loaded: &Loaded, findings: &mut Findings) {
    let connections = u64::try_from(loaded.settings.http.max_connections).unwrap_or(u64::MAX);
    let invocations: u64 =
        loaded.settings.models.iter().map(|model| u64::from(model.plan.max_in_flight)).sum();
    let needed = connections.saturating_add(invocations).saturating_add(OTHER_DESCRIPTORS);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => findings.problem(
            "descriptors",
            format!("{limit} files may be open at a time; {connections} connections and {invocations} invocations want {needed}"),
            format!("raise the limit (`LimitNOFILE={needed}` in the unit, `ulimit -n`), or lower `limits.max_connections`"),
        ),
        limit => {
            let limit = limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
            findings.ok("descriptors", format!("{limit} files may be open at a time, {needed} are enough"));
        }
    }
}

/// A folder that must take files.
fn folder(check: &str, directory: &Path, findings: &mut Findings) {
    let shown = directory.display();
    let advice = "make the folder for the user that runs the gateway, or name another";
    if let Err(error) = std::fs::create_dir_all(directory) {
        return findings.problem(check, format!("`{shown}` cannot be made: {error}"), advice);
    }
    let trial = directory.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&trial, b"x");
    let _ = std::fs::remove_file(&trial);
    if let Err(error) = written {
        return findings.problem(check, format!("`{shown}` cannot be written: {error}"), advice);
    }
    let free = rustix::fs::statvfs(directory).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match free {
        Ok(free) if free < LEAST_FREE => findings.warning(
            check,
            format!("`{shown}` can be written; its disk has {} MiB left", free >> 20),
            "make room: a save that does not fit is not made",
        ),
        Ok(free) => {
            findings.ok(check, format!("`{shown}` can be written; its disk has {} MiB left", free >> 20))
        }
        Err(error) => {
            findings.warning(check, format!("the disk of `{shown}` is not known: {error}"), "look at it")
        }
    }
}

/// Whether the price table is the built-in one, and how old it is.
pub(super) fn prices(loaded: &Loaded, findings: &mut Findings) {
    let is_own = loaded.origins.keys().any(|key| key == "prices.x86_64" || key == "prices.arm64");
    if is_own {
        return findings.ok("prices", "duration prices come from the configuration".to_owned());
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    judge_prices(i64::try_from(seconds / 86_400).unwrap_or(0), findings);
}

fn judge_prices(today: i64, findings: &mut Findings) {
    let (year, month) = PriceTable::LIST_OF;
    // Months of 30.4 days since 1970 are exact enough for "half a year".
    let now = today * 12 * 100 / 36_525;
    let then = (i64::from(year) - 1970) * 12 + i64::from(month) - 1;
    let age = (now - then).max(0);
    let text = format!("the built-in list prices are us-east-1's of {year}-{month:02}, {age} months old");
    if age > PRICES_KEEP_MONTHS {
        let advice =
            "compare with AWS's price list; write what differs into `[prices]`, or use a newer build";
        findings.warning("prices", text, advice);
    } else {
        findings.ok("prices", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_list_prices_are_named() {
        // 2026-12-01 and 2027-09-01, in days since 1970.
        for (today, problem) in [(20_788, "ok"), (21_062, "warning")] {
            let mut findings = Findings::default();
            judge_prices(today, &mut findings);
            assert_eq!(findings.json()["findings"][0]["level"], problem, "{findings}");
        }
    }
}

//! Reading what a running Penstock says of itself: metrics by name and labels, and processes by `/proc`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

/// A scrape in the Prometheus text format.
#[derive(Debug, Default, Clone)]
pub(crate) struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads the samples; lines that are not samples are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self { samples: text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect() }
    }

    /// Sum over all series of the metric that carry every given `label="value"`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |series: &str| {
            let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
            metric == name
                && labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        };
        self.samples.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }
}

/// Resident bytes and open file descriptors of a process.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory_and_descriptors(pid: u32) -> Result<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("process is gone")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok())
        .context("no VmRSS")?;
    Ok((kib * 1024, fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
}

/// CPU seconds of these processes and of everything below them. Processes that ended count as long as their parent lives.
///
/// # Errors
/// When a root is gone.
pub(crate) fn tree_cpu_seconds(roots: &[u32]) -> Result<f64> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end between the listing and the look.
        if let Some(parent) = stat_fields(pid).ok().and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut total = 0.0;
    let mut open = roots.to_vec();
    for &root in roots {
        cpu_seconds(root)?;
    }
    while let Some(pid) = open.pop() {
        total += cpu_seconds(pid).unwrap_or(0.0);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    Ok(total)
}

/// Median; NaN of nothing.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// CPU seconds, user and system, that a process and its ended, waited-for children have used.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let fields = stat_fields(pid)?;
    let ticks =
        |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("stat field");
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok((ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?) / per_second as f64)
}

/// The fields of `/proc/PID/stat` from the state on: the parent is at 1, user and system ticks at 11 and 12, the children's at 13 and 14.
fn stat_fields(pid: u32) -> Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("process is gone")?;
    // The command name may hold spaces; the fields are counted behind its closing parenthesis.
    let (_, rest) = stat.rsplit_once(')').context("stat")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_label() {
        let text = "# HELP x\nx_total{model=\"a\",code=\"ok\"} 3\nx_total{model=\"b\",code=\"ok\"} 4\nx_total_more{model=\"a\"} 9\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("x_total", &[("code", "ok")]) - 7.0).abs() < 1e-9);
        assert!((metrics.sum("x_total", &[("model", "a")]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn median_lies_in_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn this_process_has_memory_descriptors_and_cpu_time() {
        let (bytes, descriptors) = memory_and_descriptors(std::process::id()).unwrap();
        assert!(bytes > 100_000 && descriptors >= 3);
        let own = cpu_seconds(std::process::id()).unwrap();
        assert!(own >= 0.0 && tree_cpu_seconds(&[std::process::id()]).unwrap() >= own);
    }
}

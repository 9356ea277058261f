//! Reading what a running Penstock says of itself: metrics by name and labels, and processes by `/proc`.

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
        Self {
            samples: text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(sample)
                .collect(),
        }
    }

    /// Sum over all series of the metric that carry every given `label="value"`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |series: &str| {
            let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
            metric == name
                && labels
                    .iter()
                    .all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        };
        self.samples
            .iter()
            .filter(|(series, _)| fits(series))
            .map(|(_, value)| value)
            .sum()
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
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .context("no VmRSS")?;
    Ok((kib * 1024, fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
}

/// CPU seconds, user and system, that a process has used.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("process is gone")?;
    // The command name may hold spaces; the fields are counted behind its closing parenthesis.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("stat")?
        .1
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
            .context("stat field")
    };
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok((ticks(11)? + ticks(12)?) / per_second as f64)
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
    fn this_process_has_memory_descriptors_and_cpu_time() {
        let (bytes, descriptors) = memory_and_descriptors(std::process::id()).unwrap();
        assert!(bytes > 100_000 && descriptors >= 3);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }
}

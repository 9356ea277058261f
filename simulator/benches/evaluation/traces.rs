//! The traffic: two hours of each published trace, or generated workloads of the same kinds, at any mean rate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use simulator::arrivals::ArrivalProcess;
use simulator::random::Random;

/// Seconds of a run.
pub const SECONDS: f64 = 7200.0;

/// A load curve: requests per second, step by step.
#[derive(Clone, Debug)]
pub struct Trace {
    pub name: &'static str,
    pub step_s: f64,
    pub rates: Arc<[f64]>,
}

/// How a file counts.
#[derive(Clone, Copy)]
enum Format {
    /// A number a line or comma, of this many seconds each.
    Steps(f64),
    /// A time stamp a row, `YYYY-MM-DD HH:MM:SS.fraction`.
    Timestamps,
}

/// Name, file and format. Shorter ones are repeated.
const FILES: [(&str, &str, Format); 10] = [
    ("twitter", "twitter_2021-08_days1-7_rps.txt.gz", Format::Steps(1.0)),
    ("harmony-app1", "harmonybatch_app1_rpm.csv", Format::Steps(60.0)),
    ("harmony-app2", "harmonybatch_app2_rpm.csv", Format::Steps(60.0)),
    ("harmony-app3", "harmonybatch_app3_rpm.csv", Format::Steps(60.0)),
    ("harmony-app4", "harmonybatch_app4_rpm.csv", Format::Steps(60.0)),
    ("infless-bursty", "infless_Bursty.txt", Format::Steps(60.0)),
    ("infless-periodic", "infless_Periodic.txt", Format::Steps(60.0)),
    ("infless-sporadic", "infless_Sporadic.txt", Format::Steps(60.0)),
    ("libra-square", "libra_square_rps.txt.gz", Format::Steps(1.0)),
    ("azure-llm", "azure_llm_2023_conv.csv.gz", Format::Timestamps),
];

impl Trace {
    /// Arrivals at this mean rate: Poisson within each step.
    pub fn arrivals(&self, mean_per_s: f64) -> SteppedPoisson {
        let mean = self.rates.iter().sum::<f64>() / self.rates.len() as f64;
        SteppedPoisson {
            rates: Arc::clone(&self.rates),
            scale: mean_per_s / mean,
            step_s: self.step_s,
            step: 0,
            at: 0.0,
        }
    }

    fn new(name: &'static str, counts: Vec<f64>, step_s: f64) -> Self {
        let steps = (SECONDS / step_s) as usize;
        let rates: Vec<f64> = counts.iter().copied().cycle().take(steps).map(|it| it / step_s).collect();
        assert!(rates.iter().sum::<f64>() > 0.0, "{name}: nothing arrives");
        Self { name, step_s, rates: rates.into() }
    }
}

/// Reads the published traces of a folder.
pub fn read(folder: &Path) -> Vec<Trace> {
    FILES
        .iter()
        .map(|&(name, file, format)| {
            let text = text(&folder.join(file));
            match format {
                Format::Steps(step_s) => {
                    let numbers = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
                    let parse =
                        |word: &str| word.parse().unwrap_or_else(|_| panic!("{file}: `{word}` is no number"));
                    Trace::new(name, numbers.map(parse).collect(), step_s)
                }
                Format::Timestamps => Trace::new(name, per_second(file, &text), 1.0),
            }
        })
        .collect()
}

fn text(path: &Path) -> String {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip starts");
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        return String::from_utf8(output.stdout).unwrap();
    }
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Counts by second of day, from the first row on.
fn per_second(file: &str, text: &str) -> Vec<f64> {
    let second_of_day = |(number, row): (usize, &str)| {
        let stamp = row.split(',').next().and_then(|stamp| stamp.split_once(' '));
        let parts: Option<Vec<f64>> =
            stamp.and_then(|(_, time)| time.split(':').map(|part| part.parse().ok()).collect());
        match parts.as_deref() {
            Some([hours, minutes, seconds]) => hours * 3600.0 + minutes * 60.0 + seconds,
            _ => panic!("{file}:{}: no time stamp", number + 1),
        }
    };
    let times: Vec<f64> = text
        .lines()
        .enumerate()
        .skip(1)
        .filter(|(_, row)| !row.trim().is_empty())
        .map(second_of_day)
        .collect();
    let first = times[0];
    let mut counts = vec![0.0; (times[times.len() - 1] - first) as usize + 1];
    let last = counts.len() - 1;
    times.iter().for_each(|at| counts[((at - first).max(0.0) as usize).min(last)] += 1.0);
    counts
}

/// Workloads of the same kinds, generated: for a machine without the files.
pub fn generated() -> Vec<Trace> {
    let mut random = Random::new(20_211);
    let mut seconds = |law: &mut dyn FnMut(f64, &mut Random) -> f64| -> Vec<f64> {
        (0..SECONDS as usize).map(|at| law(at as f64, &mut random).max(0.0)).collect()
    };
    let mut log_rate = 0.0;
    let drifting = seconds(&mut |at, random| {
        log_rate = 0.97 * log_rate + 0.06 * random.normal();
        64.0 * (log_rate + 0.3 * (at / SECONDS * std::f64::consts::TAU).sin()).exp()
    });
    let steps = seconds(&mut |at, _| if (at / 1200.0) as u32 % 3 == 1 { 40.0 } else { 5.0 });
    let mut spike = 0.0;
    let spikes = seconds(&mut |at, random| {
        if at % 60.0 == 0.0 {
            spike = if random.unit() < 0.05 { 8.0 } else { 1.0 };
        }
        10.0 * spike
    });
    let periodic = seconds(&mut |at, _| 1.05 - (at / 3600.0 * std::f64::consts::TAU).cos());
    let mut load = 0.0;
    let sporadic = seconds(&mut |at, random| {
        if at % 60.0 == 0.0 {
            load = if random.unit() < 0.5 { 0.0 } else { random.exponential(3.0) };
        }
        load
    });
    let square = seconds(&mut |at, _| if at % 100.0 < 50.0 { 50.0 } else { 0.0 });
    [
        ("generated-drifting", drifting),
        ("generated-steps", steps),
        ("generated-spikes", spikes),
        ("generated-periodic", periodic),
        ("generated-sporadic", sporadic),
        ("generated-square", square),
    ]
    .map(|(name, counts)| Trace::new(name, counts, 1.0))
    .into()
}

/// The traces of a folder, or generated ones.
pub fn load(folder: Option<&PathBuf>) -> Vec<Trace> {
    folder.map_or_else(generated, |folder| read(folder))
}

/// Poisson arrivals whose rate is constant within each step.
#[derive(Clone, Debug)]
pub struct SteppedPoisson {
    rates: Arc<[f64]>,
    scale: f64,
    step_s: f64,
    step: usize,
    at: f64,
}

impl ArrivalProcess for SteppedPoisson {
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        // What is left of an exponential of rate one is spent step by step.
        let mut left = random.exponential(1.0);
        loop {
            let rate = self.rates.get(self.step)? * self.scale;
            let end = (self.step + 1) as f64 * self.step_s;
            let until_end = (end - self.at).max(0.0) * rate;
            if left < until_end {
                self.at += left / rate;
                return Some(self.at);
            }
            left -= until_end;
            self.at = end;
            self.step += 1;
        }
    }
}

//! Days of traffic at a second's resolution under a fixed plan, with the resident memory at the end of each day.

use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use gateway_contract::PackingPolicy;
use simulator::arrivals::{ArrivalProcess, Counts};
use simulator::deployment::{DeploymentConfig, FixedPlan, ModelConfig, Records, Unobserved, run};
use simulator::random::Random;

use crate::loads;
use crate::machine::{cpu_seconds, peak_mib, resident_mib};

const DAY_S: usize = 86_400;

pub(crate) struct Week {
    pub(crate) name: String,
    pub(crate) days: usize,
    pub(crate) requests: u64,
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    pub(crate) resident_mib: Vec<f64>,
    pub(crate) peak_mib: f64,
    pub(crate) usd_per_million: f64,
}

/// Arrivals by counts that look at the memory each day.
struct Watched {
    counts: Counts,
    next_day_s: f64,
    resident_mib: Rc<RefCell<Vec<f64>>>,
}

impl ArrivalProcess for Watched {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        let next = self.counts.next(random);
        if next.is_none_or(|at_s| at_s >= self.next_day_s) {
            self.resident_mib.borrow_mut().push(resident_mib());
            self.next_day_s += DAY_S as f64;
        }
        next
    }
}

pub(crate) fn measure(trace: Option<&str>, days: usize) -> Week {
    let mut counts = trace.map_or_else(|| generated(days), read);
    counts.truncate(days * DAY_S);
    let days = counts.len().div_ceil(DAY_S);
    let resident = Rc::new(RefCell::new(Vec::new()));
    let seconds = counts.len() as f64;
    let arrivals = Watched {
        counts: Counts::new(counts, 1.0),
        next_day_s: DAY_S as f64,
        resident_mib: Rc::clone(&resident),
    };
    let model = ModelConfig::new(
        "model",
        loads::function(),
        Box::new(arrivals),
        Box::new(FixedPlan::new(loads::plan(PackingPolicy::Deadline))),
    );
    // A record an hour, as a study of a week keeps them.
    let config =
        DeploymentConfig { records: Records::Merged(3600), ..DeploymentConfig::new(vec![model], seconds, 1) };
    let (began, began_cpu) = (Instant::now(), cpu_seconds());
    let report = run(config, &mut Unobserved).unwrap();
    let (cpu_s, wall_s) = (cpu_seconds() - began_cpu, began.elapsed().as_secs_f64());
    let of = &report.models[0];
    assert_eq!(of.counts.unanswered, 0);
    Week {
        name: trace
            .map_or("a generated week".to_owned(), |path| path.rsplit('/').next().unwrap_or(path).to_owned()),
        days,
        requests: of.counts.requests,
        cpu_s,
        wall_s,
        resident_mib: resident.take(),
        peak_mib: peak_mib(),
        usd_per_million: of.usd_per_million(),
    }
}

/// Requests per second, a number a line.
fn read(path: &str) -> Vec<u32> {
    let bytes = if path.ends_with(".gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip starts");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    } else {
        std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let text = String::from_utf8(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let each = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    each.map(|(at, line)| line.trim().parse().unwrap_or_else(|error| panic!("{path}:{}: {error}", at + 1)))
        .collect()
}

/// 64 requests/s in the mean, three times as many at noon as at midnight, over-dispersed.
fn generated(days: usize) -> Vec<u32> {
    let mut random = Random::new(7);
    let seconds = 0..days * DAY_S;
    seconds
        .map(|second| {
            let phase = (second % DAY_S) as f64 / DAY_S as f64 * std::f64::consts::TAU;
            let mean = 64.0 * (1.0 - 0.5 * phase.cos());
            let rate = random.gamma(4.0, mean);
            random.poisson(rate) as u32
        })
        .collect()
}

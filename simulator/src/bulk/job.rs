//! One job on an account of its own: chunks in the order of the data, each worker takes the next when it is done.
//!
//! Rule: a worker invokes, waits for the answer, and invokes again; so no more environments start than there are workers, and each bills its INIT
//! once. An environment that Lambda will not start yet (1,000 in 10 s) is asked for again after a back-off. One worker is the monolith: one
//! function that goes through all chunks one after the other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use gateway_contract::Mebibytes;

use crate::deployment::{Account, ColdStarts, NetworkLaw};
use crate::lambda::{Environments, FunctionModel, Limits, Sharder, billed_seconds};
use crate::random::Random;

/// Nanoseconds before a throttled chunk is sent again: 100 ms.
const BACKOFF: u64 = 100_000_000;

/// How a job is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Items of an invocation, at least 1.
    pub chunk_items: u32,
    /// Model processes of an environment.
    pub process_count: u32,
    /// Memory of the function.
    pub memory: Mebibytes,
    /// Invocations at a time, at least 1.
    pub parallelism: u32,
}

/// A job.
#[derive(Clone)]
pub struct JobConfig {
    /// The model's function.
    pub function: Arc<dyn FunctionModel>,
    /// Work units of each item, in the order of the data.
    pub units: Arc<[u64]>,
    /// Limits, network and prices.
    pub account: Account,
    /// How it is cut.
    pub cut: Cut,
    /// Of the times of chunks and the network.
    pub seed: u64,
}

/// What came of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JobReport {
    /// From the first invocation to the last answer.
    pub seconds: f64,
    /// Dollars of running chunks, INIT excluded.
    pub duration_usd: f64,
    /// Dollars of INIT.
    pub init_usd: f64,
    /// Dollars of fees.
    pub fee_usd: f64,
    /// Chunks that ran.
    pub invocations: u64,
    /// Environments that were started.
    pub environments: u64,
    /// Invocations refused by a limit.
    pub throttles: u64,
    /// Handler's seconds of all chunks, added up.
    pub handler_s: f64,
}

impl JobReport {
    /// Dollars of all of it.
    #[must_use]
    pub fn usd(&self) -> f64 {
        self.duration_usd + self.init_usd + self.fee_usd
    }
}

impl NetworkLaw {
    /// Seconds of one round trip.
    fn seconds(self, random: &mut Random) -> f64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::LogNormal(median, ln_std) => median * (ln_std * random.normal()).exp(),
        }
    }
}

/// Runs it.
#[must_use]
pub fn run(config: &JobConfig) -> JobReport {
    let mut seeds = Random::new(config.seed);
    let mut job = Job {
        config,
        limits: Limits::new(&config.account.limits, &[None]),
        environments: Environments::new(config.account.keep_alive),
        sharder: Sharder::default(),
        service: seeds.fork(1),
        network: seeds.fork(2),
        keep_alive: seeds.fork(3),
        report: JobReport::default(),
    };
    job.run();
    job.report
}

struct Job<'a> {
    config: &'a JobConfig,
    limits: Limits,
    environments: Environments,
    sharder: Sharder,
    service: Random,
    network: Random,
    keep_alive: Random,
    report: JobReport,
}

/// What a worker does next. At the same moment places become free before they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Its invocation has ended.
    Done,
    /// It asks for a place.
    Ask,
}

impl Job<'_> {
    fn run(&mut self) {
        let size = self.config.cut.chunk_items.max(1) as usize;
        let units = Arc::clone(&self.config.units);
        let mut chunks = units.chunks(size).peekable();
        let workers = self.config.cut.parallelism.max(1);
        let mut steps: BinaryHeap<Reverse<(u64, Step, u32)>> =
            (0..workers).map(|worker| Reverse((0, Step::Ask, worker))).collect();
        while let Some(Reverse((now, step, worker))) = steps.pop() {
            if step == Step::Done {
                self.limits.release(0);
                self.environments.give_back(self.config.cut.memory, now, &mut self.keep_alive);
                self.report.seconds = self.report.seconds.max(now as f64 / 1e9);
            }
            let Some(chunk) = chunks.peek() else { continue };
            match self.invoke(chunk, now) {
                Some(takes) => {
                    chunks.next();
                    steps.push(Reverse((now + takes, Step::Done, worker)));
                }
                None => steps.push(Reverse((now + BACKOFF, Step::Ask, worker))),
            }
        }
    }

    /// Runs a chunk; gives the nanoseconds until its answer. `None`: throttled.
    fn invoke(&mut self, chunk: &[u64], now: u64) -> Option<u64> {
        let (cut, account) = (self.config.cut, &self.config.account);
        if self.limits.admit(0, now).is_err() {
            self.report.throttles += 1;
            return None;
        }
        let mut is_cold = false;
        if !self.environments.take_warm(cut.memory, now) {
            is_cold = account.cold_starts == ColdStarts::Paid;
            if is_cold && self.limits.start_environment(0, now).is_err() {
                self.limits.release(0);
                self.report.throttles += 1;
                return None;
            }
            self.environments.start(cut.memory);
        }
        self.sharder.clear();
        chunk.iter().for_each(|&units| self.sharder.add(units, 1));
        let shape = self.sharder.shape(cut.process_count);
        let handler_s = self.config.function.seconds(cut.memory, &shape, &mut self.service);
        let init_s = if is_cold { self.config.function.init_seconds(cut.memory) } else { 0.0 };
        let ran_s = init_s + handler_s + account.runtime_s;
        let economics = &account.economics;
        let price = cut.memory.gibibytes()
            * economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
        let report = &mut self.report;
        report.init_usd += price * init_s;
        report.duration_usd += price * (billed_seconds(ran_s) - init_s);
        report.fee_usd += economics.prices.request_usd();
        report.invocations += 1;
        report.environments += u64::from(is_cold);
        report.handler_s += handler_s;
        let placement_s = if is_cold { account.placement_s } else { 0.0 };
        let takes_s = account.network.seconds(&mut self.network) + placement_s + ran_s;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let takes = (takes_s * 1e9) as u64;
        Some(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::LimitSettings;
    use crate::profile::{InitLaw, MemoryNeed, ModelProfile, ServiceWork};

    fn config(chunk_items: u32, parallelism: u32) -> JobConfig {
        let profile = ModelProfile {
            name: "even".to_owned(),
            service: ServiceWork { process_seconds: 0.01, item_seconds: 0.1, ..ServiceWork::default() },
            init: InitLaw { cpu_seconds: 1.0, floor_seconds: 0.0 },
            memory: MemoryNeed { base_mib: 400.0, per_process_mib: 50.0 },
            ..ModelProfile::default()
        };
        let cut = Cut { chunk_items, process_count: 1, memory: Mebibytes(1769), parallelism };
        let units = vec![1; 1000].into();
        JobConfig { function: Arc::new(profile), units, account: Account::default(), cut, seed: 1 }
    }

    #[test]
    fn a_job_ends_in_whole_rounds_and_bills_each_environment_once() {
        let report = run(&config(50, 8));
        assert_eq!((report.invocations, report.environments, report.throttles), (20, 8, 0));
        assert!((report.seconds - (1.0 + 3.0 * (5.01 + 0.001 + 0.004))).abs() < 1e-6, "{report:?}");
        let price = 1769.0 / 1024.0 * 0.000_016_666_7;
        assert!((report.init_usd / (8.0 * price) - 1.0).abs() < 1e-9);
        assert!((report.duration_usd / (20.0 * 5.011 * price) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_monolith_pays_one_init() {
        let report = run(&config(50, 1));
        assert_eq!(report.environments, 1);
        assert!((report.seconds - (1.0 + 20.0 * 5.015)).abs() < 1e-6, "{report:?}");
    }

    #[test]
    fn a_slow_ramp_is_waited_for_and_loses_no_chunk() {
        let mut config = config(50, 20);
        config.account.limits = LimitSettings { environments_per_10_s: 10, ..LimitSettings::default() };
        let report = run(&config);
        assert_eq!(report.invocations, 20);
        assert!(report.throttles > 0 && report.seconds > 6.0 + 5.0, "{report:?}");
    }
}

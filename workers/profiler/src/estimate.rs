//! What an experiment will take, before and while it runs.
//!
//! *Rule*: a law of service time by point (the file's rough one, or a profile's, given as a function) times the runs that are left, plus what
//! lies around each: the pause, the round trip, and for a cold run the publishing of a fresh version. While it runs, points that were measured
//! count with their own mean, and the others with the law scaled by how wrong it was so far. *Bounds*: warm runs are counted in full, so an
//! early stop makes the end come sooner than was said.

use std::time::Duration;

use crate::experiment::{Expected, Experiment, Model, Point};

/// Round trip, and what the client does, beside the handler.
const AROUND_RUN: Duration = Duration::from_millis(8);
/// Publishing a fresh version and removing it.
const AROUND_COLD: Duration = Duration::from_millis(1200);

/// What Lambda charges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Dollars per GB-second.
    pub usd_per_gb_second: f64,
    /// Dollars per invocation.
    pub usd_per_request: f64,
}

impl Prices {
    /// Dollars of one invocation.
    #[must_use]
    pub fn invocation_usd(&self, memory_mib: u32, billed_seconds: f64) -> f64 {
        f64::from(memory_mib) / 1024.0 * billed_seconds * self.usd_per_gb_second + self.usd_per_request
    }
}

/// What one invocation at a point is expected to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Seconds of the handler.
    pub handler_s: f64,
    /// Seconds of INIT where it is cold.
    pub init_s: f64,
}

impl Expected {
    /// The rough law: the largest shard on one vCPU, or all work on the credit, whichever is longer.
    #[must_use]
    pub fn predict(&self, point: &Point) -> Prediction {
        let processes = f64::from(point.process_count.min(point.items));
        let items = f64::from(point.items);
        let shard = self.process_ms + (items / processes).ceil() * self.item_ms;
        let all = processes * self.process_ms + items * self.item_ms;
        Prediction {
            handler_s: shard.max(all / point.vcpus()) / 1e3,
            init_s: self.init_ms / point.vcpus().min(1.0) / 1e3,
        }
    }
}

/// Runs, dollars and time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Runs, warm-ups left out.
    pub runs: u64,
    /// Invocations, with warm-ups and those of each run.
    pub invocations: u64,
    /// Dollars on Lambda.
    pub usd: f64,
    /// Time it takes.
    pub time: Duration,
}

impl Estimate {
    /// Adds `runs` runs of `point`; `cold` of them in fresh environments.
    pub fn add_runs(
        &mut self,
        experiment: &Experiment,
        prices: &Prices,
        point: &Point,
        prediction: Prediction,
        (warm, cold): (u64, u64),
    ) {
        // A visit is a handful of warm runs and their warm-ups.
        let visits = warm.div_ceil(crate::session::PER_VISIT as u64);
        let warm_ups = visits * u64::from(experiment.runs.warm_up);
        let each = u64::from(point.concurrency);
        let usd = |seconds: f64| prices.invocation_usd(point.memory_mib, seconds);
        self.runs += warm + cold;
        self.invocations += (warm + cold + warm_ups) * each;
        self.usd += (warm + warm_ups) as f64 * each as f64 * usd(prediction.handler_s);
        self.usd += cold as f64 * each as f64 * usd(prediction.handler_s + prediction.init_s);
        let around = (experiment.runs.pause + AROUND_RUN).as_secs_f64();
        let seconds = (warm + warm_ups) as f64 * (prediction.handler_s + around)
            + cold as f64 * (prediction.handler_s + prediction.init_s + AROUND_COLD.as_secs_f64());
        self.time += Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
    }

    /// One whole model, by a law; only the points that are measured.
    #[must_use]
    pub fn of_model(
        experiment: &Experiment,
        prices: &Prices,
        model: &Model,
        predict: &dyn Fn(&Point) -> Prediction,
    ) -> Self {
        let mut estimate = Self::default();
        let runs = (u64::from(experiment.runs.warm()), u64::from(experiment.runs.cold()));
        for point in model.points.iter().filter(|point| experiment.is_measured(point)) {
            estimate.add_runs(experiment, prices, point, predict(point), runs);
        }
        estimate
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            invocations: self.invocations + other.invocations,
            usd: self.usd + other.usd,
            time: self.time + other.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_vcpu_takes_twice_as_long_and_two_processes_half() {
        let expected = Expected { init_ms: 100.0, process_ms: 0.0, item_ms: 10.0, is_given: true };
        let at = |memory_mib, process_count| {
            expected.predict(&Point { memory_mib, process_count, items: 8, concurrency: 1 }).handler_s
        };
        assert!((at(1769, 1) - 0.080).abs() < 1e-9);
        assert!((at(3538, 2) - 0.040).abs() < 1e-9 && (at(3538, 1) - 0.080).abs() < 1e-9);
        assert!((at(1769, 2) - 0.080).abs() < 1e-9, "one vCPU's credit for two processes");
        let half = expected.predict(&Point { memory_mib: 884, process_count: 1, items: 8, concurrency: 1 });
        assert!((half.handler_s / 0.160 - 1.0).abs() < 0.01 && (half.init_s / 0.2 - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_gigabyte_second_costs_its_price_and_its_fee() {
        let prices = Prices { usd_per_gb_second: 1e-5, usd_per_request: 2e-7 };
        assert!((prices.invocation_usd(2048, 0.5) - 1.02e-5).abs() < 1e-15);
    }
}

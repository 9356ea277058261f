//! What one candidate of a search costs.

use std::hint::black_box;
use std::time::Duration;

use gateway_contract::PackingPolicy;
use optimizer_tuner::formula::{
    ArrivalLaw, ArrivalTable, CloseCurve, CostTable, FillLaw, Gathering, LatencyLaw, LogNormal, ServiceLaw,
    WindowWait,
};

/// Microseconds and milliseconds of the parts.
pub(crate) struct Speed {
    pub(crate) candidate_us: f64,
    pub(crate) poisson_candidate_us: f64,
    pub(crate) late_share_us: f64,
    pub(crate) quantile_us: f64,
    pub(crate) table_ms: f64,
    pub(crate) large_table_ms: f64,
}

struct Linear;

impl ServiceLaw for Linear {
    fn billed_seconds(&self, items: u32, _rung: usize) -> LogNormal {
        LogNormal::from_mean(0.006 + 0.012 * f64::from(items), 0.12)
    }

    fn overhead_seconds(&self, _items: u32, _rung: usize) -> f64 {
        0.004
    }
}

/// Processor time of this thread (Linux, Documentation/scheduler/sched-stats.rst, the first field): a neighbour does not count.
pub(crate) fn cpu_seconds() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = statistics.split_whitespace().next().and_then(|it| it.parse::<f64>().ok());
    nanos.expect("the first field is a number") / 1e9
}

/// Times the parts: bounds 1 to 64, eight delays, dispersion 5 at 64 requests/s.
pub(crate) fn measure() -> Speed {
    let bursty = ArrivalLaw::over_dispersed(64.0, 5.0, Duration::from_secs(1));
    let table_ms = table_ms(&bursty, 64);
    let large_table_ms = self::table_ms(&ArrivalLaw::over_dispersed(300.0, 5.0, Duration::from_secs(1)), 512);
    let (candidate_us, late_share_us, quantile_us) = candidates(&bursty);
    let (poisson_candidate_us, _, _) = candidates(&ArrivalLaw::poisson(64.0));
    Speed { candidate_us, poisson_candidate_us, late_share_us, quantile_us, table_ms, large_table_ms }
}

/// Milliseconds to build a table.
fn table_ms(law: &ArrivalLaw, max_items: u32) -> f64 {
    let rounds = 20;
    let started = cpu_seconds();
    for _ in 0..rounds {
        black_box(ArrivalTable::new(black_box(law), max_items, Duration::from_millis(500)).expect("valid"));
    }
    (cpu_seconds() - started) * 1e3 / f64::from(rounds)
}

fn candidates(law: &ArrivalLaw) -> (f64, f64, f64) {
    let table = ArrivalTable::new(law, 64, Duration::from_millis(500)).expect("valid");
    let curve = CloseCurve::new(
        &table,
        PackingPolicy::Deadline,
        Duration::from_millis(500),
        Duration::from_millis(5),
        |n| Duration::from_secs_f64(Linear.billed_seconds(n, 0).quantile(0.99) + 0.004),
    );
    let costs = CostTable::new(&Linear, 0, 64, 2.9e-5, 2e-7);
    let mut fill = FillLaw::with_capacity(64);
    let (mut sum, mut count) = (0.0, 0_u32);
    let started = cpu_seconds();
    while cpu_seconds() - started < 0.3 {
        for max_batch_size in 1..=64 {
            for delay in 1..=8 {
                let max_queue_delay = Duration::from_millis(60 * delay);
                fill.set(&Gathering { table: &table, curve: &curve, max_batch_size, max_queue_delay });
                sum += fill.usd_per_request(costs.expected_usd(&fill, 1..=max_batch_size));
                count += 1;
            }
        }
    }
    let candidate_us = (cpu_seconds() - started) * 1e6 / f64::from(count);
    let mut latency = LatencyLaw::default();
    let delay = Duration::from_millis(480);
    let gathering = Gathering { table: &table, curve: &curve, max_batch_size: 32, max_queue_delay: delay };
    fill.set(&gathering);
    let started = cpu_seconds();
    let rounds = 2_000;
    for _ in 0..rounds {
        latency.set(&gathering, &fill, WindowWait::default(), &Linear, |_| 0);
        sum += latency.upper_tail(black_box(0.5));
    }
    let late_share_us = (cpu_seconds() - started) * 1e6 / f64::from(rounds);
    let started = cpu_seconds();
    for _ in 0..rounds {
        sum += black_box(&latency).quantile(black_box(0.99));
    }
    let quantile_us = (cpu_seconds() - started) * 1e6 / f64::from(rounds);
    black_box(sum);
    (candidate_us, late_share_us, quantile_us)
}

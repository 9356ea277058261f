//! Metering without any permission: all processes of a sandbox are stopped and continued by signals so that their CPU time
//! follows the share.
//!
//! Problem: no control groups. Rule: a governor looks every [`TICK`] at the CPU time that the processes have used
//! (`/proc/PID/task/*/schedstat`); they are stopped when they are a period's grant ahead of the allowance, continued when
//! the allowance has caught up. Bounds: exact in the mean, coarse within a period, costs some per cent of a core per busy
//! sandbox; no cap per process. Memory is only watched: a sandbox whose proportional memory passes its size is ended.

use super::quota::vcpus;
use super::unmetered::SignalCell;
use super::{Cell, CellSpec, Meter, MeterError, Usage, processes};
use crate::config::{MeteringConfig, MeteringMode};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two looks of the governor.
const TICK: Duration = Duration::from_millis(2);

/// Periods whose unused grant may be used later.
const SAVED_PERIODS: f64 = 2.0;

/// Ticks between two looks at memory.
const MEMORY_TICKS: u32 = 50;

/// The mechanism; see the file's header.
pub(super) struct DutyCycleMeter {
    cpu_scale: f64,
    period: Duration,
}

impl DutyCycleMeter {
    /// The mechanism with the share and period of `config`.
    pub(super) fn new(config: &MeteringConfig) -> Self {
        Self { cpu_scale: config.cpu_scale, period: Duration::from_micros(config.quota_period_us) }
    }
}

impl Meter for DutyCycleMeter {
    fn open(&self, spec: &CellSpec) -> Result<Box<dyn Cell>, MeterError> {
        let shared = Arc::new(Shared {
            processes: SignalCell::new(spec),
            root: AtomicU32::new(0),
            frozen: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            throttled_ns: AtomicU64::new(0),
            memory_kills: AtomicU64::new(0),
            memory_bytes: u64::from(spec.memory_mib) << 20,
            share: vcpus(spec.memory_mib) * self.cpu_scale,
            period: self.period,
        });
        Ok(Box::new(DutyCycleCell { shared }))
    }

    fn mechanism(&self) -> MeteringMode {
        MeteringMode::DutyCycle
    }

    fn close(&self) {}
}

struct DutyCycleCell {
    shared: Arc<Shared>,
}

struct Shared {
    processes: SignalCell,
    root: AtomicU32,
    frozen: AtomicBool,
    ended: AtomicBool,
    throttled_ns: AtomicU64,
    memory_kills: AtomicU64,
    memory_bytes: u64,
    share: f64,
    period: Duration,
}

/// Decides when to stop and continue, from CPU time and elapsed time alone.
struct Governor {
    share: f64,
    period_s: f64,
    used_before: f64,
    started: f64,
    stopped: bool,
}

/// What to do with the processes now.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Stop,
    Continue,
    Leave,
}

impl Governor {
    fn new(share: f64, period: Duration) -> Self {
        Self { share, period_s: period.as_secs_f64(), used_before: 0.0, started: 0.0, stopped: false }
    }

    /// `now` and `used` in seconds since any fixed instants.
    fn decide(&mut self, now: f64, used: f64) -> Order {
        let allowance = self.share * (now - self.started);
        let ahead = used - self.used_before - allowance;
        // What was not used is saved for a moment only: a neighbour's short turn on the core costs nothing, idling gives
        // no burst worth the name.
        let saved = SAVED_PERIODS * self.share * self.period_s;
        let ahead = ahead.max(-saved);
        if ahead <= -saved {
            self.started = now - (used - self.used_before + saved) / self.share;
        }
        match (self.stopped, ahead) {
            (false, ahead) if ahead > self.share * self.period_s * 0.5 => {
                self.stopped = true;
                Order::Stop
            }
            (true, ahead) if ahead <= -self.share * self.period_s * 0.5 => {
                self.stopped = false;
                Order::Continue
            }
            _ => Order::Leave,
        }
    }
}

impl Shared {
    async fn govern(self: Arc<Self>) {
        let begin = Instant::now();
        let mut governor = Governor::new(self.share, self.period);
        let mut ticks = 0_u32;
        let mut members = Vec::new();
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.ended.load(Ordering::Relaxed) {
            interval.tick().await;
            if self.frozen.load(Ordering::Relaxed) {
                tokio::time::sleep(TICK).await;
                continue;
            }
            if ticks.is_multiple_of(10) {
                members = processes::descendants(self.root.load(Ordering::Relaxed));
            }
            ticks = ticks.wrapping_add(1);
            let used: u64 = members.iter().copied().map(processes::cpu_ns).sum();
            let order = governor.decide(begin.elapsed().as_secs_f64(), used as f64 / 1e9);
            self.obey(order, governor.stopped, &members);
            if ticks.is_multiple_of(MEMORY_TICKS) {
                self.watch_memory(&members);
            }
        }
    }

    fn obey(&self, order: Order, stopped: bool, members: &[u32]) {
        let signal = match order {
            Order::Stop => Some(Signal::SIGSTOP),
            Order::Continue => Some(Signal::SIGCONT),
            Order::Leave => None,
        };
        if let Some(signal) = signal {
            members.iter().for_each(|pid| processes::signal(*pid, signal));
        }
        if stopped {
            let tick = u64::try_from(TICK.as_nanos()).unwrap_or(0);
            self.throttled_ns.fetch_add(tick, Ordering::Relaxed);
        }
    }

    fn watch_memory(&self, members: &[u32]) {
        let used: u64 = members.iter().copied().map(processes::proportional_bytes).sum();
        if used > self.memory_bytes {
            self.memory_kills.fetch_add(1, Ordering::Relaxed);
            members.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
        }
    }
}

impl Cell for DutyCycleCell {
    fn entry(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn started(&self, pid: u32) {
        self.shared.root.store(pid, Ordering::Relaxed);
        tokio::spawn(Arc::clone(&self.shared).govern());
    }

    fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::Relaxed);
        self.shared.processes.freeze();
    }

    fn thaw(&self) {
        self.shared.processes.thaw();
        self.shared.frozen.store(false, Ordering::Relaxed);
    }

    fn settle_every(&self) -> Option<Duration> {
        None
    }

    fn settle(&self) {}

    fn usage(&self) -> Usage {
        Usage {
            throttled_ns: self.shared.throttled_ns.load(Ordering::Relaxed),
            memory_kills: self.shared.memory_kills.load(Ordering::Relaxed),
            ..self.shared.processes.usage()
        }
    }

    fn memory_peak_bytes(&self) -> u64 {
        self.shared.processes.memory_peak_bytes()
    }

    fn kill(&self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.processes.kill();
    }

    fn close(&self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a process that always wants the CPU against the governor in steps of a tick; returns its share.
    fn simulate(share: f64) -> f64 {
        let mut governor = Governor::new(share, Duration::from_millis(20));
        let (mut now, mut used, mut running) = (0.0, 0.0, true);
        while now < 10.0 {
            now += TICK.as_secs_f64();
            used += if running { TICK.as_secs_f64() } else { 0.0 };
            match governor.decide(now, used) {
                Order::Stop => running = false,
                Order::Continue => running = true,
                Order::Leave => {}
            }
        }
        used / now
    }

    #[test]
    fn a_busy_process_gets_its_share() {
        for share in [0.1, 0.25, 0.5, 0.9] {
            let got = simulate(share);
            assert!((got - share).abs() < 0.01, "{got} of {share}");
        }
    }

    #[test]
    fn an_idle_process_does_not_save_up() {
        let mut governor = Governor::new(0.25, Duration::from_millis(20));
        assert_eq!(governor.decide(60.0, 0.0), Order::Leave);
        let order = governor.decide(60.03, 0.03);
        assert_eq!(order, Order::Stop, "thirty busy ms are more than the saved ten and the grant of 7.5");
    }
}

//! How many invocations bulk jobs may have in flight beside live traffic on one account.
//!
//! Problem: Lambda's concurrency is one pool, and an invocation that runs cannot be called back. What bulk holds when live traffic rises, live
//! has to wait for: for as long as a chunk takes. What is held free for live and not used is time that the job loses.
//!
//! Rule: weighted fair queueing between two flows, live first.
//! * *Need of live*: the most that it wanted (in flight and waiting) within [`ShareSettings::horizon`], or what it wants now and the largest
//!   rise that it showed while a chunk of bulk runs, whichever is more; on top the square root of that, as chance may add, at least one.
//! * *Left*: capacity less that need. Bulk may have all of it.
//! * *Both want more than there is*: less is left than bulk's weight of the capacity. Then bulk has its weight, and no more.
//! * *At risk*: live is late beyond its allowance, or somebody was throttled. Bulk's window is at once half of what is in flight, and again half as soon
//!   as that shows and live is still at risk; down to nothing. It grows back by a sixteenth of the capacity a chunk time, and is whole again
//!   after a horizon without a cut.
//! * *No starvation*: after [`ShareSettings::starved_after`] with nothing in flight one invocation is allowed, whatever the risk.
//!
//! So live waits for bulk for one chunk time at the longest, unless both are backlogged, and then for its share less the weight.
//!
//! Why not strict priority: live that always waits would stop a job for ever. Why not the weight alone: a quiet night would leave the
//! account idle. Why not preemption: Lambda has none.
//! Bounds and first start: until live was reported once, bulk has its weight; then all that is left, since a window that was never cut is whole.
//! Deliberately absent: payloads, clocks, models (all live traffic is one flow), and the jobs among each other.
//! Reference: Demers, Keshav, Shenker, "Analysis and simulation of a fair queueing algorithm", 1989; Chiu and Jain, 1989, for the window.

use std::collections::VecDeque;
use std::time::Duration;

use gateway_contract::Timestamp;

/// What an operator decides, and what is known of the account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareSettings {
    /// Invocations at a time that live and bulk may have together, at least 1: the account's concurrency, or what of it is this gateway's.
    pub capacity: u32,
    /// Bulk's part of the capacity when both flows want more than there is, 0 to 1. More: jobs end earlier under load, live waits more often. Default 0.1.
    pub weight: f64,
    /// Most invocations of bulk, whatever is left; at least 1. Default: no bound.
    pub max_parallelism: u32,
    /// For how long a peak of live is remembered. More: calmer, less left for bulk. Default 5 min.
    pub horizon: Duration,
    /// How long a chunk of bulk runs: until then what bulk holds cannot be used. At least 1 ms. Default 10 s; tell the real one by
    /// [`FairShare::handle_chunk_time`].
    pub chunk_time: Duration,
    /// Share of live answers that may be late, 0 to 1: what the SLO's percentile allows. Default 0.01.
    pub late_share: f64,
    /// Longest that a job with work has nothing in flight. Default 60 s.
    pub starved_after: Duration,
}

impl Default for ShareSettings {
    fn default() -> Self {
        Self {
            capacity: 1000,
            weight: 0.1,
            max_parallelism: u32::MAX,
            horizon: Duration::from_secs(300),
            chunk_time: Duration::from_secs(10),
            late_share: 0.01,
            starved_after: Duration::from_secs(60),
        }
    }
}

/// Live traffic since the last report, of all models together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveLoad {
    /// Invocations in flight now.
    pub in_flight: u32,
    /// Batches that are ready and wait for a place, now: not those that still fill.
    pub waiting: u32,
    /// Requests answered since the last report.
    pub answered: u64,
    /// Of those, later than their objective.
    pub late: u64,
    /// Live invocations that Lambda throttled since the last report.
    pub throttled: u64,
}

/// Why bulk has what it has, for a metric and a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShareState {
    /// It may have all that live leaves.
    Left,
    /// Both want more than there is: it has its weight.
    Weight,
    /// Live is or was at risk: its window is smaller than either.
    Risk,
    /// One invocation, since it had none for too long.
    Starved,
}

/// What bulk may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Invocations that may be in flight; what is above it ends by itself, and nothing is begun meanwhile.
    pub allowed: u32,
    /// Why.
    pub state: ShareState,
}

/// What live wanted in a slice of time.
#[derive(Clone, Copy, Debug)]
struct Slice {
    began: u64,
    least: u32,
    most: u32,
    /// Largest rise within it.
    rise: u32,
}

/// The share of bulk. Told the time with each call; earlier times count as the latest told.
#[derive(Clone, Debug)]
pub struct FairShare {
    settings: ShareSettings,
    chunk_time: u64,
    now: u64,
    /// What live wants now.
    wants: u32,
    is_reported: bool,
    reported_at: u64,
    /// Oldest first.
    slices: VecDeque<Slice>,
    /// Window of bulk, invocations; fractions grow.
    window: f64,
    last_cut: Option<u64>,
    grown_at: u64,
    in_flight: u32,
    /// Since when nothing of bulk is in flight.
    idle_since: u64,
    /// Share of late answers, with forgetting.
    late: f64,
}

/// Slices that a horizon is kept in, at most.
const SLICES: u64 = 256;
/// Answers that lateness is averaged over.
const LATE_MEMORY: f64 = 1000.0;
/// Nanoseconds in which lateness fades without answers: of traffic that has gone, or is too thin to say otherwise. One minute.
const LATE_FADES: u64 = 60_000_000_000;
/// Growth of the window in a chunk time, as a share of the capacity.
const GROWTH: f64 = 1.0 / 16.0;

impl FairShare {
    /// A share with nothing in flight.
    #[must_use]
    pub fn new(settings: ShareSettings, now: Timestamp) -> Self {
        let capacity = settings.capacity.max(1);
        let settings = ShareSettings { capacity, weight: settings.weight.clamp(0.0, 1.0), ..settings };
        Self {
            settings,
            chunk_time: nanos(settings.chunk_time),
            now: now.as_nanos(),
            wants: 0,
            is_reported: false,
            reported_at: now.as_nanos(),
            slices: VecDeque::new(),
            window: f64::from(capacity),
            last_cut: None,
            grown_at: now.as_nanos(),
            in_flight: 0,
            idle_since: now.as_nanos(),
            late: 0.0,
        }
    }

    /// Live traffic since the last report: every 100 ms or so, also when there is none.
    pub fn handle_live(&mut self, now: Timestamp, live: &LiveLoad) {
        self.tell(now);
        self.late *= 1.0 - ((self.now - self.reported_at) as f64 / LATE_FADES as f64).min(1.0);
        self.reported_at = self.now;
        self.is_reported = true;
        self.wants = live.in_flight.saturating_add(live.waiting);
        self.remember();
        if live.answered > 0 {
            let answered = live.answered as f64;
            let share = live.late as f64 / answered;
            self.late += (share - self.late) * (answered / LATE_MEMORY).min(1.0);
        }
        let has_traffic = live.answered > 0 || self.wants > 0;
        if live.throttled > 0 || (has_traffic && self.late > self.settings.late_share) {
            self.cut();
        } else {
            self.grow();
        }
    }

    /// Invocations of bulk that are in flight now; after each that begins or ends.
    pub fn handle_bulk(&mut self, now: Timestamp, in_flight: u32) {
        self.tell(now);
        if self.in_flight > 0 || in_flight > 0 {
            self.idle_since = self.now;
        }
        self.in_flight = in_flight;
    }

    /// Lambda throttled an invocation of bulk: the account is full, and live will meet the same.
    pub fn handle_bulk_throttled(&mut self, now: Timestamp) {
        self.tell(now);
        self.cut();
    }

    /// How long a chunk of bulk takes, as far as is known by now; counted as at least 1 ms.
    pub fn handle_chunk_time(&mut self, chunk_time: Duration) {
        self.chunk_time = nanos(chunk_time);
    }

    /// The account's concurrency has changed.
    pub fn handle_capacity(&mut self, capacity: u32) {
        self.settings.capacity = capacity.max(1);
        if self.last_cut.is_none() {
            self.window = f64::from(self.settings.capacity);
        }
    }

    /// What bulk may have now.
    #[must_use]
    pub fn share(&self, now: Timestamp) -> Share {
        let now = now.as_nanos().max(self.now);
        let settings = &self.settings;
        let weight = self.weight();
        let left = if self.is_reported { settings.capacity.saturating_sub(self.need()) } else { 0 };
        let (wanted, state) =
            if left >= weight { (left, ShareState::Left) } else { (weight, ShareState::Weight) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the capacity")]
        let window = self.window as u32;
        let (allowed, state) = if window < wanted { (window, ShareState::Risk) } else { (wanted, state) };
        let is_starved = now.saturating_sub(self.idle_since) >= nanos(settings.starved_after);
        if allowed == 0 && self.in_flight == 0 && is_starved {
            return Share { allowed: 1, state: ShareState::Starved };
        }
        Share { allowed: allowed.min(settings.max_parallelism.max(1)), state }
    }

    /// Invocations that live is expected to need before a chunk of bulk ends.
    #[must_use]
    pub fn need(&self) -> u32 {
        let most = self.slices.iter().map(|slice| slice.most).max().unwrap_or(0);
        let expected = most.max(self.wants.saturating_add(self.rise()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a root of a count")]
        let by_chance = f64::from(expected).sqrt().ceil() as u32;
        expected.saturating_add(by_chance.max(1))
    }

    /// Bulk's weight of the capacity, at least one invocation.
    fn weight(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the capacity"
        )]
        let weight = (f64::from(self.settings.capacity) * self.settings.weight) as u32;
        weight.max(1)
    }

    fn tell(&mut self, now: Timestamp) {
        self.now = self.now.max(now.as_nanos());
    }

    /// Largest rise of live while a chunk runs: from the least of a slice to the most of it or of the next.
    fn rise(&self) -> u32 {
        let within = self.slices.iter().map(|slice| slice.rise);
        let across = self
            .slices
            .iter()
            .zip(self.slices.iter().skip(1))
            .map(|(before, after)| after.most.saturating_sub(before.least));
        within.chain(across).max().unwrap_or(0)
    }

    fn remember(&mut self) {
        let horizon = nanos(self.settings.horizon);
        let length = self.chunk_time.max(horizon / SLICES).max(1);
        while self.slices.front().is_some_and(|slice| self.now.saturating_sub(slice.began) > horizon + length)
        {
            self.slices.pop_front();
        }
        let wants = self.wants;
        match self.slices.back_mut() {
            Some(slice) if self.now < slice.began.saturating_add(length) => {
                slice.rise = slice.rise.max(wants.saturating_sub(slice.least));
                slice.least = slice.least.min(wants);
                slice.most = slice.most.max(wants);
            }
            _ => {
                self.slices.push_back(Slice { began: self.now, least: wants, most: wants, rise: 0 });
            }
        }
    }

    /// Half of what is in flight, once the cut before has shown.
    fn cut(&mut self) {
        self.grown_at = self.now;
        if f64::from(self.in_flight) > self.window {
            return;
        }
        let half = (self.window.min(f64::from(self.in_flight)) / 2.0).floor();
        self.window = half;
        self.last_cut = Some(self.now);
    }

    fn grow(&mut self) {
        let capacity = f64::from(self.settings.capacity);
        let passed = self.now.saturating_sub(self.grown_at);
        self.grown_at = self.now;
        let Some(cut) = self.last_cut else { return };
        if self.now.saturating_sub(cut) >= nanos(self.settings.horizon) {
            (self.window, self.last_cut) = (capacity, None);
            return;
        }
        let chunk_times = passed as f64 / self.chunk_time as f64;
        self.window = (self.window + capacity * GROWTH * chunk_times).min(capacity);
    }
}

/// At least 1 ms.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1_000_000)
}

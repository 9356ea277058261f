//! Promises of the share of bulk, for any live traffic: what is held free, how long live waits, and that a job gets on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::time::Duration;

use gateway_contract::Timestamp;
use gateway_policy::share::{FairShare, LiveLoad, ShareSettings, ShareState};
use proptest::prelude::*;

const STEP: Duration = Duration::from_millis(100);

fn at(step: usize) -> Timestamp {
    Timestamp::ZERO + STEP * u32::try_from(step).unwrap()
}

fn settings(capacity: u32, weight: f64, chunk_steps: usize) -> ShareSettings {
    ShareSettings {
        capacity,
        weight,
        chunk_time: STEP * u32::try_from(chunk_steps).unwrap(),
        horizon: Duration::from_secs(20),
        starved_after: Duration::from_secs(5),
        ..ShareSettings::default()
    }
}

/// Places that a weight is, as the share counts them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
fn places(capacity: u32, weight: f64) -> u32 {
    ((f64::from(capacity) * weight) as u32).max(1)
}

/// A job that always wants more, beside live traffic that takes what it finds, in steps of 100 ms.
struct World {
    share: FairShare,
    capacity: u32,
    chunk_steps: usize,
    /// When each chunk ends, oldest first.
    chunks: VecDeque<usize>,
    begun: Vec<usize>,
}

impl World {
    fn new(settings: ShareSettings, chunk_steps: usize) -> Self {
        let capacity = settings.capacity;
        let share = FairShare::new(settings, Timestamp::ZERO);
        Self { share, capacity, chunk_steps, chunks: VecDeque::new(), begun: Vec::new() }
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap()
    }

    /// One step with so much live demand; gives what live has in flight.
    fn step(&mut self, step: usize, demand: u32, late: bool) -> u32 {
        while self.chunks.front().is_some_and(|&ends| ends <= step) {
            self.chunks.pop_front();
        }
        self.share.handle_bulk(at(step), self.in_flight());
        let live = demand.min(self.capacity - self.in_flight().min(self.capacity));
        let load = LiveLoad {
            in_flight: live,
            waiting: demand - live,
            answered: 100,
            late: if late { 100 } else { 0 },
            throttled: 0,
        };
        self.share.handle_live(at(step), &load);
        while self.in_flight() < self.share.share(at(step)).allowed && self.in_flight() + live < self.capacity
        {
            self.chunks.push_back(step + self.chunk_steps);
            self.begun.push(step);
            self.share.handle_bulk(at(step), self.in_flight());
        }
        live
    }
}

/// Demand that stays for a while and then jumps.
fn demands() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec((0_u32..150, 1_usize..40), 1..20).prop_map(|levels| {
        levels.into_iter().flat_map(|(level, steps)| std::iter::repeat_n(level, steps)).collect()
    })
}

proptest! {
    #[test]
    fn what_live_needs_is_held_free(
        capacity in 1_u32..150, weight in 0.0_f64..0.5, chunk in 1_usize..60, demands in demands(),
    ) {
        let mut world = World::new(settings(capacity, weight, chunk), chunk);
        for (step, &demand) in demands.iter().enumerate() {
            world.step(step, demand, false);
            let share = world.share.share(at(step));
            let weight = places(capacity, weight);
            prop_assert!(share.allowed <= capacity.saturating_sub(world.share.need()).max(weight), "{share:?}");
            prop_assert!(world.share.need() > demand, "need {} of {demand}", world.share.need());
            prop_assert!(share.state == ShareState::Left || share.allowed <= weight);
        }
    }

    #[test]
    fn live_waits_for_bulk_for_one_chunk_at_most(
        capacity in 2_u32..150, weight in 0.0_f64..0.5, chunk in 1_usize..60, demands in demands(),
    ) {
        let mut world = World::new(settings(capacity, weight, chunk), chunk);
        let weight = places(capacity, weight);
        let mut blocked = 0;
        for (step, &demand) in demands.iter().enumerate() {
            let live = world.step(step, demand, false);
            let waits_for_bulk = live < demand && world.in_flight() > weight;
            blocked = if waits_for_bulk { blocked + 1 } else { 0 };
            prop_assert!(blocked <= chunk + 1, "blocked for {blocked} steps at {step}");
        }
    }

    #[test]
    fn a_job_has_its_weight_while_live_is_in_time(
        capacity in 4_u32..150, weight in 0.0_f64..0.5, chunk in 1_usize..60, demands in demands(),
    ) {
        let mut world = World::new(settings(capacity, weight, chunk), chunk);
        let weight = places(capacity, weight);
        for (step, &demand) in demands.iter().enumerate() {
            // Live is capped below the weight, as an operator does who wants the weight kept.
            world.step(step, demand.min(capacity - weight), false);
            prop_assert!(world.in_flight() >= weight, "{} of {weight} at {step}", world.in_flight());
        }
    }

    #[test]
    fn no_job_starves_whatever_live_suffers(
        capacity in 2_u32..150, chunk in 1_usize..60, demands in demands(),
    ) {
        let mut world = World::new(settings(capacity, 0.1, chunk), chunk);
        for (step, &demand) in demands.iter().cycle().take(600).enumerate() {
            world.step(step, demand.min(capacity - 1), true);
        }
        let gaps = world.begun.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = gaps.chain([600 - world.begun.last().copied().unwrap_or(0)]).max().unwrap();
        prop_assert!(longest <= 50 + chunk + 2, "nothing began for {longest} steps");
        prop_assert!(world.begun.len() <= usize::try_from(capacity).unwrap() * 3 + 600 / 50 + 2);
    }
}

#[test]
fn lateness_halves_at_once_and_calm_gives_back() {
    let mut world = World::new(settings(64, 0.1, 10), 10);
    (0..50).for_each(|step| {
        world.step(step, 0, false);
    });
    let before = world.share.share(at(50)).allowed;
    assert!(before >= 62, "{before}");
    world.step(50, 0, true);
    let cut = world.share.share(at(50));
    assert!(cut.allowed <= before / 2 + 1 && cut.state == ShareState::Risk, "{cut:?} of {before}");
    (51..90).for_each(|step| {
        world.step(step, 0, true);
    });
    assert_eq!(world.share.share(at(89)).allowed, 0);
    let mut back = 0;
    for step in 90..600 {
        world.step(step, 0, false);
        back = world.share.share(at(step)).allowed;
    }
    assert!(back >= 62, "{back}");
}

#[test]
fn traffic_that_has_gone_is_late_no_longer() {
    let mut share = FairShare::new(settings(64, 0.1, 10), Timestamp::ZERO);
    let late = LiveLoad { in_flight: 5, answered: 1000, late: 1000, ..LiveLoad::default() };
    share.handle_live(at(1), &late);
    assert_eq!(share.share(at(1)).allowed, 0);
    (2..400).for_each(|step| share.handle_live(at(step), &LiveLoad::default()));
    assert!(share.share(at(400)).allowed >= 60, "{:?}", share.share(at(400)));
}

#[test]
fn until_live_is_known_bulk_has_its_weight() {
    let share = FairShare::new(settings(100, 0.2, 10), Timestamp::ZERO);
    assert_eq!((share.share(at(0)).allowed, share.share(at(0)).state), (20, ShareState::Weight));
}

#[test]
fn a_rise_that_was_seen_is_held_free_after_its_peak_is_forgotten() {
    let mut share = FairShare::new(settings(100, 0.1, 10), Timestamp::ZERO);
    let tell = |share: &mut FairShare, step: usize, in_flight: u32| {
        share.handle_live(at(step), &LiveLoad { in_flight, ..LiveLoad::default() });
    };
    (0..10).for_each(|step| tell(&mut share, step, 10));
    tell(&mut share, 10, 40);
    assert!(share.need() >= 70, "another rise of 30 may follow: {}", share.need());
    (11..150).for_each(|step| tell(&mut share, step, 10));
    assert!((40..=50).contains(&share.need()), "the peak and the rise: {}", share.need());
    (150..400).for_each(|step| tell(&mut share, step, 10));
    assert!((11..=15).contains(&share.need()), "forgotten: {}", share.need());
}

//! The rules of the data plane, word by word and as slowly as they read. See `tests/model.rs`.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{ItemFailure, PackingPolicy, RequestId, ServingPlan, Timestamp};
use gateway_policy::{ItemBytes, RequestMeta, RequestOutcome};

use crate::harness::ms;

/// One waiting item.
#[derive(Clone, Debug)]
pub struct Item {
    pub request: u64,
    pub index: u32,
    pub bytes: u64,
}

pub struct Known {
    pub meta: RequestMeta,
    pub arrival: Timestamp,
    pub number: u64,
    pub open: u32,
    pub failed: Vec<(u32, ItemFailure)>,
}

pub struct Naive {
    pub plan: ServingPlan,
    pub now: Timestamp,
    pub is_draining: bool,
    pub known: BTreeMap<u64, Known>,
    pub waiting: Vec<Item>,
    pub in_flight: BTreeMap<u64, (Timestamp, Vec<Item>)>,
    pub sent: Vec<Vec<(u64, u32)>>,
    pub answers: Vec<(RequestId, RequestOutcome)>,
    pub batches: u64,
    pub arrivals: u64,
    pub mean: Option<u64>,
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

impl Naive {
    pub fn new(plan: ServingPlan) -> Self {
        Self {
            plan,
            now: Timestamp::ZERO,
            is_draining: false,
            known: BTreeMap::new(),
            waiting: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            batches: 0,
            arrivals: 0,
            mean: None,
        }
    }

    pub fn upper(&self, fill: u32) -> Duration {
        self.plan.service_time_upper.upper(fill)
    }

    pub fn urgency(&self, request: u64) -> Timestamp {
        let known = &self.known[&request];
        let hard = known.meta.deadline.unwrap_or(Timestamp::MAX);
        let is_reachable = self.plan.slo_latency >= self.upper(1) + self.plan.deadline_margin;
        if is_reachable { hard.min(known.arrival + self.plan.slo_latency) } else { hard }
    }

    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.iter().map(|item| item.bytes).sum()
    }

    pub fn answer_size(&self, item: &Item) -> u64 {
        u64::from(self.known[&item.request].meta.response_bytes_per_item.max(1))
    }

    pub fn items(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap()
    }

    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|item| self.known[&item.request].arrival).min()
    }

    pub fn earliest(&self) -> Option<Timestamp> {
        let urgent = self.waiting.iter().map(|item| self.urgency(item.request)).min();
        urgent.filter(|urgency| self.plan.packing == PackingPolicy::Deadline && *urgency < Timestamp::MAX)
    }

    /// When the next batch closes: now, later, or not by itself.
    pub fn closes(&self) -> Option<Timestamp> {
        let oldest = self.oldest()?;
        let answer_bytes: u64 = self.waiting.iter().map(|item| self.answer_size(item)).sum();
        let is_full = self.items() >= self.plan.max_batch_size
            || self.waiting_bytes() >= self.plan.max_request_payload_bytes
            || answer_bytes >= self.plan.max_response_payload_bytes;
        if is_full || self.is_draining || self.plan.packing == PackingPolicy::None {
            return Some(Timestamp::ZERO);
        }
        let delay = oldest + self.plan.max_queue_delay;
        let urgent = self.earliest().map(|urgency| {
            urgency.saturating_sub(self.upper(self.items())).saturating_sub(self.plan.deadline_margin)
        });
        Some(urgent.map_or(delay, |urgent| urgent.min(delay)))
    }

    pub fn wake(&self) -> Option<Timestamp> {
        let deadlines = self.known.values().filter_map(|known| known.meta.deadline).min();
        let closes = self.closes().filter(|_| self.has_slot());
        deadlines.into_iter().chain(closes).min()
    }

    pub fn has_slot(&self) -> bool {
        self.in_flight.len() < self.plan.max_in_flight as usize
    }

    pub fn expire(&mut self, request: u64) {
        self.known.remove(&request);
        self.waiting.retain(|item| item.request != request);
        self.answers.push((RequestId(request), RequestOutcome::DeadlineExceeded));
    }

    pub fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let mut due: Vec<_> = self
            .known
            .iter()
            .filter_map(|(id, known)| Some((known.meta.deadline.filter(|at| *at <= now)?, known.number, *id)))
            .collect();
        due.sort_unstable();
        due.into_iter().for_each(|(_, _, id)| self.expire(id));
    }

    pub fn send(&mut self) {
        while self.has_slot() && self.closes().is_some_and(|at| at <= self.now) {
            let chosen = self.choose();
            if chosen.is_empty() {
                continue;
            }
            self.batches += 1;
            self.sent.push(chosen.iter().map(|item| (item.request, item.index)).collect());
            self.in_flight.insert(self.batches, (self.now, chosen));
        }
    }

    /// After how long a wait a request leads.
    pub fn patience(&self) -> Duration {
        let is_reachable = self.plan.slo_latency >= self.upper(1) + self.plan.deadline_margin;
        let slo = if is_reachable { self.plan.slo_latency } else { Duration::ZERO };
        slo.max(self.plan.max_queue_delay).max(ms(1)) * 10
    }

    pub fn choose(&mut self) -> Vec<Item> {
        let max = self.plan.max_batch_size;
        let mut bound = max;
        if let Some(urgency) = self.earliest().filter(|_| self.items() < max) {
            let fitting = (1..=max).rev().find(|&fill| self.upper(fill) <= urgency - self.now);
            bound = fitting.filter(|fill| fill * 4 >= self.items()).unwrap_or(max);
        }
        let is_overloaded =
            self.items() > max && self.in_flight.len() + 1 >= self.plan.max_in_flight as usize;
        let probable = self.mean.map_or(0, |mean| (2 * mean).min(nanos(self.upper(max))));
        let hopeless_before = self.now + Duration::from_nanos(probable);
        let oldest =
            self.waiting.iter().map(|item| &self.known[&item.request]).min_by_key(|known| known.number);
        let starved =
            oldest.filter(|known| self.now - known.arrival >= self.patience()).map(|known| known.number);
        let mut order = self.waiting.clone();
        order.sort_by_key(|item| {
            let key = match self.plan.packing {
                PackingPolicy::Deadline if Some(self.known[&item.request].number) != starved => {
                    self.urgency(item.request)
                }
                PackingPolicy::Deadline | PackingPolicy::None | PackingPolicy::Fifo => Timestamp::ZERO,
            };
            (key, self.known[&item.request].number, item.index)
        });
        let (mut chosen, mut bytes, mut answer_bytes): (Vec<Item>, u64, u64) = (Vec::new(), 0, 0);
        for item in order {
            if chosen.len() == bound as usize {
                break;
            }
            let Some(known) = self.known.get(&item.request) else {
                continue;
            };
            let has_begun = chosen.iter().any(|other| other.request == item.request);
            let is_another = self.plan.packing == PackingPolicy::None && !chosen.is_empty() && !has_begun;
            if is_another {
                break;
            }
            if !has_begun && is_overloaded && known.meta.deadline.is_some_and(|at| at < hopeless_before) {
                self.expire(item.request);
                if self.plan.packing == PackingPolicy::None {
                    break;
                }
                continue;
            }
            let (more, answer_more) = (bytes + item.bytes, answer_bytes + self.answer_size(&item));
            let fits = more <= self.plan.max_request_payload_bytes
                && answer_more <= self.plan.max_response_payload_bytes;
            if !fits && !chosen.is_empty() {
                break;
            }
            (bytes, answer_bytes) = (more, answer_more);
            chosen.push(item);
        }
        self.waiting.retain(|item| {
            !chosen.iter().any(|other| other.request == item.request && other.index == item.index)
        });
        chosen
    }

    pub fn admit(&mut self, meta: RequestMeta) -> bool {
        let sizes: Vec<u64> = match &meta.item_bytes {
            ItemBytes::Uniform(bytes) => vec![u64::from(*bytes); meta.items as usize],
            ItemBytes::Each(each) => each.iter().map(|&bytes| u64::from(bytes)).collect(),
        };
        let waves = match self.plan.packing {
            PackingPolicy::Deadline => 0,
            PackingPolicy::Fifo => {
                u64::from(self.items()) / u64::from(self.plan.max_batch_size * self.plan.max_in_flight)
            }
            PackingPolicy::None => {
                let mut requests: Vec<u64> = self.waiting.iter().map(|item| item.request).collect();
                requests.dedup();
                requests.len() as u64 / u64::from(self.plan.max_in_flight)
            }
        };
        let earliest = self.now
            + Duration::from_nanos(
                waves * self.mean.unwrap_or(0).min(nanos(self.upper(self.plan.max_batch_size))),
            )
            + self.upper(1);
        let has_room = self.waiting.len() + sizes.len() <= self.plan.queue_capacity_items as usize
            && self.waiting_bytes() + sizes.iter().sum::<u64>() <= self.plan.queue_capacity_bytes;
        let is_possible = sizes.iter().all(|&bytes| bytes <= self.plan.max_request_payload_bytes);
        if !has_room || !is_possible || meta.deadline.is_some_and(|at| at < earliest) {
            return false;
        }
        self.arrivals += 1;
        let id = meta.id.0;
        let items = (0_u32..).zip(sizes).map(|(index, bytes)| Item { request: id, index, bytes });
        self.waiting.extend(items);
        let open = meta.items;
        self.known
            .insert(id, Known { meta, arrival: self.now, number: self.arrivals, open, failed: Vec::new() });
        true
    }

    pub fn complete(&mut self, batch: u64, failed: &[(u32, ItemFailure)]) {
        let (since, items) = self.in_flight.remove(&batch).unwrap();
        let took = nanos(self.now - since);
        self.mean = Some(self.mean.map_or(took, |mean| mean - mean / 8 + took / 8));
        for (position, item) in (0_u32..).zip(items) {
            let Some(known) = self.known.get_mut(&item.request) else {
                continue;
            };
            let failure = failed.iter().find(|(at, _)| *at == position);
            known.failed.extend(failure.map(|(_, failure)| (item.index, *failure)));
            known.open -= 1;
            if known.open == 0 {
                let mut known = self.known.remove(&item.request).unwrap();
                known.failed.sort_unstable();
                let outcome = RequestOutcome::Answered { failed: known.failed };
                self.answers.push((RequestId(item.request), outcome));
            }
        }
    }
}

//! Earliest deadline first, in length classes.
//!
//! Problem: items have deadlines, priorities and lengths. Serving the earliest deadline keeps promises; serving items of one length
//! keeps padding, and so the bill, small.
//!
//! Rule: one lane per priority and class, each in order of urgency. The head of the most urgent lane of the highest priority leads the
//! batch. If all that waits fits, all goes. Otherwise the items that must go now are counted, a bounded scan per lane. If they
//! fit, room is kept for those of other lanes and the rest is filled from the leader's class, then by priority and urgency. If even
//! they do not fit, the leader's own that must go come first, then the others by priority and urgency.
//! A request that has waited [`Moment::starved_until`] leads whatever its priority, so that nothing waits for ever.
//!
//! Why not one queue over all classes: under load each batch would mix all lengths and be padded to the longest.
//! Why not a queue per class with its own batches: at low load each class would wait for its own batch to fill.
//!
//! Bounds: work per batch is the batch plus the number of lanes; empty lanes are removed when they are more than [`MAX_EMPTY_LANES`].
//! Reference: Liu and Layland, 1973, for earliest deadline first.

use super::{Fill, Moment, Packing};
use crate::ordered_queue::{Entry, OrderedQueue};
use crate::request::{NEVER, Request, Requests};
use crate::waiting::Waiting;

/// Empty lanes that are kept for reuse.
const MAX_EMPTY_LANES: usize = 64;
/// Gone entries that are tolerated beyond the number of waiting requests before lanes are compacted.
const SLACK: usize = 64;

#[derive(Debug)]
struct Lane {
    priority: u8,
    class: u16,
    queue: OrderedQueue,
}

/// Lanes by priority and class.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Ascending in priority, then class.
    lanes: Vec<Lane>,
    /// Over the fronts of all lanes; [`NEVER`] if none is urgent.
    earliest: u64,
    /// Whether a lane holds anything.
    holds_any: bool,
    last_lane: usize,
    gone: usize,
}

impl Packing for Deadline {
    #[inline]
    fn push(&mut self, request: &Request, slot: u32, urgency: u64) {
        let lane = self.lane_of(request.priority, request.class);
        self.lanes[lane].queue.push(Entry { key: urgency, sequence: request.sequence, slot });
        self.earliest = if self.holds_any { self.earliest.min(urgency) } else { urgency };
        self.holds_any = true;
    }

    fn forget(&mut self, waiting: &Waiting, requests: &Requests) {
        self.gone += 1;
        if self.gone > waiting.requests + SLACK {
            self.compact(requests);
        }
        self.settle(requests);
    }

    #[inline]
    fn earliest_urgency(&self) -> Option<u64> {
        (self.holds_any && self.earliest != NEVER).then_some(self.earliest)
    }

    fn pack(&mut self, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, moment: Moment) {
        self.take_starved(waiting, requests, fill, moment);
        if fill.room() >= waiting.items && fill.has_room_for_bytes(waiting.bytes, waiting.response_bytes) {
            for lane in &mut self.lanes {
                drain_lane(lane, waiting, requests, fill, u32::MAX);
            }
        } else if let [only] = self.lanes.as_mut_slice() {
            drain_lane(only, waiting, requests, fill, u32::MAX);
        } else {
            self.pack_by_class(waiting, requests, fill, moment);
        }
        self.settle(requests);
    }
}

impl Deadline {
    #[inline]
    fn lane_of(&mut self, priority: u8, class: u16) -> usize {
        let is_it = |lane: &Lane| lane.priority == priority && lane.class == class;
        if self.lanes.get(self.last_lane).is_some_and(is_it) {
            return self.last_lane;
        }
        let found = self.lanes.binary_search_by_key(&(priority, class), |lane| (lane.priority, lane.class));
        self.last_lane = found.unwrap_or_else(|at| {
            self.lanes.insert(at, Lane { priority, class, queue: OrderedQueue::default() });
            at
        });
        self.last_lane
    }

    /// Drops gone entries from the fronts, so that `earliest` is exact.
    #[inline]
    fn settle(&mut self, requests: &Requests) {
        self.earliest = NEVER;
        self.holds_any = false;
        let mut empty = 0;
        for lane in &mut self.lanes {
            lane.queue.skip_until(requests, |requests, entry| requests.waits(entry.slot, entry.sequence));
            match lane.queue.front() {
                Some(front) => {
                    self.earliest = self.earliest.min(front.key);
                    self.holds_any = true;
                }
                None => empty += 1,
            }
        }
        if empty > MAX_EMPTY_LANES {
            self.lanes.retain(|lane| !lane.queue.is_empty());
        }
    }

    fn compact(&mut self, requests: &Requests) {
        self.gone = 0;
        for lane in &mut self.lanes {
            lane.queue.retain(|entry| requests.waits(entry.slot, entry.sequence));
        }
    }

    fn take_starved(
        &mut self,
        waiting: &mut Waiting,
        requests: &mut Requests,
        fill: &mut Fill,
        moment: Moment,
    ) {
        waiting.settle(requests);
        let Some(oldest) = waiting.oldest().filter(|oldest| Some(oldest.arrival) <= moment.starved_until)
        else {
            return;
        };
        if let Some(request) = requests.live_mut(oldest.slot, oldest.sequence) {
            // Its entry in the lane is recognised as gone once none of its items waits.
            if waiting.take(request, oldest.slot, u32::MAX, fill) {
                self.gone += 1;
            }
        }
    }

    fn pack_by_class(
        &mut self,
        waiting: &mut Waiting,
        requests: &mut Requests,
        fill: &mut Fill,
        moment: Moment,
    ) {
        self.settle(requests);
        let Some(lead) = self.most_urgent(NEVER) else {
            return;
        };
        let class = self.lanes[lead].class;
        let room = fill.room();
        let own = count_until(&self.lanes[lead], requests, moment.must_go_until, room);
        let mut others = 0;
        for (at, lane) in self.lanes.iter().enumerate() {
            if at != lead && others < room {
                others += count_until(lane, requests, moment.must_go_until, room - others);
            }
        }
        if own.saturating_add(others) <= room {
            // The leader goes in any case, even if all others must go and it could wait.
            let reserved_below = fill.items + (room - others).max(1);
            for lane in self.lanes.iter_mut().filter(|lane| lane.class == class) {
                let quota = reserved_below.saturating_sub(fill.items);
                drain_lane(lane, waiting, requests, fill, quota);
            }
        } else {
            drain_lane(&mut self.lanes[lead], waiting, requests, fill, own.max(1));
        }
        for until in [moment.must_go_until, NEVER] {
            while let Some(lane) = self.most_urgent(until).filter(|_| !fill.is_closed()) {
                if !take_front(&mut self.lanes[lane], waiting, requests, fill) {
                    break;
                }
            }
        }
    }

    /// The lane whose front has the highest priority, then the earliest urgency, among fronts up to `until`.
    fn most_urgent(&self, until: u64) -> Option<usize> {
        let fronts = self.lanes.iter().enumerate().filter_map(|(at, lane)| {
            let front = lane.queue.front().filter(|front| front.key <= until)?;
            Some(((lane.priority, front), at))
        });
        fronts.min().map(|(_, at)| at)
    }
}

/// Items of a lane up to an urgency, at most `bound`; looks at no more entries than that.
fn count_until(lane: &Lane, requests: &Requests, until: u64, bound: u32) -> u32 {
    let mut items = 0_u32;
    for entry in lane.queue.up_to(until).take(bound as usize) {
        let waiting = requests.live(entry.slot, entry.sequence).map_or(0, Request::waiting_items);
        items = items.saturating_add(waiting);
        if items >= bound {
            return bound;
        }
    }
    items
}

/// Takes from the front of a lane, in order, up to `quota` items.
fn drain_lane(lane: &mut Lane, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, quota: u32) {
    let goal = fill.items.saturating_add(quota);
    while let Some(front) = lane.queue.front() {
        let left = goal - fill.items;
        if left == 0 || fill.is_closed() {
            break;
        }
        let exhausted = requests
            .live_mut(front.slot, front.sequence)
            .is_none_or(|request| waiting.take(request, front.slot, left, fill));
        if !exhausted {
            break;
        }
        lane.queue.pop();
    }
}

/// Takes from the first request of a lane. Whether none of it waits any more.
fn take_front(lane: &mut Lane, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill) -> bool {
    let Some(front) = lane.queue.front() else {
        return false;
    };
    let exhausted = requests
        .live_mut(front.slot, front.sequence)
        .is_none_or(|request| waiting.take(request, front.slot, u32::MAX, fill));
    if exhausted {
        lane.queue.pop();
    }
    exhausted
}

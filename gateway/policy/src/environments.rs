//! Which execution environments are believed to be there: whom a batch waits for, when another one is started, and what is kept warm.
//!
//! Problem: a batch that finds no idle environment starts one, which takes INIT and is billed for it. Beside a large model that is seconds, and as much money
//! as hundreds of requests, while an environment at work is often back within a tenth of that. And what stood idle for some minutes is taken away, to be
//! started again at the next peak.
//!
//! Rule, waiting. A batch that is due goes out if an environment of its alias is idle, or if there is none at all. If all are at work it waits for the first
//! that is back, at most INIT and a service time long: nothing is gained by that wait that a start would not bring sooner.
//! Rule, starting. A few items may wait so (`waiting_share` of all, saved up as a token bucket). When more do, another environment is started by a no-op
//! call beside them: they do not pay its INIT with their time. How many: what piles up in the time t since the first had to wait is what those at work do not
//! carry, B batches of S seconds in t, so B·S/t more would carry it; twice as many, so that what has piled up is gone an INIT after they are there.
//! Where more waits than one batch and the oldest is late already, that batch goes out and starts the environment itself: what is behind it need not be
//! late too.
//! Rule, keeping. Lambda gives a call to the environment that was idle for the shortest time, so the one that is longest idle is reached by as many overlapping
//! calls as there are idle ones. It is kept so until the calls have cost what starting it again would (`keep_calls`): the ski-rental rule, at
//! most twice as dear as knowing the future.
//!
//! Why not a bound on parallel invocations: the number that is warm follows the load up by itself, and costs nothing while it is used.
//! Bounds and first start: nothing is believed at first, so the first batch goes out at once. One entry for each environment. What Lambda takes away
//! earlier than it usually does shows as a cold start and mends itself, since what answered is there.
//! Reference: Karlin, Manasse, McGeoch and Owicki, "Competitive randomized algorithms for nonuniform problems", 1994 (ski rental).

use std::sync::Arc;

use gateway_contract::EnvironmentPolicy;

use crate::compiled_plan::nanos;

/// Share of `stays_warm` after which an idle environment is called.
const CALLED_AFTER: f64 = 0.9;
/// Environments started for what waits, over those that would just carry it.
const CATCH_UP: f64 = 2.0;
/// After a start that nothing came of, none is made for so long, nanoseconds: what refused it would refuse the next.
const PAUSE_AFTER_FAILURE: u64 = 1_000_000_000;
/// Full batches whose items may be saved up to wait.
const SAVED_BATCHES: f64 = 4.0;

/// Environments of one model, by alias.
#[derive(Debug, Default)]
pub(crate) struct Environments {
    pools: Vec<Pool>,
    /// Items that may still wait before another environment is started.
    may_wait: f64,
    /// Since when the batch that is due waits.
    held_since: Option<u64>,
    /// Since when none has gone out at its time.
    short_since: Option<u64>,
    no_start_before: u64,
}

/// Environments of one alias.
#[derive(Debug)]
struct Pool {
    qualifier: Arc<str>,
    /// In the order in which they became idle.
    idle: Vec<Idle>,
    busy: Vec<Busy>,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    since: u64,
    /// Calls since it last served a batch.
    calls: u32,
}

#[derive(Clone, Copy, Debug)]
struct Busy {
    /// The batch or call.
    id: u64,
    calls: u32,
    is_start: bool,
}

/// Where a batch that is due can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Out, now.
    Goes,
    /// It waits, at most until then (nanoseconds), and so many environments are to be started beside it.
    Waits { until: u64, start: u32 },
}

/// What is due, as far as environments matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Items that wait.
    pub(crate) items: u32,
    pub(crate) max_batch_size: u32,
    /// Upper service time of a full batch, nanoseconds.
    pub(crate) upper: u64,
    /// Most environments at work at a time.
    pub(crate) max_in_flight: u32,
    /// Of them, the ones that would go out.
    pub(crate) batch_items: u32,
    /// Whether the oldest would be late even if it went out now.
    pub(crate) is_lost: bool,
}

impl Environments {
    /// Whether what is due goes out to `qualifier`.
    pub(crate) fn turn(
        &mut self,
        policy: &EnvironmentPolicy,
        qualifier: &Arc<str>,
        now: u64,
        due: Due,
    ) -> Turn {
        let stays_warm = nanos(policy.stays_warm);
        let (may_wait, no_start_before) = (self.may_wait, self.no_start_before);
        let pool = self.pool(qualifier);
        pool.forget_cold(now, stays_warm);
        if !pool.idle.is_empty() || pool.busy.is_empty() {
            return Turn::Goes;
        }
        let (at_work, starting) = (pool.busy.len(), pool.busy.iter().filter(|it| it.is_start).count());
        let since = *self.held_since.get_or_insert(now);
        let short_since = *self.short_since.get_or_insert(now);
        let until = since.saturating_add(nanos(policy.init)).saturating_add(due.upper);
        if now >= until {
            return Turn::Goes;
        }
        let mut start = 0;
        if f64::from(due.items) > may_wait && now >= no_start_before {
            let batches = (f64::from(due.items) / f64::from(due.max_batch_size.max(1))).max(1.0);
            let seconds = now.saturating_sub(short_since).max(due.upper).max(1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the items")]
            let wanted = (CATCH_UP * batches * due.upper as f64 / seconds as f64).ceil() as usize;
            if wanted > starting && due.is_lost && due.items > due.batch_items {
                return Turn::Goes;
            }
            let room = (due.max_in_flight as usize).saturating_sub(at_work);
            start = u32::try_from(wanted.saturating_sub(starting).min(room)).unwrap_or(u32::MAX);
        }
        Turn::Waits { until, start }
    }

    /// A new batch of `items` goes out. Gives for how long it had to wait for an environment, nanoseconds, if it had to.
    pub(crate) fn on_new(
        &mut self,
        policy: &EnvironmentPolicy,
        now: u64,
        items: u32,
        max_batch_size: u32,
    ) -> Option<u64> {
        let items = f64::from(items);
        let most = SAVED_BATCHES * f64::from(max_batch_size);
        self.may_wait = (self.may_wait + policy.waiting_share * items).min(most);
        let Some(since) = self.held_since.take() else {
            self.short_since = None;
            return None;
        };
        self.may_wait = (self.may_wait - items).max(0.0);
        Some(now - since)
    }

    /// Nothing is due any more.
    pub(crate) fn on_nothing_due(&mut self) {
        (self.held_since, self.short_since) = (None, None);
    }

    /// A batch goes to an alias: to the environment that was idle for the shortest time, or to a new one.
    pub(crate) fn on_dispatch(
        &mut self,
        policy: &EnvironmentPolicy,
        qualifier: &Arc<str>,
        now: u64,
        id: u64,
    ) {
        let pool = self.pool(qualifier);
        pool.forget_cold(now, nanos(policy.stays_warm));
        let is_start = pool.idle.pop().is_none();
        pool.busy.push(Busy { id, calls: 0, is_start });
    }

    /// One more environment is started.
    pub(crate) fn on_start(&mut self, qualifier: &Arc<str>, id: u64) {
        self.pool(qualifier).busy.push(Busy { id, calls: 0, is_start: true });
    }

    /// A batch or call is back. `ran`: its environment is there, and idle now.
    pub(crate) fn on_back(&mut self, now: u64, id: u64, ran: bool) {
        for pool in &mut self.pools {
            if let Some(at) = pool.busy.iter().position(|busy| busy.id == id) {
                let busy = pool.busy.swap_remove(at);
                if ran {
                    pool.idle.push(Idle { since: now, calls: busy.calls });
                } else if busy.is_start {
                    self.no_start_before = now.saturating_add(PAUSE_AFTER_FAILURE);
                }
                return;
            }
        }
    }

    /// Environments of an alias that are to be called now. They count as at work until [`Environments::on_back`]; `id` names each call.
    pub(crate) fn take_calls(
        &mut self,
        policy: &EnvironmentPolicy,
        qualifier: &Arc<str>,
        now: u64,
        mut id: impl FnMut() -> u64,
    ) {
        let (stays_warm, keep_calls) = (nanos(policy.stays_warm), policy.keep_calls);
        let pool = self.pool(qualifier);
        pool.forget_cold(now, stays_warm);
        let called_at = pool.called_at(stays_warm, keep_calls);
        if called_at.is_none_or(|at| at > now) {
            return;
        }
        for idle in pool.idle.drain(..).filter(|idle| idle.calls < keep_calls) {
            pool.busy.push(Busy { id: id(), calls: idle.calls + 1, is_start: false });
        }
    }

    /// When the environments of an alias are to be called next.
    pub(crate) fn called_at(&self, policy: &EnvironmentPolicy, qualifier: &Arc<str>) -> Option<u64> {
        let pool = self.pools.iter().find(|pool| pool.qualifier == *qualifier)?;
        pool.called_at(nanos(policy.stays_warm), policy.keep_calls)
    }

    fn pool(&mut self, qualifier: &Arc<str>) -> &mut Pool {
        let known = self.pools.iter().position(|pool| pool.qualifier == *qualifier);
        let at = known.unwrap_or_else(|| {
            self.pools.push(Pool { qualifier: qualifier.clone(), idle: Vec::new(), busy: Vec::new() });
            self.pools.len() - 1
        });
        &mut self.pools[at]
    }
}

impl Pool {
    /// Drops what Lambda has taken away by now.
    fn forget_cold(&mut self, now: u64, stays_warm: u64) {
        let gone = self.idle.partition_point(|idle| idle.since.saturating_add(stays_warm) <= now);
        self.idle.drain(..gone);
    }

    /// When the environment that is longest idle, of those that are kept, is to be called.
    fn called_at(&self, stays_warm: u64, keep_calls: u32) -> Option<u64> {
        let kept = self.idle.iter().find(|idle| idle.calls < keep_calls)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of it")]
        let after = (stays_warm as f64 * CALLED_AFTER) as u64;
        Some(kept.since.saturating_add(after))
    }
}

//! When what happened in a batch, for its trace: forks, shards, and what ran in them, counted from the handler's start.
//!
//! The supervisor's clock alone is used: a run ends when its part arrives and began as long before as the process says that it
//! took, never before what preceded it. Off unless the batch's trace is recorded. Deliberately absent: ids, wall-clock time and
//! any network; whoever invoked turns this into spans.

use std::time::{Duration, Instant};

use workers_protocol::{ItemErrorCode, WorkerSpan, WorkerSpanKind};

use crate::wire::Part;

/// Spans of one answer, at most: some 25 kB of JSON. Further ones are counted.
const MAX_SPANS: usize = 256;

/// The spans so far. The default records nothing.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Start of the handler; `None`: off.
    origin: Option<Instant>,
    spans: Vec<WorkerSpan>,
    left_out: u32,
}

/// A shard that is under way.
#[derive(Debug)]
pub(super) struct ShardMark {
    /// Its place among the spans; `None`: beyond the bound.
    index: Option<u32>,
    process: u64,
    begun: Instant,
    /// End of what is accounted for.
    until: Instant,
}

impl Timeline {
    /// Records from now on; times count from `origin`.
    pub(crate) fn from(origin: Instant) -> Self {
        Self { origin: Some(origin), ..Self::default() }
    }

    /// What was recorded.
    pub(crate) fn spans(&self) -> &[WorkerSpan] {
        &self.spans
    }

    /// Spans beyond the bound.
    pub(crate) fn left_out(&self) -> u32 {
        self.left_out
    }

    /// The zygote has forked a process. One that was ordered before this invocation is not a part of it.
    pub(super) fn forked(&mut self, process: u64, ordered: Instant) {
        if self.origin.is_some_and(|origin| ordered >= origin) {
            self.push(WorkerSpanKind::Fork, process, ordered, Instant::now(), None);
        }
    }

    /// A process is given a shard.
    pub(super) fn shard_begins(&mut self, process: u64, items: u32) -> Option<ShardMark> {
        self.origin?;
        let now = Instant::now();
        let index = self.push(WorkerSpanKind::Shard, process, now, now, None);
        if let Some(span) = index.and_then(|index| self.spans.get_mut(index as usize)) {
            span.items = items;
        }
        Some(ShardMark { index, process, begun: now, until: now })
    }

    /// A part of a shard's answer has arrived.
    pub(super) fn part_came(&mut self, mark: &mut ShardMark, part: &Part) {
        let now = Instant::now();
        let tokenized = (mark.until + Duration::from_micros(part.usage.tokenize_us)).min(now);
        if part.usage.tokenize_us > 0 {
            self.push(WorkerSpanKind::Tokenize, mark.process, mark.until, tokenized, mark.index);
        }
        if part.usage.compute_us > 0 {
            let computed = Duration::from_micros(part.usage.compute_us);
            let start = now.checked_sub(computed).map_or(tokenized, |start| start.max(tokenized));
            let index = self.push(WorkerSpanKind::Run, mark.process, start, now, mark.index);
            if let Some(span) = index.and_then(|index| self.spans.get_mut(index as usize)) {
                span.items = u32::try_from(part.items.len() + part.errors.len()).unwrap_or(u32::MAX);
            }
        }
        mark.until = now;
        if part.last {
            self.close(mark, now, None);
        }
    }

    /// A shard ends without the rest of its answer.
    pub(super) fn shard_lost(&mut self, mark: &ShardMark, why: ItemErrorCode) {
        self.close(mark, Instant::now(), Some(why));
    }

    fn close(&mut self, mark: &ShardMark, end: Instant, error: Option<ItemErrorCode>) {
        if let Some(span) = mark.index.and_then(|index| self.spans.get_mut(index as usize)) {
            span.duration_us = micros(end - mark.begun);
            span.error = error;
        }
    }

    fn push(
        &mut self,
        kind: WorkerSpanKind,
        process: u64,
        start: Instant,
        end: Instant,
        within: Option<u32>,
    ) -> Option<u32> {
        let origin = self.origin?;
        if self.spans.len() >= MAX_SPANS {
            self.left_out += 1;
            return None;
        }
        let start_us = micros(start.saturating_duration_since(origin));
        let duration_us = micros(end.saturating_duration_since(start));
        let index = u32::try_from(self.spans.len()).ok()?;
        self.spans.push(WorkerSpan { kind, process, start_us, duration_us, items: 0, within, error: None });
        Some(index)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    fn part(tokenize_us: u64, compute_us: u64, last: bool) -> Part {
        Part {
            items: vec![0],
            last,
            usage: Usage { tokenize_us, compute_us, ..Usage::default() },
            ..Part::default()
        }
    }

    #[test]
    fn nothing_is_recorded_unless_asked_for() {
        let mut timeline = Timeline::default();
        assert!(timeline.shard_begins(1, 4).is_none());
        timeline.forked(1, Instant::now());
        assert!(timeline.spans().is_empty() && timeline.left_out() == 0);
    }

    #[test]
    fn runs_lie_within_their_shard_whatever_the_process_claims() {
        let mut timeline = Timeline::from(Instant::now());
        let mut mark = timeline.shard_begins(3, 2).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        timeline.part_came(&mut mark, &part(500, 1_000, false));
        timeline.part_came(&mut mark, &part(0, 60_000_000, true)); // a minute, says a broken process
        let [shard, tokenize, run, claimed] = timeline.spans() else { panic!("{:?}", timeline.spans()) };
        assert_eq!((shard.kind, shard.items, shard.process), (WorkerSpanKind::Shard, 2, 3));
        assert_eq!(tokenize.kind, WorkerSpanKind::Tokenize);
        let end = |span: &WorkerSpan| span.start_us + span.duration_us;
        for span in [tokenize, run, claimed] {
            assert_eq!(span.within, Some(0));
            assert!(span.start_us >= shard.start_us && end(span) <= end(shard) + 1, "{span:?} in {shard:?}");
        }
        assert!(run.start_us + 1 >= end(tokenize) && claimed.start_us + 1 >= end(run));
    }

    #[test]
    fn the_number_of_spans_is_bounded_and_the_rest_counted() {
        let mut timeline = Timeline::from(Instant::now());
        let mut mark = timeline.shard_begins(1, 1).unwrap();
        for _ in 0..MAX_SPANS + 9 {
            timeline.part_came(&mut mark, &part(0, 1, false));
        }
        assert_eq!((timeline.spans().len(), timeline.left_out()), (MAX_SPANS, 10));
        timeline.shard_lost(&mark, ItemErrorCode::ProcessHung);
        assert_eq!(timeline.spans()[0].error, Some(ItemErrorCode::ProcessHung));
    }

    #[test]
    fn a_fork_from_before_the_invocation_is_not_a_part_of_it() {
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        let mut timeline = Timeline::from(Instant::now());
        timeline.forked(1, before);
        timeline.forked(2, Instant::now());
        assert_eq!(timeline.spans().iter().map(|span| span.process).collect::<Vec<_>>(), [2]);
    }
}

//! One batch through the pool: give out tasks, collect parts, and survive what happens to processes meanwhile.
//!
//! **Rule.** A task runs in one process. A process that dies, is silent for longer than its patience, or outgrows its share of
//! memory is killed; what it had answered is kept, and each of its other items runs once more, **alone**, in another process.
//! An item whose second process is lost too is the guilty one and gets an error. So a poison item costs its neighbours a second
//! run but never their values, and the number of runs is bounded by twice the items.
//!
//! **Time** is that of the invocation: every limit is an instant counted from its start, as the sandbox is frozen between
//! invocations. At `hard_end` whatever is still missing gets `DeadlineExceeded`, and processes that are still busy are killed, so
//! that the next invocation does not find them so. Deliberately absent: tokio (see `supervisor`), and what tasks mean.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use workers_protocol::{ItemErrorCode, ProcessReport};

use super::process::{ModelProcess, Running, Task};
use super::{Pool, PoolError, Timeline};
use crate::control::retry;
use crate::memory::Resident;
use crate::validate::Batch;
use crate::wire::{Part, Shard};

/// How often the memory of busy processes is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// What bounds a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The answer must be on its way; a margin before the Lambda deadline.
    pub(crate) hard_end: Instant,
    /// Nobody waits any more: nothing is begun after it.
    pub(crate) start_before: Instant,
    /// How long a process may be silent; `None`: half of the time left when it starts a task.
    pub(crate) hang_after: Option<Duration>,
    /// Bytes that a process may add to what it shares; `None`: not watched.
    pub(crate) memory_share: Option<u64>,
    /// Processes that may work at the same time.
    pub(crate) width: usize,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has a value: entry `index` of part number `part`.
    Value {
        /// Index into [`Collected::parts`].
        part: u32,
        /// Position in that part.
        index: u32,
    },
    /// It has none.
    Failed(ItemErrorCode, String),
}

/// Everything that a batch gave.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Answers of the processes.
    pub(crate) parts: Vec<Part>,
    /// Per item of the batch; `None` only for items that no task named.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// One entry per process that took part.
    pub(crate) processes: Vec<ProcessReport>,
    /// Processes lost.
    pub(crate) restarts: u32,
    /// Wall time of tokenizing over all processes, microseconds.
    pub(crate) tokenize_us: u64,
    /// When what ran.
    pub(crate) timeline: Timeline,
}

impl Pool {
    /// Runs the tasks of a batch.
    ///
    /// # Errors
    /// No process can be had, so nothing can be run in this sandbox any more.
    pub(crate) fn run(
        &mut self,
        batch: &Batch,
        tasks: Vec<Vec<u32>>,
        limits: Limits,
        timeline: Timeline,
    ) -> Result<Collected, PoolError> {
        let is_warm_up = tasks.iter().any(Vec::is_empty);
        let queue = tasks.into_iter().map(|items| Task { items, alone: false }).collect();
        let restarts = self.lost;
        let outcomes = vec![None; batch.items];
        let collected = Collected { outcomes, restarts, timeline, ..Collected::default() };
        if is_warm_up {
            while self.processes.len() < limits.width {
                self.spawn()?; // so that each process gets one of the tasks
            }
        }
        let mut round = Round { pool: self, batch, limits, queue, collected };
        round.run()?;
        let mut collected = round.collected;
        for process in self.processes.iter().filter(|process| process.took_part) {
            collected.processes.push(process.report.clone());
        }
        Ok(collected)
    }
}

struct Round<'a> {
    pool: &'a mut Pool,
    batch: &'a Batch,
    limits: Limits,
    queue: VecDeque<Task>,
    collected: Collected,
}

impl Round<'_> {
    fn run(&mut self) -> Result<(), PoolError> {
        loop {
            let now = Instant::now();
            if now >= self.limits.hard_end {
                self.expire();
                return Ok(());
            }
            if now >= self.limits.start_before {
                self.give_up_queue();
            }
            self.give_out(now)?;
            if self.queue.is_empty() && self.busy() == 0 {
                return Ok(());
            }
            let (readable, notices) = self.wait(now);
            if notices {
                let forks = self.pool.read_notices()?;
                for (slot, ordered) in forks.done {
                    self.collected.timeline.forked(slot, ordered);
                }
                for slot in forks.failed {
                    self.fork_failed(slot)?;
                }
            }
            self.serve(&readable);
            self.watch();
        }
    }

    fn busy(&self) -> usize {
        self.pool.processes.iter().filter(|process| process.running.is_some()).count()
    }

    /// Gives tasks to idle processes, forking more if there are fewer than may work.
    fn give_out(&mut self, now: Instant) -> Result<(), PoolError> {
        while !self.queue.is_empty() && self.busy() < self.limits.width {
            let Some(index) = self.pool.processes.iter().position(|process| process.running.is_none()) else {
                self.pool.spawn()?;
                continue;
            };
            let Some(task) = self.queue.pop_front() else { break };
            let left = self.limits.hard_end.saturating_duration_since(now);
            let patience = self.limits.hang_after.unwrap_or(left / 2);
            let number = self.pool.next_task;
            self.pool.next_task += 1;
            let items = u32::try_from(task.items.len()).unwrap_or(u32::MAX);
            let inputs = if items == 0 { Vec::new() } else { self.batch.select(&task.items) };
            let frame = Shard { task: number, items, inputs }.encode();
            let mark = self.collected.timeline.shard_begins(self.pool.processes[index].slot, items);
            let running = Running { number, task, last_sign: now, patience, mark };
            if self.pool.processes[index].start(running, frame).is_err() {
                self.lose(index, ItemErrorCode::ProcessDied);
            }
        }
        Ok(())
    }

    /// Waits until something happens. Gives the slots of processes to serve, and whether the zygote says something.
    fn wait(&self, now: Instant) -> (Vec<u64>, bool) {
        let busy: Vec<&ModelProcess> =
            self.pool.processes.iter().filter(|process| process.running.is_some()).collect();
        let mut entries = vec![PollFd::new(self.pool.control_fd(), PollFlags::POLLIN)];
        entries.extend(busy.iter().map(|process| {
            let write = if process.wants_to_write() { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(process.as_fd(), PollFlags::POLLIN | write)
        }));
        let until_end = self.limits.hard_end.saturating_duration_since(now) + Duration::from_millis(1);
        let millis = u16::try_from(until_end.min(WATCH_EVERY).as_millis()).unwrap_or(20);
        let _ = retry(|| poll(&mut entries, PollTimeout::from(millis))); // a failure is a wait of no length
        let ready = |entry: &PollFd<'_>| entry.any().unwrap_or(true);
        let slots =
            busy.iter().zip(&entries[1..]).filter(|(_, entry)| ready(entry)).map(|(process, _)| process.slot);
        (slots.collect(), ready(&entries[0]))
    }

    /// Reads from and writes to the processes that are ready.
    fn serve(&mut self, slots: &[u64]) {
        for &slot in slots {
            let Some(index) = self.index(slot) else { continue };
            let process = &mut self.pool.processes[index];
            let written = process.flush();
            let (parts, read) = process.read();
            let sound = parts.into_iter().all(|part| self.take(index, part));
            if !sound || written.and(read).is_err() {
                self.lose(index, ItemErrorCode::ProcessDied);
            }
        }
    }

    /// Records a part; `false` if it does not fit what the process was asked.
    fn take(&mut self, index: usize, part: Part) -> bool {
        let process = &mut self.pool.processes[index];
        let Some(running) = process.running.as_mut().filter(|running| running.number == part.task) else {
            return false;
        };
        running.last_sign = Instant::now();
        if let Some(mark) = &mut running.mark {
            self.collected.timeline.part_came(mark, &part);
        }
        let number = u32::try_from(self.collected.parts.len()).unwrap_or(u32::MAX);
        let values =
            (0..).zip(&part.items).map(|(index, &item)| (item, Outcome::Value { part: number, index }));
        let failures =
            part.errors.iter().map(|(item, code, why)| (*item, Outcome::Failed(*code, why.clone())));
        let mut answered = 0;
        for (position, outcome) in values.chain(failures) {
            let Some(&item) = running.task.items.get(position as usize) else {
                return false;
            };
            self.collected.outcomes[item as usize].get_or_insert(outcome);
            answered += 1;
        }
        let report = &mut process.report;
        report.items += answered;
        report.work_units += part.usage.work_units;
        report.padded_units += part.usage.padded_units;
        report.compute_us += part.usage.compute_us;
        report.prefill_us += part.usage.prefill_us;
        report.generated_tokens += part.usage.generated_tokens;
        report.cpu_us += part.usage.cpu_us;
        report.resident_bytes = part.usage.resident_bytes;
        self.collected.tokenize_us += part.usage.tokenize_us;
        if part.last {
            process.running = None;
        }
        self.collected.parts.push(part);
        true
    }

    /// Kills processes that are silent for too long or have grown too large.
    fn watch(&mut self) {
        let now = Instant::now();
        for index in (0..self.pool.processes.len()).rev() {
            let process = &self.pool.processes[index];
            let Some(running) = &process.running else { continue };
            let silent = now.saturating_duration_since(running.last_sign);
            if silent >= running.patience {
                self.lose(index, ItemErrorCode::ProcessHung);
            } else if silent >= WATCH_EVERY && self.is_too_large(process) {
                self.lose(index, ItemErrorCode::OutOfMemory);
            }
        }
    }

    fn is_too_large(&self, process: &ModelProcess) -> bool {
        let (Some(share), Some(pid)) = (self.limits.memory_share, process.pid) else {
            return false;
        };
        let grown = Resident::of(&pid.to_string())
            .map_or(0, |resident| resident.anonymous_bytes.saturating_sub(self.pool.zygote_anonymous_bytes));
        grown > share
    }

    /// Gives a process up: it is killed if it still lives, and its unanswered items run again or fail.
    fn lose(&mut self, index: usize, code: ItemErrorCode) {
        let process = self.pool.processes.remove(index);
        self.pool.kill(process.slot);
        self.pool.lost += 1;
        self.collected.restarts += 1;
        tracing::warn!(slot = process.slot, pid = process.pid, ?code, "a model process is lost");
        if let Some(mark) = process.running.as_ref().and_then(|running| running.mark.as_ref()) {
            self.collected.timeline.shard_lost(mark, code);
        }
        let task = process.running.map(|running| running.task);
        if process.report.items > 0 {
            self.collected.processes.push(process.report);
        }
        let Some(task) = task else { return };
        for &item in &task.items {
            let outcome = &mut self.collected.outcomes[item as usize];
            match outcome {
                Some(_) => {}
                None if task.alone => *outcome = Some(Outcome::Failed(code, lost_message(code).to_owned())),
                None => self.queue.push_back(Task { items: vec![item], alone: true }),
            }
        }
    }

    /// The zygote could not fork: the work that was already written to that process goes back to the queue, untried.
    fn fork_failed(&mut self, slot: u64) -> Result<(), PoolError> {
        if let Some(index) = self.index(slot) {
            let process = self.pool.processes.remove(index);
            self.pool.lost += u32::from(process.report.replaced);
            self.queue.extend(process.running.map(|running| running.task));
        }
        let left = self.pool.processes.len();
        if left == 0 && !self.queue.is_empty() {
            return Err(PoolError::NoProcess(self.pool.last_fork_error.unwrap_or(Errno::EAGAIN)));
        }
        self.limits.width = self.limits.width.min(left.max(1)); // make do with those that are there
        Ok(())
    }

    fn give_up_queue(&mut self) {
        for task in self.queue.drain(..) {
            fail(&mut self.collected, &task, "nobody waits for the answer any more");
        }
    }

    fn expire(&mut self) {
        self.give_up_queue();
        for index in (0..self.pool.processes.len()).rev() {
            let Some(running) = self.pool.processes[index].running.take() else {
                continue;
            };
            if let Some(mark) = &running.mark {
                self.collected.timeline.shard_lost(mark, ItemErrorCode::DeadlineExceeded);
            }
            fail(&mut self.collected, &running.task, "the invocation's time ran out");
            self.lose(index, ItemErrorCode::DeadlineExceeded);
        }
    }

    fn index(&self, slot: u64) -> Option<usize> {
        self.pool.processes.iter().position(|process| process.slot == slot)
    }
}

fn fail(collected: &mut Collected, task: &Task, why: &str) {
    for &item in &task.items {
        collected.outcomes[item as usize]
            .get_or_insert_with(|| Outcome::Failed(ItemErrorCode::DeadlineExceeded, why.to_owned()));
    }
}

fn lost_message(code: ItemErrorCode) -> &'static str {
    match code {
        ItemErrorCode::ProcessHung => "the process that ran this item alone made no progress and was killed",
        ItemErrorCode::OutOfMemory => {
            "the process that ran this item alone outgrew its share of memory and was killed"
        }
        ItemErrorCode::InvalidInput
        | ItemErrorCode::ModelFailed
        | ItemErrorCode::ProcessDied
        | ItemErrorCode::DeadlineExceeded => "the process that ran this item alone died",
    }
}

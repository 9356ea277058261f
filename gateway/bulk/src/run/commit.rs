//! The one writer: appends finished chunks to the spool, makes them durable, then commits. In that order: what the database calls done is on disk.
//!
//! Chunks that are ready at the same time share one flush and one commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::shared::{Halt, Shared};
use super::task::Done;
use crate::output::Spool;
use crate::store::{Checkpoint, Commit, Taken};
use crate::{BulkError, JobCounts, JobState, Progress, Store};

/// Chunks that share a commit at most.
const GROUP: usize = 256;
/// How often the state is looked at (and the cost written) when no chunk ends.
const LOOK: Duration = Duration::from_millis(300);

/// The writer of one run.
pub(crate) struct Committer {
    pub(crate) store: Store,
    pub(crate) taken: Taken,
    pub(crate) shared: Arc<Shared>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) spool: Spool,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) counts: JobCounts,
    pub(crate) begun: Instant,
    pub(crate) before: Duration,
}

impl Committer {
    /// Writes until the senders are gone. An error halts the run and is given back, with the writer as it stands.
    pub(crate) async fn run(mut self, mut receiver: mpsc::Receiver<Done>) -> (Self, Result<(), BulkError>) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let received = tokio::time::timeout(LOOK, receiver.recv_many(&mut group, GROUP)).await;
            let is_over = matches!(received, Ok(0));
            let written = self.write(std::mem::take(&mut group)).await;
            match written {
                Ok(JobState::Cancelling) => self.shared.stop(Halt::Cancelled),
                Ok(_) => {}
                Err(error) => {
                    self.shared.stop(Halt::Stopped);
                    return (self, Err(error));
                }
            }
            if is_over {
                return (self, Ok(()));
            }
        }
    }

    /// Writes and commits; gives the job's state in the database.
    pub(crate) async fn write(&mut self, group: Vec<Done>) -> Result<JobState, BulkError> {
        if !group.is_empty() {
            let spool = self.spool.clone();
            let appended = tokio::task::spawn_blocking(move || {
                let lengths = spool.append(&group)?;
                Ok::<_, BulkError>((group, lengths))
            });
            let (group, (output_bytes, error_bytes)) = appended
                .await
                .map_err(|_| BulkError::Output { reason: "the writer's thread died".to_owned() })??;
            self.checkpoint.output_bytes = output_bytes;
            self.checkpoint.error_bytes = error_bytes;
            for done in &group {
                if let Some(span) = done.span {
                    self.checkpoint.add(span);
                }
                self.counts.completed += done.completed;
                self.counts.failed += done.failed;
                self.counts.items += done.items;
                self.counts.unknown_outcomes += done.unknown_outcomes;
            }
        }
        let cost = self.shared.cost();
        let active = self.before + self.begun.elapsed();
        let commit = Commit { checkpoint: &self.checkpoint, counts: self.counts, cost, active };
        let state = self.store.commit(&self.taken, &commit).await?;
        let (in_flight, window) = self.shared.load();
        let throttled = self.shared.throttled.load(std::sync::atomic::Ordering::Relaxed);
        let counts = self.counts;
        self.progress.update(|snapshot| {
            snapshot.state = state;
            snapshot.counts = counts;
            snapshot.cost = cost;
            snapshot.in_flight = in_flight;
            snapshot.window = window;
            snapshot.throttled = throttled;
        });
        Ok(state)
    }
}

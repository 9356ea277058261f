//! A copy of the learned state in a store that outlives this host, S3 for one.
//!
//! The disk stays the place that a restart reads. The copy is written after it, beside the loop, and read where the disk has nothing: a new
//! host goes on with what the lost one had learned. Deliberately absent: several writers. The last one wins, whole.

use std::time::Duration;

use gateway_objects::{Location, LocationError};
use object_store::{Error, ObjectStoreExt as _, PutPayload};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A store that answers later than this has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the copies are, one object a model.
#[derive(Debug)]
pub(super) struct StateCopy {
    at: Location,
    writes: JoinSet<()>,
}

impl StateCopy {
    pub(super) fn open(url: &str) -> Result<Self, LocationError> {
        Ok(Self { at: Location::open(url)?, writes: JoinSet::new() })
    }

    fn of(&self, model: &str) -> Location {
        self.at.join(&format!("{model}.state"))
    }

    /// The object of a model; `None`: there is none yet.
    pub(super) async fn read(&self, model: &str) -> Result<Option<Vec<u8>>, String> {
        let at = self.of(model);
        let read = async { at.store.get(&at.path).await?.bytes().await };
        match timeout(PATIENCE, read).await {
            Ok(Ok(bytes)) => Ok(Some(bytes.into())),
            Ok(Err(Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(late()),
        }
    }

    /// Begins to write; `done` hears how it went.
    pub(super) fn write(
        &mut self,
        model: &str,
        bytes: Vec<u8>,
        done: impl FnOnce(Result<(), String>) + Send + 'static,
    ) {
        while self.writes.try_join_next().is_some() {}
        let at = self.of(model);
        self.writes.spawn(async move {
            let written = timeout(PATIENCE, at.store.put(&at.path, PutPayload::from(bytes))).await;
            done(match written {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(late()),
            });
        });
    }

    /// Waits for what is being written.
    pub(super) async fn finish(&mut self) {
        while self.writes.join_next().await.is_some() {}
    }
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

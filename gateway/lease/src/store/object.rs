//! Records as objects of S3 or what speaks its protocol, with `If-Match` and `If-None-Match`.

use gateway_objects::Location;
use object_store::{Error, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion};

use super::{Found, StoreError, Tag};
use crate::Record;

#[derive(Clone, Debug)]
pub(super) struct ObjectStore {
    at: Location,
}

impl ObjectStore {
    pub(super) fn new(at: Location) -> Self {
        Self { at }
    }

    fn of(&self, name: &str) -> Location {
        self.at.join(&format!("{name}.lease"))
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let at = self.of(name);
        let result = match at.store.get(&at.path).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            result => result.map_err(unavailable)?,
        };
        let e_tag = result.meta.e_tag.clone();
        let bytes = result.bytes().await.map_err(unavailable)?;
        let foreign = |reason| StoreError::Foreign { name: name.to_owned(), reason };
        let record = Record::decode(&bytes).map_err(foreign)?;
        let tag = Tag { head: record.head.clone(), e_tag };
        Ok(Some(Found { record, tag }))
    }

    pub(super) async fn write(
        &self,
        name: &str,
        record: Record,
        seen: Option<Tag>,
    ) -> Result<Tag, StoreError> {
        let at = self.of(name);
        let mode = match seen {
            None => PutMode::Create,
            Some(tag) => PutMode::Update(UpdateVersion { e_tag: tag.e_tag, version: None }),
        };
        let payload = PutPayload::from(record.encode());
        let options = PutOptions { mode, ..PutOptions::default() };
        match at.store.put_opts(&at.path, payload, options).await {
            Ok(put) => Ok(Tag { head: record.head, e_tag: put.e_tag }),
            // NotFound: the object that was seen has gone.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                Err(StoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

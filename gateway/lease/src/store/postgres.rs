//! Records as rows of PostgreSQL. The table is made when it is first needed.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Row};
use tokio::sync::OnceCell;

use super::{Found, StoreError, Tag};
use crate::{Head, Record};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS penstock_leases (
    name TEXT PRIMARY KEY, epoch BIGINT NOT NULL, beat BIGINT NOT NULL, holder TEXT, body BYTEA NOT NULL)";
/// Any number that no one else uses: two gateways must not make the table at once.
const ADVISORY_LOCK: &str = "SELECT pg_advisory_xact_lock(7305804402568)";

#[derive(Clone, Debug)]
pub(super) struct PostgresStore {
    pool: AnyPool,
    is_made: Arc<OnceCell<()>>,
}

impl PostgresStore {
    pub(super) fn check(url: &str) -> Result<(), StoreError> {
        options(url).map(drop)
    }

    pub(super) fn open(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let pool = AnyPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options);
        Ok(Self { pool, is_made: Arc::default() })
    }

    async fn make(&self) -> Result<(), StoreError> {
        let make = async || {
            let mut transaction = self.pool.begin().await?;
            sqlx::raw_sql(ADVISORY_LOCK).execute(&mut *transaction).await?;
            sqlx::raw_sql(TABLE).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.is_made.get_or_try_init(make).await.map(drop).map_err(unavailable)
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        self.make().await?;
        let row = sqlx::query("SELECT epoch, beat, holder, body FROM penstock_leases WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let count = |column: &str| {
            row.try_get::<i64, _>(column).map(|value| u64::try_from(value).unwrap_or(0)).map_err(unavailable)
        };
        let head = Head {
            epoch: count("epoch")?,
            beat: count("beat")?,
            holder: row.try_get("holder").map_err(unavailable)?,
        };
        let body = row.try_get("body").map_err(unavailable)?;
        let tag = Tag { head: head.clone(), e_tag: None };
        Ok(Some(Found { record: Record { head, body }, tag }))
    }

    pub(super) async fn write(
        &self,
        name: &str,
        record: Record,
        seen: Option<Tag>,
    ) -> Result<Tag, StoreError> {
        self.make().await?;
        let (head, signed) = (record.head, |value: u64| i64::try_from(value).unwrap_or(i64::MAX));
        let query = match &seen {
            None => sqlx::query(
                "INSERT INTO penstock_leases (name, epoch, beat, holder, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            ),
            Some(_) => sqlx::query(
                "UPDATE penstock_leases SET epoch = $2, beat = $3, holder = $4, body = $5 WHERE name = $1 AND epoch = $6 AND beat = $7",
            ),
        };
        let mut query = query
            .bind(name)
            .bind(signed(head.epoch))
            .bind(signed(head.beat))
            .bind(head.holder.clone())
            .bind(record.body);
        if let Some(tag) = &seen {
            query = query.bind(signed(tag.head.epoch)).bind(signed(tag.head.beat));
        }
        let done = query.execute(&self.pool).await.map_err(unavailable)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        Ok(Tag { head, e_tag: None })
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    sqlx::any::install_default_drivers();
    AnyConnectOptions::from_str(url).map_err(unavailable)
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

//! Every store keeps the one rule: a write replaces exactly the record that its writer has seen, or nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../bulk/tests/jobs/postgres.rs"]
mod postgres;
mod s3;

use std::process::Command;
use std::sync::Arc;

use gateway_lease::{Head, Record, Store, StoreError};

fn record(epoch: u64, beat: u64, holder: &str) -> Record {
    let head = Head { epoch, beat, holder: Some(holder.to_owned()) };
    Record { head, body: format!("what {holder} says in {epoch}.{beat}\n\0").into_bytes() }
}

async fn keeps_the_rule(store: Store) {
    assert_eq!(store.read("m").await.unwrap(), None);
    let first = store.write("m", record(1, 0, "a"), None).await.unwrap();
    let found = store.read("m").await.unwrap().unwrap();
    assert_eq!((&found.record, &found.tag), (&record(1, 0, "a"), &first));

    let conflict = store.write("m", record(1, 0, "b"), None).await;
    assert!(matches!(conflict, Err(StoreError::Conflict)), "there is one already: {conflict:?}");
    let second = store.write("m", record(1, 1, "a"), Some(first.clone())).await.unwrap();

    // b takes over; a, which was stopped, wakes up with what it knew.
    let seen = store.read("m").await.unwrap().unwrap().tag;
    store.write("m", record(2, 0, "b"), Some(seen)).await.unwrap();
    for stale in [first, second] {
        let refused = store.write("m", record(1, 2, "a"), Some(stale)).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    }
    assert_eq!(store.read("m").await.unwrap().unwrap().record, record(2, 0, "b"));
    assert_eq!(store.read("other").await.unwrap(), None);

    let released = Record { head: Head { epoch: 2, beat: 1, holder: None }, body: Vec::new() };
    let seen = store.read("m").await.unwrap().unwrap().tag;
    store.write("m", released.clone(), Some(seen)).await.unwrap();
    assert_eq!(store.read("m").await.unwrap().unwrap().record, released);
    one_of_many_wins(store).await;
}

/// Eight writers, each time from the same record: one of them writes.
async fn one_of_many_wins(store: Store) {
    for epoch in 3..20 {
        let seen = store.read("m").await.unwrap().unwrap().tag;
        let barrier = Arc::new(tokio::sync::Barrier::new(8));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, seen, barrier) = (store.clone(), seen.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    let holder = format!("w{writer}");
                    store.write("m", record(epoch, 0, &holder), Some(seen)).await.ok().map(|_| holder)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            winners.extend(writer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let found = store.read("m").await.unwrap().unwrap();
        assert_eq!(found.record, record(epoch, 0, &winners[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_keep_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    keeps_the_rule(Store::open(&format!("file://{}", folder.path().display())).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_rule() {
    let Some(server) = postgres::Server::start() else { return };
    keeps_the_rule(Store::open(&server.url()).unwrap()).await;
}

/// The environment says where S3 is, so the rule is checked in a process of its own.
#[test]
fn s3_keeps_the_rule() {
    let address = s3::start();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_the_s3_of_the_environment", "--ignored", "--nocapture"])
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `s3_keeps_the_rule`"]
async fn in_the_s3_of_the_environment() {
    keeps_the_rule(Store::open("s3://bucket/leases").unwrap()).await;
}

#[tokio::test]
async fn what_is_no_store_is_named() {
    assert!(Store::check("ftp://host/x").unwrap_err().to_string().contains("ftp"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.lease"), "mail").unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    assert!(store.read("m").await.unwrap_err().to_string().contains("`m` is not a lease"));
    let nowhere = Store::open("postgres://penstock@127.0.0.1:9/x").unwrap();
    assert!(matches!(nowhere.read("m").await, Err(StoreError::Unavailable(_))));
}

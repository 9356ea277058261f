//! AWS is busy, throttles, forbids, loses answers; somebody else changes the function meanwhile; somebody stops the run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_invoker::provision::{Patience, ProvisionError, Provisioner, RowResult};

use super::support::{Account, PATIENCE, Scripted, quiet, results};

const CONFIGURATION: &str = "PUT /2015-03-31/functions/f/configuration";
const PUBLISH: &str = "POST /2015-03-31/functions/f/versions";
const CREATE_ALIAS: &str = "POST /2015-03-31/functions/f/aliases";
const UPDATE_ALIAS: &str = "PUT /2015-03-31/functions/f/aliases/mem-1024";

#[tokio::test]
async fn conflicts_and_throttles_are_waited_out() {
    let account = Account::start().await;
    let busy = |call| Scripted { times: 3, ..Scripted::new(call, 409, "ResourceConflictException") };
    let throttled = |call| Scripted { times: 3, ..Scripted::new(call, 429, "TooManyRequestsException") };
    account.script(busy(CONFIGURATION));
    account.script(busy(PUBLISH));
    account.script(throttled(CREATE_ALIAS));
    account.script(throttled("GET /2015-03-31/functions/f/versions"));
    assert_eq!(results(&account.provision(&[1024]).await), [RowResult::Created]);
    assert_eq!(account.behind("mem-1024").await.0, 1024);
}

#[tokio::test]
async fn waiting_has_an_end() {
    let account = Account::start().await;
    let impatient = Patience { limit: Duration::from_millis(60), ..PATIENCE };
    let provisioner = Provisioner::new(&account.config, impatient, account.stop.clone()).await;
    let plan = account.plan(&[1024]).await;
    let busy = Scripted { times: usize::MAX, ..Scripted::new(PUBLISH, 409, "ResourceConflictException") };
    account.script(busy);
    let report = provisioner.apply(&plan, &quiet).await;
    assert!(matches!(report.error, Some(ProvisionError::Busy { .. })), "{report:?}");
    assert_eq!(account.latest_memory().await, 512);
    let throttled =
        Scripted { times: usize::MAX, ..Scripted::new("GET /2016-08-19", 429, "TooManyRequestsException") };
    account.script(throttled);
    let error = provisioner.account_limits().await.unwrap_err();
    assert_eq!(error, ProvisionError::Throttled { action: "lambda:GetAccountSettings".to_owned() });
}

#[tokio::test]
async fn a_missing_permission_is_named_and_latest_is_restored() {
    for (call, action) in [
        (CONFIGURATION, "lambda:UpdateFunctionConfiguration"),
        (PUBLISH, "lambda:PublishVersion"),
        (CREATE_ALIAS, "lambda:CreateAlias"),
    ] {
        let account = Account::start().await;
        account.script(Scripted::new(call, 403, "AccessDeniedException"));
        let error = account.fails(&[1024, 2048]).await;
        assert!(error.to_string().contains(&format!("may not call `{action}` on `f`")), "{error}");
    }
}

#[tokio::test]
async fn a_missing_permission_to_read_is_named_too() {
    let account = Account::start().await;
    account.script(Scripted::new("GET /2015-03-31/functions/f/aliases", 403, "AccessDeniedException"));
    let error = account.provisioner.state("f").await.unwrap_err();
    assert!(error.to_string().contains("lambda:ListAliases"), "{error}");
    // Only a warning rests on reserved concurrency.
    account.script(Scripted::new("GET /2019-09-30", 403, "AccessDeniedException"));
    assert_eq!(account.provisioner.state("f").await.unwrap().reserved_concurrency, None);
}

#[tokio::test]
async fn what_was_not_reached_is_finished_by_the_next_run() {
    let account = Account::start().await;
    account.script(Scripted { after: 1, ..Scripted::new(CREATE_ALIAS, 403, "AccessDeniedException") });
    let report = account.provision(&[256, 1024, 2048]).await;
    let found: Vec<RowResult> = report.rows.iter().map(|row| row.result).collect();
    assert_eq!(found, [RowResult::Created, RowResult::NotMade, RowResult::NotMade]);
    let again = account.provision(&[256, 1024, 2048]).await;
    assert_eq!(results(&again), [RowResult::Unchanged, RowResult::Created, RowResult::Created]);
    assert_eq!(account.versions().await.len(), 3, "the version that was published before is used");
}

#[tokio::test]
async fn calls_whose_answers_are_lost_are_not_done_twice() {
    for call in [CONFIGURATION, PUBLISH, CREATE_ALIAS] {
        let account = Account::start().await;
        account.script(Scripted { is_done: true, ..Scripted::new(call, 500, "ServiceException") });
        assert_eq!(results(&account.provision(&[1024]).await), [RowResult::Created], "{call}");
        assert_eq!(account.versions().await.len(), 1, "{call}");
        assert_eq!(account.latest_memory().await, 512, "{call}");
    }
    let account = Account::start().await;
    account.provision(&[1024]).await;
    account.deploy("#!/bin/sh\nexit\n").await;
    account.script(Scripted { is_done: true, ..Scripted::new(UPDATE_ALIAS, 500, "ServiceException") });
    assert_eq!(results(&account.provision(&[1024]).await), [RowResult::Updated]);
}

#[tokio::test]
async fn code_that_was_deployed_meanwhile_is_not_published() {
    let account = Account::start().await;
    let plan = account.plan(&[1024]).await;
    account.deploy("#!/bin/sh\nexit\n").await;
    let report = account.provisioner.apply(&plan, &quiet).await;
    assert!(matches!(report.error, Some(ProvisionError::Changed { .. })), "{report:?}");
    assert_eq!(account.versions().await, Vec::<u64>::new());
}

#[tokio::test]
async fn an_alias_that_was_changed_meanwhile_is_left_alone() {
    let account = Account::start().await;
    account.provision(&[256, 1024]).await;
    account.deploy("#!/bin/sh\nexit\n").await;
    let plan = account.plan(&[1024]).await;
    let call = account.client.update_alias().function_name("f").name("mem-1024");
    call.function_version("1").send().await.unwrap();
    let report = account.provisioner.apply(&plan, &quiet).await;
    assert!(matches!(report.error, Some(ProvisionError::Changed { .. })), "{report:?}");
    assert_eq!(account.behind("mem-1024").await.0, 256);
    assert_eq!(account.latest_memory().await, 512);
}

#[tokio::test]
async fn a_stop_gives_latest_its_memory_back() {
    let account = Account::start().await;
    let stop = account.stop.clone();
    let asked = AtomicBool::new(false);
    account.watch(move |line| {
        if line.starts_with(PUBLISH) && !asked.swap(true, Ordering::SeqCst) {
            stop.ask();
        }
    });
    let report = account.provision(&[1024, 2048]).await;
    assert_eq!(report.error, Some(ProvisionError::Stopped));
    assert_eq!(report.rows[1].result, RowResult::NotMade);
    assert_eq!(account.behind("$LATEST").await.0, 512);
}

#[tokio::test]
async fn a_memory_that_cannot_be_restored_is_told_with_both_sizes() {
    let account = Account::start().await;
    account.script(Scripted { after: 1, ..Scripted::new(CONFIGURATION, 403, "AccessDeniedException") });
    let error = account.provision(&[1024]).await.error.unwrap().to_string();
    assert!(error.contains("`$LATEST` of `f` was left with 1024 MiB instead of 512 MiB"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_told_soon() {
    let account = Account::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = gateway_invoker::InvokerConfig {
        endpoint_url: Some(format!("http://{address}")),
        ..account.config.clone()
    };
    let provisioner = Provisioner::new(&config, PATIENCE, account.stop.clone()).await;
    let error = provisioner.state("f").await.unwrap_err();
    assert!(matches!(error, ProvisionError::Unreachable { .. }), "{error}");
}

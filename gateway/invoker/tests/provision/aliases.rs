//! What a run leaves behind, and what the next one makes of it.

use gateway_contract::Mebibytes;
use gateway_invoker::provision::{Action, ProvisionError, RowResult, account_limits, plan};

use super::support::{Account, ladder, quiet, results};

use RowResult::{Created, LeftOut, Unchanged, Updated};

#[tokio::test]
async fn each_size_gets_an_alias_with_its_memory_and_latest_keeps_its_own() {
    let account = Account::start().await;
    let report = account.provision(&[256, 512, 1024]).await;
    assert_eq!(results(&report), [Created; 3]);
    let (_, code) = account.behind("$LATEST").await;
    for (alias, memory) in [("mem-256", 256), ("mem-512", 512), ("mem-1024", 1024)] {
        assert_eq!(account.behind(alias).await, (memory, code.clone()));
    }
    assert_eq!(account.latest_memory().await, 512);
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let account = Account::start().await;
    account.provision(&[256, 1024]).await;
    account.changes();
    assert!(account.plan(&[256, 1024]).await.is_done());
    assert_eq!(results(&account.provision(&[256, 1024]).await), [Unchanged; 2]);
    assert_eq!(account.changes(), Vec::<String>::new());
    assert_eq!(account.versions().await.len(), 2);
}

#[tokio::test]
async fn planning_reads_only() {
    let account = Account::start().await;
    let plan = account.plan(&[1024]).await;
    assert_eq!(plan.aliases[0].action, Action::Point { version: None, existing: None });
    assert_eq!(account.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn new_code_moves_every_alias_to_new_versions() {
    let account = Account::start().await;
    account.provision(&[256, 1024]).await;
    account.deploy("#!/bin/sh\nexit\n").await;
    assert_eq!(results(&account.provision(&[256, 1024]).await), [Updated; 2]);
    let (_, code) = account.behind("$LATEST").await;
    assert_eq!(account.behind("mem-256").await, (256, code.clone()));
    assert_eq!(account.behind("mem-1024").await, (1024, code));
}

#[tokio::test]
async fn a_changed_environment_counts_as_new_content() {
    let account = Account::start().await;
    account.provision(&[1024]).await;
    let environment = aws_sdk_lambda::types::Environment::builder().variables("THREADS", "1").build();
    let call = account.client.update_function_configuration().function_name("f");
    call.environment(environment).send().await.unwrap();
    assert_eq!(results(&account.provision(&[1024]).await), [Updated]);
}

#[tokio::test]
async fn a_version_without_its_alias_is_used_instead_of_a_new_one() {
    let account = Account::start().await;
    account.provision(&[256, 1024]).await;
    account.client.delete_alias().function_name("f").name("mem-256").send().await.unwrap();
    account.changes();
    assert_eq!(results(&account.provision(&[256, 1024]).await), [Created, Unchanged]);
    let changes = account.changes();
    assert!(
        changes.len() == 1 && changes[0].starts_with("POST /2015-03-31/functions/f/aliases"),
        "{changes:?}"
    );
}

#[tokio::test]
async fn more_versions_than_a_page_holds_are_all_seen() {
    let account = Account::start().await;
    let sizes: Vec<u32> = (0..55).map(|step| 600 + step).collect();
    account.provision(&sizes).await;
    assert_eq!(account.versions().await.len(), 55);
    assert!(account.plan(&sizes).await.is_done());
}

#[tokio::test]
async fn pruning_deletes_what_left_the_ladder_and_nothing_else() {
    let account = Account::start().await;
    account.provision(&[256, 512, 1024]).await;
    let call = account.client.create_alias().function_name("f").name("live");
    call.function_version("2").send().await.unwrap();
    account.changes();
    let plan = account.plan(&[1024]).await;
    let report = account.provisioner.prune("f", &plan.prunes, &quiet).await.unwrap();
    assert_eq!(report.deleted.aliases, ["mem-256".to_owned(), "mem-512".to_owned()].into());
    assert_eq!(account.aliases().await, ["live", "mem-1024"]);
    assert_eq!(account.versions().await, [2, 3], "version 2 is behind `live`");
    let deleted: Vec<String> = account.changes().into_iter().filter(|it| !it.contains("/aliases/")).collect();
    assert!(
        deleted.iter().all(|line| line.starts_with("DELETE /2015-03-31/functions/f?Qualifier=")),
        "a deletion without a version would take the whole function: {deleted:?}"
    );
}

#[tokio::test]
async fn a_version_that_an_alias_took_meanwhile_is_not_pruned() {
    let account = Account::start().await;
    account.provision(&[256, 1024]).await;
    let plan = account.plan(&[1024]).await;
    let call = account.client.create_alias().function_name("f").name("late");
    call.function_version("1").send().await.unwrap();
    let report = account.provisioner.prune("f", &plan.prunes, &quiet).await.unwrap();
    assert_eq!(report.in_use, [1].into());
    assert_eq!(account.versions().await, [1, 2]);
}

#[tokio::test]
async fn a_size_that_the_account_does_not_allow_is_left_out_and_the_rest_is_made() {
    let account = Account::start_with("limits = { memory_ceiling_mib = 3008 }").await;
    let report = account.provision(&[1024, 3009, 4096, 10_240]).await;
    assert_eq!(results(&report), [Created, LeftOut, LeftOut, LeftOut]);
    assert_eq!(report.memory_ceiling, Some(Mebibytes(3008)));
    let tries = account.changes().into_iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(tries, 3, "1024, 3009 and the way back: what is above a known ceiling is not tried");
    assert_eq!(account.latest_memory().await, 512);
    assert_eq!(account.aliases().await, ["mem-1024"]);
}

#[tokio::test]
async fn limits_are_those_of_the_account_and_the_function() {
    let account = Account::start_with("limits = { account_concurrency = 300 }").await;
    let call = account.client.put_function_concurrency().function_name("f");
    call.reserved_concurrent_executions(20).send().await.unwrap();
    let limits = account_limits(&account.config).await.unwrap();
    assert_eq!((limits.concurrency, limits.unreserved_concurrency), (300, 280));
    assert_eq!(limits.requests_per_second(), 3000);
    let state = account.provisioner.state("f").await.unwrap();
    assert_eq!(limits.of_function(state.reserved_concurrency), 20);
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named() {
    let account = Account::start().await;
    let error = account.provisioner.state("nobody").await.unwrap_err();
    assert_eq!(error, ProvisionError::FunctionMissing { function: "nobody".to_owned() });
    let state = account.provisioner.state("f").await.unwrap();
    assert!(plan(state, &ladder(&[])).is_done());
}

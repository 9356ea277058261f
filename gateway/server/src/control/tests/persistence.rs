//! What survives a restart, and what does not.

use gateway_contract::{PlanRevision, ServingPlan};

use super::folder;
use super::world::{Lambda, Script, World, eventually, ms};

const STATE: &str = "[state]\ndirectory = \"learned\"";

/// A world that has learned something, chosen a plan, and was stopped.
async fn lived(folder: &std::path::Path) {
    let world = World::start(folder, STATE, Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..world.plan_on(2, 2048) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.send().await.unwrap();
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn learned_state_and_the_last_good_plan_survive_a_restart() {
    let folder = folder();
    lived(folder.path()).await;
    let world = World::start(folder.path(), STATE, Script::default());
    assert!(eventually(|| world.plan().max_batch_size == 3).await);
    assert_eq!(world.plan().rungs[0].qualifier, "mem-2048");
    assert_eq!(world.script().restored, 1);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_file_means_the_configured_plan_and_is_kept_aside() {
    for damage in [&b"garbage"[..], b"", b"penstock-state-1 sha256=00\n{}"] {
        let folder = folder();
        lived(folder.path()).await;
        let file = folder.path().join("learned/echo.state");
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, if damage.is_empty() { &bytes } else { damage }).unwrap();
        let world = World::start(folder.path(), STATE, Script::default());
        assert!(eventually(|| world.script().made == 1).await);
        tokio::time::sleep(ms(3000)).await;
        assert_eq!((world.script().restored, world.plan().max_batch_size), (0, 4));
        assert_eq!(
            world.metric("penstock_plan_fallbacks_total{model=\"echo\",reason=\"corrupt_state\"}"),
            1.0
        );
        assert!(folder.path().join("learned/echo.state.corrupt").exists() && !file.exists());
        assert!(world.send().await.unwrap().failed.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn state_that_the_tuner_refuses_is_kept_aside_too() {
    let folder = folder();
    lived(folder.path()).await;
    let script = Script { refuses_state: true, ..Script::default() };
    let world = World::start(folder.path(), STATE, script);
    assert!(eventually(|| folder.path().join("learned/echo.state.corrupt").exists()).await);
    assert_eq!(world.metric("penstock_plan_fallbacks_total{model=\"echo\",reason=\"corrupt_state\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn state_is_written_while_it_changes_and_no_more_often_than_every_30_s() {
    let folder = folder();
    let world = World::start_on(folder.path(), STATE, Script::default(), Lambda::default());
    let saves = || world.metric("penstock_state_saves_total{result=\"success\"}");
    for _ in 0..65 {
        world.send().await.unwrap();
        tokio::time::sleep(ms(1000)).await;
    }
    assert!((1.0..=3.0).contains(&saves()), "{}", saves());
    tokio::time::sleep(ms(31_000)).await;
    let before = saves();
    tokio::time::sleep(ms(120_000)).await;
    assert!((saves() - before).abs() < 0.5, "nothing changed");
    assert!(!folder.path().join("learned/echo.state.new").exists());
}

#[tokio::test(start_paused = true)]
async fn a_new_host_goes_on_with_the_copy() {
    let (folder, bucket) = (folder(), tempfile::tempdir().unwrap());
    let state = format!("{STATE}\ncopy = \"file://{}\"", bucket.path().display());
    let world = World::start(folder.path(), &state, Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..world.plan_on(2, 2048) };
    world.script().plans.push_back(plan);
    assert!(eventually(|| world.plan().revision == PlanRevision(2)).await);
    world.send().await.unwrap();
    let catalogue = world.catalogue.clone();
    world.stop().await;
    assert!(catalogue.encode().contains("penstock_state_copies_total{result=\"success\"}"));
    std::fs::remove_dir_all(folder.path().join("learned")).unwrap();
    let world = World::start(folder.path(), &state, Script::default());
    assert!(eventually(|| world.plan().max_batch_size == 3).await);
    assert_eq!(world.script().restored, 1);
    drop(world);
    std::fs::remove_dir_all(folder.path().join("learned")).unwrap();
    std::fs::write(bucket.path().join("echo.state"), "garbage").unwrap();
    let world = World::start(folder.path(), &state, Script::default());
    assert!(eventually(|| world.script().made == 1).await);
    assert_eq!(world.script().restored, 0, "a copy that does not hold is not used");
}

#[tokio::test(start_paused = true)]
async fn a_first_profile_is_told_at_the_first_start_and_not_again() {
    let folder = folder();
    let line = "{\"memory_mib\":1024,\"process_count\":1,\"items\":4,\"handler_us\":40000,\"billed_ms\":41,\"round_trip_us\":45000}\n";
    std::fs::write(folder.path().join("m.jsonl"), line.repeat(3)).unwrap();
    let more = format!("first_profile = \"m.jsonl\"\n{STATE}");
    let world = World::start(folder.path(), &more, Script::default());
    assert!(eventually(|| world.script().observations.len() == 3).await);
    assert_eq!(world.script().observations[0].handler, ms(40));
    world.send().await.unwrap();
    world.stop().await;
    let again = World::start(folder.path(), &more, Script::default());
    assert!(eventually(|| again.script().restored == 1).await);
    assert!(again.script().observations.is_empty(), "learned state goes before it");
}

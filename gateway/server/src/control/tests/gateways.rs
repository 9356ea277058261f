//! Several loops: on one folder, and on one shared store.

use gateway_contract::{PlanRevision, ServingPlan};
use optimizer_tuner::Command;

use super::folder;
use super::world::{Script, World, eventually, ms};

#[tokio::test(start_paused = true)]
async fn a_state_directory_has_one_learner_and_the_next_goes_on_where_it_stopped() {
    let folder = folder();
    let state = "[state]\ndirectory = \"learned\"";
    let first = World::start(folder.path(), state, Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..first.plan_on(2, 2048) };
    first.script().plans.push_back(plan);
    assert!(eventually(|| first.plan().max_batch_size == 3).await);
    first.send().await.unwrap();
    tokio::time::sleep(ms(31_000)).await; // written

    let second = World::start(folder.path(), state, Script::default());
    assert!(eventually(|| second.plan().max_batch_size == 3).await, "it serves what the first one learned");
    second.send().await.unwrap();
    tokio::time::sleep(ms(5000)).await;
    assert_eq!(second.script().made, 0, "and learns nothing");
    let refused = second.control.command("echo", Command::Freeze).await.unwrap_err().to_string();
    assert!(refused.contains("decides for this model"), "{refused}");

    let plan = ServingPlan { max_batch_size: 2, ..first.plan_on(first.plan().revision.0 + 1, 2048) };
    first.script().plans.push_back(plan);
    assert!(eventually(|| first.plan().max_batch_size == 2).await);
    first.stop().await;
    assert!(eventually(|| second.script().restored == 1).await, "it learns once the first has gone");
    assert!(eventually(|| second.plan().max_batch_size == 2).await, "with what the first wrote last");
}

fn shared(folder: &std::path::Path) -> String {
    format!("[state]\nshared = \"file://{}\"\nlease_ms = 3000", folder.display())
}

#[tokio::test(start_paused = true)]
async fn one_of_two_decides_and_the_other_serves_its_plans_and_takes_over() {
    let (folder, store) = (folder(), tempfile::tempdir().unwrap());
    let state = shared(store.path());
    let first = World::start(folder.path(), &state, Script::default());
    assert!(eventually(|| first.script().made == 1).await);
    let second = World::start(folder.path(), &state, Script::default());
    let plan = ServingPlan { max_batch_size: 3, ..first.plan_on(2, 2048) };
    first.script().plans.push_back(plan);
    assert!(eventually(|| second.plan().max_batch_size == 3).await);
    assert_eq!(second.plan().rungs[0].qualifier, "mem-2048");
    for _ in 0..20 {
        second.send().await.unwrap();
        tokio::time::sleep(ms(1000)).await;
    }
    assert_eq!((first.script().made, second.script().made), (1, 0), "as long as the first one lives");

    first.vanish();
    assert!(eventually(|| second.script().made == 1).await, "within the lease and a look");
    assert_eq!(second.script().restored, 1);
    assert_eq!(second.plan().max_batch_size, 3);
    assert!(eventually(|| !second.script().windows.is_empty()).await, "and decides");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_its_store_stops_deciding_serves_on_and_comes_back() {
    let (folder, store) = (folder(), tempfile::tempdir().unwrap());
    let world = World::start(folder.path(), &shared(&store.path().join("s")), Script::default());
    assert!(eventually(|| !world.script().windows.is_empty()).await);
    let away = store.path().join("away");
    std::fs::rename(store.path().join("s"), &away).unwrap();
    std::fs::write(store.path().join("s"), "no folder").unwrap();
    tokio::time::sleep(ms(4000)).await;
    let decided = world.script().windows.len();
    assert!(world.send().await.unwrap().failed.is_empty(), "it serves");
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(world.script().windows.len(), decided, "nothing is decided");
    assert_eq!(world.plan().revision, PlanRevision(1));
    std::fs::remove_file(store.path().join("s")).unwrap();
    std::fs::rename(&away, store.path().join("s")).unwrap();
    assert!(eventually(|| world.script().windows.len() > decided).await, "it decides again");
    assert_eq!(world.script().made, 2);
}

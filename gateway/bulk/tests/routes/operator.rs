//! `/control/jobs`

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{World, line};

#[tokio::test]
async fn the_operator_sees_every_callers_jobs_with_progress_and_cost_but_not_whose_they_are() {
    let mut world = World::start(Duration::from_millis(30)).await;
    assert_eq!(world.operator().await["jobs"], json!([]));
    let lines = |count: usize| -> Vec<String> {
        (0..count).map(|number| line(&format!("l{number}"), &json!(number))).collect()
    };
    let first = world.batch(&lines(4)).await;
    world.end(&first).await;
    world.token = "sk-two";
    let second = world.batch(&lines(200)).await;
    world.wait(&second, |batch| batch["request_counts"]["completed"].as_u64().unwrap() > 0).await;
    let seen = world.operator().await;
    let jobs = seen["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{seen}");
    let (running, ended) = (&jobs[0], &jobs[1]);
    assert_eq!((&running["state"], &running["is_final"]), (&json!("in_progress"), &json!(false)));
    assert_eq!((&running["lines"], &running["model"]), (&json!(200), &json!("echo")));
    let completed = running["completed"].as_u64().unwrap();
    assert!((1..=200).contains(&completed), "{running}");
    assert_eq!((&ended["state"], &ended["completed"]), (&json!("completed"), &json!(4)));
    assert!(ended["usd"].as_f64().unwrap() > 0.0 && ended["in_flight"] == Value::Null, "{ended}");
    assert!(seen["share"]["allowed_invocations"].as_u64().unwrap() > 0, "{seen}");
    assert!(!seen.to_string().contains("sk-"), "whose jobs they are is nobody's business: {seen}");
    world.service.stop().await;
}

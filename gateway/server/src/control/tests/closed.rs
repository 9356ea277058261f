//! The whole loop with the real tuner against a Lambda whose service law is known: it must find what is cheap, within the objective,
//! and find it again after a restart without learning anew.

use std::time::Duration;

use super::folder;
use super::world::{World, ms};

/// Requests per second, evenly spaced: what is tested is the loop, not the arrival law.
const RATE: u64 = 40;
const POLICY: &str = "[state]\ndirectory = \"learned\"\n[control]\nprobe_interval_ms = 0";

/// What a stretch of load cost and kept.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    usd_per_million: f64,
    late_share: f64,
}

/// Sends [`RATE`] requests a second for `seconds`.
async fn load(world: &World, seconds: u64) -> Stretch {
    let requests = RATE * seconds;
    let mut running = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap());
    for _ in 0..requests {
        ticks.tick().await;
        let request = world.send();
        running.push(tokio::spawn(async move {
            let start = tokio::time::Instant::now();
            let completed = request.await.unwrap();
            assert!(completed.failed.is_empty());
            (completed.receipt.cost_usd, start.elapsed())
        }));
    }
    let (mut usd, mut late) = (0.0, 0);
    for request in running {
        let (cost, took) = request.await.unwrap();
        usd += cost;
        late += u32::from(took > ms(500));
    }
    let count = requests as f64;
    Stretch { usd_per_million: usd / count * 1e6, late_share: f64::from(late) / count }
}

#[tokio::test(start_paused = true)]
async fn the_loop_finds_a_cheaper_plan_that_keeps_the_objective_and_keeps_it_over_a_restart() {
    let folder = folder();
    let world = World::start_real(folder.path(), POLICY);
    let first = load(&world, 2).await;
    let learning = load(&world, 120).await;
    let settled = load(&world, 30).await;
    assert!(world.plan().revision.0 > 1, "nothing was chosen");
    assert!(settled.usd_per_million < 0.7 * first.usd_per_million, "{first:?} {settled:?}");
    assert!(learning.late_share < 0.03 && settled.late_share < 0.01, "{learning:?} {settled:?}");
    assert!(world.metric("penstock_plan_switches_total{model=\"echo\",reason=\"learned\"}") > 0.0);
    let predicted = world.metric("penstock_plan_predicted_cost_usd_per_million{model=\"echo\"}");
    assert!((predicted / settled.usd_per_million - 1.0).abs() < 0.15, "{predicted} for {settled:?}");
    assert!(world.metric("penstock_savings_usd{component=\"unbatched\",model=\"echo\"}") > 0.0);
    let chosen = world.plan();
    world.stop().await;

    let world = World::start_real(folder.path(), POLICY);
    tokio::time::sleep(ms(1000)).await;
    let again = world.plan();
    assert_eq!((again.max_batch_size, &again.rungs), (chosen.max_batch_size, &chosen.rungs));
    let resumed = load(&world, 10).await;
    assert!(resumed.usd_per_million < 0.8 * first.usd_per_million, "{first:?} {resumed:?}");
}

//! The progress bar: items a second, dollars so far, time left. On a terminal one line that changes, else a line now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_bulk::{JobState, Progress, Snapshot};
use indicatif::{ProgressBar, ProgressStyle};
use simulator::report::number::{dollars, duration};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(250);
/// How often a log is told.
const PERIOD: Duration = Duration::from_secs(10);

/// Shows progress until it is dropped.
pub(super) async fn show(progress: Arc<Progress>, is_terminal: bool) {
    const TEMPLATE: &str = "{bar:30} {pos}/{len} lines, {elapsed} gone, {wide_msg}";
    let bar = if is_terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let _clears = Clear(bar.clone());
    let mut told: Option<Instant> = None;
    loop {
        if let Some(plan) = progress.take_plan() {
            bar.suspend(|| eprintln!("{plan}"));
        }
        let snapshot = progress.snapshot();
        let counts = snapshot.counts;
        bar.set_length(counts.total);
        bar.set_position(counts.completed + counts.failed);
        bar.set_message(line(&snapshot));
        if !is_terminal && told.is_none_or(|told| told.elapsed() >= PERIOD) {
            if told.is_some() {
                eprintln!("{}/{} lines, {}", counts.completed + counts.failed, counts.total, line(&snapshot));
            }
            told = Some(Instant::now());
        }
        tokio::time::sleep(TICK).await;
    }
}

struct Clear(ProgressBar);

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn line(snapshot: &Snapshot) -> String {
    if let Some((done, all)) = snapshot.elsewhere {
        return format!("{done} of {all} chunks done by the state machine");
    }
    let mut line = match snapshot.state {
        JobState::InProgress => {
            let left = snapshot
                .time_left
                .map_or("unknown time".to_owned(), |left| duration(left.as_secs_f64().round()));
            format!(
                "{:.0} items/s, {} so far, about {left} left, {} invocations under way",
                snapshot.items_per_second,
                dollars(snapshot.cost.usd),
                snapshot.in_flight
            )
        }
        JobState::Validating
        | JobState::Failed
        | JobState::Finalizing
        | JobState::Completed
        | JobState::Expired
        | JobState::Cancelling
        | JobState::Cancelled => snapshot.state.name().replace('_', " "),
    };
    if snapshot.counts.failed > 0 {
        line.push_str(&format!(", {} failed", snapshot.counts.failed));
    }
    if snapshot.throttled > 0 {
        line.push_str(&format!(", {} throttled", snapshot.throttled));
    }
    line
}

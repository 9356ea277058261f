//! What bulk jobs report → metrics. The jobs themselves are another crate's.

use std::sync::Arc;
use std::time::Duration;

use gateway_policy::share::{Share, ShareState};

use super::Catalogue;

/// Counts bulk jobs.
#[derive(Clone, Debug)]
pub struct JobMetrics(Arc<Catalogue>);

impl JobMetrics {
    /// Counts into `catalogue`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self(catalogue)
    }

    /// Jobs in a state that is not final. States are those of OpenAI's Batch API.
    pub fn active(&self, state: &str, count: usize) {
        self.0.job_active.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A job ended.
    pub fn ended(&self, model: &str, state: &str, age: Duration) {
        self.0.job_ends.with_label_values(&[model, state]).inc();
        self.0.job_duration.with_label_values(&[model, state]).observe(age.as_secs_f64());
    }

    /// A job was asked to be cancelled.
    pub fn cancelled(&self, phase: &str) {
        self.0.job_cancellations.with_label_values(&[phase]).inc();
    }

    /// Lines and items have their outcome.
    pub fn lines(&self, model: &str, completed: u64, failed: u64, items: u64) {
        for (outcome, lines) in [("completed", completed), ("failed", failed)] {
            self.0.job_lines.with_label_values(&[model, outcome]).inc_by(lines);
        }
        self.0.job_items.with_label_values(&[model]).inc_by(items);
    }

    /// Invocations were billed: dollars, billed duration, gigabyte-seconds.
    pub fn billed(&self, model: &str, invocations: u64, usd: f64, billed: Duration, gb_seconds: f64) {
        self.0.job_invocations.with_label_values(&[model]).inc_by(invocations);
        self.0.job_cost_usd.with_label_values(&[model]).inc_by(usd);
        self.0.cost_usd.with_label_values(&[model, "lambda_bulk"]).inc_by(usd);
        self.0.job_billed.with_label_values(&[model]).inc_by(billed.as_secs_f64());
        self.0.job_gb_seconds.with_label_values(&[model]).inc_by(gb_seconds);
    }

    /// Lambda throttled invocations.
    pub fn throttled(&self, model: &str, invocations: u64) {
        self.0.job_throttled.with_label_values(&[model]).inc_by(invocations);
    }

    /// What jobs may have beside live traffic, and what they use.
    pub fn share(&self, share: Share, in_flight: u32) {
        self.0.job_allowed.set(i64::from(share.allowed));
        self.0.job_in_flight.set(i64::from(in_flight));
        for state in [ShareState::Left, ShareState::Weight, ShareState::Risk, ShareState::Starved] {
            self.0.job_share.with_label_values(&[share_label(state)]).set(i64::from(state == share.state));
        }
    }
}

const fn share_label(state: ShareState) -> &'static str {
    match state {
        ShareState::Left => "left",
        ShareState::Weight => "weight",
        ShareState::Risk => "risk",
        ShareState::Starved => "starved",
    }
}

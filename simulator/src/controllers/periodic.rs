//! A policy that looks at past arrivals now and then and chooses a plan for the time to come.

use gateway_contract::{Mebibytes, PlanRevision, ServingPlan, WindowStats};

use crate::deployment::{Controller, ControllerCounts, NextPlan};

/// Most environments warmed by a plan change.
const MAX_WARM_UP: u32 = 50;
/// Windows that are remembered at most: an hour of seconds.
const MAX_WINDOWS: usize = 3600;

/// A chosen plan.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The plan; its revision is overwritten.
    pub plan: ServingPlan,
    /// Mean invocations in flight that are expected of it.
    pub concurrency: f64,
}

/// Chooses a plan from arrivals.
pub trait Planner {
    /// The plan for what the windows (the most recent last) show. `None`: keep what serves.
    fn plan(&mut self, windows: &[WindowStats]) -> Option<Chosen>;
}

/// Asks a planner at given times.
#[derive(Debug)]
pub struct Periodic<P> {
    planner: P,
    serving: ServingPlan,
    windows: Vec<WindowStats>,
    /// Seconds of the choices at the beginning, ascending.
    first_s: Vec<f64>,
    /// Seconds between later ones.
    every_s: f64,
    next_s: f64,
    choices: u64,
}

impl<P: Planner> Periodic<P> {
    /// Starts with `first`; chooses at each of `first_s` and then every `every_s` seconds.
    #[must_use]
    pub fn new(planner: P, first: ServingPlan, first_s: Vec<f64>, every_s: f64) -> Self {
        let next_s = first_s.first().copied().unwrap_or(every_s);
        Self { planner, serving: first, windows: Vec::new(), first_s, every_s, next_s, choices: 0 }
    }

    fn schedule_next(&mut self, now_s: f64) {
        let early = self.first_s.iter().copied().find(|&at_s| at_s > now_s);
        self.next_s = early.unwrap_or((now_s / self.every_s).floor().mul_add(self.every_s, self.every_s));
    }
}

impl<P: Planner> Controller for Periodic<P> {
    fn initial_plan(&mut self) -> ServingPlan {
        self.serving.clone()
    }

    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan> {
        self.windows.push(stats.clone());
        let now_s = stats.ended_at.as_nanos() as f64 / 1e9;
        if now_s + 1e-6 < self.next_s {
            return Vec::new();
        }
        self.schedule_next(now_s + 1e-6);
        if self.windows.len() > MAX_WINDOWS {
            self.windows.drain(..self.windows.len() - MAX_WINDOWS);
        }
        let Some(chosen) = self.planner.plan(&self.windows) else { return Vec::new() };
        let parent = self.serving.revision;
        let plan = ServingPlan {
            model: self.serving.model,
            revision: PlanRevision(parent.0 + 1),
            parent: Some(parent),
            ..chosen.plan
        };
        let is_same =
            ServingPlan { revision: parent, parent: self.serving.parent, ..plan.clone() } == self.serving;
        if is_same {
            return Vec::new();
        }
        self.choices += 1;
        self.serving = plan.clone();
        vec![NextPlan { warm: warm(&plan, chosen.concurrency), plan }]
    }

    fn counts(&self) -> ControllerCounts {
        ControllerCounts { trials: self.choices, ..ControllerCounts::default() }
    }
}

/// As many environments of each size as the plan keeps busy, and one more.
fn warm(plan: &ServingPlan, concurrency: f64) -> Vec<(Mebibytes, u32)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded count")]
    let wanted = concurrency.ceil().clamp(1.0, f64::from(MAX_WARM_UP)) as u32 + 1;
    let mut warm: Vec<(Mebibytes, u32)> = Vec::new();
    for rung in &plan.rungs {
        if !warm.iter().any(|(known, _)| *known == rung.memory_mib) {
            warm.push((rung.memory_mib, wanted));
        }
    }
    warm
}

/// Requests per second over windows.
pub(super) fn rate(windows: &[WindowStats]) -> f64 {
    let requests: u64 = windows.iter().map(|window| window.requests).sum();
    let seconds: f64 = windows.iter().map(|window| window.length.as_secs_f64()).sum();
    requests as f64 / seconds.max(1e-9)
}

//! Learned state over restarts: what was observed, the present regime, the chosen point.

use std::time::Duration;

use optimizer_bayesopt::Hyperparameters;
use optimizer_changepoint::DetectorState;
use serde::{Deserialize, Serialize};

use super::{Hold, Tuner};
use crate::event::{Phase, SwitchReason, TunerAction};
use crate::search::{Point, Search, Situation};
use crate::service::belief::{Belief, RungPoint};
use crate::service::knowledge::Knowledge;

/// Version of this layout.
const VERSION: u32 = 1;

/// Learned state, to be kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunerState {
    version: u32,
    knowledge: Knowledge,
    detector: DetectorState,
    hyperparameters: Option<Hyperparameters>,
    point: Option<SavedPoint>,
    tries: Vec<(u32, u32, u32)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPoint {
    max_batch_size: u32,
    max_queue_delay_us: u64,
    /// Largest fill, MiB, processes.
    rungs: Vec<(u32, u32, u32)>,
    close_z: f64,
}

/// State that cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("learned state: {0}")]
pub struct StateError(pub String);

impl TunerState {
    /// What was learned of the function.
    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }
}

impl SavedPoint {
    fn of(point: &Point) -> Self {
        Self {
            max_batch_size: point.max_batch_size,
            max_queue_delay_us: u64::try_from(point.max_queue_delay.as_micros()).unwrap_or(u64::MAX),
            rungs: point.rungs.iter().map(|&(last, at)| (last, at.memory_mib, at.process_count)).collect(),
            close_z: point.close_z,
        }
    }

    fn point(&self) -> Point {
        let place = |memory_mib, process_count| RungPoint { memory_mib, process_count };
        Point {
            max_batch_size: self.max_batch_size,
            max_queue_delay: Duration::from_micros(self.max_queue_delay_us),
            rungs: self.rungs.iter().map(|&(last, memory, count)| (last, place(memory, count))).collect(),
            close_z: self.close_z,
        }
    }
}

impl Tuner {
    /// What was learned.
    #[must_use]
    pub fn save(&self) -> TunerState {
        TunerState {
            version: VERSION,
            knowledge: self.knowledge.clone(),
            detector: self.arrivals.save(),
            hyperparameters: self.learning.hyperparameters.clone(),
            point: self.point.as_ref().map(SavedPoint::of),
            tries: self.tries.iter().map(|(at, &tries)| (at.memory_mib, at.process_count, tries)).collect(),
        }
    }

    /// Takes learned state up; the tuner must be fresh. The plan that served last serves again at once if the bounds still allow it.
    ///
    /// # Errors
    /// State of another version or out of range; nothing has changed then.
    pub fn restore(&mut self, state: TunerState) -> Result<(), StateError> {
        if state.version != VERSION {
            return Err(StateError(format!("version {} is not known", state.version)));
        }
        if !state.knowledge.is_sound() {
            return Err(StateError("a number is out of range".to_owned()));
        }
        let points = crate::search::places(&self.settings);
        let hyperparameters = state.hyperparameters.as_ref();
        let belief =
            Belief::learn(&state.knowledge.cells, &state.knowledge.padding, &points, hyperparameters, false);
        self.arrivals.restore(&state.detector);
        self.knowledge = state.knowledge;
        self.learning.completed = self.knowledge.completed;
        self.learning.hyperparameters = state.hyperparameters;
        self.belief = belief.map(std::sync::Arc::new);
        self.tries = state
            .tries
            .into_iter()
            .map(|(memory_mib, process_count, tries)| (RungPoint { memory_mib, process_count }, tries))
            .collect();
        self.searched.is_due = Some(SwitchReason::Learned);
        if self.belief.is_some() && self.hold == Hold::Free && !self.is_whole_plan_policy() {
            self.phase = Phase::Holding;
            let is_allowed = |point: &Point| point.rungs.iter().all(|(_, at)| points.contains(at));
            if let Some(point) = state.point.map(|saved| saved.point()).filter(is_allowed) {
                self.resume(&point);
            }
        }
        self.emit(TunerAction::State { what: "restored" });
        Ok(())
    }

    /// Serves a saved point with service times as believed now.
    fn resume(&mut self, point: &Point) {
        let Some(law) = self.arrivals.law() else { return };
        let Some(belief) = self.belief.clone() else { return };
        let situation = Situation {
            settings: &self.settings,
            base: &self.base,
            economics: &self.economics,
            knowledge: &self.knowledge,
            belief: &belief,
            law: &law,
            caution: self.caution,
            vetoed: &|_| false,
        };
        let table = Search::new(&situation).and_then(|search| search.upper_table(point));
        if let Some(table) = table
            && self.settings.policy == crate::settings::PolicyKind::GreyBox
        {
            let plan = self.plan_of(point, table);
            if self.put_in_force(plan) {
                self.point = Some(point.clone());
            }
        }
    }
}

//! Knowledge from invocations: the same posterior that the tuner decides by.

use gateway_contract::{Mebibytes, ServiceObservation};

use super::candidates::places;
use super::knowledge::{ServiceKnowledge, Work};
use super::plan::BulkBounds;
use crate::TunerState;
use crate::service::belief::{Belief, Predicted, RungPoint};
use crate::service::knowledge::Knowledge;
use crate::service::physics::Place;

/// What invocations have taught.
#[derive(Debug)]
pub struct Learned {
    knowledge: Knowledge,
    belief: Belief,
}

impl Learned {
    /// From what was observed, warm and cold: a job's own first chunks, or another's. It is asked about places within `bounds`. `None`: there is no
    /// warm answer among them.
    #[must_use]
    pub fn from_observations<'a>(
        observations: impl IntoIterator<Item = &'a ServiceObservation>,
        bounds: &BulkBounds,
    ) -> Option<Self> {
        let mut knowledge = Knowledge::default();
        for observation in observations {
            knowledge.add(observation, None);
        }
        Self::from_knowledge(knowledge, bounds)
    }

    /// From what a gateway's tuner has learned of the model. `None`: nothing yet, or a number is out of range.
    #[must_use]
    pub fn from_state(state: &TunerState, bounds: &BulkBounds) -> Option<Self> {
        let knowledge = state.knowledge();
        knowledge.is_sound().then(|| Self::from_knowledge(knowledge.clone(), bounds)).flatten()
    }

    fn from_knowledge(knowledge: Knowledge, bounds: &BulkBounds) -> Option<Self> {
        let belief = Belief::learn(&knowledge.cells, &knowledge.padding, &places(bounds), None, true)?;
        Some(Self { knowledge, belief })
    }
}

impl ServiceKnowledge for Learned {
    fn service(&self, point: RungPoint, work: Work) -> Predicted {
        let usual = self.belief.usual_place(point, f64::from(work.items));
        let place = match work.units_per_item {
            Some(units) => Place { shard_units: usual.shard_items().ceil() * units, ..usual },
            None => usual,
        };
        let predicted = self.belief.about(&place);
        Predicted { ln_mean: predicted.ln_mean + self.knowledge.drift_ln(), ..predicted }
    }

    fn init_s(&self, memory: Mebibytes) -> f64 {
        self.knowledge.init_s(memory.0)
    }

    fn fits(&self, point: RungPoint) -> bool {
        self.knowledge.memory_floor.allows(point.process_count, point.memory_mib)
    }

    fn billing_extra_s(&self) -> f64 {
        self.knowledge.billing_extra_s()
    }

    fn overhead_s(&self) -> f64 {
        self.knowledge.overhead_s().0
    }
}

//! Who chooses the plans of one model.
//!
//! Deliberately absent: putting plans into force and warming environments. That is the shell's part, and the deployment plays it.

mod fixed;
mod scheduled;
mod tuner;

use std::cell::RefCell;
use std::rc::Rc;

use gateway_contract::{Mebibytes, ServiceObservation, ServingPlan, WindowStats};
use optimizer_tuner::TunerEvent;

pub use fixed::FixedPlan;
pub use scheduled::Scheduled;
pub use tuner::TunerController;

/// A plan to put into force.
#[derive(Clone, Debug, PartialEq)]
pub struct NextPlan {
    /// The plan. Its model is overwritten; its revision must be above that of the plan before, or it is stale and not put into force.
    pub plan: ServingPlan,
    /// Environments wanted by memory size before it serves: what is missing is started, and billed. Empty: it serves at once.
    pub warm: Vec<(Mebibytes, u32)>,
}

impl NextPlan {
    /// A plan that serves at once, on whatever is warm.
    #[must_use]
    pub fn at_once(plan: ServingPlan) -> Self {
        Self { plan, warm: Vec::new() }
    }
}

/// What a controller did so far, for records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerCounts {
    /// Trials begun.
    pub trials: u64,
    /// Change-points seen.
    pub change_points: u64,
    /// Plans given up.
    pub rollbacks: u64,
}

/// Chooses the plans of one model.
pub trait Controller {
    /// The plan in force at the start. Its `slo_latency` is the objective that answers are judged by throughout.
    fn initial_plan(&mut self) -> ServingPlan;

    /// Whether [`Controller::handle_observation`] and [`Controller::handle_window`] are wanted at all: counting windows costs time.
    fn wants_windows(&self) -> bool {
        true
    }

    /// A batch ended.
    fn handle_observation(&mut self, _observation: &ServiceObservation) {}

    /// A control window ended. Plans to put into force, in order.
    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan>;

    /// Next thing that it did and wants recorded.
    fn poll_event(&mut self) -> Option<TunerEvent> {
        None
    }

    /// What it did so far.
    fn counts(&self) -> ControllerCounts {
        ControllerCounts::default()
    }
}

/// A controller that its owner wants to look at after the run.
impl<C: Controller + ?Sized> Controller for Rc<RefCell<C>> {
    fn initial_plan(&mut self) -> ServingPlan {
        self.borrow_mut().initial_plan()
    }

    fn wants_windows(&self) -> bool {
        self.borrow().wants_windows()
    }

    fn handle_observation(&mut self, observation: &ServiceObservation) {
        self.borrow_mut().handle_observation(observation);
    }

    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan> {
        self.borrow_mut().handle_window(stats)
    }

    fn poll_event(&mut self) -> Option<TunerEvent> {
        self.borrow_mut().poll_event()
    }

    fn counts(&self) -> ControllerCounts {
        self.borrow().counts()
    }
}

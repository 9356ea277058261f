//! The state machine.

use std::collections::VecDeque;

use gateway_contract::{Architecture, PriceTable, ServiceObservation, ServingPlan, WindowStats};
use serde::{Deserialize, Serialize};

use crate::event::TunerEvent;
use crate::report::TunerReport;
use crate::settings::{SettingsError, TunerSettings};

/// What things cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Economics {
    /// Lambda's prices.
    pub prices: PriceTable,
    /// Architecture of the function.
    pub architecture: Architecture,
    /// GB-seconds that the account has used this month, for the price tier.
    pub month_gb_seconds: f64,
}

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Serve this plan and nothing else. Its `model`, `revision` and `parent` are overwritten.
    Pin(Box<ServingPlan>),
    /// Keep the plan in force; go on learning.
    Freeze,
    /// End a pin or freeze.
    Resume,
    /// Drop everything that was learned.
    Forget,
}

/// Learned state, to be kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunerState {
    version: u32,
}

/// State that cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("learned state: {0}")]
pub struct StateError(pub String);

/// Hyperparameters being fitted: a pure, heavy computation that may run on another thread.
#[derive(Clone, Debug)]
pub struct Refit {}

/// Its result.
#[derive(Clone, Debug)]
pub struct Refitted {}

impl Refit {
    /// Runs it. Takes milliseconds to a second.
    #[must_use]
    pub fn run(self) -> Refitted {
        Refitted {}
    }
}

/// One model's tuner.
#[derive(Debug)]
pub struct Tuner {
    settings: TunerSettings,
    base: ServingPlan,
    plan: ServingPlan,
    plans: VecDeque<ServingPlan>,
    events: VecDeque<TunerEvent>,
}

impl Tuner {
    /// Starts from `base`, the configured plan: it serves first, and again whenever nothing better is known. Its queue bounds, payload
    /// bounds, retries and objective hold for every plan.
    ///
    /// # Errors
    /// A setting that is out of range.
    pub fn new(settings: TunerSettings, base: ServingPlan, _economics: Economics) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self { settings, plan: base.clone(), base, plans: VecDeque::new(), events: VecDeque::new() })
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &ServingPlan {
        &self.plan
    }

    /// An invocation ended.
    pub fn handle_observation(&mut self, _observation: &ServiceObservation) {}

    /// A window ended. Detects, decides.
    pub fn handle_window(&mut self, _stats: &WindowStats) {}

    /// An operator's command.
    pub fn handle_command(&mut self, _command: Command) {}

    /// The configuration changed. What was learned is kept.
    ///
    /// # Errors
    /// A setting that is out of range; nothing has changed then.
    pub fn handle_settings(
        &mut self,
        settings: TunerSettings,
        base: ServingPlan,
        _economics: Economics,
    ) -> Result<(), SettingsError> {
        settings.validate()?;
        (self.settings, self.base) = (settings, base);
        Ok(())
    }

    /// A plan to put into force, if there is one. Later ones supersede earlier ones.
    pub fn poll_plan(&mut self) -> Option<ServingPlan> {
        self.plans.pop_front()
    }

    /// What was done, oldest first.
    pub fn poll_event(&mut self) -> Option<TunerEvent> {
        self.events.pop_front()
    }

    /// A fit of hyperparameters that is due, to be run off the decision path and given to [`Tuner::finish_refit`].
    pub fn start_refit(&mut self) -> Option<Refit> {
        None
    }

    /// Takes a fit up.
    pub fn finish_refit(&mut self, _refitted: Refitted) {}

    /// What was learned.
    #[must_use]
    pub fn save(&self) -> TunerState {
        TunerState { version: 1 }
    }

    /// Takes learned state up; the tuner must be fresh.
    ///
    /// # Errors
    /// State of another version or out of range; nothing has changed then.
    pub fn restore(&mut self, state: TunerState) -> Result<(), StateError> {
        if state.version == 1 { Ok(()) } else { Err(StateError(format!("version {} is not known", state.version))) }
    }

    /// What is known, for operators.
    #[must_use]
    pub fn report(&self) -> TunerReport {
        TunerReport::default()
    }
}

//! One model under the production tuner: a short way to [`crate::deployment`] for the tests and measurements that guard the tuner.
//!
//! Deliberately absent: any loop of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use gateway_contract::{ServiceObservation, ServingPlan, WindowStats};
use optimizer_tuner::settings::SettingsError;
use optimizer_tuner::{Economics, Tuner, TunerEvent, TunerReport, TunerSettings};

use crate::arrivals::ArrivalProcess;
use crate::deployment::{
    self, Account, Controller, ControllerCounts, DeploymentConfig, DeploymentError, Fault, ModelConfig,
    ModelReport, NetworkLaw, NextPlan, SizeLaw, TunerController, Unobserved, WindowRecord,
};
use crate::lambda::FunctionModel;

/// What a loop is made of.
#[derive(Clone, Debug)]
pub struct LoopConfig {
    /// The tuner's settings.
    pub settings: TunerSettings,
    /// The configured plan.
    pub base: ServingPlan,
    /// Prices as the tuner knows them.
    pub economics: Economics,
    /// Prices as they are billed; usually the same.
    pub true_economics: Economics,
    /// How long requests arrive, seconds.
    pub seconds: f64,
    /// Round trip beyond the handler, seconds.
    pub network_s: f64,
    /// Billed beyond the handler, seconds.
    pub runtime_s: f64,
    /// Probabilities of 1, 2, … items per request.
    pub items_pmf: Vec<f64>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The seed.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct LoopReport {
    /// Every window.
    pub windows: Vec<WindowRecord>,
    /// Everything that the tuner did.
    pub events: Vec<TunerEvent>,
    /// Every plan that was put into force, with the second from which it served.
    pub plans: Vec<(f64, ServingPlan)>,
    /// What the tuner knew at the end.
    pub last: TunerReport,
    /// What the clock showed of each decision, seconds; empty without a clock.
    pub decision_s: Vec<f64>,
}

impl LoopReport {
    /// As [`deployment::between`] of the windows.
    #[must_use]
    pub fn between(&self, from_s: f64, to_s: f64) -> (f64, f64) {
        deployment::between(&self.windows, from_s, to_s)
    }
}

/// A loop that cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoopError {
    /// Settings of the tuner that are out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The rest of it.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
}

/// The tuner with a clock beside it, which only measures how long its decisions take.
#[derive(Debug)]
struct Timed {
    controller: TunerController,
    clock: Option<fn() -> f64>,
    decision_s: Vec<f64>,
}

impl Controller for Timed {
    fn initial_plan(&mut self) -> ServingPlan {
        self.controller.initial_plan()
    }

    fn handle_observation(&mut self, observation: &ServiceObservation) {
        self.controller.handle_observation(observation);
    }

    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan> {
        let began = self.clock.map(|clock| clock());
        self.controller.decide(stats);
        if let (Some(clock), Some(began)) = (self.clock, began) {
            self.decision_s.push(clock() - began);
        }
        self.controller.take_plans()
    }

    fn poll_event(&mut self) -> Option<TunerEvent> {
        self.controller.poll_event()
    }

    fn counts(&self) -> ControllerCounts {
        self.controller.counts()
    }
}

/// Runs a loop.
///
/// # Errors
/// Settings that are out of range, or a plan that cannot be served.
pub fn run(
    config: &LoopConfig,
    arrivals: Box<dyn ArrivalProcess>,
    function: Arc<dyn FunctionModel>,
) -> Result<LoopReport, LoopError> {
    let tuner = Tuner::new(config.settings.clone(), config.base.clone(), config.economics.clone())?;
    Ok(run_tuner(config, tuner, arrivals, function, None)?.0)
}

/// Runs a loop with a tuner that may know something already; gives it back. `clock`, seconds, only measures how long decisions take.
///
/// # Errors
/// A plan that cannot be served.
pub fn run_tuner(
    config: &LoopConfig,
    tuner: Tuner,
    arrivals: Box<dyn ArrivalProcess>,
    function: Arc<dyn FunctionModel>,
    clock: Option<fn() -> f64>,
) -> Result<(LoopReport, Tuner), LoopError> {
    let timed = Timed { controller: TunerController::of(tuner), clock, decision_s: Vec::new() };
    let timed = Rc::new(RefCell::new(timed));
    let model = ModelConfig {
        sizes: SizeLaw::items(config.items_pmf.clone()),
        slo_percentile: config.settings.slo_percentile,
        ..ModelConfig::new("model", function, arrivals, Box::new(Rc::clone(&timed)))
    };
    let world = DeploymentConfig {
        account: Account {
            network: NetworkLaw::Fixed(config.network_s),
            runtime_s: config.runtime_s,
            economics: config.true_economics.clone(),
            ..Account::default()
        },
        faults: config.faults.clone(),
        window: config.settings.window,
        ..DeploymentConfig::new(vec![model], config.seconds, config.seed)
    };
    let mut report = deployment::run(world, &mut Unobserved)?;
    #[expect(clippy::expect_used, reason = "one model was given, and its report was the only other owner")]
    let (model, timed) = {
        let ModelReport { windows, events, plans, controller, .. } = report.models.pop().expect("one model");
        drop(controller);
        ((windows, events, plans), Rc::into_inner(timed).expect("no other owner").into_inner())
    };
    let (windows, events, plans) = model;
    let report =
        LoopReport { windows, events, plans, last: timed.controller.report(), decision_s: timed.decision_s };
    Ok((report, timed.controller.into_tuner()))
}

//! The tuner as the loop uses it, and one turn of it away from the serving threads.
//!
//! A decision may take milliseconds, which would be felt by requests if it ran between them, so each turn runs on a thread for
//! blocking work. A panic ends there: the tuner is lost and made anew, the plan in force stays.

use std::time::{Duration, Instant};

use gateway_contract::{PlanRevision, ServiceObservation, ServingPlan, WindowStats};
use optimizer_tuner::settings::SettingsError;
use optimizer_tuner::surface::Surface;
use optimizer_tuner::{
    Command, Economics, Refit, Refitted, StateError, Tuner, TunerEvent, TunerReport, TunerSettings,
    TunerState,
};

/// What the loop needs of a tuner.
pub(super) trait Decide: Send {
    fn revision(&self) -> PlanRevision;
    fn handle_observation(&mut self, observation: &ServiceObservation);
    fn handle_window(&mut self, stats: &WindowStats);
    fn handle_command(&mut self, command: Command);
    fn handle_settings(
        &mut self,
        settings: TunerSettings,
        base: ServingPlan,
        economics: Economics,
    ) -> Result<(), SettingsError>;
    fn poll_plan(&mut self) -> Option<ServingPlan>;
    fn poll_event(&mut self) -> Option<TunerEvent>;
    fn start_refit(&mut self) -> Option<Refit>;
    fn finish_refit(&mut self, refitted: Refitted);
    fn save(&self) -> TunerState;
    fn restore(&mut self, state: TunerState) -> Result<(), StateError>;
    fn report(&self) -> TunerReport;
    fn surface(&self) -> Option<Surface>;
}

/// Makes tuners.
pub(super) type MakeTuner =
    dyn Fn(TunerSettings, ServingPlan, Economics) -> Result<Box<dyn Decide>, SettingsError> + Send + Sync;

/// The real one.
pub(super) fn tuner(
    settings: TunerSettings,
    base: ServingPlan,
    economics: Economics,
) -> Result<Box<dyn Decide>, SettingsError> {
    Ok(Box::new(Tuner::new(settings, base, economics)?))
}

impl Decide for Tuner {
    fn revision(&self) -> PlanRevision {
        self.plan().revision
    }
    fn handle_observation(&mut self, observation: &ServiceObservation) {
        Self::handle_observation(self, observation);
    }
    fn handle_window(&mut self, stats: &WindowStats) {
        Self::handle_window(self, stats);
    }
    fn handle_command(&mut self, command: Command) {
        Self::handle_command(self, command);
    }
    fn handle_settings(
        &mut self,
        settings: TunerSettings,
        base: ServingPlan,
        economics: Economics,
    ) -> Result<(), SettingsError> {
        Self::handle_settings(self, settings, base, economics)
    }
    fn poll_plan(&mut self) -> Option<ServingPlan> {
        Self::poll_plan(self)
    }
    fn poll_event(&mut self) -> Option<TunerEvent> {
        Self::poll_event(self)
    }
    fn start_refit(&mut self) -> Option<Refit> {
        Self::start_refit(self)
    }
    fn finish_refit(&mut self, refitted: Refitted) {
        Self::finish_refit(self, refitted);
    }
    fn save(&self) -> TunerState {
        Self::save(self)
    }
    fn restore(&mut self, state: TunerState) -> Result<(), StateError> {
        Self::restore(self, state)
    }
    fn report(&self) -> TunerReport {
        Self::report(self)
    }
    fn surface(&self) -> Option<Surface> {
        Self::surface(self)
    }
}

/// What a turn begins with; in the order in which it is handed over.
#[derive(Default)]
pub(super) struct Input {
    pub(super) observations: Vec<ServiceObservation>,
    pub(super) refitted: Option<Refitted>,
    pub(super) settings: Option<(TunerSettings, ServingPlan, Economics)>,
    pub(super) commands: Vec<Command>,
    pub(super) window: Option<WindowStats>,
    /// Whether the learned state is wanted.
    pub(super) wants_state: bool,
    /// Whether a report is wanted even if no plan comes of the turn: it costs a prediction for each learned point.
    pub(super) wants_report: bool,
    /// Whether the surface is wanted: a look at every place of the table that decisions read.
    pub(super) wants_surface: bool,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Output {
    /// The newest plan.
    pub(super) plan: Option<ServingPlan>,
    pub(super) events: Vec<TunerEvent>,
    pub(super) refit: Option<Refit>,
    pub(super) report: Option<TunerReport>,
    pub(super) state: Option<TunerState>,
    /// `Some(None)`: nothing is believed yet.
    pub(super) surface: Option<Option<Surface>>,
    /// Revision of the plan that the tuner takes to be in force.
    pub(super) revision: PlanRevision,
    /// Time of the window's decision; zero without one.
    pub(super) decision: Duration,
    pub(super) refused: Option<SettingsError>,
}

/// Runs a turn. `None`: the tuner panicked and is gone.
pub(super) async fn turn(mut tuner: Box<dyn Decide>, input: Input) -> Option<(Box<dyn Decide>, Output)> {
    let run = tokio::task::spawn_blocking(move || {
        let output = take_turn(&mut *tuner, input);
        (tuner, output)
    });
    run.await.ok()
}

fn take_turn(tuner: &mut dyn Decide, input: Input) -> Output {
    let mut output = Output::default();
    input.observations.iter().for_each(|observation| tuner.handle_observation(observation));
    if let Some(refitted) = input.refitted {
        tuner.finish_refit(refitted);
    }
    if let Some((settings, base, economics)) = input.settings {
        output.refused = tuner.handle_settings(settings, base, economics).err();
    }
    input.commands.into_iter().for_each(|command| tuner.handle_command(command));
    if let Some(stats) = &input.window {
        let start = Instant::now();
        tuner.handle_window(stats);
        output.decision = start.elapsed();
    }
    while let Some(plan) = tuner.poll_plan() {
        output.plan = Some(plan); // later ones supersede earlier ones
    }
    while let Some(event) = tuner.poll_event() {
        output.events.push(event);
    }
    output.refit = tuner.start_refit();
    output.report = (input.wants_report || output.plan.is_some()).then(|| tuner.report());
    output.state = input.wants_state.then(|| tuner.save());
    output.surface = input.wants_surface.then(|| tuner.surface());
    output.revision = tuner.revision();
    output
}

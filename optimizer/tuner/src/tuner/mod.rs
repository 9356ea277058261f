//! The state machine: what is fed in, what comes out, and who decides. One tuner serves one model.
//!
//! ```text
//!            first belief            a place is worth a trial
//! Learning ───────────────► Holding ────────────────────────► Exploring
//!                            ▲ │  ▲        measured, vetoed,      │
//!                            │ │  └──────── or abandoned ─────────┘
//!              next window   │ │ the guard gives the plan up
//!                            │ ▼                                        Blind: nothing is observed although there is traffic
//!                        RollingBack                                    Frozen: an operator holds the plan
//! ```
//!
//! Feed [`Tuner::handle_observation`] and [`Tuner::handle_window`], then drain [`Tuner::poll_plan`] and [`Tuner::poll_event`], and run what
//! [`Tuner::start_refit`] gives, on whatever thread.

mod account;
mod canary;
mod grey_box;
mod guard;
mod hold_out;
mod plans;
mod state;
mod whole_plan;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gateway_contract::{
    Architecture, PriceTable, ServiceObservation, ServiceOutcome, ServingPlan, Timestamp, WindowStats,
};
use optimizer_bayesopt::Hyperparameters;

use self::account::{Budget, Previous, Realised};
use self::canary::CanaryTrial;
use self::hold_out::HoldOutRecord;
use self::whole_plan::WholePlan;
use crate::arrivals::Arrivals;
use crate::event::{Hold, Phase, SwitchReason, TunerAction, TunerEvent};
use crate::formula::ArrivalLaw;
use crate::report::{LoadReport, PointReport, TunerReport};
use crate::search::{Found, Point, Scored, places};
use crate::service::belief::{Belief, RungPoint};
use crate::service::knowledge::{Knowledge, Learned};
use crate::settings::{PolicyKind, SettingsError, TunerSettings};
use crate::surface::Surface;
use crate::warm_up::STAYS_WARM;

pub use self::state::{StateError, TunerState};

/// Events that a report shows.
const EVENTS_SHOWN: usize = 200;
/// Events that wait to be polled; older ones are dropped.
const EVENTS_WAITING: usize = 1000;
/// Windows after a change within which cold starts excuse late answers.
const WARMING_WINDOWS: u64 = 20;
/// Observations from which something is believed.
const BELIEVE_FROM: u64 = 8;
/// Observations after which the belief is renewed: so many, or a share of all.
const RENEW_AFTER: (u64, f64) = (32, 0.02);
/// Renewals between searches for hyperparameters, once there are no new cells.
const FIT_EVERY: u32 = 20;

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

/// A renewal of the belief: pure and heavy, so that it may run on another thread.
#[derive(Clone, Debug)]
pub struct Refit {
    knowledge: Knowledge,
    points: Vec<RungPoint>,
    before: Option<Hyperparameters>,
    fit: bool,
    generation: u32,
}

/// Its result.
#[derive(Debug)]
pub struct Refitted {
    belief: Option<Belief>,
    generation: u32,
}

impl Refit {
    /// Runs it: milliseconds, or up to a second when hyperparameters are searched.
    #[must_use]
    pub fn run(self) -> Refitted {
        let Self { knowledge, points, before, fit, generation } = self;
        let belief = Belief::learn(&knowledge.cells, &knowledge.padding, &points, before.as_ref(), fit);
        Refitted { belief, generation }
    }

    /// Whether hyperparameters are searched.
    #[must_use]
    pub fn searches_hyperparameters(&self) -> bool {
        self.fit
    }
}

/// One model's tuner.
#[derive(Debug)]
pub struct Tuner {
    settings: TunerSettings,
    economics: Economics,
    base: ServingPlan,
    plan: ServingPlan,
    /// What of `plan` was chosen; `None`: it is the configured one, or pinned.
    point: Option<Point>,
    /// What served before, to return to.
    previous: Option<Previous>,
    arrivals: Arrivals,
    knowledge: Knowledge,
    belief: Option<Arc<Belief>>,
    learning: Learning,
    phase: Phase,
    hold: Hold,
    whole_plan: Option<WholePlan>,
    canary: Option<CanaryTrial>,
    tries: BTreeMap<RungPoint, u32>,
    /// Places, and rung maps given up, with the window until which they are left alone.
    vetoes: BTreeMap<RungPoint, u64>,
    given_up: Option<(Point, u64)>,
    realised: Realised,
    /// Whether batches of the chosen plan have come back: until then its environments may still be warming, and the plan before serves.
    is_serving: bool,
    /// Invocations of this window that started an environment.
    cold_in_window: u32,
    /// Dollars of their INIT, canaries left out.
    init_usd_in_window: f64,
    /// The window in which a size last answered, by MiB.
    answered: BTreeMap<u32, u64>,
    /// The last window in which the load or the plan changed.
    window_of_last_change: u64,
    /// Extra deviations at which batches are closed, raised while answers are late.
    caution: f64,
    /// Late answers and answers, fading.
    recent_late: (f64, f64),
    budget: Budget,
    hold_outs: HoldOutRecord,
    now: Timestamp,
    windows: u64,
    window_of_last_observation: u64,
    window_of_last_switch: u64,
    /// Since the last search.
    searched: Searched,
    counts: Counts,
    plans: VecDeque<ServingPlan>,
    events: VecDeque<TunerEvent>,
    shown: VecDeque<TunerEvent>,
}

/// When the belief is renewed.
#[derive(Clone, Debug, Default)]
struct Learning {
    hyperparameters: Option<Hyperparameters>,
    completed: u64,
    cells_at_fit: usize,
    renewals_since_fit: u32,
    is_running: bool,
    is_urgent: bool,
    /// Raised by what makes a running renewal worthless.
    generation: u32,
}

/// What the last search rested on and found.
#[derive(Debug, Default)]
struct Searched {
    window: u64,
    law: Option<ArrivalLaw>,
    drift: f64,
    caution: f64,
    /// A new belief, load or configuration asks for another.
    is_due: Option<SwitchReason>,
    found: Found,
    incumbent: Option<Scored>,
    /// Dollars of a batch under the plan in force, by fill.
    batch_usd: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    trials: u64,
    change_points: u64,
    rollbacks: u64,
    switches: u64,
}

impl Tuner {
    /// Starts from `base`, the configured plan: it serves first, and again whenever nothing better is known. Its queue bounds, payload
    /// bounds, retries and objective hold for every plan.
    ///
    /// # Errors
    /// A setting that is out of range.
    pub fn new(
        settings: TunerSettings,
        base: ServingPlan,
        economics: Economics,
    ) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            arrivals: Arrivals::new(settings.detector, settings.window),
            whole_plan: WholePlan::for_policy(&settings),
            settings,
            economics,
            plan: base.clone(),
            base,
            point: None,
            previous: None,
            knowledge: Knowledge::default(),
            belief: None,
            learning: Learning::default(),
            phase: Phase::Learning,
            hold: Hold::Free,
            canary: None,
            tries: BTreeMap::new(),
            vetoes: BTreeMap::new(),
            given_up: None,
            realised: Realised::default(),
            is_serving: true,
            cold_in_window: 0,
            init_usd_in_window: 0.0,
            answered: BTreeMap::new(),
            window_of_last_change: 0,
            caution: 0.0,
            recent_late: (0.0, 0.0),
            budget: Budget::default(),
            hold_outs: HoldOutRecord::default(),
            now: Timestamp::ZERO,
            windows: 0,
            window_of_last_observation: 0,
            window_of_last_switch: 0,
            searched: Searched::default(),
            counts: Counts::default(),
            plans: VecDeque::new(),
            events: VecDeque::new(),
            shown: VecDeque::new(),
        })
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &ServingPlan {
        &self.plan
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// An invocation ended.
    pub fn handle_observation(&mut self, observation: &ServiceObservation) {
        self.now = self.now.max(observation.at);
        let drift_before = self.knowledge.drift_ln();
        // The window in which it begins still holds answers of the plan before: it counts from the next on.
        self.is_serving |= observation.revision >= self.plan.revision;
        self.cold_in_window += u32::from(observation.init.is_some());
        if observation.outcome == ServiceOutcome::Completed && !observation.is_canary {
            self.answered.insert(observation.memory_mib.0, self.windows);
        }
        if let Some(init) = observation.init.filter(|_| !observation.is_canary) {
            let memory_mib = observation.memory_mib.0;
            self.init_usd_in_window += init.as_secs_f64()
                * crate::search::usd_per_second(&self.economics.prices, &self.economics, memory_mib);
        }
        match self.knowledge.add(observation, self.belief.as_deref()) {
            Learned::Service => self.window_of_last_observation = self.windows,
            Learned::Nothing => {}
            Learned::RanOutOfMemory { process_count, memory_mib } => {
                self.emit(TunerAction::MemoryFloor { process_count, smallest_mib: memory_mib + 1 });
                self.searched.is_due = Some(SwitchReason::ObjectiveAtRisk);
            }
        }
        let drift = self.knowledge.drift_ln();
        if (drift - drift_before).abs() > 0.02 && (drift - self.searched.drift).abs() > 0.1 {
            self.searched.is_due.get_or_insert(SwitchReason::Better);
        }
        self.handle_canary_observation(observation);
    }

    /// A window ended. Detects, decides.
    pub fn handle_window(&mut self, stats: &WindowStats) {
        self.now = self.now.max(stats.ended_at);
        self.windows += 1;
        if let Some(change) = self.arrivals.add(stats) {
            let seconds = self.settings.window.as_secs_f64();
            self.counts.change_points += 1;
            self.emit(TunerAction::ChangePoint {
                windows_ago: change.windows_ago,
                before_per_s: change.before.mean / seconds,
                after_per_s: change.after.mean / seconds,
                after_standard_error_per_s: change.after.standard_error / seconds,
                probability: change.probability,
            });
            self.searched.is_due = Some(SwitchReason::ChangePoint);
            self.realised = Realised::default();
            self.window_of_last_change = self.windows;
        }
        let is_warming = self.is_warming();
        self.cold_in_window = 0;
        if self.is_serving && !is_warming {
            self.realised.add(stats, self.init_usd_in_window);
        }
        self.init_usd_in_window = 0.0;
        self.hold_outs.add(stats);
        self.budget.pass(self.settings.window);
        if self.hold != Hold::Free {
            return;
        }
        match self.settings.policy {
            PolicyKind::Pinned => {}
            PolicyKind::GreyBox | PolicyKind::Observe => self.decide(stats, is_warming),
            PolicyKind::BlackBox | PolicyKind::Grid | PolicyKind::Random => self.measure_whole_plans(stats),
        }
    }

    /// An operator's command.
    pub fn handle_command(&mut self, command: Command) {
        match command {
            Command::Pin(plan) => {
                self.end_canary_silently();
                self.hold = Hold::Pinned;
                self.phase = Phase::Frozen;
                self.point = None;
                self.put_in_force(*plan);
                self.emit(TunerAction::Command { command: "pin" });
            }
            Command::Freeze => {
                self.hold = if self.hold == Hold::Pinned { Hold::Pinned } else { Hold::Frozen };
                self.phase = Phase::Frozen;
                self.emit(TunerAction::Command { command: "freeze" });
            }
            Command::Resume => {
                self.hold = Hold::Free;
                self.phase = if self.belief.is_some() { Phase::Holding } else { Phase::Learning };
                self.searched.is_due = Some(SwitchReason::Operator);
                self.emit(TunerAction::Command { command: "resume" });
            }
            Command::Forget => {
                self.forget();
                self.emit(TunerAction::Command { command: "forget" });
            }
        }
    }

    fn forget(&mut self) {
        self.end_canary_silently();
        self.knowledge = Knowledge::default();
        self.belief = None;
        self.learning = Learning { generation: self.learning.generation + 1, ..Learning::default() };
        self.tries.clear();
        self.vetoes.clear();
        (self.given_up, self.previous) = (None, None);
        self.caution = 0.0;
        self.whole_plan = WholePlan::for_policy(&self.settings);
        if self.hold == Hold::Free {
            self.phase = Phase::Learning;
            self.return_to_base();
        }
    }

    /// The configuration changed. What was learned is kept.
    ///
    /// # Errors
    /// A setting that is out of range; nothing has changed then.
    pub fn handle_settings(
        &mut self,
        settings: TunerSettings,
        base: ServingPlan,
        economics: Economics,
    ) -> Result<(), SettingsError> {
        settings.validate()?;
        self.end_canary_silently();
        if (settings.detector, settings.window) != (self.settings.detector, self.settings.window) {
            self.arrivals = Arrivals::new(settings.detector, settings.window);
        }
        let is_other_policy =
            settings.policy != self.settings.policy || settings.bounds != self.settings.bounds;
        (self.settings, self.base, self.economics) = (settings, base, economics);
        if is_other_policy {
            self.whole_plan = WholePlan::for_policy(&self.settings);
        }
        self.searched.is_due = Some(SwitchReason::Configuration);
        self.learning.is_urgent = self.belief.is_some();
        self.phase = match self.hold {
            Hold::Free if self.belief.is_some() => Phase::Holding,
            Hold::Free => Phase::Learning,
            Hold::Frozen | Hold::Pinned => return Ok(()),
        };
        // Bounds of queue and payload, objective and retries are the configuration's at once.
        match self.point.clone().filter(|_| self.settings.policy != PolicyKind::Pinned) {
            Some(point) => {
                let table = self.plan.service_time_upper.clone();
                let plan = self.plan_of(&point, table);
                self.put_in_force(plan);
            }
            None => self.return_to_base(),
        }
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

    /// A renewal of the belief that is due, to be run off the decision path and given to [`Tuner::finish_refit`].
    pub fn start_refit(&mut self) -> Option<Refit> {
        if self.learning.is_running || self.settings.policy == PolicyKind::Pinned {
            return None;
        }
        let completed = self.knowledge.completed;
        let fresh = completed.saturating_sub(self.learning.completed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let wanted = RENEW_AFTER.0.max((RENEW_AFTER.1 * completed as f64).min(2000.0) as u64);
        let is_due = match &self.belief {
            None => completed >= BELIEVE_FROM && fresh > 0,
            Some(_) => fresh >= wanted || (self.learning.is_urgent && fresh > 0),
        };
        if !is_due {
            return None;
        }
        let cells = self.knowledge.cells.count();
        let fit = self.learning.hyperparameters.is_none()
            || cells >= self.learning.cells_at_fit + 3
            || self.learning.renewals_since_fit >= FIT_EVERY;
        self.learning.is_running = true;
        self.learning.is_urgent = false;
        self.learning.completed = completed;
        self.learning.renewals_since_fit += 1;
        if fit {
            (self.learning.cells_at_fit, self.learning.renewals_since_fit) = (cells, 0);
        }
        Some(Refit {
            knowledge: self.knowledge.clone(),
            points: places(&self.settings),
            before: self.learning.hyperparameters.clone(),
            fit,
            generation: self.learning.generation,
        })
    }

    /// Takes a renewed belief up.
    pub fn finish_refit(&mut self, refitted: Refitted) {
        self.learning.is_running = false;
        if refitted.generation != self.learning.generation {
            return;
        }
        let Some(belief) = refitted.belief else { return };
        self.learning.hyperparameters = belief.hyperparameters();
        let is_first = self.belief.is_none();
        self.belief = Some(Arc::new(belief));
        self.searched.is_due.get_or_insert(if is_first {
            SwitchReason::Learned
        } else {
            SwitchReason::Better
        });
        if is_first && self.phase == Phase::Learning && !self.is_whole_plan_policy() {
            self.phase = Phase::Holding;
        }
    }

    /// Whether this window's late answers are those of new environments: right after a change of load or plan some start, and what they make
    /// late says nothing of the plan.
    fn is_warming(&self) -> bool {
        let since = self.windows - self.window_of_last_change.max(self.window_of_last_switch);
        self.cold_in_window > 0 && since <= WARMING_WINDOWS
    }

    /// Whether a size has answered within the time that Lambda keeps an environment.
    fn is_warm(&self, memory_mib: u32) -> bool {
        let since = |at: u64| u32::try_from(self.windows - at).unwrap_or(u32::MAX);
        self.answered
            .get(&memory_mib)
            .is_some_and(|&at| self.settings.window.saturating_mul(since(at)) < STAYS_WARM)
    }

    fn is_whole_plan_policy(&self) -> bool {
        self.whole_plan.is_some()
    }

    fn emit(&mut self, what: TunerAction) {
        let event = TunerEvent::new(self.now, what);
        if self.shown.len() >= EVENTS_SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(event.clone());
        if self.events.len() >= EVENTS_WAITING {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// What is known, for operators.
    #[must_use]
    pub fn report(&self) -> TunerReport {
        let (requests_per_s, standard_error_per_s) = self.arrivals.rate_per_s();
        TunerReport {
            phase: self.phase,
            hold: self.hold,
            incumbent: self.searched.incumbent.as_ref().map(Scored::candidate),
            revision: self.plan.revision.0,
            recommended: self.searched.found.best.as_ref().map(Scored::candidate),
            load: LoadReport {
                requests_per_s,
                standard_error_per_s,
                dispersion: self.arrivals.dispersion(),
                items_per_request: self.arrivals.items_per_request(),
                windows: self.arrivals.regime_windows(),
            },
            realised: self.realised.report(),
            unbatched_usd_per_million: self
                .searched
                .found
                .unbatched
                .map(|unbatched| unbatched.usd_per_request * 1e6),
            measured_unbatched_usd_per_million: self
                .hold_outs
                .usd_per_item()
                .map(|usd| usd * self.arrivals.items_per_request() * 1e6),
            points: self.point_reports(),
            trials: self.counts.trials,
            change_points: self.counts.change_points,
            rollbacks: self.counts.rollbacks,
            switches: self.counts.switches,
            exploration_usd: self.budget.spent_usd(),
            drift_factor: self.knowledge.drift_ln().exp(),
            estimated_share: self.realised.estimated_share(),
            events: self.shown.iter().cloned().collect(),
        }
    }

    /// What is believed of every place within the bounds; `None` before anything was learned, and where nothing is learned (`pinned`).
    #[must_use]
    pub fn surface(&self) -> Option<Surface> {
        let vetoed = |place: RungPoint| self.vetoes.get(&place).is_some_and(|&until| self.windows < until);
        Some(Surface::of(self.belief.as_deref()?, &self.knowledge, &self.settings, &self.economics, &vetoed))
    }

    fn point_reports(&self) -> Vec<PointReport> {
        let drift = self.knowledge.drift_ln();
        let cells = self.knowledge.cells.iter();
        cells
            .map(|(key, cell)| {
                let predicted = self.belief.as_ref().map_or(f64::NAN, |belief| {
                    let place = crate::service::physics::Place {
                        memory_mib: key.memory_mib,
                        process_count: key.process_count,
                        items: cell.ln_items.exp(),
                        shard_units: cell.ln_units.exp(),
                    };
                    (belief.about(&place).ln_mean + drift).exp() * 1e3
                });
                PointReport {
                    memory_mib: key.memory_mib,
                    process_count: key.process_count,
                    items: cell.ln_items.exp(),
                    shard_units: cell.ln_units.exp(),
                    service_ms: (cell.ln_service + drift).exp() * 1e3,
                    predicted_ms: predicted,
                    ln_std: cell.variance.sqrt(),
                    weight: cell.weight,
                    explored: cell.explored,
                }
            })
            .collect()
    }
}

//! One model while it runs: its load, its environments, its controller and what is counted of it.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{ModelId, ServingPlan};

use super::config::{ModelConfig, Patience, Records, SizeClass, SizeLaw};
use super::fault::Active;
use super::report::ModelReport;
use super::tally::{Recorder, Tally};
use crate::arrivals::{ArrivalProcess, ItemsSampler};
use crate::lambda::{Environments, FunctionModel, KeepAlive};
use crate::random::Random;

/// Streams of random numbers, one for each thing that draws.
pub(super) struct Streams {
    arrivals: Random,
    sizes: Random,
    pub(super) service: Random,
    pub(super) network: Random,
    pub(super) faults: Random,
    pub(super) poison: Random,
    pub(super) patience: Random,
    pub(super) keep_alive: Random,
}

pub(super) struct ModelState {
    pub(super) id: ModelId,
    pub(super) profile: Arc<dyn FunctionModel>,
    arrivals: Box<dyn ArrivalProcess>,
    pub(super) sizes: Sizes,
    pub(super) streams: Streams,
    /// Nanoseconds; `u64::MAX`: none comes.
    pub(super) next_arrival: u64,
    pub(super) slo_nanos: u64,
    pub(super) request_timeout: Option<Duration>,
    pub(super) patience: Option<Patience>,
    pub(super) function_timeout_s: f64,
    pub(super) environments: Environments,
    pub(super) active: Active,
    /// When the last storm began: environments in work since before are lost. Nanoseconds; 0: none.
    pub(super) storm_at: u64,
    pub(super) controller_wants_windows: bool,
    /// `None`: nobody wants windows.
    pub(super) tally: Option<Tally>,
    pub(super) recorder: Recorder,
    /// A plan whose environments are being warmed, and from when it serves.
    pub(super) coming: Option<(u64, ServingPlan)>,
    /// Of the plan in force.
    pub(super) revision: u64,
    pub(super) report: ModelReport,
}

impl ModelState {
    pub(super) fn new(
        id: ModelId,
        config: ModelConfig,
        of: Shared,
        seeds: &mut Random,
    ) -> (Self, ServingPlan) {
        let mut controller = config.controller;
        let plan = ServingPlan { model: id, ..controller.initial_plan() };
        let controller_wants_windows = controller.wants_windows();
        let recorder = Recorder::new(of.records, config.slo_percentile);
        let is_counted = controller_wants_windows || recorder.wants_windows() || of.observer_wants_windows;
        let state = Self {
            id,
            profile: config.profile,
            arrivals: config.arrivals,
            sizes: Sizes::new(config.sizes),
            streams: Streams {
                arrivals: seeds.fork(1),
                sizes: seeds.fork(2),
                service: seeds.fork(3),
                network: seeds.fork(4),
                faults: seeds.fork(5),
                poison: seeds.fork(6),
                patience: seeds.fork(7),
                keep_alive: seeds.fork(8),
            },
            next_arrival: 0,
            slo_nanos: u64::try_from(plan.slo_latency.as_nanos()).unwrap_or(u64::MAX),
            request_timeout: config.request_timeout,
            patience: config.patience,
            function_timeout_s: config.function_timeout.as_secs_f64(),
            environments: Environments::new(of.keep_alive),
            active: Active::default(),
            storm_at: 0,
            controller_wants_windows,
            tally: is_counted.then(|| Tally::new(config.slo_percentile)),
            recorder,
            coming: None,
            revision: plan.revision.0,
            report: ModelReport::new(config.name, controller),
        };
        (state, plan)
    }

    /// Draws the next arrival; those at `end` and later do not come.
    #[inline]
    pub(super) fn draw_arrival(&mut self, end: u64) {
        let next = self.arrivals.next(&mut self.streams.arrivals).map_or(u64::MAX, super::nanos);
        // A process that steps back would turn time around.
        self.next_arrival = if next < end { next.max(self.next_arrival) } else { u64::MAX };
    }

    /// Items and class of a request.
    #[inline]
    pub(super) fn draw_size(&mut self) -> (u32, u16) {
        self.sizes.draw(&mut self.streams.sizes)
    }

    /// A no-op invocation was paid for: it started an environment, or kept one.
    pub(super) fn bill_call(&mut self, is_cold: bool, usd: f64, gb_seconds: f64) {
        self.report.count_call(is_cold, usd, gb_seconds);
        if let Some(tally) = &mut self.tally {
            tally.spend(usd);
        }
    }
}

/// What all models share when they are set up.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    pub(super) keep_alive: KeepAlive,
    pub(super) records: Records,
    pub(super) observer_wants_windows: bool,
}

/// Draws what requests hold.
pub(super) struct Sizes {
    items: ItemsSampler,
    pub(super) classes: Vec<SizeClass>,
    /// Of the shares, by class.
    cumulative: Vec<f64>,
}

impl Sizes {
    fn new(law: SizeLaw) -> Self {
        let mut sum = 0.0;
        let cumulative = law.classes.iter().map(|class| {
            sum += class.share.max(0.0);
            sum
        });
        Self {
            items: ItemsSampler::new(&law.items_pmf),
            cumulative: cumulative.collect(),
            classes: law.classes,
        }
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> (u32, u16) {
        let items = self.items.draw(random);
        let (Some(&all), false) = (self.cumulative.last(), self.classes.len() == 1) else {
            return (items, 0);
        };
        let at = random.unit() * all;
        let class = self.cumulative.partition_point(|&sum| sum < at).min(self.classes.len() - 1);
        (items, u16::try_from(class).unwrap_or(u16::MAX))
    }
}

//! Random worlds: a seed is a whole test case.
//!
//! A [`World`] is a description, small enough to be printed and to be made smaller; [`World::config`] makes a deployment of it. Seeds make many small
//! worlds of a few hundred requests, most of them under strange plans and several faults at once; some are steered by the production tuner.

mod draw;
mod faults;
mod plans;
mod shrink;

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Mebibytes, ServingPlan};
use optimizer_tuner::TunerSettings;
use optimizer_tuner::settings::SettingsError;

use self::draw::Draw;
use crate::arrivals::{ArrivalProcess, Counts, GammaWindows, Mmpp2, Poisson};
use crate::deployment::{
    Account, Controller, DeploymentConfig, Fault, FixedPlan, ModelConfig, NetworkLaw, Patience, Records,
    Scheduled, SizeClass, SizeLaw, TunerController,
};
use crate::lambda::{KeepAlive, LimitSettings};
use crate::profile::{InitLaw, MemoryNeed, ModelProfile, ServiceWork};

/// One world in so many is steered by tuners: these take longer, and fixed plans are stranger.
const TUNED: u64 = 20;

/// Everything about a world.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Where all that it draws comes from.
    pub seed: u64,
    /// How long requests arrive, seconds.
    pub seconds: f64,
    /// Length of a control window.
    pub window: Duration,
    /// The account.
    pub account: Account,
    /// Its models.
    pub models: Vec<WorldModel>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// A model of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldModel {
    /// Its function.
    pub profile: ModelProfile,
    /// Its load.
    pub load: Load,
    /// What requests hold.
    pub sizes: SizeLaw,
    /// Who chooses its plans.
    pub steering: Steering,
    /// Hard deadline of each request.
    pub request_timeout: Option<Duration>,
    /// Clients that leave.
    pub patience: Option<Patience>,
    /// Concurrency of its own.
    pub reserved_concurrency: Option<u32>,
    /// Time-out of its function.
    pub function_timeout: Duration,
}

/// How requests arrive.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// So many a second.
    Poisson(f64),
    /// Two rates, with mean stays in seconds.
    Switching([f64; 2], [f64; 2]),
    /// Mean rate, dispersion, window in seconds.
    Bursts(f64, f64, f64),
    /// So many in each stretch of so many seconds.
    Counts(Vec<u32>, f64),
}

/// Who chooses the plans.
#[derive(Clone, Debug, PartialEq)]
pub enum Steering {
    /// These, from these seconds on; the first from the start.
    Plans(Vec<(f64, ServingPlan)>),
    /// The production tuner, from this plan on.
    Tuner(Box<TunerSettings>, Box<ServingPlan>),
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let is_tuned = draw.one_in(TUNED);
        let models = if is_tuned { 1 + draw.below(2) } else { 1 + draw.below(3) };
        let seconds = if is_tuned { draw.between(60.0, 240.0) } else { draw.between(0.5, 20.0) };
        let requests = draw.between(50.0, if is_tuned { 3_000.0 } else { 400.0 });
        let rate = requests / seconds / models as f64;
        let account = account(&mut draw);
        let models: Vec<WorldModel> =
            (0..models).map(|_| model(&mut draw, is_tuned, seconds, rate, &account)).collect();
        let faults = faults::faults(&mut draw, seconds, models.len());
        let window = if is_tuned { 1_000 } else { *draw.pick(&[100, 250, 1_000, 5_000]) };
        Self { seed, seconds, window: Duration::from_millis(window), account, models, faults }
    }

    /// A deployment of it.
    ///
    /// # Errors
    /// Settings of a tuner that are out of range.
    pub fn config(&self) -> Result<DeploymentConfig, SettingsError> {
        let models: Result<Vec<ModelConfig>, SettingsError> =
            (0..).zip(&self.models).map(|(at, model)| self.model_config(at, model)).collect();
        Ok(DeploymentConfig {
            account: self.account.clone(),
            faults: self.faults.clone(),
            window: self.window,
            records: Records::Every,
            ..DeploymentConfig::new(models?, self.seconds, self.seed)
        })
    }

    fn model_config(&self, at: u16, model: &WorldModel) -> Result<ModelConfig, SettingsError> {
        let arrivals: Box<dyn ArrivalProcess> = match &model.load {
            Load::Poisson(rate) => Box::new(Poisson::new(*rate)),
            Load::Switching(rates, stays) => Box::new(Mmpp2::new(*rates, *stays)),
            Load::Bursts(rate, dispersion, window) => {
                Box::new(GammaWindows::new(*rate, *dispersion, *window))
            }
            Load::Counts(counts, seconds) => Box::new(Counts::new(counts.clone(), *seconds)),
        };
        let controller: Box<dyn Controller> = match &model.steering {
            Steering::Plans(plans) => match plans.split_first() {
                Some(((_, first), [])) => Box::new(FixedPlan::new(first.clone())),
                Some(((_, first), later)) => Box::new(Scheduled::new(first.clone(), later.to_vec())),
                None => Box::new(FixedPlan::new(plans::plain())),
            },
            Steering::Tuner(settings, base) => {
                let economics = self.account.economics.clone();
                Box::new(TunerController::new((**settings).clone(), (**base).clone(), economics)?)
            }
        };
        let name = format!("model-{at}");
        Ok(ModelConfig {
            sizes: model.sizes.clone(),
            request_timeout: model.request_timeout,
            patience: model.patience,
            reserved_concurrency: model.reserved_concurrency,
            function_timeout: model.function_timeout,
            ..ModelConfig::new(name, Arc::new(model.profile.clone()), arrivals, controller)
        })
    }
}

fn account(draw: &mut Draw) -> Account {
    let concurrency = *draw.pick(&[3, 10, 50, 1_000]);
    let limits = LimitSettings {
        concurrency,
        requests_per_second_per_concurrency: *draw.pick(&[0, 10]),
        environments_per_10_s: *draw.pick(&[0, 20, 1_000]),
    };
    let network = match draw.below(3) {
        0 => NetworkLaw::Fixed(0.0),
        1 => NetworkLaw::Fixed(0.004),
        _ => NetworkLaw::LogNormal(0.004, 1.0),
    };
    let keep_alive = match draw.below(3) {
        0 => KeepAlive::Fixed(draw.between(0.1, 300.0)),
        1 => KeepAlive::Uniform(0.0, 10.0),
        _ => KeepAlive::Exponential(5.0),
    };
    let retry_after = if draw.one_in(4) { Duration::from_secs(60) } else { Duration::from_millis(200) };
    Account {
        limits,
        network,
        retry_after: draw.one_in(3).then_some(retry_after),
        keep_alive,
        placement_s: *draw.pick(&[0.0, 0.05]),
        payload_bytes: *draw.pick(&[2_000, 20_000, 6 << 20]),
        ..Account::default()
    }
}

fn model(draw: &mut Draw, is_tuned: bool, seconds: f64, rate: f64, account: &Account) -> WorldModel {
    let profile = profile(draw, is_tuned);
    let sizes = sizes(draw);
    let steering = if is_tuned {
        let (settings, base) = plans::tuned(draw, &profile);
        Steering::Tuner(Box::new(settings), Box::new(base))
    } else {
        Steering::Plans(plans::schedule(draw, &profile, &sizes, seconds))
    };
    let slo_s = match &steering {
        Steering::Plans(plans) => plans.first().map_or(1.0, |(_, plan)| plan.slo_latency.as_secs_f64()),
        Steering::Tuner(_, base) => base.slo_latency.as_secs_f64(),
    };
    let timeout_s = draw.between(0.5, 5.0) * slo_s.max(0.02);
    let share = draw.between(0.0, 0.5);
    let patience = Patience { share, mean_s: draw.between(0.2, 2.0) * slo_s.max(0.02) };
    let most_reserved = u64::from(account.limits.concurrency) / 3;
    WorldModel {
        profile,
        load: load(draw, seconds, rate),
        sizes,
        steering,
        request_timeout: draw.one_in(2).then(|| Duration::from_secs_f64(timeout_s)),
        patience: draw.one_in(3).then_some(patience),
        reserved_concurrency: draw.one_in(5).then(|| draw.count(1, most_reserved)),
        function_timeout: Duration::from_secs_f64(if draw.one_in(8) {
            draw.between(0.05, 1.0)
        } else {
            900.0
        }),
    }
}

fn profile(draw: &mut Draw, is_tuned: bool) -> ModelProfile {
    let item_seconds = if is_tuned { draw.log_between(0.001, 0.05) } else { draw.log_between(0.000_1, 0.05) };
    ModelProfile {
        name: "random".to_owned(),
        service: ServiceWork {
            fixed_seconds: draw.between(0.0, 0.005),
            process_seconds: draw.log_between(0.000_1, 0.01),
            item_seconds: if draw.one_in(2) { item_seconds } else { 0.0 },
            unit_seconds: item_seconds / 10.0,
            thread_parallel_share: 0.0,
            coefficient_of_variation: *draw.pick(&[0.0, 0.1, 0.5]),
            is_quantised: !draw.one_in(4),
        },
        init: InitLaw { cpu_seconds: draw.between(0.0, 0.5), floor_seconds: *draw.pick(&[0.0, 0.2, 11.0]) },
        memory: MemoryNeed { base_mib: draw.between(60.0, 700.0), per_process_mib: draw.between(0.0, 60.0) },
        class_units: (0..4).map(|_| u64::from(draw.count(1, 40))).collect(),
    }
}

fn load(draw: &mut Draw, seconds: f64, rate: f64) -> Load {
    match draw.below(4) {
        0 => Load::Poisson(rate),
        1 => {
            let stay = seconds / draw.between(2.0, 10.0);
            Load::Switching([0.0, 2.0 * rate], [stay, stay])
        }
        2 => Load::Bursts(rate, draw.between(1.5, 20.0), draw.between(0.05, 2.0)),
        _ => {
            let stretch = seconds / 10.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
            let most = (4.0 * rate * stretch).ceil() as u64;
            let mut counts = Vec::new();
            for _ in 0..10 {
                counts.push(draw.count(0, most) / 2);
            }
            Load::Counts(counts, stretch)
        }
    }
}

fn sizes(draw: &mut Draw) -> SizeLaw {
    let items_pmf = match draw.below(3) {
        0 => vec![1.0],
        1 => vec![0.7, 0.1, 0.1, 0.1],
        _ => {
            let mut pmf = vec![0.0; 30];
            (pmf[0], pmf[29]) = (0.9, 0.1);
            pmf
        }
    };
    let classes = 1 + draw.below(4);
    let mut class = || SizeClass {
        share: draw.between(0.1, 1.0),
        priority: *draw.pick(&[0, 0, 1, 2]),
        item_bytes: draw.count(1, 400),
        response_bytes: draw.count(0, 400),
    };
    SizeLaw { items_pmf, classes: (0..classes).map(|_| class()).collect() }
}

/// Sizes of Lambda memory that worlds use.
const MEMORY: [Mebibytes; 5] =
    [Mebibytes(256), Mebibytes(512), Mebibytes(1024), Mebibytes(1769), Mebibytes(3008)];

//! A study with everything that it names: profile and traffic read, plan of the start built, load measured.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::settings::{AccountLimits, SearchBounds};
use optimizer_tuner::{PolicyKind, TunerSettings};

use super::model::ReadProfile;
use super::problem::Problem;
use super::spec::Study;
use super::traffic;
use crate::arrivals::BoxedArrivals;
use crate::bounds::Known;
use crate::deployment::{Account, NetworkLaw};
use crate::lambda::FunctionModel as _;
use crate::profile::ModelProfile;
use crate::random::Random;

/// Reads a file that a study names; the reason if it cannot be read.
pub type ReadFile<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// Length of the traffic without a trace and without `hours`, seconds.
const USUAL_SECONDS: f64 = 7200.0;
/// Largest batch that policies with the true service law look at.
const MAX_BATCH: u32 = 128;
/// Most model processes that policies look at: the CPUs of the largest function.
const MAX_PROCESSES: u32 = 6;

/// A study that can be run.
#[derive(Clone)]
pub struct Prepared {
    study: Study,
    profile: Arc<ModelProfile>,
    profile_origin: String,
    /// Text of the traces, by the names that the study has for them.
    traces: Arc<BTreeMap<String, String>>,
    seconds: f64,
    base: ServingPlan,
    load: Load,
}

/// How much traffic there is, as the first seed draws it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// Requests per second.
    pub(super) mean: f64,
    /// Requests per second of the busiest minute.
    pub(super) peak: f64,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("study", &self.study)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// Reads what the study names. `file` and `text` are the study's own, for errors in it.
    ///
    /// # Errors
    /// A file that cannot be read or used, with its line; traffic without a request; a model that fits no memory size.
    pub fn new(file: &str, text: &str, study: Study, read: &ReadFile<'_>) -> Result<Self, Problem> {
        let ReadProfile { profile, origin } = ReadProfile::new(file, &study.model.profile, read)?;
        let base = start(file, &study, &profile)?;
        let traces = RefCell::new(BTreeMap::new());
        let kept = |name: &str| {
            let text = read(name)?;
            traces.borrow_mut().insert(name.to_owned(), text.clone());
            Ok(text)
        };
        let bad = |error| traffic::problem(file, text, &error);
        let own_seconds = study.arrivals.build(&kept).map_err(bad)?.seconds;
        study.sizes.sampler().map_err(bad)?;
        let seconds = study.hours.map(|hours| hours * 3600.0).or(own_seconds).unwrap_or(USUAL_SECONDS);
        let mut prepared = Self {
            study,
            profile: Arc::new(profile),
            profile_origin: origin,
            traces: Arc::new(traces.take()),
            seconds,
            base,
            load: Load::default(),
        };
        prepared.load = prepared.measure_load()?;
        if prepared.load.mean <= 0.0 {
            return Err(Problem::whole(file, "the traffic has no request within its length"));
        }
        Ok(prepared)
    }

    /// The traffic at so many times its rate.
    pub(super) fn arrivals(&self, factor: f64) -> Result<BoxedArrivals, Problem> {
        let spec = traffic::scaled(&self.study.arrivals, factor, self.load.mean);
        let read = |name: &str| self.traces.get(name).cloned().ok_or_else(|| "was not read".to_owned());
        let built = if factor == 1.0 { self.study.arrivals.build(&read) } else { spec.build(&read) };
        built
            .map(|arrivals| arrivals.process)
            .map_err(|error| traffic::problem(&self.study.title, "", &error))
    }

    /// The study.
    #[must_use]
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Its seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.study.first_seed;
        first..first + u64::from(self.study.seeds)
    }

    pub(super) fn profile(&self) -> &Arc<ModelProfile> {
        &self.profile
    }

    /// Where the profile is from, for people.
    pub(super) fn profile_origin(&self) -> &str {
        &self.profile_origin
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// The plan at the start.
    pub(super) fn base(&self) -> &ServingPlan {
        &self.base
    }

    pub(super) fn account(&self) -> Account {
        self.study.account.account(self.study.prices.economics())
    }

    /// What a policy knows that was told the truth.
    pub(super) fn known(&self) -> Known {
        let account = self.account();
        let network_seconds = match account.network {
            NetworkLaw::Fixed(seconds) | NetworkLaw::LogNormal(seconds, _) => seconds,
        };
        Known {
            function: Arc::<ModelProfile>::clone(&self.profile),
            base: self.base.clone(),
            economics: account.economics,
            slo_percentile: self.study.model.slo_percentile,
            memory_mib: self.study.account.memories(),
            max_process_count: MAX_PROCESSES,
            max_batch_size: MAX_BATCH,
            network_seconds,
            runtime_seconds: account.runtime_s,
        }
    }

    /// A tuner's settings.
    pub(super) fn settings(&self, policy: PolicyKind, seed: u64) -> TunerSettings {
        let memory_mib = self.study.account.memories();
        let memory_ceiling = memory_mib.last().copied().unwrap_or(Mebibytes::LAMBDA_MAX);
        TunerSettings {
            policy,
            slo_percentile: self.study.model.slo_percentile,
            bounds: SearchBounds { memory_mib, process_count: (1, MAX_PROCESSES), ..SearchBounds::default() },
            account: AccountLimits { memory_ceiling, concurrency: self.study.account.concurrency },
            seed,
            ..TunerSettings::default()
        }
    }

    /// Draws the traffic once.
    fn measure_load(&self) -> Result<Load, Problem> {
        let mut arrivals = self.arrivals(1.0)?;
        let mut random = Random::new(self.study.first_seed);
        let (mut all, mut minute, mut busiest, mut in_minute) = (0_u64, 0.0, 0_u64, 0_u64);
        while let Some(at_s) = arrivals.next(&mut random).filter(|&at_s| at_s < self.seconds) {
            if at_s >= minute + 60.0 {
                busiest = busiest.max(in_minute);
                in_minute = 0;
                minute = (at_s / 60.0).floor() * 60.0;
            }
            all += 1;
            in_minute += 1;
        }
        let mean = all as f64 / self.seconds;
        Ok(Load { mean, peak: (busiest.max(in_minute) as f64 / self.seconds.min(60.0)).max(mean) })
    }
}

/// The plan at the start: the gateway's defaults at a size that holds the model.
fn start(file: &str, study: &Study, profile: &ModelProfile) -> Result<ServingPlan, Problem> {
    let start = &study.start;
    let needs = profile.memory_used(start.process_count);
    let sizes = study.account.memories();
    let holds = |size: &&Mebibytes| **size >= needs;
    let usual = sizes.iter().find(|size| **size >= Mebibytes(1769).max(needs)).or(sizes.iter().rfind(holds));
    let memory_mib = match (start.memory_mib, usual) {
        (Some(memory), _) => Mebibytes(memory),
        (None, Some(&memory)) => memory,
        (None, None) => {
            let largest = sizes.last().map_or(0, |size| size.0);
            let reason =
                format!("the model needs {} MiB, and the largest size of `[account]` is {largest}", needs.0);
            return Err(Problem::whole(file, reason));
        }
    };
    let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
    let plan = ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Deadline,
        max_batch_size: start.max_batch_size,
        max_queue_delay: ms(start.max_queue_delay_ms),
        max_in_flight: study.account.concurrency,
        queue_capacity_items: 10_000,
        queue_capacity_bytes: 256 * 1024 * 1024,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: ms(study.model.slo_ms),
        deadline_margin: ms(10.0),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(start.service_time_upper_ms))])
            .map_err(|error| Problem::whole(file, error))?,
        rungs: vec![Rung {
            max_items: start.max_batch_size,
            qualifier: format!("mem-{}", memory_mib.0),
            memory_mib,
            process_count: start.process_count,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits::default(),
    };
    plan.validate().map_err(|error| Problem::whole(file, format!("`[start]`: {error}")))?;
    Ok(plan)
}

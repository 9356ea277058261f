//! A model over the reviews, as the simulator and as the optimizer know it.

use std::sync::Arc;

use gateway_contract::Mebibytes;
use optimizer_tuner::bulk::{BulkBounds, BulkCut, BulkJob, Profile, Wish};
use simulator::bulk::{Cut, JobConfig, JobReport, job, reviews};
use simulator::deployment::Account;
use simulator::profile::ModelProfile;

use crate::SEEDS;

/// The size of the data set, as published.
pub(crate) const REVIEWS: usize = 25_000;
/// Encoded: a review of 1,306 bytes in base64, and an answer of two numbers or an embedding of 384.
const REQUEST_BYTES: f64 = reviews::MEAN_BYTES * 4.0 / 3.0;
const RESPONSE_BYTES: f64 = 384.0 * 4.0 * 4.0 / 3.0;

const TEXTS: [(&str, &str); 2] = [
    ("distilbert", include_str!("../../profiles/imdb-distilbert.toml")),
    ("minilm", include_str!("../../profiles/imdb-minilm.toml")),
];

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    function: Arc<ModelProfile>,
    /// The same, as `choose` reads it. It is the truth here, so it is trusted.
    pub(crate) knowledge: Profile,
    pub(crate) account: Account,
    /// By seed.
    units: Vec<Arc<[u64]>>,
}

/// Means over the seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) parallelism: u32,
    pub(crate) seconds: f64,
    pub(crate) usd: f64,
    pub(crate) init_usd: f64,
    pub(crate) environments: f64,
    pub(crate) throttles: f64,
}

impl Figures {
    pub(crate) fn time_cut(&self, monolith: &Self) -> f64 {
        1.0 - self.seconds / monolith.seconds
    }

    pub(crate) fn cost_ratio(&self, monolith: &Self) -> f64 {
        self.usd / monolith.usd
    }

    /// Of the ideal: the monolith's time over the number of workers.
    pub(crate) fn efficiency(&self, monolith: &Self) -> f64 {
        monolith.seconds / f64::from(self.parallelism) / self.seconds
    }
}

impl Subject {
    pub(crate) fn all() -> Vec<Self> {
        let of = |(name, text): (&'static str, &str)| {
            let knowledge = Profile { unknown_ln_std: 0.0, ..toml::from_str(text).unwrap() };
            let function = Arc::new(ModelProfile::from_toml(text).unwrap());
            let units = (1..=SEEDS).map(|seed| reviews::tokens(REVIEWS, seed)).collect();
            Self { name, function, knowledge, account: Account::default(), units }
        };
        TEXTS.into_iter().map(of).collect()
    }

    pub(crate) fn job(&self, wish: Wish) -> BulkJob {
        BulkJob {
            items: REVIEWS as u64,
            request_bytes_per_item: REQUEST_BYTES,
            response_bytes_per_item: RESPONSE_BYTES,
            units_per_item: Some(reviews::mean_tokens()),
            wish,
        }
    }

    /// One size, one process, any number of environments.
    pub(crate) fn bounds(&self, memory: Mebibytes, chunk_items: (u32, u32)) -> BulkBounds {
        BulkBounds { memory_mib: vec![memory], process_count: (1, 1), chunk_items, ..BulkBounds::default() }
    }

    /// Runs a cut with all seeds.
    pub(crate) fn run(&self, cut: Cut) -> Figures {
        self.run_some(REVIEWS, cut)
    }

    /// The same with so many reviews.
    pub(crate) fn run_some(&self, reviews: usize, cut: Cut) -> Figures {
        let mut sum = Figures { parallelism: cut.parallelism, ..Figures::default() };
        let share = 1.0 / SEEDS as f64;
        for (seed, units) in (1..).zip(&self.units) {
            let units = if reviews == REVIEWS { Arc::clone(units) } else { units[..reviews].into() };
            let report = self.run_once(units, cut, seed);
            sum.seconds += report.seconds * share;
            sum.usd += report.usd() * share;
            sum.init_usd += report.init_usd * share;
            sum.environments += report.environments as f64 * share;
            sum.throttles += report.throttles as f64 * share;
        }
        sum
    }

    fn run_once(&self, units: Arc<[u64]>, cut: Cut, seed: u64) -> JobReport {
        job::run(&JobConfig {
            function: self.function.clone(),
            units,
            account: self.account.clone(),
            cut,
            seed,
        })
    }
}

pub(crate) fn cut_of(cut: &BulkCut) -> Cut {
    Cut {
        chunk_items: cut.chunk_items,
        process_count: cut.process_count,
        memory: cut.memory_mib,
        parallelism: cut.parallelism,
    }
}

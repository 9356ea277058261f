//! What is expected before anything is measured: prices, and a law of service time for each model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gateway_contract::{Architecture, Mebibytes, PriceTable};
use simulator::lambda::{BatchShape, FunctionModel as _};
use simulator::profile::{EXAMPLES, ModelProfile, ProfileError, Sweep, example};
use workers_profiler::{Estimate, Experiment, Model, Point, Prediction, Prices};

/// A profile that was named and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`expected_profile` of model `{model}`: {reason}")]
pub(super) struct ExpectError {
    model: String,
    reason: String,
}

/// Prices, and profiles by model where the experiment names them.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) prices: Prices,
    profiles: BTreeMap<String, ModelProfile>,
}

impl Expectation {
    /// Reads the profiles that are named, relative to `folder`.
    pub(super) fn new(experiment: &Experiment, folder: &Path) -> Result<Self, ExpectError> {
        let table = PriceTable::default();
        let architecture = if experiment.is_arm { Architecture::Arm64 } else { Architecture::X86_64 };
        let prices = Prices {
            usd_per_gb_second: table.usd_per_gb_second(architecture, 0.0),
            usd_per_request: table.request_usd(),
        };
        let mut profiles = BTreeMap::new();
        for model in &experiment.models {
            if let Some(name) = &model.expected_profile {
                let profile =
                    read(name, folder).map_err(|reason| ExpectError { model: model.name.clone(), reason })?;
                profiles.insert(model.name.clone(), profile);
            }
        }
        Ok(Self { prices, profiles })
    }

    /// The profile that the experiment names for a model.
    pub(super) fn profile(&self, model: &str) -> Option<&ModelProfile> {
        self.profiles.get(model)
    }

    /// What a run is expected to take.
    pub(super) fn predict(&self, model: &Model, point: &Point) -> Prediction {
        match self.profiles.get(&model.name) {
            Some(profile) => of_profile(profile, point),
            None => model.expected.predict(point),
        }
    }

    /// What a model's measured points will take.
    pub(super) fn estimate(&self, experiment: &Experiment, model: &Model) -> Estimate {
        Estimate::of_model(experiment, &self.prices, model, &|point| self.predict(model, point))
    }
}

/// A profile's answer for a point.
pub(super) fn of_profile(profile: &ModelProfile, point: &Point) -> Prediction {
    let memory = Mebibytes(point.memory_mib);
    let batch = BatchShape::uniform(point.items, point.process_count, profile.units(0));
    Prediction { handler_s: profile.mean_seconds(memory, &batch), init_s: profile.init_seconds(memory) }
}

/// A profile by file or by name.
fn read(name: &str, folder: &Path) -> Result<ModelProfile, String> {
    let told = |error: ProfileError| error.to_string();
    if EXAMPLES.iter().any(|(known, _)| *known == name) {
        return example(name).map_err(told);
    }
    let path: PathBuf = folder.join(name);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    if path.extension().is_some_and(|ending| ending == "jsonl") {
        return Sweep::parse(&text)
            .and_then(|sweep| sweep.fit(name))
            .map(|fitted| fitted.profile)
            .map_err(told);
    }
    ModelProfile::from_toml(&text).map_err(told)
}

//! The experiment's file as it is written, and its way into validated values.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::points::{Grid, Point};
use super::{Budget, Data, Expected, Experiment, ExperimentError, Machine, Model, Runs};
use crate::Connection;

/// Guesses for a model of which nothing is said: a light one.
const GUESSED: Expected = Expected { init_ms: 500.0, process_ms: 2.0, item_ms: 5.0, is_given: false };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default)]
    runs: RunsSection,
    #[serde(default)]
    budget: BudgetSection,
    machine: Option<MachineSection>,
    #[serde(default)]
    aws: AwsSection,
    grid: Option<Grid>,
    #[serde(default)]
    point: Vec<PointSection>,
    model: Vec<ModelSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunsSection {
    per_point: u32,
    cold_share: f64,
    warm_up: u32,
    stop_width: f64,
    pause_ms: u64,
}

impl Default for RunsSection {
    fn default() -> Self {
        Self { per_point: 20, cold_share: 0.1, warm_up: 1, stop_width: 0.05, pause_ms: 30 }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetSection {
    usd: Option<f64>,
    minutes: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineSection {
    vcpus: f64,
    concurrency: u32,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsSection {
    region: Option<String>,
    endpoint_url: Option<String>,
    #[serde(default)]
    credentials: Credentials,
    #[serde(default)]
    architecture: Architecture,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Credentials {
    #[default]
    Default,
    StaticTest,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Architecture {
    #[default]
    #[serde(rename = "x86_64")]
    X86,
    Arm64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointSection {
    memory_mib: u32,
    #[serde(default = "one_u32")]
    process_count: u32,
    #[serde(default = "one_u32")]
    items: u32,
    #[serde(default = "one_u32")]
    concurrency: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelSection {
    name: String,
    function: String,
    manifest: PathBuf,
    data: Option<PathBuf>,
    field: Option<String>,
    #[serde(default = "sixteen")]
    tokens: u32,
    expected: Option<ExpectedSection>,
    expected_profile: Option<String>,
    grid: Option<Grid>,
    #[serde(default)]
    point: Vec<PointSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSection {
    init_ms: f64,
    #[serde(default)]
    process_ms: f64,
    item_ms: f64,
}

const fn one() -> u64 {
    1
}
const fn one_u32() -> u32 {
    1
}
const fn sixteen() -> u32 {
    16
}

impl PointSection {
    fn point(&self) -> Point {
        let Self { memory_mib, process_count, items, concurrency } = *self;
        Point { memory_mib, process_count, items, concurrency }
    }
}

impl Experiment {
    /// Reads an experiment; its paths are taken relative to `folder`.
    ///
    /// # Errors
    /// As [`ExperimentError`].
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, ExperimentError> {
        let file: File = toml::from_str(text)?;
        if !is_plain(&file.name) {
            return Err(ExperimentError::value("name", "must be 1 to 40 letters, digits, `-` or `_`"));
        }
        let models = models(&file, folder)?;
        Ok(Self {
            runs: runs(&file.runs)?,
            budget: budget(&file.budget)?,
            machine: file.machine.as_ref().map(machine).transpose()?,
            connection: Connection {
                region: file.aws.region,
                endpoint_url: file.aws.endpoint_url,
                has_test_credentials: file.aws.credentials == Credentials::StaticTest,
            },
            is_arm: file.aws.architecture == Architecture::Arm64,
            name: file.name,
            seed: file.seed,
            models,
        })
    }
}

fn models(file: &File, folder: &Path) -> Result<Vec<Model>, ExperimentError> {
    if file.model.is_empty() {
        return Err(ExperimentError::value("model", "is needed at least once"));
    }
    let mut names = BTreeSet::new();
    let mut models = Vec::new();
    for section in &file.model {
        let key = |name: &str| format!("model `{}`: {name}", section.name);
        if !is_plain(&section.name) || !names.insert(&section.name) {
            return Err(ExperimentError::value(
                key("name"),
                "must be plain (letters, digits, `-`, `_`) and its own",
            ));
        }
        let expected = section.expected.as_ref().map_or(GUESSED, |given| Expected {
            init_ms: given.init_ms,
            process_ms: given.process_ms,
            item_ms: given.item_ms,
            is_given: true,
        });
        let times = [expected.init_ms, expected.process_ms, expected.item_ms];
        if times.iter().any(|ms| !(0.0..=1e6).contains(ms)) {
            return Err(ExperimentError::value(
                key("expected"),
                "must be milliseconds within 0 to 1,000,000",
            ));
        }
        models.push(Model {
            name: section.name.clone(),
            function: section.function.clone(),
            manifest: folder.join(&section.manifest),
            data: section
                .data
                .as_ref()
                .map(|path| Data { path: folder.join(path), field: section.field.clone() }),
            tokens: section.tokens,
            expected,
            expected_profile: section.expected_profile.clone(),
            points: points(file, section)?,
        });
    }
    Ok(models)
}

/// A model's own grid and points, or else those of the file.
fn points(file: &File, section: &ModelSection) -> Result<Vec<Point>, ExperimentError> {
    let has_own = section.grid.is_some() || !section.point.is_empty();
    let (grid, list) = if has_own { (&section.grid, &section.point) } else { (&file.grid, &file.point) };
    let mut points: BTreeSet<Point> = grid.as_ref().map(Grid::points).unwrap_or_default();
    points.extend(list.iter().map(PointSection::point));
    if points.is_empty() {
        return Err(ExperimentError::value(
            format!("model `{}`", section.name),
            "has no points: give `grid` or `point`",
        ));
    }
    for point in &points {
        point.check().map_err(|source| ExperimentError::Point { model: section.name.clone(), source })?;
    }
    Ok(points.into_iter().collect())
}

fn runs(section: &RunsSection) -> Result<Runs, ExperimentError> {
    let check = |holds: bool, key: &str, reason: &str| {
        if holds { Ok(()) } else { Err(ExperimentError::value(format!("runs.{key}"), reason)) }
    };
    check((1..=10_000).contains(&section.per_point), "per_point", "must be within 1 to 10,000")?;
    check((0.0..=1.0).contains(&section.cold_share), "cold_share", "must be within 0 to 1")?;
    check(section.warm_up <= 100, "warm_up", "must be at most 100")?;
    check((0.0..=10.0).contains(&section.stop_width), "stop_width", "must be within 0 to 10")?;
    check(section.pause_ms <= 60_000, "pause_ms", "must be at most 60,000")?;
    Ok(Runs {
        per_point: section.per_point,
        cold_share: section.cold_share,
        warm_up: section.warm_up,
        stop_width: section.stop_width,
        pause: Duration::from_millis(section.pause_ms),
    })
}

fn budget(section: &BudgetSection) -> Result<Budget, ExperimentError> {
    let positive = |value: Option<f64>, key: &str| match value {
        Some(value) if !(value > 0.0 && value <= 1e6) => {
            Err(ExperimentError::value(format!("budget.{key}"), "must be above 0 and at most 1,000,000"))
        }
        Some(_) | None => Ok(value),
    };
    let minutes = positive(section.minutes, "minutes")?;
    Ok(Budget {
        usd: positive(section.usd, "usd")?,
        time: minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
    })
}

fn machine(section: &MachineSection) -> Result<Machine, ExperimentError> {
    if !(section.vcpus > 0.0 && section.vcpus.is_finite()) || section.concurrency == 0 {
        return Err(ExperimentError::value(
            "machine",
            "needs `vcpus` above 0 and a `concurrency` of at least 1",
        ));
    }
    Ok(Machine { vcpus: section.vcpus, concurrency: section.concurrency })
}

fn is_plain(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    (1..=40).contains(&name.len()) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'e'\n[grid]\nmemory_mib = [512, 1024]\nitems = [1, 4]\nprocess_count = [1, 2]\n\
        [machine]\nvcpus = 2\nconcurrency = 4\n[[model]]\nname = 'm'\nfunction = 'f'\nmanifest = 'm/model.toml'\n";

    fn read(text: &str) -> Result<Experiment, ExperimentError> {
        Experiment::from_toml(text, Path::new("/e"))
    }

    #[test]
    fn a_grid_is_every_combination_that_makes_sense() {
        let experiment = read(TEXT).unwrap();
        let model = &experiment.models[0];
        assert_eq!(model.points.len(), 6, "two processes for one item are left out");
        assert_eq!(model.manifest, Path::new("/e/m/model.toml"));
        assert_eq!((experiment.runs.cold(), experiment.runs.warm()), (2, 18));
    }

    #[test]
    fn a_model_with_points_of_its_own_does_without_the_files() {
        let own = format!(
            "{TEXT}point = [{{ memory_mib = 10240, items = 1000, process_count = 6, concurrency = 1000 }}]\n"
        );
        let experiment = read(&own).unwrap();
        assert_eq!(experiment.models[0].points.len(), 1);
        assert!(!experiment.is_measured(&experiment.models[0].points[0]), "six thousand vCPUs are not here");
        let small = Point { memory_mib: 10_240, process_count: 1, items: 8, concurrency: 2 };
        assert!(experiment.is_measured(&small), "two single processes use two vCPUs whatever their memory");
    }

    #[test]
    fn values_out_of_range_and_unknown_keys_are_named() {
        let refused = |from: &str, to: &str| read(&TEXT.replace(from, to)).unwrap_err().to_string();
        assert!(refused("512, 1024", "64").contains("`memory_mib` must be within 128 to 10240, is 64"));
        assert!(refused("name = 'e'", "name = 'e f'").contains("`name`"));
        assert!(refused("items = [1, 4]", "itmes = [1, 4]").contains("itmes"));
        assert!(refused("vcpus = 2", "vcpus = -1").contains("`machine`"));
        assert!(refused("name = 'e'", "name = 'e'\nbudget.usd = 0").contains("`budget.usd`"));
        assert!(refused("name = 'e'", "name = 'e'\nruns.cold_share = 2").contains("`runs.cold_share`"));
        assert!(
            refused("[grid]\nmemory_mib = [512, 1024]", "[grid]\nmemory_mib = []").contains("has no points")
        );
    }
}

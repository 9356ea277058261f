//! File, environment and command line → one [`Config`] and its [`Settings`].
//!
//! A variable `PENSTOCK_SECTION__KEY` sets `section.key`: two underscores separate what a dot separates in the file. In
//! `PENSTOCK_MODELS__NAME__…`, NAME matches a model of the file without regard to case, with `-` and `.` written as `_`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::diagnostics::{explain, position};
use super::origins::{Origin, file_origins};
use super::{Config, ConfigError, Problem, Settings};

/// Prefix of variables that set a key. Those without `__` behind it are not ours to judge.
const PREFIX: &str = "PENSTOCK_";

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file; none: defaults and overrides only.
    pub path: Option<PathBuf>,
    /// Environment variables that may set keys; see [`Source::with_environment`].
    pub environment: Vec<(String, String)>,
    /// `section.key` and TOML value from the command line; the last word.
    pub overrides: Vec<(String, String)>,
}

impl Source {
    /// This file, with the variables of this process.
    #[must_use]
    pub fn with_environment(path: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        let environment = std::env::vars().filter(|(name, _)| sets_a_key(name)).collect();
        Self { path, environment, overrides }
    }
}

fn sets_a_key(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__"))
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All values, defaults included.
    pub config: Config,
    /// What they mean.
    pub settings: Settings,
    /// Where each value that is not a default comes from, by dotted key.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads, merges and validates.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn load(source: &Source) -> Result<Loaded, ConfigError> {
    let text = match &source.path {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.clone(), reason: error.to_string() })?,
        None => String::new(),
    };
    load_text(&text, source)
}

/// Like [`load`], with the file's text given. The path of `source` names the file and is the base of relative paths.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn load_text(text: &str, source: &Source) -> Result<Loaded, ConfigError> {
    let file = source.path.as_deref().unwrap_or(Path::new("configuration"));
    let place = file.display().to_string();
    let parsed = toml::from_str::<Config>(text).map_err(|error| {
        let position = error.span().map(|span| position(text, span.start));
        ConfigError::Problems(vec![Problem {
            place: place.clone(),
            position,
            message: explain(error.message()),
        }])
    })?;
    let mut origins = file_origins(text);
    let config = if source.environment.is_empty() && source.overrides.is_empty() {
        parsed
    } else {
        merge(text, source, &mut origins)?
    };
    let base = file.parent().unwrap_or(Path::new(""));
    let settings = Settings::build(&config, base).map_err(|invalid| {
        let located = invalid.into_iter().map(|(key, message)| locate(&place, &origins, &key, &message));
        ConfigError::Problems(located.collect())
    })?;
    Ok(Loaded { config, settings, origins })
}

/// Finds the place of a key: its own, or that of the section that should hold it.
fn locate(place: &str, origins: &BTreeMap<String, Origin>, key: &str, message: &str) -> Problem {
    let message = format!("`{key}` {message}");
    let mut at = key;
    loop {
        match origins.get(at) {
            Some(Origin::File { line, column }) => {
                return Problem { place: place.to_owned(), position: Some((*line, *column)), message };
            }
            Some(Origin::Environment { variable }) => {
                return Problem { place: variable.clone(), position: None, message };
            }
            Some(Origin::CommandLine) => {
                return Problem { place: "command line".to_owned(), position: None, message };
            }
            None => match at.rsplit_once('.') {
                Some((section, _)) => at = section,
                None => {
                    return Problem { place: place.to_owned(), position: None, message };
                }
            },
        }
    }
}

fn merge(text: &str, source: &Source, origins: &mut BTreeMap<String, Origin>) -> Result<Config, ConfigError> {
    let problem = |place: &str, message: String| {
        ConfigError::Problems(vec![Problem { place: place.to_owned(), position: None, message }])
    };
    let mut table: Table =
        toml::from_str(text).map_err(|error| problem("configuration", error.message().to_owned()))?;
    let mut layers: Vec<(String, Vec<String>, &str, Origin)> = Vec::new();
    for (variable, value) in &source.environment {
        let path = variable_path(variable, &table);
        layers.push((variable.clone(), path, value, Origin::Environment { variable: variable.clone() }));
    }
    for (key, value) in &source.overrides {
        let path = key.split('.').map(str::to_owned).collect();
        layers.push((format!("--set {key}"), path, value, Origin::CommandLine));
    }
    let mut config = Config::default();
    for (place, path, value, origin) in layers {
        set(&mut table, &path, parse_value(value)).map_err(|message| problem(&place, message))?;
        // Checked one by one, so that the message names the layer that is wrong.
        config = table
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| problem(&place, explain(error.message())))?;
        origins.insert(path.join("."), origin);
    }
    Ok(config)
}

fn variable_path(variable: &str, table: &Table) -> Vec<String> {
    let rest = variable.strip_prefix(PREFIX).unwrap_or(variable);
    let mut path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, model, ..] = path.as_mut_slice()
        && section == "models"
    {
        let as_variable = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
        let models = table.get("models").and_then(Value::as_table);
        if let Some(name) = models.and_then(|models| models.keys().find(|name| as_variable(name) == *model)) {
            model.clone_from(name);
        }
    }
    path
}

/// A TOML value; anything that is none is a string.
fn parse_value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Err("names no key".to_owned()),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let inner = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else {
                return Err(format!("`{section}` is a value, not a section"));
            };
            set(inner, rest, value)
        }
    }
}

//! The model's profile: one that ships with the simulator, or a file of one of three kinds.

use super::prepared::ReadFile;
use super::problem::Problem;
use crate::profile::{self, FitErrors, Fitted, ModelProfile, ProfileError, Sweep, Table};
use crate::report::number::percent;

/// A profile and where it is from.
pub(super) struct ReadProfile {
    pub(super) profile: ModelProfile,
    pub(super) origin: String,
}

impl ReadProfile {
    /// `file`: the study, for errors about the name itself.
    pub(super) fn new(file: &str, name: &str, read: &ReadFile<'_>) -> Result<Self, Problem> {
        let ending =
            std::path::Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let text = || read(name).map_err(|reason| Problem::whole(name, reason));
        let bad = |error: ProfileError| problem(name, error);
        let fitted = |found: Fitted| Self { origin: fit_words(name, &found.errors), profile: found.profile };
        match ending {
            "toml" => {
                let profile = ModelProfile::from_toml(&text()?).map_err(bad)?;
                Ok(Self { origin: format!("{}, from {name}", profile.name), profile })
            }
            "jsonl" => {
                let sweep = Sweep::parse(&text()?).map_err(bad)?;
                sweep.fit(name).map(fitted).map_err(bad)
            }
            "csv" => {
                let table = Table::parse(&text()?, &[]).map_err(bad)?;
                table.fit(name).map(fitted).map_err(bad)
            }
            _ => {
                let found = profile::example(name).map_err(|error| {
                    Problem::whole(
                        file,
                        format!("`profile`: {error}; files end in `.toml`, `.jsonl` or `.csv`"),
                    )
                })?;
                Ok(Self { profile: found, origin: format!("{name}, ships with the simulator") })
            }
        }
    }
}

fn fit_words(name: &str, errors: &FitErrors) -> String {
    format!(
        "fitted to {} measured places of {name}: error {} in the median, {} at worst",
        errors.count,
        percent(errors.median),
        percent(errors.worst)
    )
}

fn problem(name: &str, error: ProfileError) -> Problem {
    let (line, reason) = match error {
        ProfileError::Toml { line, field, reason } => (Some(line), format!("`{field}`: {reason}")),
        ProfileError::Line { line, reason } => (Some(line), reason),
        ProfileError::TooFew { .. } | ProfileError::UnknownExample { .. } => (None, error.to_string()),
    };
    Problem { file: name.to_owned(), line, reason }
}

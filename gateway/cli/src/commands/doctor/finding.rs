//! What was found, as lines for people and as JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It serves, but somebody should look.
    Warning,
    /// It does not serve, or not for long.
    Problem,
}

/// One check's outcome.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// Dotted, stable: for programs.
    check: String,
    level: Level,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All of them, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: impl Into<String>, text: String) {
        self.0.push(Finding { check: check.into(), level: Level::Ok, text, advice: None });
    }

    pub(super) fn warning(&mut self, check: impl Into<String>, text: String, advice: impl Into<String>) {
        self.add(check, Level::Warning, text, advice);
    }

    pub(super) fn problem(&mut self, check: impl Into<String>, text: String, advice: impl Into<String>) {
        self.add(check, Level::Problem, text, advice);
    }

    pub(super) fn add(
        &mut self,
        check: impl Into<String>,
        level: Level,
        text: String,
        advice: impl Into<String>,
    ) {
        self.0.push(Finding { check: check.into(), level, text, advice: Some(advice.into()) });
    }

    pub(super) fn problems(&self) -> usize {
        self.count(Level::Problem)
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "problems": self.problems(),
            "warnings": self.count(Level::Warning),
            "findings": self.0,
        })
    }
}

impl Display for Findings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for Finding { check, level, text, advice } in &self.0 {
            let level = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Problem => "PROBLEM",
            };
            writeln!(f, "{level:8} {check}: {text}")?;
            if let Some(advice) = advice {
                writeln!(f, "         → {advice}")?;
            }
        }
        let (problems, warnings) = (self.problems(), self.count(Level::Warning));
        writeln!(f, "{problems} problems, {warnings} warnings")
    }
}

//! The table at the end of a run.

use std::fmt;

use gateway_invoker::provision::{Action, FunctionPlan, FunctionReport, Prunes, RowResult};

const HEAD: [&str; 6] = ["model", "function", "alias", "version", "memory_mib", "result"];

/// Rows, and whether any of them stands for a change.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<[String; HEAD.len()]>,
    has_changes: bool,
}

impl Table {
    /// What would be done.
    pub(super) fn add_plan(&mut self, models: &str, plan: &FunctionPlan) {
        for alias in &plan.aliases {
            let (version, result) = match &alias.action {
                Action::Keep { version } => (Some(*version), "unchanged"),
                Action::Point { version, existing: None } => (*version, "would create"),
                Action::Point { version, existing: Some(_) } => (*version, "would update"),
            };
            let version = version.map_or("new".to_owned(), |version| version.to_string());
            self.add([
                models,
                &plan.state.function,
                &alias.alias,
                &version,
                &alias.memory.0.to_string(),
                result,
            ]);
        }
    }

    /// What was done.
    pub(super) fn add_report(&mut self, models: &str, report: &FunctionReport) {
        for row in &report.rows {
            self.has_changes |= !matches!(row.result, RowResult::Unchanged | RowResult::LeftOut);
            let version = row.version.map_or("-".to_owned(), |version| version.to_string());
            let memory = row.memory.0.to_string();
            self.add([models, &report.function, &row.alias, &version, &memory, row.result.label()]);
        }
    }

    /// What was, or would be, deleted.
    pub(super) fn add_prunes(&mut self, models: &str, function: &str, prunes: &Prunes, result: &str) {
        self.has_changes |= !prunes.is_empty();
        for alias in &prunes.aliases {
            self.add([models, function, alias, "-", "-", result]);
        }
        for version in &prunes.versions {
            self.add([models, function, "-", &version.to_string(), "-", result]);
        }
    }

    /// Whether nothing was changed: all that the account allows was there.
    pub(super) fn is_unchanged(&self) -> bool {
        !self.has_changes
    }

    fn add(&mut self, row: [&str; HEAD.len()]) {
        self.rows.push(row.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(&self.rows);
        let mut widths = [0; HEAD.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in lines() {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        let prunes = Prunes { aliases: ["mem-512".to_owned()].into(), versions: [7].into() };
        table.add_prunes("sentiment", "f", &prunes, "deleted");
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "model      function  alias    version  memory_mib  result");
        assert_eq!(lines[1], "sentiment  f         mem-512  -        -           deleted");
        assert_eq!(lines[2], "sentiment  f         -        7        -           deleted");
        assert!(!table.is_unchanged());
    }
}

//! SPECIFICATION.md names tests; this check refuses a name that no test has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Folders that hold crates.
const CODE: [&str; 5] = ["gateway", "workers", "optimizer", "simulator", "xtask"];

/// Compares the names in the specification with the functions in the code.
///
/// # Errors
/// Every name that no function has.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    let text = fs::read_to_string(workspace.join("SPECIFICATION.md")).context("SPECIFICATION.md")?;
    let mut functions = BTreeSet::new();
    for folder in CODE {
        collect_functions(&workspace.join(folder), &mut functions)?;
    }
    let named = test_names(&text);
    ensure!(!named.is_empty(), "SPECIFICATION.md names no test");
    let unknown: Vec<&str> = named.into_iter().filter(|name| !functions.contains(*name)).collect();
    ensure!(unknown.is_empty(), "SPECIFICATION.md names tests that do not exist: {}", unknown.join(", "));
    Ok(())
}

/// Backticked names in the last column of the tables that look like a test: lower case with underscores.
fn test_names(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let last_cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit_once('|').map(|(_, cell)| cell));
    let quoted = last_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted
        .filter(|name| {
            name.contains('_')
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect()
}

fn collect_functions(folder: &Path, functions: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect_functions(&path, functions)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path)?;
            functions.extend(code.lines().filter_map(|line| {
                let (_, rest) = line.split_once("fn ")?;
                Some(rest.split(['(', '<']).next()?.to_owned())
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_names_in_the_last_column_count() {
        let text = "| A1 | set `max_items` | `a_test`, `b_test` and `docs/x_y.md` |\nprose with `no_test`\n";
        assert_eq!(super::test_names(text).into_iter().collect::<Vec<_>>(), ["a_test", "b_test"]);
    }
}

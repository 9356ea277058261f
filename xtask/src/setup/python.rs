//! Finds an interpreter that is new enough. Nothing is installed: without one, the error says what to do.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::process::output_of;

/// The oldest Python that the pinned packages support.
const OLDEST: (u32, u32) = (3, 11);

/// Tried in this order, after `PENSTOCK_PYTHON`.
const CANDIDATES: [&str; 4] = ["python3", "python3.11", "python3.12", "python3.13"];

/// An interpreter with its version, such as `3.11.7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    pub(super) program: PathBuf,
    pub(super) version: String,
}

/// Returns the first interpreter of at least [`OLDEST`].
pub(super) fn find() -> Result<Python> {
    let named = env::var_os("PENSTOCK_PYTHON").filter(|name| !name.is_empty());
    let candidates = match named {
        Some(name) => vec![name],
        None => CANDIDATES.iter().map(OsString::from).collect(),
    };
    find_among(&candidates)
}

fn find_among(candidates: &[OsString]) -> Result<Python> {
    let mut seen = Vec::new();
    for name in candidates {
        match ask(name) {
            Ok(python) if is_new_enough(&python.version) => return Ok(python),
            Ok(python) => seen.push(format!("{} is {}", name.display(), python.version)),
            Err(_) => seen.push(format!("{} does not run", name.display())),
        }
    }
    bail!(
        "no Python of at least {}.{} found ({}); install one, or name it in `PENSTOCK_PYTHON`",
        OLDEST.0,
        OLDEST.1,
        seen.join(", ")
    )
}

/// Asks the interpreter for its own path, so that a version manager's shim is left behind.
fn ask(name: &OsString) -> Result<Python> {
    let script = "import platform, sys; print(platform.python_version()); print(sys.executable)";
    let printed = output_of(Command::new(name).args(["-c", script]))?;
    let Some((version, program)) = printed.split_once('\n') else {
        bail!("unexpected answer of `{}`", name.display());
    };
    Ok(Python { program: PathBuf::from(program.trim()), version: version.trim().to_owned() })
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_new_enough("3.11.0") && is_new_enough("3.13.1") && is_new_enough("4.0.0"));
        assert!(!is_new_enough("3.9.18") && !is_new_enough("2.11.0") && !is_new_enough("nonsense"));
    }

    #[test]
    fn without_an_interpreter_the_error_says_what_was_tried() {
        let error = find_among(&["no-such-python".into(), "false".into()]).unwrap_err().to_string();
        assert!(error.contains("at least 3.11") && error.contains("no-such-python does not run"), "{error}");
    }
}

//! ONNX Runtime's shared library, taken out of the pinned Python package.
//!
//! The package's library is the official build with few symbols needed from the system, so one file serves
//! the local worker and the Lambda package alike.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Setup, say, venv};

const PACKAGE: &str = "onnxruntime==";

/// Copies the library if the copy is missing or of another version; returns its path.
pub(super) fn ensure(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.cache().join("onnxruntime/lib");
    let library = folder.join("libonnxruntime.so");
    let stamp = folder.join("VERSION");
    let version = pinned_version(setup.workspace())?;
    let present = fs::read_to_string(&stamp).unwrap_or_default();
    if library.exists() && present == version {
        return Ok(library);
    }
    venv::ensure(setup)?;
    let source = find_in_package(&setup.cache().join("venv/lib"), &version)?;
    say(&format!("copying the library of ONNX Runtime {version}"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    copy_whole(&source, &library)?;
    fs::write(&stamp, version).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(library)
}

fn pinned_version(workspace: &Path) -> Result<String> {
    let path = workspace.join("workers/models/requirements.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix(PACKAGE))
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("`{}` does not pin `onnxruntime`", path.display()))
}

fn find_in_package(lib: &Path, version: &str) -> Result<PathBuf> {
    let inside = format!("site-packages/onnxruntime/capi/libonnxruntime.so.{version}");
    fs::read_dir(lib)
        .with_context(|| format!("cannot read `{}`", lib.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join(&inside)))
        .find(|path| path.is_file())
        .with_context(|| format!("the `onnxruntime` package has no `{inside}` on this platform"))
}

/// Copies through a temporary name, so that no process ever loads half a library.
fn copy_whole(source: &Path, target: &Path) -> Result<()> {
    let fresh = target.with_extension("so.new");
    fs::copy(source, &fresh)
        .and_then(|_| fs::rename(&fresh, target))
        .with_context(|| format!("cannot copy `{}` to `{}`", source.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_version_is_read_from_the_requirements() {
        let workspace = Setup::locate().unwrap().workspace().to_path_buf();
        let version = pinned_version(&workspace).unwrap();
        assert_eq!(version.split('.').count(), 3, "{version}");
    }
}

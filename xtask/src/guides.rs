//! Runs the guides as a reader would: every block of `docs/guides/*.md` that is marked so, in order.
//!
//! A block marked `sh` is run; one marked with a language and a path (`toml model/model.toml`) is written to that file; all others are for the reader. A
//! guide is one shell script in a folder of its own, with the programs on the path; what it leaves running is ended with it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build;
use crate::setup::Setup;

/// Ends a file's text within the script.
const END: &str = "END-OF-THE-FILE";

/// Runs them all.
///
/// # Errors
/// The first guide of which a command fails; says where its script and what it left are.
pub(crate) fn run(setup: &Setup) -> Result<()> {
    let python = setup.venv()?;
    setup.onnxruntime_library()?;
    let programs = build::release_folder(setup.workspace())?;
    let mut path = std::ffi::OsString::from(&programs);
    for folder in [python.parent().unwrap_or(Path::new("")).as_os_str().to_owned()]
        .into_iter()
        .chain(std::env::var_os("PATH"))
    {
        path.push(":");
        path.push(folder);
    }
    for guide in guides(setup.workspace())? {
        let text = fs::read_to_string(&guide).with_context(|| format!("cannot read {}", guide.display()))?;
        let Some(script) = script(&text) else { continue };
        let name = guide.file_stem().unwrap_or_default();
        eprintln!("guides: {}", guide.display());
        let folder = setup.cache().join("runs/guides").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let file = folder.join("guide.sh");
        fs::write(&file, script)?;
        let mut shell = Command::new("bash");
        shell.arg(&file).current_dir(&folder).env("PATH", &path).env("PENSTOCK", setup.workspace());
        let status = shell.status().context("bash")?;
        ensure!(status.success(), "{} ended with {status}; its script: {}", guide.display(), file.display());
    }
    Ok(())
}

fn guides(workspace: &Path) -> Result<Vec<PathBuf>> {
    let mut guides: Vec<PathBuf> = fs::read_dir(workspace.join("docs/guides"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    guides.sort();
    Ok(guides)
}

/// The guide as a script; `None`: nothing in it is to be run.
fn script(text: &str) -> Option<String> {
    let mut script =
        String::from("set -eu\ntrap 'jobs=$(jobs -p); [ -z \"$jobs\" ] || kill $jobs; wait' EXIT\n");
    let mut runs = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let body = body.join("\n");
        match info.split_once(' ') {
            Some((_, file)) => {
                let _ = write!(
                    script,
                    "mkdir -p \"$(dirname '{file}')\"\ncat > '{file}' <<'{END}'\n{body}\n{END}\n"
                );
            }
            None if info == "sh" => {
                runs = true;
                script.push_str(&body);
                script.push('\n');
            }
            None => {}
        }
    }
    runs.then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_become_a_script_in_order() {
        let guide = "text\n```\nnot run\n```\n```toml a/b.toml\nx = 1\n```\nmore\n```sh\ncat a/b.toml\n```\n";
        let script = script(guide).unwrap();
        assert!(!script.contains("not run"));
        let (file, run) = (script.find("x = 1").unwrap(), script.find("cat a/b.toml").unwrap());
        assert!(file < run, "{script}");
    }

    #[test]
    fn a_guide_without_commands_is_not_run() {
        assert_eq!(script("```\nfor the reader\n```\n"), None);
    }

    #[test]
    fn every_guide_is_complete() {
        let workspace = Setup::locate().unwrap().workspace().to_path_buf();
        for guide in guides(&workspace).unwrap() {
            let fences = fs::read_to_string(&guide).unwrap().matches("\n```").count();
            assert_eq!(fences % 2, 0, "{} has a block that does not end", guide.display());
        }
    }
}

//! The arrows between crates: who may use whom, checked over `cargo metadata`.
//!
//! The table is the rule. A crate that it does not name is an error too, so that a new one states its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// Crate → the workspace crates that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gateway-contract", &[]),
    ("gateway-policy", &["gateway-contract"]),
    ("gateway-invoker", &["gateway-contract", "workers-protocol"]),
    ("gateway-lease", &["gateway-objects"]),
    ("gateway-objects", &[]),
    (
        "gateway-server",
        &[
            "gateway-contract",
            "gateway-lease",
            "gateway-objects",
            "gateway-policy",
            "gateway-invoker",
            "optimizer-changepoint",
            "optimizer-tuner",
            "workers-protocol",
        ],
    ),
    (
        "gateway-bulk",
        &[
            "gateway-contract",
            "gateway-invoker",
            "gateway-lease",
            "gateway-objects",
            "gateway-policy",
            "optimizer-tuner",
            "workers-protocol",
        ],
    ),
    (
        "gateway-cli",
        &[
            "gateway-bulk",
            "gateway-contract",
            "gateway-policy",
            "gateway-invoker",
            "gateway-server",
            "simulator",
            "workers-emulator",
            "workers-profiler",
        ],
    ),
    ("workers-protocol", &[]),
    ("workers-runtime", &["gateway-objects", "workers-protocol"]),
    ("workers-emulator", &[]),
    ("workers-profiler", &["workers-protocol"]),
    ("optimizer-changepoint", &[]),
    ("optimizer-bayesopt", &[]),
    ("optimizer-tuner", &["gateway-contract", "optimizer-changepoint", "optimizer-bayesopt"]),
    ("simulator", &["gateway-contract", "gateway-policy", "optimizer-bayesopt", "optimizer-tuner"]),
    ("xtask", &[]),
];

/// Crates that decide and never act: what they must not depend on, at any distance of normal dependencies of their own.
const PURE: &[&str] = &[
    "gateway-contract",
    "gateway-policy",
    "workers-protocol",
    "optimizer-changepoint",
    "optimizer-bayesopt",
    "optimizer-tuner",
];
const IMPURE_DEPENDENCIES: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "rand",
    "tracing-subscriber",
    "prometheus",
    "reqwest",
    "nix",
    "libc",
    "aws-sdk-lambda",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Reads the workspace's manifests and compares them with the table.
///
/// # Errors
/// Every arrow that is not allowed, named; or metadata that cannot be read.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace)
        .output()
        .context("cannot run `cargo metadata`")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata's output")?;
    let wrong = violations(&metadata.packages);
    if !wrong.is_empty() {
        bail!("crate arrows:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

fn violations(packages: &[Package]) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, targets)| (*name, targets.iter().copied().collect())).collect();
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some(targets) = allowed.get(name) else {
            wrong.push(format!("`{name}` has no row in xtask/src/arrows.rs"));
            continue;
        };
        // Tests may reach further: only what ships is bound by the arrows.
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        {
            let target = dependency.name.as_str();
            if members.contains(target) && !targets.contains(target) {
                wrong.push(format!("`{name}` must not use `{target}`"));
            }
            if PURE.contains(&name) && IMPURE_DEPENDENCIES.contains(&target) {
                wrong.push(format!("`{name}` decides and must not use `{target}`"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
            .collect();
        Package { name: name.to_owned(), dependencies }
    }

    #[test]
    fn an_arrow_against_the_table_is_named() {
        let packages = [
            package("gateway-policy", &[("gateway-server", None), ("tokio", None)]),
            package("gateway-server", &[("gateway-policy", None), ("workers-emulator", Some("dev"))]),
            package("workers-emulator", &[]),
            package("newcomer", &[]),
        ];
        assert_eq!(
            violations(&packages),
            [
                "`gateway-policy` must not use `gateway-server`",
                "`gateway-policy` decides and must not use `tokio`",
                "`newcomer` has no row in xtask/src/arrows.rs",
            ]
        );
    }
}

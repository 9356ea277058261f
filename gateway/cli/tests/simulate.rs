//! `penstock simulate` as a process: what it writes, what it refuses, and how it goes on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

const STUDY: &str = r#"title = "Two minutes"
seeds = 1
policies = ["penstock", "unbatched_3008"]
[model]
profile = "minilm-16"
slo_ms = 200
[arrivals]
kind = "poisson"
rate_rps = 5
"#;

fn simulate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock"))
        .current_dir(folder)
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.toml"), STUDY).unwrap();
    std::fs::write(folder.path().join("counts.txt"), "300\n600\n").unwrap();
    folder
}

#[test]
fn a_study_becomes_a_table_json_and_a_page() {
    let folder = folder();
    let arguments = ["s.toml", "--hours", "0.03", "--json", "r.json", "--html", "r.html"];
    let output = simulate(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Unbatched, 3008 MiB"), "{}", text(&output.stdout));
    let json = std::fs::read_to_string(folder.path().join("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["policies"].as_array().unwrap().len(), 2);
    assert!(report["policies"][0]["figures"]["usd_per_million"]["mean"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(folder.path().join("r.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg"));
}

#[test]
fn trace_profile_and_objective_are_enough() {
    let folder = folder();
    let arguments =
        ["--trace", "counts.txt", "--trace-step-s", "60", "--profile", "minilm-16", "--slo-ms", "200"];
    let few = ["--policy", "unbatched_best", "--policy", "pinned", "--seeds", "1"];
    let output = simulate(folder.path(), &[&arguments[..], &few[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("2 minutes of traffic, 7.5 requests/s"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn what_cannot_be_used_is_named_with_its_line_and_exit_code_78() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.txt"), "300\nmany\n").unwrap();
    std::fs::write(folder.path().join("bad.toml"), STUDY.replace("slo_ms = 200", "slo_ms = 0")).unwrap();
    for (arguments, told) in [
        (vec!["s.toml", "--trace", "bad.txt"], "bad.txt:2: `many` is no count"),
        (vec!["s.toml", "--trace", "none.txt"], "none.txt: "),
        (vec!["s.toml", "--profile", "none.toml"], "none.toml: "),
        (vec!["bad.toml"], "bad.toml:6: `slo_ms`: must be above 0"),
        (vec!["none-at-all.toml"], "none-at-all.toml: "),
    ] {
        let output = simulate(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_study_that_was_stopped_goes_on_and_ends_the_same() {
    let folder = folder();
    let run = |more: &[&str]| {
        let output = simulate(folder.path(), &[&["s.toml", "--hours", "0.03"], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, straight, _) = run(&[]);
    let resumed = run(&["--resume", "runs.jsonl"]);
    assert_eq!(resumed.1, straight);
    let path = folder.path().join("runs.jsonl");
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept.lines().count(), 3, "a head and two runs");
    // Stopped in the middle of a line.
    std::fs::write(&path, &kept[..kept.len() - 40]).unwrap();
    assert_eq!(run(&["--resume", "runs.jsonl"]).1, straight);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    // A record that is there is taken as it is, not run again.
    let changed = kept.replacen("\"p50_ms\":", "\"p50_ms\":1", 1);
    std::fs::write(&path, &changed).unwrap();
    assert_ne!(run(&["--resume", "runs.jsonl"]).1, straight);
    let (code, _, told) = run(&["--resume", "runs.jsonl", "--slo-ms", "300"]);
    assert_eq!(code, Some(78));
    assert!(told.contains("runs.jsonl:1: holds runs of another study"), "{told}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = folder();
    let with =
        |threads: &str| simulate(folder.path(), &["s.toml", "--hours", "0.03", "--threads", threads]).stdout;
    assert_eq!(text(&with("1")), text(&with("3")));
}

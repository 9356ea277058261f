//! CPU share, memory limit and caps. Bounds are wide: the machine is shared, and a quota is a ceiling.

use crate::support::Local;
use serde_json::{Value, json};

/// CPU time over wall time of a spin.
fn share(reply: &Value) -> f64 {
    let wall: f64 = reply["wall_ms"].as_array().unwrap().iter().filter_map(Value::as_f64).sum();
    reply["cpu_ms"].as_f64().unwrap() / wall
}

#[test]
fn memory_buys_cpu() {
    let local = Local::start("memory_mib = [442, 1769]");
    if !local.has_groups("memory_buys_cpu") {
        return;
    }
    let spin = json!({ "command": "spin", "cpu_ms": 10, "iterations": 10 });
    let quarter = share(&local.invoke_on("probe:mem-442", spin.clone()).json());
    let whole = share(&local.invoke_on("probe:mem-1769", spin).json());
    // A vCPU is a quarter of a core here.
    assert!((0.03..0.09).contains(&quarter), "442 MiB got {quarter} of a core");
    assert!((0.12..0.30).contains(&whole), "1769 MiB got {whole} of a core");
}

#[test]
fn the_quota_is_seen_in_the_groups_statistics() {
    let local = Local::start("memory_mib = [442]");
    if !local.has_groups("the_quota_is_seen_in_the_groups_statistics") {
        return;
    }
    local.invoke(json!({ "command": "spin", "cpu_ms": 20 }));
    let usage = local.sandboxes()[0]["usage"].clone();
    assert!(usage["throttled_periods"].as_u64().unwrap() > 3, "{usage}");
    assert!(usage["cpu_ns"].as_u64().unwrap() > 20_000_000, "{usage}");
}

#[test]
fn one_process_cannot_use_more_than_one_vcpu() {
    let local = Local::start("memory_mib = [7076]");
    if !local.has_groups("one_process_cannot_use_more_than_one_vcpu") {
        return;
    }
    let spin =
        |workers: u32| json!({ "command": "spin", "cpu_ms": 100, "workers": workers, "iterations": 3 });
    local.invoke(spin(3));
    let one = share(&local.invoke(json!({ "command": "spin", "cpu_ms": 400 })).json());
    let three = share(&local.invoke(spin(3)).json());
    assert!(one < 0.33, "one process got {one} of a core");
    assert!(three > 1.7 * one, "three processes got {three}, one got {one}");
    assert!(three < 0.90, "three processes got {three} of a core");
}

#[test]
fn a_sandbox_over_its_memory_is_killed_with_the_right_words() {
    let local = Local::start("memory_mib = [128]");
    if !local.has_groups("a_sandbox_over_its_memory_is_killed_with_the_right_words") {
        return;
    }
    let fits = local.invoke(json!({ "command": "allocate", "mib": 40 }));
    assert_eq!(fits.json()["kept_mib"], 40);
    let used = crate::support::report_value(&fits.tail(), "Max Memory Used").unwrap();
    assert!((40.0..128.0).contains(&used), "{}", fits.tail());
    let killed = local.invoke(json!({ "command": "allocate", "mib": 200 }));
    assert_eq!(killed.json()["errorType"], "Runtime.OutOfMemory", "{}", killed.text);
    assert!(killed.text.contains("Runtime exited with error: signal: killed"), "{}", killed.text);
    assert!(killed.tail().contains("Status: error\tError Type: Runtime.OutOfMemory"), "{}", killed.tail());
    assert!(killed.tail().contains("Max Memory Used: 128 MB"), "{}", killed.tail());
    assert_eq!(local.invoke(json!({})).status, 200);
}

#[test]
fn without_control_groups_the_share_is_kept_by_signals() {
    let local = Local::start("memory_mib = [884]\n[metering]\nmode = 'duty_cycle'\ncpu_scale = 0.5");
    let got = share(&local.invoke(json!({ "command": "spin", "cpu_ms": 200 })).json());
    assert!((0.10..0.35).contains(&got), "884 MiB at half a core per vCPU got {got} of a core");
    let health = local.call("GET", "/_penstock/health", Value::Null).json();
    assert_eq!(health["metering"], "duty_cycle");
}

#[test]
fn without_control_groups_everything_still_freezes_and_ends() {
    let local = Local::start(
        "timeout_seconds = 1\nenvironment = { PROBE_TICKER = '1' }\n[lifecycle]\nfreeze_grace_ms = 0\n[metering]\nmode = 'none'",
    );
    let ticks = || local.invoke(json!({ "command": "ticks" })).json()["ticks"].as_u64().unwrap();
    let child = local.invoke(json!({ "command": "spawn" })).json()["process_id"].as_u64().unwrap();
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(ticks() - before < 200);
    local.invoke(json!({ "command": "sleep", "ms": 30_000 }));
    crate::support::eventually("the child is gone", || !crate::support::is_alive(child));
}

#[test]
fn a_killed_emulator_leaves_nothing_behind() {
    // A separate process, since this one is to go on.
    let package = tempfile::tempdir().unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_lambda-probe"), package.path().join("bootstrap")).unwrap();
    let config = package.path().join("emulator.toml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(&config, format!("listen = '127.0.0.1:{port}'\n[lifecycle]\nfreeze_grace_ms = 0\n[[function]]\nname = 'probe'\npackage_dir = '.'"))
        .unwrap();
    let mut process =
        std::process::Command::new(env!("CARGO_BIN_EXE_lambda-emulate")).arg(&config).spawn().unwrap();
    let local = Local::attach(&format!("http://127.0.0.1:{port}"));
    crate::support::eventually("it listens", || local.send("GET", "/_penstock/health", &[], b"").is_some());
    let bootstrap = local.invoke(json!({ "command": "who" })).json()["process_id"].as_u64().unwrap();
    let has_groups = local.has_groups("a_killed_emulator_leaves_nothing_behind");
    crate::support::eventually("it is frozen", || local.sandboxes()[0]["state"] == "frozen");
    process.kill().unwrap();
    process.wait().unwrap();
    if has_groups {
        crate::support::eventually("the frozen bootstrap is gone", || !crate::support::is_alive(bootstrap));
    }
}

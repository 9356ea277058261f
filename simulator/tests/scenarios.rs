//! Each scenario's bands, with one seed. The spread over seeds: `cargo xtask bench scenarios`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads its files")]

use simulator::scenario::{Scenario, run};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

fn holds(name: &str) {
    let text = std::fs::read_to_string(format!("{FOLDER}/{name}.toml")).unwrap();
    let scenario = Scenario::from_toml(&text).unwrap();
    let (measured, broken) = run(&scenario, 1).unwrap();
    let missed: Vec<String> = measured
        .iter()
        .filter(|band| !band.holds())
        .map(|band| format!("{band} ({})", band.band.why))
        .collect();
    assert!(missed.is_empty() && broken.is_empty(), "{name}: {missed:#?} {broken:#?}");
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name));
            }
        )*

        #[test]
        fn every_file_is_a_test() {
            let mut files: Vec<String> = std::fs::read_dir(FOLDER)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),*]);
        }
    };
}

scenarios!(
    bad_size,
    cold_start_storm,
    dead_function,
    diurnal,
    drain,
    gusts,
    huge_model,
    idle_then_burst,
    lost_responses,
    out_of_reach,
    overload,
    partial_failures,
    plan_change,
    poison_items,
    size_classes,
    slow_hour,
    spikes,
    square,
    steady,
    step_down,
    step_up,
    throttled_account,
    tight_slo,
    tiny_model,
    two_tenants,
);

//! Random worlds with faults: a short run over all rules. The long run is `cargo xtask bench worlds`; a seed that breaks a rule there gets a
//! test of its own here, named for what it broke.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use simulator::invariants::{World, check, check_twice};

/// Worlds of the short run.
const WORLDS: u64 = 400;

#[test]
fn every_rule_holds_in_random_worlds_with_faults() {
    let mut requests = 0;
    for seed in 0..WORLDS {
        let verdict = check(&World::generate(seed));
        let first = verdict.findings.first();
        assert!(first.is_empty(), "seed {seed}: {}", first[0]);
        requests += verdict.requests;
    }
    assert!(requests > 50 * WORLDS, "the worlds are not empty: {requests}");
}

#[test]
fn equal_seeds_give_equal_logs_and_others_do_not() {
    let fingerprints: std::collections::BTreeSet<Option<u64>> = (0..40)
        .map(|seed| {
            let verdict = check_twice(&World::generate(seed));
            assert_eq!(verdict.findings.count(), 0, "seed {seed}");
            verdict.fingerprint
        })
        .collect();
    assert_eq!(fingerprints.len(), 40);
}

#[test]
fn requests_of_several_sizes_do_not_upset_the_tuners_formula() {
    for seed in 0..WORLDS {
        let mut world = World::generate(seed);
        for model in &mut world.models {
            model.sizes.items_pmf = vec![0.7, 0.1, 0.1, 0.1];
        }
        let verdict = check(&world);
        assert_eq!(verdict.findings.count(), 0, "seed {seed}");
    }
}

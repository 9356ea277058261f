//! Saved detectors: continue bit-identically, and no state whatsoever makes a panic. No count sequence does either.

use optimizer_changepoint::{
    Detector, DetectorKind, DetectorSettings, DetectorState, SettingsError, StateError, restore,
};
use proptest::prelude::*;
use serde_json::Value;

const KINDS: [DetectorKind; 3] = [DetectorKind::Bocpd, DetectorKind::Cusum, DetectorKind::None];

fn kind() -> impl Strategy<Value = DetectorKind> {
    prop_oneof![Just(DetectorKind::Bocpd), Just(DetectorKind::Cusum), Just(DetectorKind::None)]
}

/// Levels that hold for a while, ordinary ones and absurd ones.
fn counts() -> impl Strategy<Value = Vec<u64>> {
    let level = prop_oneof![
        6 => 0_u64..200,
        2 => 0_u64..100_000,
        1 => Just(0_u64),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ];
    let stretch = (level, 1_usize..120, 1_u64..12).prop_map(|(level, windows, spread)| {
        (0..windows as u64).map(move |i| level.saturating_add(i * 7 % spread)).collect::<Vec<u64>>()
    });
    prop::collection::vec(stretch, 1..6).prop_map(|stretches| stretches.concat())
}

fn fed(kind: DetectorKind, counts: &[u64]) -> Box<dyn Detector> {
    let mut detector = kind.build(&DetectorSettings::default());
    for count in counts {
        detector.observe(*count);
    }
    detector
}

fn through_json(state: &DetectorState) -> DetectorState {
    let text = serde_json::to_string(state).expect("a state is JSON");
    serde_json::from_str(&text).expect("and JSON is a state")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn restored_detector_continues_bit_identically(kind in kind(), counts in counts(), cut in 0.0..1.0_f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a short list")]
        let cut = (cut * counts.len() as f64) as usize;
        let mut lasting = fed(kind, &counts[..cut]);
        let state = through_json(&lasting.save());
        let mut restored = restore(kind, &DetectorSettings::default(), &state).expect("just saved");
        for count in &counts[cut..] {
            prop_assert_eq!(lasting.observe(*count), restored.observe(*count));
            prop_assert_eq!(lasting.regime(), restored.regime());
        }
        prop_assert_eq!(lasting.save(), restored.save());
    }

    #[test]
    fn no_counts_make_a_panic_or_a_number_that_is_not_finite(kind in kind(), counts in counts()) {
        let mut detector = kind.build(&DetectorSettings::default());
        for count in counts {
            if let Some(change) = detector.observe(count) {
                prop_assert!((0.0..=1.0).contains(&change.probability));
                for rate in [change.before, change.after] {
                    prop_assert!(rate.mean >= 0.0 && rate.mean.is_finite());
                    prop_assert!(rate.standard_error > 0.0 && rate.standard_error.is_finite());
                }
            }
            let regime = detector.regime();
            prop_assert!(regime.rate.mean.is_finite() && regime.rate.standard_error.is_finite());
            prop_assert!(regime.dispersion >= 1.0 && regime.dispersion < 200.0);
        }
    }

    #[test]
    fn damaged_number_is_an_error_or_harmless(kind in kind(), place in any::<prop::sample::Index>(), bits in any::<u64>()) {
        let counts: Vec<u64> = (0..300).map(|i| 20 + i * 13 % 9).collect();
        let mut value = serde_json::to_value(fed(kind, &counts).save()).expect("a state is JSON");
        let mut numbers = Vec::new();
        collect(&mut value, &mut numbers);
        let place = place.index(numbers.len());
        *numbers.swap_remove(place) = Value::from(bits);
        if let Ok(state) = serde_json::from_value::<DetectorState>(value)
            && let Ok(mut detector) = restore(kind, &DetectorSettings::default(), &state)
        {
            for count in [20, 25, 0, 50_000, 3, 20, 20] {
                detector.observe(count);
            }
            prop_assert!(detector.regime().rate.mean.is_finite());
        }
    }
}

fn collect<'a>(value: &'a mut Value, numbers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => numbers.push(value),
        Value::Array(list) => list.iter_mut().for_each(|item| collect(item, numbers)),
        Value::Object(map) => map.values_mut().for_each(|item| collect(item, numbers)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn restored(kind: DetectorKind, value: Value) -> Result<(), StateError> {
    let state: DetectorState = serde_json::from_value(value).expect("well-formed");
    restore(kind, &DetectorSettings::default(), &state).map(drop)
}

#[test]
fn other_version_is_an_error() {
    for kind in KINDS {
        let mut value = serde_json::to_value(fed(kind, &[5; 50]).save()).expect("a state is JSON");
        value["version"] = Value::from(2);
        assert_eq!(restored(kind, value), Err(StateError::Version { found: 2 }));
    }
}

#[test]
fn state_of_another_detector_is_an_error() {
    let state = fed(DetectorKind::Cusum, &[5; 50]).save();
    let error = restore(DetectorKind::Bocpd, &DetectorSettings::default(), &state).map(drop);
    assert_eq!(error, Err(StateError::Kind { found: "cusum", wanted: "bocpd" }));
}

#[test]
fn not_a_number_in_a_state_is_an_error() {
    let mut value = serde_json::to_value(fed(DetectorKind::Bocpd, &[5; 50]).save()).expect("a state is JSON");
    value["detector"]["bocpd"]["track"]["regime"]["mean"] = Value::from(f64::NAN.to_bits());
    assert!(matches!(restored(DetectorKind::Bocpd, value), Err(StateError::Range { field: "mean", .. })));
}

#[test]
fn list_of_wrong_length_is_an_error() {
    let mut value = serde_json::to_value(fed(DetectorKind::Bocpd, &[5; 50]).save()).expect("a state is JSON");
    value["detector"]["bocpd"]["evidence"]["ln_statistics"] = serde_json::json!([0, 0]);
    assert!(matches!(restored(DetectorKind::Bocpd, value), Err(StateError::Length { .. })));
}

#[test]
fn settings_outside_their_range_are_named() {
    let narrow = DetectorSettings { expected_run_windows: 1000, ..DetectorSettings::default() };
    assert_eq!(narrow.validate(), Err(SettingsError::ExpectedRun { found: 1000 }));
    let nothing = DetectorSettings { windows_per_false_alarm: f64::NAN, ..DetectorSettings::default() };
    assert!(matches!(nothing.validate(), Err(SettingsError::FalseAlarms { .. })));
    assert_eq!(DetectorSettings::default().validate(), Ok(()));
}

#[test]
fn kinds_have_the_names_of_the_configuration() {
    for kind in KINDS {
        assert_eq!(serde_json::to_value(kind).expect("a name"), Value::from(kind.name()));
        assert_eq!(kind.build(&DetectorSettings::default()).name(), kind.name());
    }
}

//! The profiles that ship with the simulator: five models from light to heavy, by name.

use super::{ModelProfile, ProfileError};

/// Name and text of each example, from light to heavy. Where their numbers come from is said in each file.
pub const EXAMPLES: [(&str, &str); 5] = [
    ("scikit-learn", include_str!("../../profiles/scikit-learn.toml")),
    ("minilm-16", include_str!("../../profiles/minilm-16.toml")),
    ("minilm-128", include_str!("../../profiles/minilm-128.toml")),
    ("bert", include_str!("../../profiles/bert.toml")),
    ("large", include_str!("../../profiles/large.toml")),
];

/// The example of this name.
///
/// # Errors
/// [`ProfileError::UnknownExample`].
pub fn example(name: &str) -> Result<ModelProfile, ProfileError> {
    match EXAMPLES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => ModelProfile::from_toml(text),
        None => Err(ProfileError::UnknownExample {
            name: name.to_owned(),
            known: EXAMPLES.map(|(known, _)| format!("`{known}`")).join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use gateway_contract::Mebibytes;

    use super::*;
    use crate::lambda::{BatchShape, FunctionModel as _};

    #[test]
    fn every_example_is_read_under_its_own_name_and_grows_heavier() {
        let mut before = 0.0;
        for (name, _) in EXAMPLES {
            let profile = example(name).unwrap();
            assert_eq!(profile.name, name);
            let seconds = profile.mean_seconds(Mebibytes(1769), &BatchShape::uniform(1, 1, profile.units(0)));
            assert!(seconds > before, "{name}: {seconds}");
            before = seconds;
        }
    }

    #[test]
    fn the_large_one_needs_three_gigabytes_and_shares_its_weights() {
        let large = example("large").unwrap();
        let need = |processes| large.memory_used(processes).0;
        assert!((2900..=3072).contains(&need(1)) && need(6) < 2 * need(1), "{} {}", need(1), need(6));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = example("gpt").unwrap_err().to_string();
        assert!(error.contains("`gpt`") && error.contains("`minilm-16`"), "{error}");
    }
}

//! Profiles written by hand, in TOML: milliseconds and MiB as people write them, checked value by value.

use serde::{Deserialize, Deserializer, de};

use super::{InitLaw, MemoryNeed, ModelProfile, ProfileError, ServiceWork};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    /// For people; kept out of the profile.
    #[serde(default)]
    #[expect(dead_code, reason = "read so that the key is known")]
    description: String,
    service: ServiceSection,
    #[serde(default)]
    init: InitSection,
    memory: MemorySection,
    #[serde(default)]
    classes: ClassesSection,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceSection {
    #[serde(default, deserialize_with = "not_negative")]
    fixed_ms: f64,
    #[serde(default, deserialize_with = "not_negative")]
    process_ms: f64,
    #[serde(default, deserialize_with = "not_negative")]
    item_ms: f64,
    #[serde(default, deserialize_with = "not_negative")]
    unit_ms: f64,
    #[serde(default, deserialize_with = "share")]
    thread_parallel_share: f64,
    #[serde(default, deserialize_with = "not_negative")]
    coefficient_of_variation: f64,
    #[serde(default = "yes")]
    is_quantised: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InitSection {
    #[serde(default, deserialize_with = "not_negative")]
    cpu_seconds: f64,
    #[serde(default, deserialize_with = "not_negative")]
    floor_seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemorySection {
    #[serde(deserialize_with = "not_negative")]
    base_mib: f64,
    #[serde(default, deserialize_with = "not_negative")]
    per_process_mib: f64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassesSection {
    #[serde(default, deserialize_with = "all_positive")]
    units: Vec<u64>,
}

fn yes() -> bool {
    true
}

fn not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(de::Error::custom(format!("must be a number of at least 0, is {value}")))
}

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(de::Error::custom(format!("must lie between 0 and 1, is {value}")))
}

fn all_positive<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let values = Vec::<u64>::deserialize(from)?;
    if values.contains(&0) {
        return Err(de::Error::custom("an item of no work units cannot be"));
    }
    Ok(values)
}

/// Line (from 1) and key or table of a TOML error, in the text that it came from.
fn toml_place(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
    let line = text.lines().nth(before).unwrap_or_default().trim();
    let key = line.split_once('=').map_or(line, |(key, _)| key.trim());
    (before + 1, key.to_owned())
}

impl ModelProfile {
    /// Reads a profile written by hand; unknown keys are errors.
    ///
    /// # Errors
    /// [`ProfileError::Toml`] with line, key and reason.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let fail = |error: toml::de::Error| {
            let (line, field) = toml_place(text, &error);
            ProfileError::Toml { line, field, reason: error.message().to_owned() }
        };
        let file: ProfileFile = toml::from_str(text).map_err(fail)?;
        let section = &file.service;
        if section.process_ms + section.item_ms + section.unit_ms + section.fixed_ms <= 0.0 {
            let line = text.lines().position(|line| line.trim() == "[service]").map_or(1, |at| at + 1);
            let reason = "one of `fixed_ms`, `process_ms`, `item_ms` and `unit_ms` must be above 0";
            return Err(ProfileError::Toml {
                line,
                field: "[service]".to_owned(),
                reason: reason.to_owned(),
            });
        }
        Ok(file.profile())
    }

    /// The profile as TOML, as [`ModelProfile::from_toml`] reads it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let (service, init, memory) = (&self.service, &self.init, &self.memory);
        format!(
            "name = {:?}\n\n[service]\nfixed_ms = {:?}\nprocess_ms = {:?}\nitem_ms = {:?}\nunit_ms = {:?}\nthread_parallel_share = {:?}\n\
             coefficient_of_variation = {:?}\nis_quantised = {}\n\n[init]\ncpu_seconds = {:?}\nfloor_seconds = {:?}\n\n[memory]\n\
             base_mib = {:?}\nper_process_mib = {:?}\n\n[classes]\nunits = {:?}\n",
            self.name,
            service.fixed_seconds * 1e3,
            service.process_seconds * 1e3,
            service.item_seconds * 1e3,
            service.unit_seconds * 1e3,
            service.thread_parallel_share,
            service.coefficient_of_variation,
            service.is_quantised,
            init.cpu_seconds,
            init.floor_seconds,
            memory.base_mib,
            memory.per_process_mib,
            self.class_units,
        )
    }
}

impl ProfileFile {
    fn profile(self) -> ModelProfile {
        let (service, init, memory) = (self.service, self.init, self.memory);
        ModelProfile {
            name: self.name,
            service: ServiceWork {
                fixed_seconds: service.fixed_ms / 1e3,
                process_seconds: service.process_ms / 1e3,
                item_seconds: service.item_ms / 1e3,
                unit_seconds: service.unit_ms / 1e3,
                thread_parallel_share: service.thread_parallel_share,
                coefficient_of_variation: service.coefficient_of_variation,
                is_quantised: service.is_quantised,
            },
            init: InitLaw { cpu_seconds: init.cpu_seconds, floor_seconds: init.floor_seconds },
            memory: MemoryNeed { base_mib: memory.base_mib, per_process_mib: memory.per_process_mib },
            class_units: self.classes.units,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"a\"\n[service]\nprocess_ms = 6\nunit_ms = 0.25\n[memory]\nbase_mib = 100\n";

    #[test]
    fn a_short_profile_is_enough_and_survives_a_round() {
        let profile = ModelProfile::from_toml(TEXT).unwrap();
        assert!((profile.service.unit_seconds - 0.000_25).abs() < 1e-15 && profile.service.is_quantised);
        let again = ModelProfile::from_toml(&profile.to_toml()).unwrap();
        assert_eq!(again, profile);
    }

    #[test]
    fn errors_name_line_key_and_reason() {
        let error = |text: &str| ModelProfile::from_toml(text).unwrap_err().to_string();
        assert_eq!(
            error(&TEXT.replace("0.25", "-1")),
            "line 4, `unit_ms`: must be a number of at least 0, is -1"
        );
        let unknown = error(&TEXT.replace("unit_ms", "units_ms"));
        assert!(unknown.starts_with("line 4, `units_ms`: unknown field"), "{unknown}");
        let text = error(&TEXT.replace("0.25", "\"fast\""));
        assert!(text.starts_with("line 4, `unit_ms`: invalid type"), "{text}");
        let missing = error(&TEXT.replace("base_mib = 100", ""));
        assert!(missing.starts_with("line 5, `[memory]`: missing field `base_mib`"), "{missing}");
        let nothing = error(&TEXT.replace("= 6", "= 0").replace("0.25", "0"));
        assert!(nothing.starts_with("line 2, `[service]`: one of"), "{nothing}");
        let broken = error(&TEXT.replace("[memory]", "[memory"));
        assert!(broken.starts_with("line 5"), "{broken}");
    }
}

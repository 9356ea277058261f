//! Floats in saved states as the 64 bits they are, so that a JSON round trip continues bit-identically whatever the
//! writer's float formatting, and infinities survive. Deliberately absent: readability of the numbers in the file.

/// One float; for `#[serde(with = "bits::one")]`.
pub(crate) mod one {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// A list of floats; for `#[serde(with = "bits::many")]`.
pub(crate) mod many {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Vec::<u64>::deserialize(deserializer).map(|list| list.into_iter().map(f64::from_bits).collect())
    }
}

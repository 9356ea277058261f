//! Finds the id in a line without building the rest of it.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::codec::id_text;

/// The member `field` of a JSON object, as text; `None` if it has none, or is no object.
pub(super) fn find(json: &[u8], field: &str) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.deserialize_map(Finder(field)).ok().flatten()
}

struct Finder<'f>(&'f str);

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsField(self.0))? {
            if is_it {
                found = id_text(Some(&map.next_value::<Value>()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key without keeping it.
struct IsField<'f>(&'f str);

impl<'de> serde::de::DeserializeSeed<'de> for IsField<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsField<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn ids_are_text_or_numbers_at_the_top_level_only() {
        assert_eq!(find(br#"{"x":{"id":"inner"},"id":"a"}"#, "id").as_deref(), Some("a"));
        assert_eq!(find(br#"{"custom_id":17}"#, "custom_id").as_deref(), Some("17"));
        for without in [&br#"{"id":null}"#[..], br#"{"id":["a"]}"#, br#"["id"]"#, b"{", b"{}"] {
            assert_eq!(find(without, "id"), None);
        }
    }
}

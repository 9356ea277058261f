//! The JSON schema and the reference page, both from the structs of this folder. Committed copies must not go stale.

use std::fmt::Write as _;

use schemars::schema_for;
use serde_json::{Map, Value};

use super::Config;

/// JSON schema of the file, draft 2020-12, pretty-printed with a newline at the end.
#[must_use]
pub fn schema_json() -> String {
    let schema = schema_for!(Config);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

const HEAD: &str = "# Configuration reference

Generated from the doc comments in `gateway/server/src/config/` by `penstock reference config`; do not edit.

One TOML file (`penstock serve --config FILE`). Unknown keys are errors. Precedence: command line (`--set section.key=value`),
then environment (`PENSTOCK_SECTION__KEY=value`), then the file, then the defaults below. `penstock check-config` checks a file
(exit code 78 if it is not valid), `penstock print-config --effective` shows every value with its origin. On SIGHUP or when the file
changes it is read again; sections marked *restart* keep their old values until the process starts anew, and the log names them.

";

/// The reference page, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let schema = schema_for!(Config).to_value();
    let mut page = Page { text: HEAD.to_owned(), defs: schema.get("$defs").cloned().unwrap_or_default() };
    page.sections("", &schema);
    while page.text.ends_with("\n\n") {
        page.text.pop();
    }
    page.text
}

struct Page {
    text: String,
    defs: Value,
}

impl Page {
    fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        if let Some(inner) = schema.get("anyOf").and_then(Value::as_array)
            && let Some(first) =
                inner.iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"))
        {
            schema = first;
        }
        let Some(name) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        name.strip_prefix("#/$defs/").and_then(|name| self.defs.get(name)).unwrap_or(schema)
    }

    /// Writes a table for an object's values, then its sub-sections.
    fn sections(&mut self, path: &str, schema: &Value) {
        let schema = self.resolve(schema).clone();
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let (nested, plain): (Vec<_>, Vec<_>) =
            properties.iter().partition(|(_, property)| self.nested(property).is_some());
        if !plain.is_empty() {
            self.text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        }
        for (key, property) in plain {
            let resolved = self.resolve(property);
            let kind = type_name(resolved);
            let default =
                property.get("default").map_or_else(String::new, |default| format!("`{}`", short(default)));
            let _ =
                writeln!(self.text, "| `{key}` | {kind} | {default} | {} |", description(property, resolved));
        }
        self.text.push('\n');
        for (key, property) in nested {
            let Some((suffix, inner)) = self.nested(property) else {
                continue;
            };
            let name =
                if path.is_empty() { format!("{key}{suffix}") } else { format!("{path}.{key}{suffix}") };
            let restart = property.get("x-requires-restart").and_then(Value::as_bool).unwrap_or(false);
            let heading = if suffix == "[]" {
                format!("[[{}]]", name.trim_end_matches("[]"))
            } else {
                format!("[{name}]")
            };
            let mark = if restart { " *restart*" } else { "" };
            let text = description(property, &Value::Null);
            let _ = write!(self.text, "## `{heading}`{mark}\n\n{text}\n\n");
            self.sections(name.trim_end_matches("[]"), &inner);
        }
    }

    /// Whether a property is a section, a map of sections or a list of them; a map of values is none.
    fn nested(&self, property: &Value) -> Option<(&'static str, Value)> {
        let resolved = self.resolve(property);
        if resolved.get("properties").is_some() {
            return Some(("", resolved.clone()));
        }
        let map = resolved.get("additionalProperties").map(|inner| self.resolve(inner));
        if let Some(inner) = map.filter(|inner| inner.get("properties").is_some()) {
            return Some((".NAME", inner.clone()));
        }
        let item = self.resolve(resolved.get("items").filter(|inner| inner.is_object())?);
        item.get("properties").is_some().then(|| ("[]", item.clone()))
    }
}

fn description(property: &Value, resolved: &Value) -> String {
    let text = property.get("description").or_else(|| resolved.get("description")).and_then(Value::as_str);
    text.unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

fn type_name(schema: &Value) -> &'static str {
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
        return "choice";
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("integer") => "integer",
        Some("number") => "number",
        Some("boolean") => "boolean",
        Some("array") => "list",
        Some("object") => "table",
        _ => "text",
    }
}

fn short(default: &Value) -> String {
    default.to_string().replace('|', "\\|")
}

//! The reference page of the metrics, from the catalogue. The committed copy must not go stale.

use std::fmt::Write as _;

use super::catalogue::Catalogue;

const HEAD: &str = "# Metrics reference

Generated from `gateway/server/src/telemetry/catalogue.rs` by `penstock reference metrics`; do not edit.

`GET /metrics` on the admin listener, in the text format of Prometheus. Label values come from the configuration (models, aliases) or from closed lists, so the
number of series is bounded. A histogram has the series `_bucket`, `_sum` and `_count`. The usual `process_*` metrics of the gateway's process stand
beside these. Which panel or alert uses what: [dashboards.md](dashboards.md), [runbook.md](runbook.md).

| metric | kind | labels | meaning |
|---|---|---|---|
";

/// The page, in Markdown.
#[must_use]
pub fn metrics_markdown() -> String {
    let mut page = HEAD.to_owned();
    for family in Catalogue::FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = family.kind.trim_start_matches("plain_").trim_start_matches("float_");
        let _ = writeln!(page, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help);
    }
    page
}

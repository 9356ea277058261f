"""The gateway's metrics, read from the source that registers them, so that no query names one that does not exist.

A query is checked word by word: each `penstock_…` must be a metric of the catalogue (or a series of one of its histograms), and
each label in braces or after `by` one of its labels. Recording rules (`penstock:…`) must be recorded somewhere in `prometheus/`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_ENTRY = re.compile(r'^    \w+: (\w+) "(\w+)" \[([^\]]*)\]', re.MULTILINE)
_PLAIN = {"plain_counter", "plain_gauge"}
# What Prometheus itself adds, and what its client libraries call the process.
_TARGET_LABELS = {"job", "instance"}
_OTHER = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


@dataclass(frozen=True)
class Metric:
    """One family."""

    kind: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Catalogue:
    """All families by full name, and the bounds of the latency buckets in seconds."""

    metrics: dict[str, Metric]
    latency_bounds: list[float]

    def problems(self, expression: str, recorded: frozenset[str]) -> list[str]:
        """What an expression names that does not exist."""
        found = []
        known: set[str] = set()
        for name in re.findall(r"\bpenstock_[a-z0-9_]+", expression):
            metric = self._family(name)
            if metric is None:
                found.append(f"no metric `{name}`")
            else:
                known |= metric.labels | ({"le"} if metric.kind == "histogram" else set())
        rules = re.findall(r"\bpenstock:[a-z0-9_:]+", expression)
        found += [f"no recording rule `{name}`" for name in rules if name not in recorded]
        if rules:
            # Labels of recorded series are those of what they are made of, which was checked there.
            return found
        used = re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)\s*\"", expression)
        for names in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
            used += [name.strip() for name in names.split(",") if name.strip()]
        found += [f"no label `{name}`" for name in used if name not in known | _TARGET_LABELS]
        return found

    def _family(self, name: str) -> Metric | None:
        for suffix in ("", "_bucket", "_sum", "_count"):
            metric = self.metrics.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if metric and (metric.kind == "histogram") == bool(suffix):
                return metric
        return None


def read(source: Path) -> Catalogue:
    """Parses `catalogue.rs`."""
    text = source.read_text(encoding="utf-8")
    metrics = {}
    for kind, name, labels in _ENTRY.findall(text):
        names = frozenset() if kind in _PLAIN else frozenset(re.findall(r'"(\w+)"', labels))
        metrics[f"penstock_{name}"] = Metric(kind, names)
    bounds = re.search(r"const LATENCY_SECONDS: &\[f64\] = &\[([^;]*)\];", text)
    if len(metrics) < 20 or bounds is None:
        raise ValueError(f"`{source}` does not look like the catalogue of metrics")
    return Catalogue(metrics, [float(bound.replace("_", "")) for bound in bounds[1].split(",") if bound.strip()])

"""Runs every panel's and annotation's queries as Grafana would, and says which give nothing."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

STEP_SECONDS = 2
# Grafana takes four times the scrape interval at least; more smooths a short run.
RATE_INTERVAL = "20s"


class QueryError(RuntimeError):
    """Prometheus refuses a query; says which and why."""


@dataclass(frozen=True)
class Span:
    """Unix times between which data is asked for."""

    begin: float
    end: float

    def variables(self) -> dict[str, str]:
        """What Grafana puts into queries, all gateways and models chosen."""
        return {
            "$__rate_interval": RATE_INTERVAL,
            "$__interval": f"{STEP_SECONDS}s",
            "$__range": f"{max(1, round(self.end - self.begin))}s",
            "$model": ".*",
            "$instance": ".*",
        }


@dataclass(frozen=True)
class Answer:
    """A panel and its series: legend, and pairs of time and value."""

    dashboard: str
    panel: dict
    series: list[dict]

    @property
    def has_data(self) -> bool:
        """Whether any value is a number."""
        return any(math.isfinite(float(value)) for each in self.series for _, value in each["values"])

    @property
    def empty_queries(self) -> list[str]:
        """Letters of the panel's queries that gave nothing, though the panel as a whole may have data."""
        given = {each["refId"] for each in self.series if any(math.isfinite(float(value)) for _, value in each["values"])}
        return [target["refId"] for target in self.panel.get("targets", []) if target["refId"] not in given]

    @property
    def is_always_zero(self) -> bool:
        """Whether every value is 0: the query works, and nothing was there to be counted."""
        values = [float(value) for each in self.series for _, value in each["values"]]
        return self.has_data and all(value == 0 for value in values if math.isfinite(value))


def ask(prometheus: str, folder: Path, span: Span) -> tuple[list[Answer], list[Answer]]:
    """Answers of all panels, and of all annotations, of the dashboards in a folder."""
    panels, annotations = [], []
    for path in sorted(folder.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                queries = [(target["expr"], target["legendFormat"], target["refId"]) for target in panel["targets"]]
                panels.append(Answer(dashboard["title"], panel, _series(prometheus, queries, span)))
        for each in dashboard.get("annotations", {}).get("list", []):
            queries = [(each["expr"], each["titleFormat"], "A")]
            annotations.append(Answer(dashboard["title"], {"title": each["name"], **each}, _series(prometheus, queries, span)))
    return panels, annotations


def rules(prometheus: str) -> tuple[list[str], list[str]]:
    """Rules that could not be evaluated, and alerts that are pending or firing."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=60) as answer:
        groups = json.load(answer)["data"]["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    broken = [f"{rule['name']}: {rule.get('lastError')}" for rule in every if rule["health"] == "err"]
    active = [f"{alert['labels']['alertname']} ({alert['state']})" for rule in every for alert in rule.get("alerts", [])]
    return broken, sorted(set(active))


def _series(prometheus: str, queries: list[tuple[str, str, str]], span: Span) -> list[dict]:
    found = []
    for expression, legend, reference in queries:
        for name, value in sorted(span.variables().items(), key=lambda pair: -len(pair[0])):
            expression = expression.replace(name, value)
        for series in _query(prometheus, expression, span):
            text = legend
            for label, value in series["metric"].items():
                text = text.replace("{{%s}}" % label, value)
            found.append({"refId": reference, "legend": text, "values": series["values"]})
    return found


def _query(prometheus: str, expression: str, span: Span) -> list[dict]:
    arguments = {"query": expression, "start": span.begin, "end": span.end, "step": STEP_SECONDS}
    body = urllib.parse.urlencode(arguments).encode()
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/query_range", body, timeout=60) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise QueryError(f"{json.load(error).get('error')}: {expression}") from error

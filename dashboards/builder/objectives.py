"""Recording rules and burn-rate alerts of the objectives in `settings.toml`, written to `prometheus/objectives.yml`.

*Rule.* An objective of 99.9 % leaves an error budget of 0.1 %. A burn of 1 uses it up in exactly the period of the objective
(30 days). An alert needs the burn in a long window, so that a blip does not page, and in a short one, so that it ends soon after
the trouble does. *Windows and factors* are those of the Site Reliability Workbook, chapter 5: 2 % of the budget in an hour and 5 %
in six page somebody; 10 % in a day and 10 % in three open a ticket.

Rules are by model: a small model's trouble is not hidden by a large one's traffic. JSON is YAML too, but rules are read by people,
so they are written as YAML by hand here: strings in double quotes are the same in both.
"""

import json

from .settings import LatencyObjective, Settings

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# (long, short, factor, severity, how much of the budget that is)
BURNS = (
    ("1h", "5m", 14.4, "page", "2 % in an hour"),
    ("6h", "30m", 6.0, "page", "5 % in six hours"),
    ("1d", "2h", 3.0, "ticket", "10 % in a day"),
    ("3d", "6h", 1.0, "ticket", "10 % in three days"),
)
_HEADER = "# Written by `python -m dashboards.builder` from dashboards/settings.toml; do not edit.\n"


def rules(settings: Settings) -> str:
    """The whole rule file."""
    lines = [_HEADER + "groups:", "  - name: penstock-objectives", "    interval: 15s", "    rules:"]
    lines += _record("penstock:budget_usd_per_hour", f"vector({settings.usd_per_hour:.6f})")
    lines += _record("penstock:latency_objective_seconds", _latency_bounds(settings))
    for window in WINDOWS:
        lines += _record(f"penstock:availability_burn:{window}", _availability(window, settings.availability))
        lines += _record(f"penstock:latency_burn:{window}", _latency(window, settings))
    lines += ["  - name: penstock-objective-alerts", "    interval: 15s", "    rules:"]
    for burn in BURNS:
        lines += _alert("PenstockAvailabilityBudgetBurn", "penstock:availability_burn", burn, "requests get server errors", settings)
        lines += _alert("PenstockLatencyBudgetBurn", "penstock:latency_burn", burn, "requests are answered too late", settings)
    return "\n".join(lines) + "\n"


def _availability(window: str, objective: float) -> str:
    every = f"sum by (model) (rate(penstock_requests_total[{window}]))"
    failed = f'sum by (model) (rate(penstock_requests_total{{class="5xx"}}[{window}]))'
    return f"({failed} or 0 * {every}) / ({every} > 0) / {1 - objective:.6g}"


def _latency(window: str, settings: Settings) -> str:
    named = "|".join(settings.latency_by_model)
    parts = [_late(window, settings.latency, f'model!~"{named}"' if named else "")]
    parts += [_late(window, each, f'model="{model}"') for model, each in settings.latency_by_model.items()]
    return " or ".join(parts)


def _late(window: str, objective: LatencyObjective, selector: str) -> str:
    comma = "," if selector else ""
    within = f'penstock_request_duration_seconds_bucket{{le="{objective.seconds:g}"{comma}{selector}}}'
    every = f"penstock_request_duration_seconds_count{{{selector}}}"
    share = f"sum by (model) (rate({within}[{window}])) / (sum by (model) (rate({every}[{window}])) > 0)"
    return f"(1 - {share}) / {1 - objective.objective:.6g}"


def _latency_bounds(settings: Settings) -> str:
    models = [f'label_replace(vector({each.seconds:g}), "model", "{name}", "", "")' for name, each in settings.latency_by_model.items()]
    rest = f"sum by (model) (penstock_queue_items) * 0 + {settings.latency.seconds:g}"
    return " or on (model) ".join([*models, f"({rest})"])


def _record(name: str, expression: str) -> list[str]:
    return [f"      - record: {name}", f"        expr: {json.dumps(expression)}"]


def _alert(name: str, record: str, burn: tuple[str, str, float, str, str], what: str, settings: Settings) -> list[str]:
    long, short, factor, severity, share = burn
    summary = f"{{{{ $labels.model }}}}: {what}, {share} of the error budget is gone"
    description = f"The budget burns {{{{ printf \"%.1f\" $value }}}} times faster than it may over {long}, and over {short} as well."
    return [
        f"      - alert: {name}",
        f"        expr: {record}:{long} > {factor:g} and {record}:{short} > {factor:g}",
        "        labels:",
        f"          severity: {severity}",
        f"          window: {json.dumps(long)}",
        "        annotations:",
        f"          summary: {json.dumps(summary, ensure_ascii=False)}",
        f"          description: {json.dumps(description, ensure_ascii=False)}",
        f"          runbook_url: {json.dumps(settings.runbook(name))}",
    ]

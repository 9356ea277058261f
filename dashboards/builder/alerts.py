"""All other alerts, written to `prometheus/alerts.yml`.

Counters of rare events start at one, and `increase` does not see a series' first sample; [`_new`] does. Thresholds are constants
here with their reason; what depends on the deployment is in `settings.toml`.
"""

import json
from dataclasses import dataclass

from .settings import Settings

_HEADER = "# Written by `python -m dashboards.builder`; do not edit.\n"
_RAN = 'outcome=~"ok|partial|function_error|response_too_large"'


@dataclass(frozen=True)
class Alert:
    """A rule. `hold`: how long the expression must be true."""

    name: str
    expression: str
    hold: str
    severity: str
    summary: str
    description: str


def _new(metric: str, labels: str, window: str) -> str:
    return (
        f"sum by ({labels}) (increase({metric}[{window}])) > 0 or "
        f"(sum by ({labels}) ({metric}) > 0 unless sum by ({labels}) ({metric} offset {window}))"
    )


ALERTS: tuple[Alert, ...] = (
    Alert(
        "PenstockGatewayDown", 'up{job="penstock"} == 0', "1m", "page",
        "{{ $labels.instance }}: the gateway's metrics cannot be read",
        "Prometheus has not reached the admin listener for a minute.",
    ),
    Alert(
        "PenstockCostAboveBudget", "penstock:cost_usd:increase1h > on () penstock:budget_usd_per_hour", "15m", "ticket",
        "The last hour cost more than an hour's budget",
        "All gateways and models together have cost {{ printf \"%.4f\" $value }} dollars in the last hour.",
    ),
    Alert(
        # Ten minutes are not judged: a gateway starts with cold sandboxes and with nothing learned.
        "PenstockDearerThanUnbatched",
        'penstock_savings_ratio{basis="formula"} < 0 and on (instance, model) '
        "sum by (instance, model) (rate(penstock_batch_items_count[30m])) > 0.01",
        "30m", "ticket",
        "{{ $labels.model }}: batching costs more than it saves",
        "The saved share of the unbatched cost is {{ printf \"%.2f\" $value }} since the plan in force began.",
    ),
    Alert(
        # Lambda's bursts throttle now and then, and retries hide it; one in twenty for five minutes is a limit that is too low.
        "PenstockThrottled",
        "sum by (model) (rate(penstock_invocations_throttled_total[5m])) / sum by (model) (rate(penstock_invocations_total[5m])) > 0.05",
        "5m", "ticket",
        "{{ $labels.model }}: Lambda throttles more than one in twenty invocations",
        "{{ printf \"%.3f\" $value }} of the invocations are throttled.",
    ),
    Alert(
        # Below three invocations a minute each may well be cold: sandboxes live for minutes only.
        "PenstockColdStarts",
        f"sum by (model) (rate(penstock_lambda_cold_starts_total[15m])) / sum by (model) (rate(penstock_invocations_total{{{_RAN}}}[15m])) > 0.2 "
        f"and sum by (model) (rate(penstock_invocations_total{{{_RAN}}}[15m])) > 0.05",
        "15m", "ticket",
        "{{ $labels.model }}: more than one in five invocations starts a sandbox",
        "{{ printf \"%.2f\" $value }} of the invocations were cold.",
    ),
    Alert(
        # Waiting for twice what the plan allows, and for seconds, is no longer packing.
        "PenstockQueueStuck",
        "max by (instance, model) (penstock_queue_oldest_age_seconds) > 5 and "
        "max by (instance, model) (penstock_queue_oldest_age_seconds) > 2 * max by (instance, model) (penstock_plan_max_queue_delay_seconds)",
        "1m", "page",
        "{{ $labels.model }}: items wait far longer than the plan allows",
        "The oldest item in the queue of {{ $labels.instance }} has waited {{ printf \"%.1f\" $value }} s.",
    ),
    Alert(
        "PenstockFunctionErrors",
        'sum by (model) (rate(penstock_invocations_total{outcome="function_error"}[5m])) / '
        f"sum by (model) (rate(penstock_invocations_total{{{_RAN}}}[5m])) > 0.01",
        "5m", "page",
        "{{ $labels.model }}: more than one in a hundred invocations fails in the function",
        "{{ printf \"%.3f\" $value }} of the invocations that ran ended in a function error.",
    ),
    Alert(
        "PenstockMemoryNearLimit",
        "max by (model, qualifier) (penstock_lambda_max_memory_used_bytes) / max by (model, qualifier) (penstock_lambda_memory_size_bytes) > 0.9",
        "10m", "ticket",
        "{{ $labels.model }}: sandboxes of {{ $labels.qualifier }} use more than 90 % of their memory",
        "{{ printf \"%.2f\" $value }} of the memory size was used.",
    ),
    Alert(
        "PenstockOptimizerFallback", _new("penstock_plan_fallbacks_total", "model, reason", "15m"), "0m", "ticket",
        "{{ $labels.model }}: the optimizer returned to a safe plan ({{ $labels.reason }})",
        "Requests are served, but not by what was learned.",
    ),
    Alert(
        "PenstockReportsUnreadable",
        "sum by (model) (rate(penstock_report_parse_failures_total[15m])) / sum by (model) (rate(penstock_invocations_total[15m])) > 0.05",
        "15m", "ticket",
        "{{ $labels.model }}: the bill of more than one in twenty invocations is an estimate",
        "{{ printf \"%.3f\" $value }} of the invocations had no readable REPORT line.",
    ),
    Alert(
        "PenstockReloadFailed", "penstock_config_last_reload_successful == 0", "1m", "ticket",
        "{{ $labels.instance }}: the configuration on the disk is not the one in force",
        "The last reload failed; the gateway goes on with the old configuration.",
    ),
    Alert(
        "PenstockJobStalled",
        'sum by (instance) (penstock_job_active_jobs{state=~"in_progress|finalizing"}) > 0 unless '
        "sum by (instance) (rate(penstock_job_lines_total[15m])) > 0",
        "15m", "ticket",
        "{{ $labels.instance }}: bulk jobs make no progress",
        "{{ $value }} jobs are under way and no line got an answer for fifteen minutes.",
    ),
    Alert(
        "PenstockPanics",
        " or ".join(
            f"(increase({metric}[15m]) > 0)"
            for metric in (
                "penstock_handler_panics_total", "penstock_driver_restarts_total",
                "penstock_batch_task_panics_total", "penstock_control_restarts_total",
            )
        ),
        "0m", "ticket",
        "{{ $labels.instance }}: a part of the gateway panicked and was restarted",
        "Nothing was lost that could be kept, but it is a defect: please report it with the log.",
    ),
)


def rules(settings: Settings) -> str:
    """The whole rule file."""
    lines = [_HEADER + "groups:", "  - name: penstock-alerts", "    interval: 15s", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.hold}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary, ensure_ascii=False)}",
            f"          description: {json.dumps(alert.description, ensure_ascii=False)}",
            f"          runbook_url: {json.dumps(settings.runbook(alert.name))}",
        ]
    return "\n".join(lines) + "\n"

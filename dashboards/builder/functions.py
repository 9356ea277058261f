"""*Lambda*: invocations and their bill, throttles, cold starts, memory, errors."""

from .panels import MODEL, Dashboard, Panel, Row, Threshold, Unit, figure, graph, in_the_last_minute, or_zero

_THROTTLED = "PenstockThrottled"
_COLD = "PenstockColdStarts"
_ERRORS = "PenstockFunctionErrors"
_MEMORY = "PenstockMemoryNearLimit"
_REPORTS = "PenstockReportsUnreadable"
_ENDED = f"rate(penstock_invocations_total{{{MODEL}}}[$__rate_interval])"
_RAN = f'rate(penstock_invocations_total{{outcome=~"ok|partial|function_error|response_too_large",{MODEL}}}[$__rate_interval])'


def _rate(metric: str, by: str = "model") -> str:
    return f"sum by ({by}) (rate({metric}{{{MODEL}}}[$__rate_interval]))"


_NOW: tuple[Panel, ...] = (
    figure("Invocations", "How many invocations end per second?", Unit.PER_SECOND, f"sum({_ENDED})", _ERRORS, decimals=1),
    figure("In flight", "How many invocations are under way?", Unit.COUNT, f"sum(penstock_invocations_in_flight{{{MODEL}}})", _THROTTLED),
    figure(
        "Throttled", "Which share of invocations does Lambda throttle?", Unit.SHARE,
        f"(sum(rate(penstock_invocations_throttled_total{{{MODEL}}}[$__rate_interval])) or vector(0)) / sum({_ENDED})",
        _THROTTLED, decimals=1, threshold=Threshold(0.05),
    ),
    figure(
        "Cold", "Which share of the invocations that ran started a sandbox?", Unit.SHARE,
        f"sum(rate(penstock_lambda_cold_starts_total{{{MODEL}}}[$__rate_interval])) / sum({_RAN})", _COLD, decimals=1, threshold=Threshold(0.2),
    ),
    figure(
        "Failed", "Which share of the invocations that ran ended in a function error?", Unit.SHARE,
        f'(sum(rate(penstock_invocations_total{{outcome="function_error",{MODEL}}}[$__rate_interval])) or vector(0)) / sum({_RAN})',
        _ERRORS, decimals=1, threshold=Threshold(0.01),
    ),
    figure("GB-seconds", "How many GB-seconds are billed per second?", Unit.COUNT, f"sum(rate(penstock_lambda_gigabyte_seconds_total{{{MODEL}}}[$__rate_interval]))", "PenstockCostAboveBudget", decimals=2),
)

_CALLS: tuple[Panel, ...] = (
    graph(
        "Invocations by outcome", "How do invocations end?", Unit.PER_SECOND, _ERRORS,
        (f"sum by (outcome) ({_ENDED})", "{{outcome}}"), is_stacked=True, minimum=0,
    ),
    graph(
        "Invocations by alias", "Which memory sizes run the batches?", Unit.PER_SECOND, _ERRORS,
        (f"sum by (model, qualifier) ({_ENDED})", "{{model}} {{qualifier}}"), is_stacked=True, minimum=0,
    ),
    graph(
        "Duration", "How long does an invocation take, from dispatch to outcome?", Unit.SECONDS, "PenstockLatencyBudgetBurn",
        (f"histogram_quantile(0.5, {_rate('penstock_invoke_duration_seconds_bucket', 'le, model, qualifier')})", "{{model}} {{qualifier}} p50"),
        (f"histogram_quantile(0.99, {_rate('penstock_invoke_duration_seconds_bucket', 'le, model, qualifier')})", "{{model}} {{qualifier}} p99"), minimum=0,
    ),
    graph(
        "Parallel invocations", "How many invocations are under way, and how many does the engine allow?", Unit.COUNT, _THROTTLED,
        (f"sum by (model) (penstock_invocations_in_flight{{{MODEL}}})", "{{model}} in flight"),
        (f"sum by (model) (penstock_in_flight_window_invocations{{{MODEL}}})", "{{model}} allowed"), minimum=0,
    ),
    graph(
        "Throttles by reason", "How often was a limit of Lambda met in the last minute, and which?", Unit.COUNT, _THROTTLED,
        (or_zero(in_the_last_minute("penstock_invocations_throttled_total", "model, reason"), "reason"), "{{model}} {{reason}}"), minimum=0,
    ),
    graph(
        "Retries", "How many batches went out again in the last minute, and why? Denied ones ran out of budget, attempts or time.", Unit.COUNT, _ERRORS,
        (or_zero(in_the_last_minute("penstock_retries_total", "model, reason"), "reason"), "{{model}} {{reason}}"),
        (or_zero(in_the_last_minute("penstock_retries_denied_total", "model, reason"), "reason"), "{{model}} denied {{reason}}"), minimum=0,
    ),
)

_SANDBOXES: tuple[Panel, ...] = (
    graph(
        "Cold starts", "How many sandboxes were started in the last minute?", Unit.COUNT, _COLD,
        (in_the_last_minute("penstock_lambda_cold_starts_total", "model"), "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "INIT", "How long does a cold start's INIT take? Gaps: there was none.", Unit.SECONDS, _COLD,
        (f"histogram_quantile(0.5, {_rate('penstock_lambda_init_seconds_bucket', 'le, model')})", "{{model}} p50"),
        (f"histogram_quantile(0.95, {_rate('penstock_lambda_init_seconds_bucket', 'le, model')})", "{{model}} p95"), span=8, minimum=0,
    ),
    graph(
        "Memory used", "How near to its memory size does a sandbox come? Above 90 % it may be killed.", Unit.SHARE, _MEMORY,
        (
            f"max by (model, qualifier) (penstock_lambda_max_memory_used_bytes{{{MODEL}}}) / "
            f"max by (model, qualifier) (penstock_lambda_memory_size_bytes{{{MODEL}}})",
            "{{model}} {{qualifier}}",
        ),
        span=8, minimum=0, maximum=1, threshold=Threshold(0.9),
    ),
    graph(
        "Batches that waited for a sandbox", "How many batches waited in the last minute for a sandbox at work rather than start another one?", Unit.COUNT, _COLD,
        (or_zero(in_the_last_minute("penstock_batch_environment_wait_seconds_count", "model")), "{{model}}"), minimum=0,
    ),
    graph(
        "Sandboxes started and kept", "How many were started beside waiting batches in the last minute, and how many idle ones were kept?", Unit.COUNT, _COLD,
        (or_zero(in_the_last_minute("penstock_control_calls_total", "model, purpose", f'purpose=~"start|keep",{MODEL}'), "purpose"), "{{model}} {{purpose}}"), minimum=0,
    ),
)

_BILL: tuple[Panel, ...] = (
    graph(
        "GB-seconds billed", "What is billed, per second of wall time?", Unit.COUNT, "PenstockCostAboveBudget",
        (_rate("penstock_lambda_gigabyte_seconds_total"), "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "Sandboxes at work", "How many seconds are billed per second: how many sandboxes work at a time?", Unit.COUNT, "PenstockCostAboveBudget",
        (_rate("penstock_lambda_billed_seconds_total"), "{{model}} billed"),
        (_rate("penstock_worker_compute_seconds_total"), "{{model}} inside model processes"), span=8, minimum=0,
    ),
    graph(
        "Invocations without a REPORT line", "Of which share is the bill an estimate?", Unit.SHARE, _REPORTS,
        (or_zero(f"{_rate('penstock_report_parse_failures_total')} / ({_rate('penstock_invocations_total')} > 0)"), "{{model}}"), span=8, minimum=0, maximum=1,
    ),
)

_FAULTS: tuple[Panel, ...] = (
    graph(
        "Items without a value", "How many items got an error in the last minute, and which one?", Unit.COUNT, _ERRORS,
        (or_zero(in_the_last_minute("penstock_item_errors_total", "model, code"), "code"), "{{model}} {{code}}"), span=8, minimum=0,
    ),
    graph(
        "Process restarts", "How many model processes that died or hung were replaced in the last minute?", Unit.COUNT, _ERRORS,
        (in_the_last_minute("penstock_worker_process_restarts_total", "model"), "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "Batches cut in two", "How many failed batches were cut in the last minute to find the item that breaks them?", Unit.COUNT, _ERRORS,
        (in_the_last_minute("penstock_bisections_total", "model"), "{{model}}"), span=8, minimum=0,
    ),
)

LAMBDA = Dashboard(
    uid="penstock-lambda",
    title="Penstock / Lambda",
    question="What does Lambda do for us, what does it bill, and what goes wrong there?",
    rows=(
        Row("Now", _NOW),
        Row("Invocations", _CALLS),
        Row("Sandboxes", _SANDBOXES),
        Row("Bill", _BILL),
        Row("Faults", _FAULTS),
    ),
)

"""*Serving*: load, latency against the objective, the queue, how batches close, and what the gateway itself adds."""

from .panels import INSTANCE, MODEL, Dashboard, Panel, Row, Threshold, Unit, figure, graph, in_the_last_minute, or_zero

_REQUESTS = f"rate(penstock_requests_total{{{MODEL}}}[$__rate_interval])"
_LATE = "PenstockLatencyBudgetBurn"
_FAILED = "PenstockAvailabilityBudgetBurn"
_QUEUE = "PenstockQueueStuck"
_DOWN = "PenstockGatewayDown"


def _quantile(share: float, metric: str, labels: str = "le, model") -> str:
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{MODEL}}}[$__rate_interval])))"


def _mean(metric: str) -> str:
    rate = f"sum by (model) (rate({metric}_{{}}{{{{{MODEL}}}}}[$__rate_interval]))"
    return f"{rate.format('sum')} / ({rate.format('count')} > 0)"


_NOW: tuple[Panel, ...] = (
    figure("Requests", "How many requests per second are answered now?", Unit.REQUESTS_PER_SECOND, f"sum({_REQUESTS})", _DOWN, decimals=1),
    figure(
        "Server errors", "Which share of requests got a server error (5xx)?", Unit.SHARE,
        f'(sum(rate(penstock_requests_total{{class="5xx",{MODEL}}}[$__rate_interval])) or vector(0)) / sum({_REQUESTS})',
        _FAILED, decimals=2, threshold=Threshold(0.001),
    ),
    figure(
        "p99 latency", "Within how many seconds were 99 % of requests answered, over all models?", Unit.SECONDS,
        _quantile(0.99, "penstock_request_duration_seconds", "le"), _LATE,
    ),
    figure(
        "Outside the objective", "Which share of requests is answered outside the latency objective under the plan in force, at worst?",
        Unit.SHARE, f"max(penstock_plan_realised_late_ratio{{{MODEL}}})", _LATE, decimals=2, threshold=Threshold(0.01),
    ),
    figure(
        "Oldest in the queue", "How long has the oldest waiting item waited?", Unit.SECONDS,
        f"max(penstock_queue_oldest_age_seconds{{{MODEL}}})", _QUEUE,
    ),
    figure(
        "Without an answer", "How many admitted requests have no answer yet?", Unit.COUNT,
        f"sum(penstock_requests_in_flight{{{INSTANCE}}})", _QUEUE,
    ),
)

_LOAD: tuple[Panel, ...] = (
    graph(
        "Requests by model", "How much is asked of each model?", Unit.REQUESTS_PER_SECOND, _DOWN,
        (f"sum by (model) ({_REQUESTS})", "{{model}}"), minimum=0,
    ),
    graph(
        "Answers by code", "What do clients get: values (`ok`), or which error?", Unit.REQUESTS_PER_SECOND, _FAILED,
        (f"sum by (code) ({_REQUESTS})", "{{code}}"), is_stacked=True, minimum=0,
    ),
)

_LATENCY: tuple[Panel, ...] = (
    graph(
        "Latency against the objective", "How long do requests take, from head read to answer handed over, and how long may they?",
        Unit.SECONDS, _LATE,
        (_quantile(0.5, "penstock_request_duration_seconds"), "{{model}} p50"),
        (_quantile(0.99, "penstock_request_duration_seconds"), "{{model}} p99"),
        ('max by (model) (penstock:latency_objective_seconds{model=~"$model"})', "{{model}} objective"), minimum=0,
    ),
    graph(
        "Budgets burnt", "How many times faster than allowed are the error budgets used up, over the last hour? At 1 they last exactly.",
        Unit.RATIO, _LATE,
        ('max by (model) (penstock:availability_burn:1h{model=~"$model"})', "{{model}} server errors"),
        ('max by (model) (penstock:latency_burn:1h{model=~"$model"})', "{{model}} late"), threshold=Threshold(6), minimum=0,
    ),
    graph(
        "Where the time goes", "Of a mean request, how much is waiting for a batch, and how much is the invocation?", Unit.SECONDS, _LATE,
        (_mean("penstock_queue_wait_seconds"), "{{model}} queue"),
        (_mean("penstock_invoke_duration_seconds"), "{{model}} invocation"), minimum=0,
    ),
    graph(
        "Gateway overhead", "How much does the gateway itself add to a request? The aim is below a millisecond.", Unit.SECONDS, _LATE,
        (_quantile(0.5, "penstock_gateway_overhead_seconds"), "{{model}} p50"),
        (_quantile(0.99, "penstock_gateway_overhead_seconds"), "{{model}} p99"), minimum=0,
    ),
)

_QUEUES: tuple[Panel, ...] = (
    graph(
        "Waiting items", "How many items wait for a batch?", Unit.COUNT, _QUEUE,
        (f"sum by (model) (penstock_queue_items{{{MODEL}}})", "{{model}}"), minimum=0,
    ),
    graph(
        "Oldest waiting item", "Does anything wait longer than the plan allows?", Unit.SECONDS, _QUEUE,
        (f"max by (model) (penstock_queue_oldest_age_seconds{{{MODEL}}})", "{{model}} oldest"),
        (f"max by (model) (penstock_plan_max_queue_delay_seconds{{{MODEL}}})", "{{model}} allowed"), minimum=0,
    ),
    graph(
        "Not admitted", "How many requests were turned away in the last minute, and why?", Unit.COUNT, _QUEUE,
        (or_zero(in_the_last_minute("penstock_admission_rejected_total", "model, reason"), "reason"), "{{model}} {{reason}}"),
        minimum=0,
    ),
    graph(
        "Given up", "How many requests ended in the last minute without a value because their caller left or their deadline passed?", Unit.COUNT, _QUEUE,
        (or_zero(in_the_last_minute("penstock_requests_cancelled_total", "model")), "{{model}} caller left"),
        (or_zero(in_the_last_minute("penstock_deadlines_exceeded_total", "model, place"), "place"), "{{model}} deadline passed {{place}}"),
        minimum=0,
    ),
)

_BATCHES: tuple[Panel, ...] = (
    graph(
        "Fill", "How many items does a mean batch hold, and how many may it hold?", Unit.COUNT, "PenstockDearerThanUnbatched",
        (_mean("penstock_batch_items"), "{{model}} mean"),
        (f"max by (model) (penstock_plan_max_batch_size_items{{{MODEL}}})", "{{model}} bound"), minimum=0,
    ),
    graph(
        "Why batches close", "Do batches close because they are full, or because time is up?", Unit.PER_SECOND, "PenstockDearerThanUnbatched",
        (f"sum by (reason) (rate(penstock_batches_dispatched_total{{{MODEL}}}[$__rate_interval]))", "{{reason}}"),
        is_stacked=True, minimum=0,
    ),
)

_HOST: tuple[Panel, ...] = (
    graph(
        "CPU of the gateway", "How many cores does the gateway use?", Unit.COUNT, _DOWN,
        ('rate(process_cpu_seconds_total{job="penstock",instance=~"$instance"}[$__rate_interval])', "{{instance}}"), span=8, minimum=0,
    ),
    graph(
        "Memory of the gateway", "Is the gateway's memory bounded?", Unit.BYTES, _DOWN,
        ('process_resident_memory_bytes{job="penstock",instance=~"$instance"}', "{{instance}}"), span=8, minimum=0,
    ),
    graph(
        "Connections", "How many clients are connected, and are any refused?", Unit.COUNT, _DOWN,
        (f"sum by (instance) (penstock_connections_open{{{INSTANCE}}})", "{{instance}} open"),
        (f"sum by (instance) (increase(penstock_connections_refused_total{{{INSTANCE}}}[$__rate_interval]))", "{{instance}} refused"),
        span=8, minimum=0,
    ),
)

SERVING = Dashboard(
    uid="penstock-serving",
    title="Penstock / Serving",
    question="Are requests answered, in time, and in full batches?",
    rows=(
        Row("Now", _NOW),
        Row("Load", _LOAD),
        Row("Latency", _LATENCY),
        Row("Queue", _QUEUES),
        Row("Batches", _BATCHES),
        Row("Gateway", _HOST),
    ),
)

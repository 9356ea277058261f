"""*Optimizer*: the plan in force over time, why it changed, and whether what was predicted came true."""

from .panels import INSTANCE, MODEL, Annotation, Dashboard, Panel, Row, Threshold, Unit, counted, figure, graph, moments, or_zero

_FALLBACK = "PenstockOptimizerFallback"
_DEAR = "PenstockDearerThanUnbatched"


def _gauge(metric: str) -> str:
    return f"max by (model) ({metric}{{{MODEL}}})"


def _known(metric: str) -> str:
    """A prediction, where there is one: pinned models have none."""
    return f"{_gauge(metric)} > 0"


_NOW: tuple[Panel, ...] = (
    figure("Changes of the load", "How many change-points were seen in the shown time?", Unit.COUNT, counted("penstock_changepoints_total", ""), _FALLBACK, decimals=0),
    figure("New plans", "How many plans were put into force in the shown time?", Unit.COUNT, counted("penstock_plan_switches_total", ""), _FALLBACK, decimals=0),
    figure("Trials", "How many trials were begun in the shown time?", Unit.COUNT, counted("penstock_trials_total", "", f'event="started",{MODEL}'), _FALLBACK, decimals=0),
    figure(
        "Given up", "How many plans were given up in the shown time?", Unit.COUNT,
        f'({counted("penstock_plan_rollbacks_total", "")}) or vector(0)', _FALLBACK, decimals=0, threshold=Threshold(1),
    ),
    figure(
        "Fallbacks", "How often did the loop return to a safe plan in the shown time?", Unit.COUNT,
        f'({counted("penstock_plan_fallbacks_total", "")}) or vector(0)', _FALLBACK, decimals=0, threshold=Threshold(1),
    ),
    figure(
        "Exploration", "How many dollars has exploration cost since the start, beyond the plan in force?", Unit.USD,
        f"sum(penstock_exploration_usd_total{{{MODEL}}})", "PenstockCostAboveBudget",
    ),
)

_PLAN: tuple[Panel, ...] = (
    graph("Batch size", "How many items may a batch hold?", Unit.COUNT, _FALLBACK, (_gauge("penstock_plan_max_batch_size_items"), "{{model}}"), span=8, is_step=True, minimum=0),
    graph("Queue delay", "How long may an item wait for its batch?", Unit.SECONDS, _FALLBACK, (_gauge("penstock_plan_max_queue_delay_seconds"), "{{model}}"), span=8, is_step=True, minimum=0),
    graph("Memory", "Which memory runs a full batch?", Unit.BYTES, _FALLBACK, (_gauge("penstock_plan_memory_bytes"), "{{model}}"), span=8, is_step=True, minimum=0),
    graph("Processes", "How many model processes run a full batch?", Unit.COUNT, _FALLBACK, (_gauge("penstock_plan_processes"), "{{model}}"), span=8, is_step=True, minimum=0),
    graph(
        "Rungs and canary", "How many operating points by fill has the plan, and which share of batches tries another?", Unit.RATIO, _FALLBACK,
        (_gauge("penstock_plan_rungs"), "{{model}} rungs"), (_gauge("penstock_plan_canary_ratio"), "{{model}} canary share"), span=8, is_step=True, minimum=0,
    ),
    graph("Revision", "When did anything about the plan change, its canary and its learned service times included?", Unit.COUNT, _FALLBACK, (_gauge("penstock_plan_revision"), "{{model}}"), span=8, is_step=True, minimum=0),
)

_BELIEF: tuple[Panel, ...] = (
    graph(
        "Cost: expected against measured", "Does the learned model predict what is paid?", Unit.USD, _DEAR,
        (_known("penstock_plan_predicted_cost_usd_per_million"), "{{model}} expected"),
        (_gauge("penstock_plan_realised_cost_usd_per_million"), "{{model}} measured"), span=8, minimum=0,
    ),
    graph(
        "Latency: expected against measured", "Does the learned model predict the latency at the objective's percentile?", Unit.SECONDS, "PenstockLatencyBudgetBurn",
        (_known("penstock_plan_predicted_latency_seconds"), "{{model}} expected"),
        (_gauge("penstock_plan_realised_latency_seconds"), "{{model}} measured"), span=8, minimum=0,
    ),
    graph(
        "Late: expected against measured", "Does the share outside the objective stay where it was expected?", Unit.SHARE, "PenstockLatencyBudgetBurn",
        (_gauge("penstock_plan_predicted_late_ratio"), "{{model}} expected"),
        (_gauge("penstock_plan_realised_late_ratio"), "{{model}} measured"), span=8, minimum=0,
    ),
    graph(
        "Load as the tuner sees it", "Which arrival rate does the tuner plan for, and what does arrive?", Unit.REQUESTS_PER_SECOND, _FALLBACK,
        (_gauge("penstock_load_requests_per_second"), "{{model}} believed"),
        (f"sum by (model) (rate(penstock_request_duration_seconds_count{{{MODEL}}}[$__rate_interval]))", "{{model}} answered"), span=8, minimum=0,
    ),
    graph(
        "Burstiness", "Is the load smoother (below 1) or burstier (above 1) than Poisson?", Unit.RATIO, _FALLBACK,
        (_gauge("penstock_load_dispersion_ratio"), "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "Drift of service times", "Are present service times those that were learned? 1: yes.", Unit.RATIO, _FALLBACK,
        (_gauge("penstock_service_time_drift_ratio"), "{{model}}"), span=8, minimum=0,
    ),
)

_EVENTS: tuple[Panel, ...] = (
    graph(
        "Trials since the start", "What became of trials: measured, vetoed or abandoned?", Unit.COUNT, _FALLBACK,
        (f"sum by (model, event) (penstock_trials_total{{{MODEL}}})", "{{model}} {{event}}"), is_step=True, minimum=0,
    ),
    graph(
        "New plans since the start", "Why were plans put into force?", Unit.COUNT, _FALLBACK,
        (f"sum by (model, reason) (penstock_plan_switches_total{{{MODEL}}})", "{{model}} {{reason}}"), is_step=True, minimum=0,
    ),
    graph(
        "Changes of the load since the start", "How often did the load go up and down?", Unit.COUNT, _FALLBACK,
        (f"sum by (model, direction) (penstock_changepoints_total{{{MODEL}}})", "{{model}} {{direction}}"), is_step=True, minimum=0,
    ),
    graph(
        "Fallbacks and plans given up since the start", "Why did the loop leave a plan that it had chosen?", Unit.COUNT, _FALLBACK,
        (or_zero(f"sum by (model, reason) (penstock_plan_fallbacks_total{{{MODEL}}})", "reason"), "{{model}} fallback {{reason}}"),
        (or_zero(f"sum by (model, reason) (penstock_plan_rollbacks_total{{{MODEL}}})", "reason"), "{{model}} given up {{reason}}"), is_step=True, minimum=0,
    ),
)

_LOOP: tuple[Panel, ...] = (
    graph(
        "Time of a decision", "How long does one window's decision take?", Unit.SECONDS, _FALLBACK,
        (f"histogram_quantile(0.99, sum by (le, model) (rate(penstock_control_decision_seconds_bucket{{{MODEL}}}[$__rate_interval])))", "{{model}} p99"),
        span=8, minimum=0,
    ),
    graph(
        "No-op calls", "How often are aliases probed and sandboxes warmed up, started or kept, and does it work?", Unit.PER_SECOND, _FALLBACK,
        (f"sum by (purpose, outcome) (rate(penstock_control_calls_total{{{MODEL}}}[$__rate_interval]))", "{{purpose}} {{outcome}}"), span=8, minimum=0,
    ),
    graph(
        "Health of the loop since the start", "Was the loop too slow, or did it have to be restarted? Is what it learned kept?", Unit.COUNT, "PenstockPanics",
        (f"sum(penstock_control_observations_dropped_total{{{INSTANCE}}})", "observations dropped"),
        (f"sum(penstock_control_restarts_total{{{INSTANCE}}})", "restarts"),
        (f"sum by (result) (penstock_state_saves_total{{{INSTANCE}}})", "saves: {{result}}"), span=8, is_step=True, minimum=0,
    ),
)

OPTIMIZER = Dashboard(
    uid="penstock-optimizer",
    title="Penstock / Optimizer",
    question="Which plan is in force, why, and does it do what was expected of it?",
    rows=(
        Row("In the shown time", _NOW),
        Row("Plan in force", _PLAN),
        Row("Expected against measured", _BELIEF),
        Row("What happened", _EVENTS),
        Row("The loop itself", _LOOP),
    ),
    annotations=(
        Annotation("Change-points", moments("penstock_changepoints_total", "model, direction"), "{{model}}: load went {{direction}}", "orange"),
        Annotation("New plans", moments("penstock_plan_switches_total", "model, reason"), "{{model}}: new plan ({{reason}})", "blue"),
        Annotation("Given up", moments("penstock_plan_rollbacks_total", "model, reason"), "{{model}}: plan given up ({{reason}})", "red"),
        Annotation("Fallbacks", moments("penstock_plan_fallbacks_total", "model, reason"), "{{model}}: fallback ({{reason}})", "red"),
    ),
)

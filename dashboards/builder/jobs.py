"""*Jobs*: bulk jobs, how fast they go, what they cost, and what live traffic leaves them."""

from .panels import INSTANCE, MODEL, Dashboard, Panel, Row, Threshold, Unit, counted, figure, graph, in_the_last_minute, or_zero

_STALLED = "PenstockJobStalled"
_BUDGET = "PenstockCostAboveBudget"


def _rate(metric: str, by: str = "model") -> str:
    return f"sum by ({by}) (rate({metric}{{{MODEL}}}[$__rate_interval]))"


_NOW: tuple[Panel, ...] = (
    figure("Running", "How many jobs have not ended?", Unit.COUNT, f"sum(penstock_job_active_jobs{{{INSTANCE}}})", _STALLED, decimals=0),
    figure("Ended", "How many jobs ended in the shown time?", Unit.COUNT, counted("penstock_job_ends_total", ""), _STALLED, decimals=0),
    figure("Lines", "How many lines per second get their outcome?", Unit.PER_SECOND, f"sum(rate(penstock_job_lines_total{{{MODEL}}}[$__rate_interval]))", _STALLED, decimals=1),
    figure(
        "Lines without an answer", "Which share of lines failed in the shown time?", Unit.SHARE,
        f'sum(increase(penstock_job_lines_total{{outcome="failed",{MODEL}}}[$__range])) / sum(increase(penstock_job_lines_total{{{MODEL}}}[$__range]))',
        "PenstockFunctionErrors", decimals=2, threshold=Threshold(0.01),
    ),
    figure("Dollars", "How many dollars have jobs cost since the start?", Unit.USD, f"sum(penstock_job_cost_usd_total{{{MODEL}}})", _BUDGET, decimals=4),
    figure(
        "Dollars per million items", "What does a million items of jobs cost, since the start?", Unit.USD,
        f"1e6 * sum(penstock_job_cost_usd_total{{{MODEL}}}) / sum(penstock_job_items_total{{{MODEL}}})", _BUDGET, decimals=2,
    ),
)

_PROGRESS: tuple[Panel, ...] = (
    graph(
        "Jobs by state", "In which state are the jobs that have not ended?", Unit.COUNT, _STALLED,
        (f"sum by (state) (penstock_job_active_jobs{{{INSTANCE}}})", "{{state}}"), is_step=True, minimum=0,
    ),
    graph(
        "Lines per second", "Do jobs go on, and do their lines get answers?", Unit.PER_SECOND, _STALLED,
        (_rate("penstock_job_lines_total", "model, outcome"), "{{model}} {{outcome}}"), minimum=0,
    ),
    graph(
        "Ended since the start", "How do jobs end?", Unit.COUNT, _STALLED,
        (f"sum by (model, state) (penstock_job_ends_total{{{MODEL}}})", "{{model}} {{state}}"), is_step=True, minimum=0,
    ),
    graph(
        "Time of a job", "How long after its creation has a job ended, since the start?", Unit.SECONDS, _STALLED,
        (f"histogram_quantile(0.5, sum by (le, model) (penstock_job_duration_seconds_bucket{{{MODEL}}}))", "{{model}} p50"),
        (f"histogram_quantile(0.95, sum by (le, model) (penstock_job_duration_seconds_bucket{{{MODEL}}}))", "{{model}} p95"), minimum=0,
    ),
)

_SHARE: tuple[Panel, ...] = (
    graph(
        "Invocations beside live traffic", "How many invocations may jobs have in flight, and how many do they have?", Unit.COUNT, _STALLED,
        (f"sum(penstock_job_allowed_invocations{{{INSTANCE}}})", "allowed"),
        (f"sum(penstock_job_invocations_in_flight{{{INSTANCE}}})", "in flight"), minimum=0,
    ),
    graph(
        "Why as many", "What bounds the jobs: what live traffic leaves, their weight, a risk to live traffic, or nothing is left?", Unit.STATE, _STALLED,
        (f"max by (state) (penstock_job_share_info{{{INSTANCE}}})", "{{state}}"), is_step=True, minimum=0, maximum=1,
    ),
)

_BILL: tuple[Panel, ...] = (
    graph(
        "Dollars per hour", "What do jobs cost at the present rate?", Unit.USD, _BUDGET,
        (f"{_rate('penstock_job_cost_usd_total')} * 3600", "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "GB-seconds billed", "What are jobs billed, per second of wall time?", Unit.COUNT, _BUDGET,
        (_rate("penstock_job_gigabyte_seconds_total"), "{{model}}"), span=8, minimum=0,
    ),
    graph(
        "Invocations", "How many invocations did jobs make in the last minute, and how many were throttled?", Unit.COUNT, "PenstockThrottled",
        (in_the_last_minute("penstock_job_invocations_total", "model"), "{{model}} billed"),
        (or_zero(in_the_last_minute("penstock_job_invocations_throttled_total", "model")), "{{model}} throttled"), span=8, minimum=0,
    ),
)

JOBS = Dashboard(
    uid="penstock-jobs",
    title="Penstock / Jobs",
    question="Do bulk jobs go on, what do they cost, and do they leave live traffic alone?",
    rows=(Row("Now", _NOW), Row("Progress", _PROGRESS), Row("Beside live traffic", _SHARE), Row("Bill", _BILL)),
)

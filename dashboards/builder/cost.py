"""*Cost*: what serving costs, what it would cost unbatched, and how that compares with the budget."""

from .panels import MODEL, Dashboard, Panel, Row, Threshold, Unit, figure, graph

_RATE = f"rate(penstock_cost_usd_total{{{MODEL}}}[$__rate_interval])"
_ANSWERED = f'sum by (model) (rate(penstock_requests_total{{class="2xx",{MODEL}}}[$__rate_interval]))'
_LIVE_RATE = f'rate(penstock_cost_usd_total{{component!="lambda_bulk",{MODEL}}}[$__rate_interval])'
_BUDGET = "PenstockCostAboveBudget"
_DEAR = "PenstockDearerThanUnbatched"

_NOW: tuple[Panel, ...] = (
    figure(
        "Dollars per hour",
        "How much does everything cost at the present rate, the gateway's own host included?",
        Unit.USD, f"sum({_RATE}) * 3600", _BUDGET, decimals=4,
    ),
    figure(
        "Dollars per million",
        "How much does a million answered requests cost now, the gateway's host included, bulk jobs not?",
        Unit.USD,
        f'1e6 * sum({_LIVE_RATE}) / sum(rate(penstock_requests_total{{class="2xx",{MODEL}}}[$__rate_interval]))',
        _DEAR, decimals=2,
    ),
    figure(
        "Net saving",
        "How many dollars has batching saved since the gateway started, after Lambda, warm-ups and the gateway's own host?",
        Unit.USD, f"sum(penstock_savings_usd{{{MODEL}}})", _DEAR, decimals=4, threshold=Threshold(0, below=True),
    ),
    figure(
        "Saving by formula",
        "Which share of the unbatched cost does batching save under the plan in force, computed from learned service times?",
        Unit.SHARE, f'avg(penstock_savings_ratio{{basis="formula",{MODEL}}})', _DEAR, decimals=1,
        threshold=Threshold(0, below=True),
    ),
    figure(
        "Saving as measured",
        "Which share does batching save against requests that really run alone? Needs some ten thousand items.",
        Unit.SHARE, f'avg(penstock_savings_ratio{{basis="measured",{MODEL}}})', _DEAR, decimals=1,
        threshold=Threshold(0, below=True),
    ),
    figure(
        "Budget in use",
        "Which share of the hourly budget was spent in the last hour, over all gateways and models?",
        Unit.SHARE, "penstock:cost_usd:increase1h / penstock:budget_usd_per_hour", _BUDGET, decimals=1,
        threshold=Threshold(1),
    ),
)

_WHERE: tuple[Panel, ...] = (
    graph(
        "Dollars per hour by model",
        "Which model costs how much? `_gateway` is the gateway's own host.",
        Unit.USD, _BUDGET,
        (f"sum by (model) ({_RATE}) * 3600", "{{model}}"), is_stacked=True, minimum=0,
    ),
    graph(
        "Dollars per hour by component",
        "What is paid for: Lambda's duration, its request fee, warm-ups, bulk jobs, the gateway's host?",
        Unit.USD, _BUDGET,
        (f"sum by (component) ({_RATE}) * 3600", "{{component}}"), is_stacked=True, minimum=0,
    ),
    graph(
        "Dollars per million requests by model",
        "What does a million answered requests of each model cost in Lambda, the gateway's host left out?",
        Unit.USD, _DEAR,
        (f"1e6 * sum by (model) ({_LIVE_RATE}) / ({_ANSWERED} > 0)", "{{model}}"), minimum=0,
    ),
    graph(
        "Dollars per million requests by tenant",
        "Whose requests are dear? Shares of the invocations that they rode on; empty where `[tenants]` names nobody.",
        Unit.USD, _DEAR,
        (
            f"1e6 * sum by (tenant) (rate(penstock_tenant_cost_usd_total{{{MODEL}}}[$__rate_interval])) / "
            f"(sum by (tenant) (rate(penstock_tenant_requests_total{{{MODEL}}}[$__rate_interval])) > 0)",
            "{{tenant}}",
        ),
        minimum=0,
    ),
    graph(
        "Dollars per hour by tenant",
        "For whom is it spent? Shares of the invocations that requests rode on; empty where `[tenants]` names nobody.",
        Unit.USD, _BUDGET,
        (f"sum by (tenant) (rate(penstock_tenant_cost_usd_total{{{MODEL}}}[$__rate_interval])) * 3600", "{{tenant}}"), is_stacked=True, minimum=0,
    ),
    graph(
        "Estimated share of the dollars",
        "How far can the dollars be trusted? Without a readable REPORT line they are computed from wall time.",
        Unit.SHARE, "PenstockReportsUnreadable",
        (
            f"sum by (model) (rate(penstock_cost_estimated_usd_total{{{MODEL}}}[$__rate_interval])) / "
            f'(sum by (model) (rate(penstock_cost_usd_total{{component=~"lambda_duration|lambda_requests",{MODEL}}}[$__rate_interval])) > 0)',
            "{{model}}",
        ),
        minimum=0, maximum=1,
    ),
)

_SAVINGS: tuple[Panel, ...] = (
    graph(
        "Saved since the start",
        "Is serving through the gateway worth it? Unbatched cost, less Lambda and the host; `net` is what is left.",
        Unit.USD, _DEAR,
        (f"sum by (component) (penstock_savings_usd{{{MODEL}}})", "{{component}}"),
        (f"sum(penstock_savings_usd{{{MODEL}}})", "net"),
    ),
    graph(
        "Dollars per million: unbatched against realised",
        "What would the same load cost unbatched, by formula and as measured, and what does it cost under the plan in force?",
        Unit.USD, _DEAR,
        (f"max by (model, basis) (penstock_unbatched_cost_usd_per_million{{{MODEL}}})", "{{model}} unbatched ({{basis}})"),
        (f"max by (model) (penstock_plan_realised_cost_usd_per_million{{{MODEL}}})", "{{model}} realised"),
        minimum=0,
    ),
    graph(
        "Saved share",
        "Which share of the unbatched cost does batching save, by formula and by measurement?",
        Unit.SHARE, _DEAR,
        (f"max by (model, basis) (penstock_savings_ratio{{{MODEL}}})", "{{model}} ({{basis}})"), maximum=1,
    ),
    graph(
        "What measuring costs",
        "How many dollars an hour go to items that run alone so that the saving is measured?",
        Unit.USD, _DEAR,
        (f"sum by (model) (rate(penstock_hold_out_cost_usd_total{{{MODEL}}}[$__rate_interval])) * 3600", "{{model}}"),
        minimum=0,
    ),
)

_PLAN: tuple[Panel, ...] = (
    graph(
        "Predicted against realised",
        "Does the plan in force cost what was predicted when it was chosen?",
        Unit.USD, "PenstockOptimizerFallback",
        (f"max by (model) (penstock_plan_predicted_cost_usd_per_million{{{MODEL}}}) > 0", "{{model}} predicted"),
        (f"max by (model) (penstock_plan_realised_cost_usd_per_million{{{MODEL}}})", "{{model}} realised"),
        minimum=0,
    ),
    graph(
        "What learning costs",
        "How many dollars an hour do exploration beyond the plan in force, and warm-ups and probes, cost?",
        Unit.USD, _BUDGET,
        (f"sum by (model) (rate(penstock_exploration_usd_total{{{MODEL}}}[$__rate_interval])) * 3600", "{{model}} exploration"),
        (
            f'sum by (model) (rate(penstock_cost_usd_total{{component="lambda_warm_up",{MODEL}}}[$__rate_interval])) * 3600',
            "{{model}} warm-ups and probes",
        ),
        minimum=0,
    ),
)

_BUDGETS: tuple[Panel, ...] = (
    graph(
        "Spent in the last hour",
        "Is the last hour within the budget? Both over all gateways and models.",
        Unit.USD, _BUDGET,
        ("penstock:cost_usd:increase1h", "spent"), ("penstock:budget_usd_per_hour", "budget"), minimum=0,
    ),
    graph(
        "Spent in the last day",
        "Is the last day within the budget? A gateway that runs for less than a day shows what it has spent so far.",
        Unit.USD, _BUDGET,
        ("penstock:cost_usd:increase1d", "spent"), ("penstock:budget_usd_per_hour * 24", "budget"), minimum=0,
    ),
    graph(
        "Prices in force",
        "By which list prices are the dollars counted? Dollars per GB-second of the first tier.",
        Unit.USD, "PenstockReportsUnreadable",
        ('max by (architecture) (penstock_price_info{component="usd_per_gb_second",instance=~"$instance"})', "{{architecture}}"),
        decimals=10, span=24, height=5, minimum=0,
    ),
)

COST = Dashboard(
    uid="penstock-cost",
    title="Penstock / Cost",
    question="What does serving cost, what does batching save, and is that within the budget?",
    rows=(
        Row("Now", _NOW),
        Row("Where it goes", _WHERE),
        Row("What batching saves", _SAVINGS),
        Row("Plan", _PLAN),
        Row("Budget", _BUDGETS),
    ),
)

"""Panels as data, and how they become Grafana's dashboards through its typed builder.

A panel states the question that it answers, its unit and the run-book section that says what to do about a bad answer: none of
them can be left out. Only time series and single figures are used: both are legible without a legend of colours.
"""

from dataclasses import dataclass, field
from enum import Enum

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from .settings import Settings

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Selects by the dashboard's variables; every query of a metric with a model uses it.
MODEL = 'model=~"$model",instance=~"$instance"'
INSTANCE = 'instance=~"$instance"'
GRID_COLUMNS = 24


class Unit(str, Enum):
    """Units by Grafana's names."""

    USD = "currencyUSD"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    REQUESTS_PER_SECOND = "reqps"
    PER_SECOND = "suffix:/s"
    COUNT = "short"
    RATIO = "none"
    STATE = "bool_yes_no"


@dataclass(frozen=True)
class Query:
    """An expression and the name of each of its series."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Threshold:
    """From this value on a figure is bad (or, with `below`, up to it)."""

    value: float
    below: bool = False


@dataclass(frozen=True)
class Panel:
    """One question and its answer. `span`: columns of 24; `height`: rows of 30 pixels."""

    title: str
    question: str
    unit: Unit
    queries: tuple[Query, ...]
    runbook: str
    span: int = 12
    height: int = 8
    is_figure: bool = False
    is_stacked: bool = False
    is_step: bool = False
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    threshold: Threshold | None = None


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Annotation:
    """Marks moments at which the expression has a value."""

    name: str
    expression: str
    title: str
    color: str


@dataclass(frozen=True)
class Dashboard:
    """A page."""

    uid: str
    title: str
    question: str
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...] = field(default=())

    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]


def figure(title: str, question: str, unit: Unit, expression: str, runbook: str, **options) -> Panel:
    """A single number, a sixth of the width."""
    options.setdefault("span", 4)
    return Panel(title, question, unit, (Query(expression, title),), runbook, height=4, is_figure=True, **options)


def graph(title: str, question: str, unit: Unit, runbook: str, *queries: tuple[str, str], **options) -> Panel:
    """Series over time; queries are pairs of expression and legend."""
    return Panel(title, question, unit, tuple(Query(*query) for query in queries), runbook, **options)


def moments(metric: str, labels: str, selector: str = MODEL) -> str:
    """When a counter went up. A child's first sight counts too: counters of rare events start at one, which `increase` does not see."""
    now = f"{metric}{{{selector}}}"
    return f"sum by ({labels}) ({now} - ({now} offset $__interval or {now} * 0)) > 0"


def counted(metric: str, labels: str, selector: str = MODEL) -> str:
    """How often a rare event has happened within the shown time, a child's first sight included."""
    now = f"{metric}{{{selector}}}"
    grown = f"clamp_min({now} - ({now} offset $__range or {now} * 0), 0)"
    return f"sum by ({labels}) ({grown})" if labels else f"sum({grown})"


def in_the_last_minute(metric: str, labels: str, selector: str = MODEL) -> str:
    """How often something rare has happened in the last minute. Not `increase`, which misses all that was counted before a child's
    first scrape: a burst of refusals is often just that."""
    now = f"{metric}{{{selector}}}"
    return f"sum by ({labels}) (clamp_min({now} - ({now} offset 1m or {now} * 0), 0))"


def or_zero(expression: str, label: str | None = None) -> str:
    """An expression by model (and a label), and 0 for models of which nothing was counted yet, the label being `none`: nothing of a bad
    thing is an answer, not a gap."""
    nothing = f"sum by (model) (penstock_queue_items{{{MODEL}}}) * 0"
    named = f'label_replace({nothing}, "{label}", "none", "", "")' if label else nothing
    return f"({expression}) or on (model) {named}"


def build(page: Dashboard, settings: Settings) -> models.Dashboard:
    """The dashboard as Grafana loads it."""
    builder = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .description(page.question)
        .tags(["penstock"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_link("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags(["penstock"]).as_dropdown(True))
        .link(_link("Guide").url(f"{settings.documentation_url}/dashboards.md"))
    )
    for variable in _variables():
        builder = builder.with_variable(variable)
    for annotation in page.annotations:
        builder = builder.annotation(_annotation(annotation))
    top, number = 0, 0
    for row in page.rows:
        builder = builder.with_row(dashboard.Row(row.title).grid_pos(_position(0, top, GRID_COLUMNS, 1)))
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.span > GRID_COLUMNS:
                left, top = 0, top + height
            number += 1
            at = _position(left, top, panel.span, panel.height)
            builder = builder.with_panel(_panel(panel, settings).id(number).grid_pos(at))
            left, height = left + panel.span, panel.height
        top += height
    built = builder.build()
    for index, row in enumerate(each for each in built.panels if each.type_val == "row"):
        row.id_val = 1000 + index
    return built


def _position(x: int, y: int, w: int, h: int) -> models.GridPos:
    return models.GridPos(x=x, y=y, w=w, h=h)


def _link(title: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).keep_time(True).include_vars(True)


def _variables() -> list:
    def query(name: str, label: str, expression: str) -> dashboard.QueryVariable:
        everything = models.VariableOption(text="All", value="$__all")
        return (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(DATASOURCE)
            .query({"query": expression, "refId": name})
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(everything)
        )

    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        query("instance", "Gateway", "label_values(penstock_build_info, instance)"),
        query("model", "Model", 'label_values(penstock_queue_items{instance=~"$instance"}, model)'),
    ]


def _annotation(annotation: Annotation) -> dashboard.AnnotationQuery:
    query = (
        dashboard.AnnotationQuery()
        .name(annotation.name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(annotation.color)
        .expr(annotation.expression)
    )
    # The Prometheus data source reads two further fields, which the typed builder does not know.
    built = query.build()
    return _WithFields(built, {"titleFormat": annotation.title, "step": "10s"})


class _WithFields:
    """A built annotation with fields of its data source."""

    def __init__(self, built: models.AnnotationQuery, fields: dict[str, str]) -> None:
        self._built, self._fields = built, fields

    def build(self) -> "_WithFields":
        return self

    def to_json(self) -> dict[str, object]:
        return {**self._built.to_json(), **self._fields}


def _panel(panel: Panel, settings: Settings):
    made = _figure(panel) if panel.is_figure else _graph(panel)
    made = (
        made.title(panel.title)
        .description(panel.question)
        .unit(panel.unit.value)
        .datasource(DATASOURCE)
        .links([dashboard.DashboardLink("Run-book").type(models.DashboardLinkType.LINK).url(settings.runbook(panel.runbook)).target_blank(True)])
    )
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.minimum is not None:
        made = made.min(panel.minimum)
    if panel.maximum is not None:
        made = made.max(panel.maximum)
    for index, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + index))
            .datasource(DATASOURCE)
            .range()
        )
        made = made.with_target(target)
    return made.thresholds(_thresholds(panel.threshold))


def _figure(panel: Panel) -> stat.Panel:
    coloured = common_models.BigValueColorMode.VALUE if panel.threshold else common_models.BigValueColorMode.NONE
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(coloured)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    )


def _graph(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(1.5 if not panel.is_stacked else 1)
        .fill_opacity(25 if panel.is_stacked else 0)
        .show_points(common_models.VisibilityMode.NEVER)
        # A missed scrape is no gap; a gateway that is gone is one.
        .span_nulls(60_000)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING))
    )
    if panel.is_step:
        made = made.line_interpolation(common_models.LineInterpolation.STEP_AFTER)
    if panel.is_stacked:
        made = made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if panel.threshold:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    return made


def _thresholds(threshold: Threshold | None) -> dashboard.ThresholdsConfig:
    if threshold is None:
        steps = [models.Threshold(value=None, color="text")]
    elif threshold.below:
        steps = [models.Threshold(value=None, color="red"), models.Threshold(value=threshold.value, color="green")]
    else:
        steps = [models.Threshold(value=None, color="green"), models.Threshold(value=threshold.value, color="red")]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)

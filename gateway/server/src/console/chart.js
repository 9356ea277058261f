// Plots over time, drawn as SVG at the size that they have: axis with units, legend, marks, a cursor for pointer and keys, and a table of the same figures.

import { html, setText, svg } from "./dom.js";
import { clock, short } from "./format.js";

const MARGIN = { top: 20, right: 12, bottom: 24, left: 52 };
const STEPS = [1, 2, 2.5, 5, 10];
const TIME_STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600];
const TABLE_ROWS = 30;
let charts = 0;

/** A round number at or above `value`, and the ticks up to it. */
export function scale(value, wanted = 4, least = 0) {
  const top = value > 0 ? value : 1;
  const rough = Math.max(least, top / wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = STEPS.map((step) => step * power).find((step) => step >= rough * 0.999);
  const last = Math.ceil((top / step) * 0.999);
  return { max: last * step, ticks: Array.from({ length: last + 1 }, (_, at) => at * step) };
}

/** The last entry of `points` at or before `t`, by bisection; points are `[t, value]`, ascending. */
function before(points, t) {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * A plot. `options`: `title`, `unit` (of the axis), `series: [{label, color, shape: line | step | dots | area, dash}]`,
 * `marks: [{kind, label}]` for the legend, `format` (figures of the readout), `tick` (figures of the axis), `isWhole` (no ticks between whole numbers), `height`, `empty` (what will appear, and when).
 */
export class Chart {
  constructor(options) {
    this.options = { height: 190, format: short, tick: short, marks: [], ...options };
    this.id = `chart-${++charts}`;
    this.data = null;
    this.cursor = null;
    this.isByKey = false;
    this.canvas = svg("svg", { class: "plot", tabindex: "0", role: "img", "aria-describedby": `${this.id}-readout` });
    this.readout = html("p", { class: "readout", id: `${this.id}-readout` });
    this.noData = html("p", { class: "empty" }, options.empty ?? "Nothing yet.");
    this.rows = html("tbody");
    const heads = ["Time", ...options.series.map((series) => series.label)];
    this.details = html("details", { ontoggle: () => this.fillTable() }, html("summary", null, "As a table"),
      html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${options.title}, as a table` },
        html("table", null, html("caption", null, `${options.title}, ${options.unit}`), html("thead", null, html("tr", null, ...heads.map((head) => html("th", { scope: "col" }, head)))), this.rows)));
    this.root = html("figure", { class: "chart" }, html("figcaption", null, html("span", { class: "chart-title" }, options.title), this.legend()), this.canvas, this.noData, html("div", { class: "below" }, this.readout, this.details));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.moveTo(null));
    this.canvas.addEventListener("blur", () => this.moveTo(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  legend() {
    const swatch = (series) => svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" },
      series.shape === "dots"
        ? svg("circle", { cx: 11, cy: 5, r: 2.5, class: `fill c${series.color}` })
        : svg("path", { d: "M0 5H22", class: `line c${series.color}`, "stroke-dasharray": series.dash ?? null }));
    const mark = (kind) => svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" }, svg("path", { d: "M11 0V10", class: `mark ${kind}` }), markHead(kind, 11, 5));
    return html("ul", { class: "legend" },
      ...this.options.series.map((series) => html("li", null, swatch(series), series.label)),
      ...this.options.marks.map(({ kind, label }) => html("li", null, mark(kind), label)));
  }

  /** `{from, to, date, series: [[[t, value], …], …], marks: [{at, kind, label}], limit: {value, label}}`; `null` values break a line. */
  update(data) {
    this.data = data;
    this.draw();
    if (this.details.open) this.fillTable();
  }

  hasData() {
    return this.data !== null && this.data.series.some((points) => points.some(([, value]) => value !== null && value !== undefined));
  }

  draw() {
    const has = this.hasData();
    this.noData.hidden = has;
    for (const part of [this.canvas, this.readout, this.details]) part.toggleAttribute("hidden", !has);
    const width = Math.max(240, this.root.clientWidth);
    if (!has || this.root.clientWidth === 0) return;
    const { height } = this.options;
    const { from, to, series, marks = [], limit } = this.data;
    const values = series.flat().map(([, value]) => value ?? 0).concat(limit ? [limit.value] : []);
    const y = scale(Math.max(...values) * 1.04, 4, this.options.isWhole ? 1 : 0);
    this.x = (t) => MARGIN.left + ((t - from) / (to - from)) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) => height - MARGIN.bottom - (Math.min(value, y.max) / y.max) * (height - MARGIN.top - MARGIN.bottom);
    this.width = width;
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`], ["aria-label", this.describe()]]) this.canvas.setAttribute(name, value);
    const inside = marks.filter((mark) => mark.at >= from && mark.at <= to);
    this.canvas.replaceChildren(
      ...this.axes(y.ticks),
      ...this.options.series.flatMap((style, at) => this.shape(style, series[at])),
      ...(limit ? [svg("path", { class: "limit", d: `M${MARGIN.left} ${this.y(limit.value)}H${width - MARGIN.right}` }), svg("text", { class: "limit-label", x: width - MARGIN.right, y: this.y(limit.value) - 4, "text-anchor": "end" }, limit.label)] : []),
      ...inside.flatMap((mark) => [svg("path", { class: `mark ${mark.kind}`, d: `M${this.x(mark.at)} ${MARGIN.top}V${height - MARGIN.bottom}` }), markHead(mark.kind, this.x(mark.at), MARGIN.top)]),
    );
    this.pointer = svg("path", { class: "cursor" });
    this.canvas.append(this.pointer);
    this.showCursor();
  }

  axes(ticks) {
    const { height, unit, tick } = this.options;
    const right = this.width - MARGIN.right;
    const { from, to, date } = this.data;
    const parts = [svg("text", { class: "unit", x: 0, y: 11 }, unit)];
    for (const value of ticks) {
      parts.push(svg("path", { class: value === 0 ? "axis" : "grid", d: `M${MARGIN.left} ${this.y(value)}H${right}` }));
      parts.push(svg("text", { class: "tick", x: MARGIN.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, tick(value)));
    }
    const room = Math.max(2, Math.floor((right - MARGIN.left) / 76));
    const step = TIME_STEPS_S.find((step) => (to - from) / step <= room) ?? TIME_STEPS_S.at(-1);
    const offset = (date(0).getTime() / 1000) % step;
    for (let t = Math.ceil((from + offset) / step) * step - offset; t <= to; t += step) {
      parts.push(svg("path", { class: "axis", d: `M${this.x(t)} ${height - MARGIN.bottom}v4` }));
      const anchor = this.x(t) > right - 24 ? "end" : this.x(t) < MARGIN.left + 24 ? "start" : "middle";
      parts.push(svg("text", { class: "tick", x: this.x(t), y: height - 6, "text-anchor": anchor }, clock(date(t))));
    }
    return parts;
  }

  shape(style, points) {
    const { from, to } = this.data;
    const begin = Math.max(0, before(points, from));
    const shown = points.slice(begin).map(([t, value]) => [Math.max(t, from), value]);
    if (style.shape === "dots") {
      return shown.filter(([, value]) => value !== null && value !== undefined).map(([t, value]) => svg("circle", { class: `fill c${style.color}`, cx: this.x(t), cy: this.y(value), r: 2 }));
    }
    let path = "";
    let isOpen = false;
    for (const [t, value] of shown) {
      if (value === null || value === undefined) {
        isOpen = false;
        continue;
      }
      const [x, y] = [this.x(t).toFixed(1), this.y(value).toFixed(1)];
      path += !isOpen ? `M${x} ${y}` : style.shape === "step" ? `H${x}V${y}` : `L${x} ${y}`;
      isOpen = true;
    }
    if (style.shape === "step" && isOpen) path += `H${this.x(to).toFixed(1)}`;
    const line = svg("path", { class: `line c${style.color}`, d: path, "stroke-dasharray": style.dash ?? null });
    // A single window has no line yet: a dot shows it.
    const lone = shown.length === 1 && style.shape === "line" ? [svg("circle", { class: `fill c${style.color}`, cx: this.x(shown[0][0]), cy: this.y(shown[0][1] ?? 0), r: 2.5 })] : [];
    return [line, ...lone];
  }

  /** For those who do not see it: range and last value of each series. */
  describe() {
    const { title, unit, series, format } = this.options;
    const parts = series.map(({ label }, at) => {
      const values = this.data.series[at].filter(([t, value]) => t >= this.data.from && value !== null && value !== undefined).map(([, value]) => value);
      if (!values.length) return `${label}: no data`;
      return `${label}: now ${format(values.at(-1))}, from ${format(Math.min(...values))} to ${format(Math.max(...values))}`;
    });
    return `${title}, ${unit}. ${parts.join(". ")}. Arrow keys move along the time.`;
  }

  point(event) {
    if (!this.hasData()) return;
    const { from, to } = this.data;
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    this.isByKey = false;
    this.moveTo(from + Math.min(1, Math.max(0, share)) * (to - from));
  }

  key(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (!this.hasData() || !(event.key in moves || ["Home", "End", "Escape"].includes(event.key))) return;
    event.preventDefault();
    const { from, to } = this.data;
    const step = (to - from) / 100;
    this.isByKey = true;
    if (event.key === "Escape") this.moveTo(null);
    else if (event.key === "Home") this.moveTo(from);
    else if (event.key === "End") this.moveTo(to);
    else this.moveTo(Math.min(to, Math.max(from, (this.cursor ?? to) + moves[event.key] * step)));
  }

  moveTo(t) {
    this.cursor = t;
    this.readout.setAttribute("aria-live", this.isByKey ? "polite" : "off");
    this.showCursor();
  }

  showCursor() {
    if (!this.pointer) return;
    const { from, to, date, series, marks = [] } = this.data;
    const at = this.cursor === null ? null : Math.min(to, Math.max(from, this.cursor));
    this.pointer.setAttribute("d", at === null ? "" : `M${this.x(at)} ${MARGIN.top}V${this.options.height - MARGIN.bottom}`);
    const t = at ?? to;
    const figures = this.options.series.map(({ label }, index) => {
      const found = series[index][before(series[index], t)];
      return `${label} ${this.options.format(found?.[1])}`;
    });
    const near = at === null ? [] : marks.filter((mark) => Math.abs(this.x(mark.at) - this.x(at)) < 6).map((mark) => mark.label);
    setText(this.readout, [at === null ? "Now" : clock(date(t)), ...figures, ...near].join(" · "));
  }

  fillTable() {
    if (!this.details.open || !this.hasData()) return;
    const { from, date, series } = this.data;
    const times = [...new Set(series.flat().map(([t]) => t).filter((t) => t >= from))].sort((one, other) => one - other);
    const every = Math.ceil(times.length / TABLE_ROWS);
    const shown = times.filter((_, at) => (times.length - 1 - at) % every === 0).reverse();
    const value = (points, t) => this.options.format(points[before(points, t)]?.[1]);
    this.rows.replaceChildren(...shown.map((t) => html("tr", null, html("th", { scope: "row" }, clock(date(t))), ...series.map((points) => html("td", { class: "number" }, value(points, t))))));
  }
}

/** What tells the kinds of marks apart without colour. */
function markHead(kind, x, y) {
  const shapes = {
    up: `M${x} ${y - 6}l5 8h-10z`,
    down: `M${x} ${y + 2}l5 -8h-10z`,
    plan: `M${x} ${y - 6}l4 4l-4 4l-4 -4z`,
    trouble: `M${x - 4} ${y - 6}l8 8m0 -8l-8 8`,
  };
  return svg("path", { class: `mark-head ${kind}`, d: shapes[kind] ?? shapes.plan });
}

// A grid of cells whose shade tells a figure, with points on it; pointer and arrow keys give the figures of a cell.

import { html, setText, svg } from "./dom.js";

const MARGIN = { top: 8, right: 8, bottom: 40, left: 66 };
const ROW = 40;
let maps = 0;

/** Share of the ramp from which white text reads better than black on it (in the dark scheme black than white): where its luminance passes 0.18. */
const TEXT_TURNS = { light: 0.66, dark: 0.51 };
const isDark = matchMedia("(prefers-color-scheme: dark)");

/**
 * `options`: `title`, `xLabel`, `yLabel`. `update` takes `{columns, rows, cells: [row][column] → {value, text, isFaint, isOut, describe}, format, points:
 * [{column, row, size, label}], outlines: [{row, from, to}], legend}`; columns and points are in fractions of the list of columns.
 */
export class Heatmap {
  constructor(options) {
    this.options = options;
    this.id = `heatmap-${++maps}`;
    this.selected = null;
    this.canvas = svg("svg", { class: "plot heat", tabindex: "0", role: "img", "aria-describedby": `${this.id}-readout` });
    this.readout = html("p", { class: "readout tall", id: `${this.id}-readout` });
    this.low = html("span");
    this.high = html("span");
    this.legend = html("ul", { class: "legend" },
      html("li", null, this.low, html("span", { class: "ramp", "aria-hidden": "true" }), this.high),
      html("li", null, sample(svg("rect", { class: "slow", width: 22, height: 10 }), svg("path", { class: "hatch", d: "M2 10L12 0M10 10L20 0" })), "too slow for the objective"),
      html("li", null, sample(svg("path", { class: "out", d: "M6 1l10 8m0 -8l-10 8" })), "not used: memory floor or given up"),
      html("li", null, sample(svg("circle", { class: "measured", cx: 11, cy: 5, r: 4 })), "measured; larger: more often"),
      html("li", null, sample(svg("rect", { class: "outline", x: 2, y: 1, width: 18, height: 8 })), "plan in force"));
    this.root = html("figure", { class: "chart" }, html("figcaption", null, html("span", { class: "chart-title" }, options.title), this.legend), this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.select(this.selected ?? [0, 0]));
    new ResizeObserver(() => this.data && this.draw()).observe(this.root);
    isDark.addEventListener("change", () => this.data && this.draw());
  }

  update(data) {
    this.data = data;
    const { rows, columns } = data;
    if (this.selected && (this.selected[0] >= rows.length || this.selected[1] >= columns.length)) this.selected = null;
    this.draw();
  }

  draw() {
    const { columns, rows, cells, points, outlines, format } = this.data;
    const width = Math.max(240, this.root.clientWidth);
    if (this.root.clientWidth === 0) return;
    const height = MARGIN.top + rows.length * ROW + MARGIN.bottom;
    this.cell = (width - MARGIN.left - MARGIN.right) / columns.length;
    this.left = (column) => MARGIN.left + column * this.cell;
    this.top = (row) => MARGIN.top + row * ROW;
    const values = cells.flat().filter((cell) => !cell.isOut).map((cell) => cell.value);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const share = (value) => (most > least ? Math.log(value / least) / Math.log(most / least) : 0);
    setText(this.low, format(least));
    setText(this.high, format(most));
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`], ["aria-label", this.describe()]]) this.canvas.setAttribute(name, value);
    const every = Math.max(1, Math.ceil(26 / this.cell));
    const parts = [svg("text", { class: "unit", x: MARGIN.left + (width - MARGIN.left - MARGIN.right) / 2, y: height - 4, "text-anchor": "middle" }, this.options.xLabel), svg("text", { class: "unit", x: 12, y: MARGIN.top + (rows.length * ROW) / 2, transform: `rotate(-90 12 ${MARGIN.top + (rows.length * ROW) / 2})`, "text-anchor": "middle" }, this.options.yLabel)];
    rows.forEach((row, at) => parts.push(svg("text", { class: "tick", x: MARGIN.left - 6, y: this.top(at) + ROW / 2 + 4, "text-anchor": "end" }, row)));
    columns.forEach((column, at) => at % every === 0 && parts.push(svg("text", { class: "tick", x: this.left(at) + this.cell / 2, y: this.top(rows.length) + 16, "text-anchor": "middle" }, column)));
    cells.forEach((line, row) => line.forEach((cell, column) => parts.push(...this.one(cell, row, column, share))));
    for (const { row, from, to } of outlines) parts.push(svg("rect", { class: "outline", x: this.left(from) + 1.5, y: this.top(row) + 1.5, width: (to - from + 1) * this.cell - 3, height: ROW - 3 }));
    for (const { row, column, size } of points) parts.push(svg("circle", { class: "measured", cx: this.left(column) + this.cell / 2, cy: this.top(row) + ROW * 0.74, r: 2 + 3 * size }));
    this.frame = svg("rect", { class: "chosen", width: Math.max(0, this.cell - 2), height: ROW - 2 });
    this.canvas.replaceChildren(...parts, this.frame);
    this.select(this.selected);
  }

  one(cell, row, column, share) {
    const [x, y] = [this.left(column), this.top(row)];
    const box = { x: x + 0.5, y: y + 0.5, width: Math.max(0, this.cell - 1), height: ROW - 1 };
    if (cell.isOut) return [svg("rect", { class: "slow", ...box }), svg("path", { class: "out", d: `M${x + this.cell / 2 - 5} ${y + ROW / 2 - 5}l10 10m0 -10l-10 10` })];
    const at = share(cell.value);
    const shade = svg("rect", { ...box, style: { fill: `color-mix(in oklab, var(--heat-low), var(--heat-high) ${Math.round(at * 100)}%)` } });
    const hatch = cell.isFaint ? [svg("path", { class: "hatch", d: hatching(box) })] : [];
    const text = this.cell >= 44 ? [svg("text", { class: `cell ${at > TEXT_TURNS[isDark.matches ? "dark" : "light"] ? "on-high" : "on-low"}`, x: x + this.cell / 2, y: y + ROW / 2 - 2, "text-anchor": "middle" }, cell.text)] : [];
    return [shade, ...hatch, ...text];
  }

  describe() {
    const { columns, rows } = this.data;
    return `${this.options.title}: ${rows.length} rows (${this.options.yLabel}) by ${columns.length} columns (${this.options.xLabel}). Arrow keys move from cell to cell.`;
  }

  point(event) {
    if (!this.data) return;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - MARGIN.left) / this.cell);
    const row = Math.floor((event.clientY - box.top - MARGIN.top) / ROW);
    const { columns, rows } = this.data;
    if (row < 0 || column < 0 || row >= rows.length || column >= columns.length) return;
    this.readout.setAttribute("aria-live", "off");
    this.select([row, column]);
  }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move || !this.data) return;
    event.preventDefault();
    this.readout.setAttribute("aria-live", "polite");
    const [row, column] = this.selected ?? [0, 0];
    const clamp = (value, list) => Math.min(list.length - 1, Math.max(0, value));
    this.select([clamp(row + move[0], this.data.rows), clamp(column + move[1], this.data.columns)]);
  }

  select(at) {
    this.selected = at;
    if (!this.frame) return;
    this.frame.toggleAttribute("hidden", at === null);
    if (at === null) return setText(this.readout, "Point at a cell, or move there with the arrow keys, for its figures.");
    const [row, column] = at;
    this.frame.setAttribute("x", this.left(column) + 1);
    this.frame.setAttribute("y", this.top(row) + 1);
    const near = this.data.points.filter((point) => point.row === row && Math.abs(point.column - column) <= 0.5).map((point) => point.label);
    setText(this.readout, [this.data.cells[row][column].describe, ...near].join(" "));
  }
}

function sample(...shapes) {
  return svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" }, ...shapes);
}

/** Slanted lines over a box: a mark that does not rest on colour. */
function hatching({ x, y, width, height }) {
  let path = "";
  for (let offset = 8; offset < width + height; offset += 8) {
    const [x1, y1] = offset <= height ? [x, y + offset] : [x + offset - height, y + height];
    const [x2, y2] = offset <= width ? [x + offset, y] : [x + width, y + offset - width];
    path += `M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}`;
  }
  return path;
}

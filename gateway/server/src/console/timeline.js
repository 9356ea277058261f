// Batches as bars on lanes: how long each filled, how long it ran, how it ended.

import { html, setText, svg } from "./dom.js";
import { scale } from "./chart.js";
import { clock } from "./format.js";

const MARGIN = { top: 6, right: 10, bottom: 24, left: 10 };
const LANE = 18;
const BAR = 13;
const MOST_LANES = 16;

/** Kinds of outcome, each with a letter beside its colour. */
export const OUTCOMES = { good: "answered", cold: "part of it a cold start", partial: "some items failed", bad: "failed, throttled or lost" };

export class Timeline {
  constructor(describe) {
    this.describe = describe;
    this.selected = null;
    this.canvas = svg("svg", { class: "plot timeline", tabindex: "0", role: "img", "aria-describedby": "timeline-readout" });
    this.readout = html("p", { class: "readout tall", id: "timeline-readout" });
    const swatch = (...shapes) => svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" }, ...shapes);
    this.root = html("figure", { class: "chart" },
      html("figcaption", null, html("span", { class: "chart-title" }, "Batches over time, seconds before now"), html("ul", { class: "legend" },
        html("li", null, swatch(svg("path", { class: "filling", d: "M0 5H22" })), "filling"),
        ...Object.entries(OUTCOMES).map(([kind, text]) => html("li", null, swatch(svg("rect", { class: `bar ${kind}`, width: 22, height: 10, rx: 2 })), text)),
        html("li", null, swatch(svg("rect", { class: "bar good aside", x: 1, y: 1, width: 20, height: 8, rx: 2 })), "trial, or alone to be measured"))),
      this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.selected === null && this.select(this.batches?.at(-1)?.number ?? null));
    new ResizeObserver(() => this.batches && this.draw()).observe(this.root);
  }

  /** Batches oldest first, and the time of the page. */
  update({ batches, now, date }) {
    Object.assign(this, { all: batches, now, date });
    this.draw();
  }

  draw() {
    const width = Math.max(240, this.root.clientWidth);
    if (this.root.clientWidth === 0) return;
    const from = begin(this.all, this.now, width);
    const to = this.now;
    this.batches = this.all.filter((batch) => batch.ended_s >= from);
    this.x = (t) => MARGIN.left + ((Math.max(t, from) - from) / (to - from)) * (width - MARGIN.left - MARGIN.right);
    const lanes = this.arrange();
    const height = MARGIN.top + lanes * LANE + MARGIN.bottom;
    const bottom = height - MARGIN.bottom;
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`], ["aria-label", `${this.batches.length} batches that ended in the last ${Math.round(to - from)} seconds. Arrow keys move from batch to batch.`]]) this.canvas.setAttribute(name, value);
    const parts = [];
    const step = scale(to - from, Math.max(2, Math.floor(width / 110))).ticks[1];
    for (let ago = 0; ago <= to - from; ago += step) {
      const x = this.x(to - ago);
      parts.push(svg("path", { class: "grid", d: `M${x} ${MARGIN.top}V${bottom}` }));
      const anchor = x > width - 30 ? "end" : x < 30 ? "start" : "middle";
      parts.push(svg("text", { class: "tick", x, y: height - 8, "text-anchor": anchor }, ago === 0 ? "now" : `−${Number(ago.toFixed(2))} s`));
    }
    this.bars = new Map();
    for (const batch of this.batches) parts.push(...this.bar(batch));
    this.frame = svg("rect", { class: "chosen", height: BAR + 4, rx: 3 });
    this.canvas.replaceChildren(...parts, this.frame);
    this.select(this.bars.has(this.selected) ? this.selected : null);
  }

  /** Gives each batch the first lane that is free from its closing on. Returns how many there are. */
  arrange() {
    const free = [];
    for (const batch of [...this.batches].sort((one, other) => one.closed_s - other.closed_s)) {
      const start = this.x(batch.closed_s);
      let lane = free.findIndex((until) => until <= start);
      if (lane < 0) lane = free.length < MOST_LANES ? free.length : free.indexOf(Math.min(...free));
      free[lane] = this.x(batch.ended_s) + 2;
      batch.lane = lane;
    }
    return Math.max(3, free.length);
  }

  bar(batch) {
    const y = MARGIN.top + batch.lane * LANE + 2;
    const [opened, closed, ended] = [batch.opened_s, batch.closed_s, batch.ended_s].map(this.x);
    const width = Math.max(3, ended - closed);
    const kind = outcomeKind(batch);
    const aside = batch.is_canary || batch.is_hold_out ? " aside" : "";
    const shapes = [svg("path", { class: "filling", d: `M${opened} ${y + BAR / 2}H${closed}M${opened} ${y + 3}v${BAR - 6}` }), svg("rect", { class: `bar ${kind}${aside}`, x: closed, y, width, height: BAR, rx: 2 })];
    if (batch.init_ms > 0) {
      const cold = Math.min(width, this.x(batch.closed_s + batch.init_ms / 1000) - closed);
      shapes.push(svg("rect", { class: "bar cold", x: closed, y, width: Math.max(2, cold), height: BAR, rx: 2 }));
    }
    if (width > 16) shapes.push(svg("text", { class: "in-bar", x: closed + width / 2, y: y + BAR - 3, "text-anchor": "middle" }, batch.items));
    this.bars.set(batch.number, { batch, x: closed, y, width });
    return shapes;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const hit = [...(this.bars?.values() ?? [])].find((bar) => x >= bar.x - 2 && x <= bar.x + bar.width + 2 && y >= bar.y - 3 && y <= bar.y + BAR + 3);
    if (!hit) return;
    this.readout.setAttribute("aria-live", "off");
    this.select(hit.batch.number);
  }

  key(event) {
    const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const move = moves[event.key];
    if (!move || !this.batches?.length) return;
    event.preventDefault();
    this.readout.setAttribute("aria-live", "polite");
    const at = this.batches.findIndex((batch) => batch.number === this.selected);
    const next = at < 0 ? this.batches.length - 1 : Math.min(this.batches.length - 1, Math.max(0, at + move));
    this.select(this.batches[next].number);
  }

  select(number) {
    this.selected = number;
    const bar = this.bars?.get(number);
    this.frame?.toggleAttribute("hidden", !bar);
    if (!bar) return setText(this.readout, "Point at a batch, or move there with the arrow keys, for its figures.");
    this.frame.setAttribute("x", bar.x - 2);
    this.frame.setAttribute("y", bar.y - 2);
    this.frame.setAttribute("width", bar.width + 4);
    setText(this.readout, `${clock(this.date(bar.batch.closed_s))}: ${this.describe(bar.batch)}`);
  }
}

/** From when on bars are shown: as many as can be told apart, at least a second, at most two minutes. */
function begin(batches, now, width) {
  const room = Math.max(12, Math.floor(width / 14));
  const first = batches.at(-room) ?? batches[0];
  const since = first ? first.opened_s : now - 20;
  return Math.max(now - 120, Math.min(now - 1, since));
}

export function outcomeKind(batch) {
  if (batch.outcome === "ok") return "good";
  return batch.outcome === "partial" ? "partial" : "bad";
}

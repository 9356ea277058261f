// Load over time, with the changes that the tuner saw and what each of them said.

import { Chart } from "./chart.js";
import { html, section, table, tiles } from "./dom.js";
import { clock, confidence, rate, short } from "./format.js";
import { totals } from "./store.js";

/** Change-points as marks of any plot over time. */
export const changeMarks = (store) => store.actions("change_point").map(({ at, what }) => {
  const isUp = what.after_per_s >= what.before_per_s;
  return { at, kind: isUp ? "up" : "down", label: `load went ${isUp ? "up" : "down"}, ${rate(what.before_per_s)} → ${rate(what.after_per_s)}` };
});

export const CHANGE_LEGEND = [{ kind: "up", label: "load went up" }, { kind: "down", label: "load went down" }];

export function loadSection() {
  const { root, body } = section("load", "Load", "How many requests arrive, and when did the tuner see that this changed?", "wide");
  const figures = tiles(["Requests, last minute", "Of the present regime", "Items a request", "Burstiness"]);
  const chart = new Chart({
    title: "Requests over time", unit: "requests/s", format: rate, marks: CHANGE_LEGEND, height: 210,
    series: [{ label: "arrived", color: 1, shape: "line" }, { label: "the tuner's estimate", color: 2, shape: "step", dash: "5 3" }],
    empty: "The first point appears when the first window ends: after about a second, unless the policy says otherwise.",
  });
  const changes = table("Changes of the load", ["Seen at", "Direction", { text: "Before, requests/s", number: true }, { text: "After, requests/s", number: true }, { text: "How sure", number: true }, { text: "Began, windows earlier", number: true }]);
  const none = html("p", { class: "empty" }, "No change of the load was seen yet. One appears some windows after the rate of requests has changed for good.");
  body.append(figures.root, chart.root, html("h4", null, "Changes"), none, changes.root);

  function update({ store, span }) {
    const load = store.detail.report.load;
    const minute = totals(store.recent(60));
    figures.set([
      { value: rate(minute.perSecond), note: `${short(minute.requests)} in ${short(minute.seconds)} s` },
      { value: rate(load.requests_per_s), note: `± ${short(load.standard_error_per_s)}, for ${short(load.windows)} windows` },
      { value: short(load.items_per_request) },
      { value: short(load.dispersion), note: "variance over mean; 1: as if by chance" },
    ]);
    const windows = store.windows;
    chart.update({
      ...span, marks: changeMarks(store),
      series: [windows.map((it) => [it.ended_s, it.requests / it.length_s]), windows.map((it) => [it.ended_s, it.regime_per_s])],
    });
    const seen = store.actions("change_point").slice(-8).reverse();
    none.hidden = seen.length > 0;
    changes.root.hidden = seen.length === 0;
    changes.setRows(seen.map(({ at, what }) => [
      clock(store.date(at)), what.after_per_s >= what.before_per_s ? "▲ up" : "▼ down", short(what.before_per_s),
      `${short(what.after_per_s)} ± ${short(what.after_standard_error_per_s)}`, confidence(what.probability), short(what.windows_ago),
    ]));
  }
  return { root, update };
}

// Latency against the objective, and the share of requests that came too late or not at all.

import { Chart } from "./chart.js";
import { section, tiles } from "./dom.js";
import { ms, percent, short } from "./format.js";
import { PLAN_LEGEND, planMarks } from "./plan.js";
import { totals } from "./store.js";

export function latencySection() {
  const { root, body } = section("latency", "Latency", "Do requests come back in time?");
  const figures = tiles(["Median, last window", "99th percentile, last window", "Late or not answered, last minute", "Objective"]);
  const chart = new Chart({
    title: "Latency of answered requests", unit: "ms", format: ms, marks: PLAN_LEGEND,
    series: [{ label: "p50", color: 1, shape: "line" }, { label: "p99", color: 2, shape: "line", dash: "5 3" }],
    empty: "Appears with the first answered request.",
  });
  const late = new Chart({
    title: "Late or not answered, of each window", unit: "% of requests", format: (value) => percent(value / 100), height: 130,
    series: [{ label: "share", color: 4, shape: "line" }],
    empty: "Appears with the first answered request.",
  });
  body.append(figures.root, chart.root, late.root);

  function update({ store, span }) {
    const { slo_latency_ms: slo, slo_percentile: wanted } = store.detail;
    const answered = store.windows.filter((window) => window.answered > 0);
    const last = answered.at(-1);
    const minute = totals(store.recent(60));
    const tone = (isBad) => (isBad ? "bad" : "good");
    figures.set([
      { value: ms(last?.latency_p50_ms) },
      { value: ms(last?.latency_p99_ms), tone: last ? tone(last.latency_p99_ms > slo) : "" },
      { value: percent(minute.lateShare), note: `allowed ${percent(1 - wanted)}`, tone: minute.lateShare === undefined ? "" : tone(minute.lateShare > 1 - wanted) },
      { value: ms(slo), note: `for ${short(wanted * 100)} % of requests` },
    ]);
    chart.update({
      ...span, marks: planMarks(store), limit: { value: slo, label: `objective ${ms(slo)}` },
      series: ["latency_p50_ms", "latency_p99_ms"].map((key) => store.windows.map((it) => [it.ended_s, it[key]])),
    });
    const share = (it) => {
      const ended = it.answered + it.shed + it.failed;
      return ended ? (1 - it.within_slo / ended) * 100 : null;
    };
    late.update({ ...span, limit: { value: (1 - wanted) * 100, label: `allowed ${percent(1 - wanted)}` }, series: [store.windows.map((it) => [it.ended_s, share(it)])] });
  }
  return { root, update };
}

// What the model costs, and what batching saves: by formula and as measured, the gateway's own cost included.

import { Chart } from "./chart.js";
import { html, section, table, tiles } from "./dom.js";
import { percent, short, usd, usdTick, words } from "./format.js";
import { PLAN_LEGEND, planMarks } from "./plan.js";
import { totals } from "./store.js";

/** Windows that one point of the plot covers, so that a point rests on several batches. */
const SMOOTH_S = 10;

export function costSection() {
  const { root, body } = section("cost", "Cost and saving", "What does a request cost, and what would it cost without batches?", "wide");
  const figures = tiles(["Per million requests", "Lambda, per hour", "Host, per hour", "Saved, by formula", "Saved, as measured", "Net, per hour"]);
  const basis = html("p", { class: "muted" }, "Figures of the last minute. “By formula” compares with each request alone on its cheapest memory, from learned service times; “as measured” with items that really ran alone. Net is the unbatched cost by formula less Lambda and the host.");
  const chart = new Chart({
    title: "Cost of a million requests over time", unit: "$ per million", format: usd, tick: usdTick, marks: PLAN_LEGEND, height: 200,
    series: [{ label: "paid", color: 1, shape: "line" }, { label: "unbatched, by formula", color: 2, shape: "line", dash: "5 3" }, { label: "unbatched, as measured", color: 3, shape: "line", dash: "2 3" }],
    empty: "Appears with the first answered requests.",
  });
  const since = table("Dollars since the gateway started", ["What", { text: "Dollars", number: true }], "compact");
  body.append(figures.root, basis, chart.root, html("h4", null, "Since the gateway started"), since.root);

  function update({ store, span, gateway, metrics }) {
    const minute = totals(store.recent(60));
    const { unbatched_usd_per_million: formula, measured_unbatched_usd_per_million: measured } = store.detail.report;
    const host = gateway.gateway_usd_per_hour;
    const saved = (unbatched) => (unbatched && minute.usdPerMillion !== undefined ? 1 - minute.usdPerMillion / unbatched : undefined);
    const unbatchedPerHour = formula && minute.seconds ? (minute.answered / minute.seconds) * 3600 * (formula / 1e6) : undefined;
    const net = unbatchedPerHour === undefined ? undefined : unbatchedPerHour - minute.usdPerHour - host;
    const tone = (value) => (value === undefined ? "" : value >= 0 ? "good" : "bad");
    const shared = gateway.models.length > 1 ? `shared by ${gateway.models.length} models` : "of the configuration";
    figures.set([
      { value: usd(minute.usdPerMillion), note: `${short(minute.answered)} answered` },
      { value: usd(minute.usdPerHour), note: "at the rate of the last minute" },
      { value: host > 0 ? usd(host) : "not set", note: host > 0 ? shared : "`gateway_usd_per_hour` is 0" },
      { value: percent(saved(formula)), note: formula ? `of ${usd(formula)} per million` : "needs learned service times", tone: tone(saved(formula)) },
      { value: percent(saved(measured)), note: measured ? `of ${usd(measured)} per million` : "needs some ten thousand items", tone: tone(saved(measured)) },
      { value: usd(net), note: host > 0 ? "after Lambda and host" : "after Lambda", tone: tone(net) },
    ]);
    chart.update({
      ...span, marks: planMarks(store),
      series: [smooth(store.windows), ...["unbatched_usd_per_million", "measured_unbatched_usd_per_million"].map((key) => store.windows.map((it) => [it.ended_s, it[key]]))],
    });
    const model = { model: store.name };
    const saving = (component) => metrics.sum("savings_usd", { ...model, component });
    const [unbatched, lambda] = [saving("unbatched"), saving("lambda")];
    since.setRows([
      ...metrics.by("component", "cost_usd_total", model).map(([component, dollars]) => [`Paid: ${words(component)}`, usd(dollars)]),
      ["Of that, estimated without a REPORT line", usd(metrics.sum("cost_estimated_usd_total", model) ?? 0)],
      ["Of that, measuring the unbatched cost", usd(metrics.sum("hold_out_cost_usd_total", model) ?? 0)],
      ["Of that, exploration", usd(store.detail.report.exploration_usd)],
      ["Saved less Lambda, by formula, since service times are known", unbatched === undefined || lambda === undefined ? "–" : usd(unbatched + lambda)],
      ["The gateway's host, all models", usd(metrics.sum("cost_usd_total", { model: "_gateway" }) ?? 0)],
    ]);
  }
  return { root, update };
}

/** Dollars per million answered requests over the last seconds before each window's end. */
function smooth(windows) {
  let [begin, cost, answered] = [0, 0, 0];
  return windows.map((window) => {
    cost += window.cost_usd;
    answered += window.answered;
    while (windows[begin].ended_s <= window.ended_s - SMOOTH_S) {
      cost -= windows[begin].cost_usd;
      answered -= windows[begin].answered;
      begin += 1;
    }
    return [window.ended_s, answered > 0 ? (Math.max(0, cost) / answered) * 1e6 : null];
  });
}

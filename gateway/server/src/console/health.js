// Queue, invocations in flight, and what goes wrong: errors by kind, throttles, cold starts.

import { Chart } from "./chart.js";
import { html, section, table, tiles } from "./dom.js";
import { count, items, ms, percent, words } from "./format.js";
import { totals } from "./store.js";

export function healthSection() {
  const { root, body } = section("health", "Queue and trouble", "Does something pile up, and does something fail?");
  const figures = tiles(["Waiting", "Oldest waits", "Invocations in flight", "Cold starts, last minute", "Throttled, last minute", "Failed or refused, last minute"]);
  const queue = new Chart({
    title: "Queue and flight, at the end of each window", unit: "items, invocations", isWhole: true, format: count, tick: count, height: 140,
    series: [{ label: "items waiting", color: 1, shape: "line" }, { label: "invocations in flight", color: 2, shape: "line", dash: "5 3" }],
    empty: "Appears when the first window ends.",
  });
  const trouble = new Chart({
    title: "Cold starts and trouble, by window", unit: "number", isWhole: true, format: count, tick: count, height: 140,
    series: [{ label: "cold starts", color: 3, shape: "line" }, { label: "throttled batches", color: 2, shape: "line", dash: "5 3" }, { label: "failed or refused requests", color: 4, shape: "line", dash: "2 3" }],
    empty: "Appears when the first window ends.",
  });
  const none = html("p", { class: "empty" }, "Nothing has failed since the gateway started. Errors appear here by kind.");
  const errors = table("Errors since the gateway started", ["What", "Kind", { text: "Number", number: true }]);
  body.append(figures.root, queue.root, trouble.root, html("h4", null, "Errors by kind, since the gateway started"), none, errors.root);

  function update({ store, span, metrics }) {
    const model = { model: store.name };
    const minute = totals(store.recent(60));
    const depth = metrics.sum("queue_items", model);
    const lost = minute.failed + minute.shed;
    const tone = (value) => (value > 0 ? "bad" : "");
    figures.set([
      { value: depth === undefined ? "–" : items(depth) },
      { value: ms(Math.max(0, (metrics.sum("queue_oldest_age_seconds", model) ?? 0) * 1000)), note: `may wait ${ms(store.detail.plan.max_queue_delay_ms)}` },
      { value: count(metrics.sum("invocations_in_flight", model)), note: `allowed now ${count(metrics.sum("in_flight_window_invocations", model))}` },
      { value: count(minute.coldStarts), note: `of ${count(minute.batches)} batches` },
      { value: count(minute.throttled), tone: tone(minute.throttled) },
      { value: count(lost), note: minute.requests ? percent(lost / minute.requests) : "", tone: tone(lost) },
    ]);
    const line = (of) => store.windows.map((it) => [it.ended_s, of(it)]);
    queue.update({ ...span, series: [line((it) => it.queue_items), line((it) => it.in_flight)] });
    trouble.update({ ...span, series: [line((it) => it.cold_starts), line((it) => it.throttled), line((it) => it.failed + it.shed)] });
    const kinds = [
      ...metrics.by("code", "requests_total", model).filter(([code]) => code !== "ok").map((row) => ["request", ...row]),
      ...metrics.by("code", "item_errors_total", model).map((row) => ["item without a value", ...row]),
      ...metrics.by("outcome", "invocations_total", model).filter(([outcome]) => outcome !== "ok").map((row) => ["invocation", ...row]),
      ...metrics.by("reason", "invocations_throttled_total", model).map((row) => ["throttle", ...row]),
      ...metrics.by("reason", "retries_total", model).map((row) => ["retry", ...row]),
      ...metrics.by("reason", "admission_rejected_total", model).map((row) => ["not admitted", ...row]),
    ];
    none.hidden = kinds.length > 0;
    errors.root.hidden = kinds.length === 0;
    errors.setRows(kinds.map(([what, kind, number]) => [what, words(kind), count(number)]));
  }
  return { root, update };
}

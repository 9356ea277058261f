// What the tuner believes of every operating point: batch size × memory at a chosen number of processes.

import { choices, html, section } from "./dom.js";
import { count, items, mib, ms, percent, processes, short, usd } from "./format.js";
import { Heatmap } from "./heatmap.js";

const QUANTITIES = [
  { value: "usd", text: "Cost", of: (place, at) => place.usd_per_million_items[at], format: (value) => `${usd(value)} per million items`, cell: usd },
  { value: "service", text: "Service time", of: (place, at) => place.service_ms[at], format: ms, cell: (value) => ms(value) },
  { value: "unknown", text: "Not known", of: (place, at) => Math.max(1e-4, place.unknown_ln_std[at]), format: (value) => `± ${percent(value)}`, cell: percent },
];

export function surfaceSection() {
  const { root, body } = section("surface", "What is believed of operating points", "Which batch sizes and memory sizes would be cheap, fast, or are not known yet?", "wide");
  const quantity = html("fieldset", { class: "segmented" }, html("legend", null, "Figure"));
  const processCount = html("fieldset", { class: "segmented" }, html("legend", null, "Processes"));
  const map = new Heatmap({ title: "Batch size × memory", xLabel: "items in a batch", yLabel: "memory, MiB" });
  const none = html("p", { class: "empty" });
  const shown = html("div", null, html("div", { class: "choices" }, quantity, processCount), map.root);
  body.append(none, shown);
  let state = null;
  let chosen = { quantity: "usd", processes: null };
  let offered = "";

  function update(next) {
    state = next;
    const { surface, detail } = state.store;
    const has = surface !== null && surface.places.length > 0;
    none.hidden = has;
    shown.hidden = !has;
    if (!has) {
      none.textContent = detail.policy === "pinned"
        ? "The policy is “pinned”: nothing is learned, so nothing is believed. With “observe” the tuner learns and recommends without changing the plan."
        : "Nothing is believed yet. The surface appears after about eight completed invocations, a few seconds under load.";
      return;
    }
    const counts = [...new Set(surface.places.map((place) => place.process_count))].sort((one, other) => one - other);
    const inForce = detail.plan.rungs.at(-1)?.process_count;
    if (!counts.includes(chosen.processes)) chosen.processes = counts.includes(inForce) ? inForce : counts[0];
    const key = counts.join();
    if (key !== offered) {
      offered = key;
      choices(processCount, "surface-processes", counts.map((value) => ({ value, text: count(value) })), chosen.processes, (value) => choose({ processes: value }));
      choices(quantity, "surface-quantity", QUANTITIES, chosen.quantity, (value) => choose({ quantity: value }));
    }
    draw();
  }

  function choose(change) {
    chosen = { ...chosen, ...change };
    draw();
  }

  function draw() {
    const { surface, detail } = state.store;
    const slo = detail.slo_latency_ms;
    const { of, format, cell } = QUANTITIES.find(({ value }) => value === chosen.quantity);
    const places = surface.places.filter((place) => place.process_count === chosen.processes).sort((one, other) => other.memory_mib - one.memory_mib);
    const sizes = surface.batch_sizes;
    const row = (memory) => places.findIndex((place) => place.memory_mib === memory);
    const measured = detail.report.points.filter((it) => it.process_count === chosen.processes && row(it.memory_mib) >= 0);
    const most = Math.max(1, ...measured.map((it) => it.weight));
    map.update({
      columns: sizes.map(count), rows: places.map((place) => count(place.memory_mib)), format,
      cells: places.map((place) => sizes.map((size, at) => ({
        value: of(place, at), text: cell(of(place, at)), isFaint: place.upper_ms[at] > slo, isOut: !place.is_allowed,
        describe: `${items(size)} on ${mib(place.memory_mib)} × ${processes(place.process_count)}: ${ms(place.service_ms[at])} service time, not known ± ${percent(place.unknown_ln_std[at])}; `
          + `up to ${ms(place.upper_ms[at])} until the answer, objective ${ms(slo)}${place.upper_ms[at] > slo ? " (too slow)" : ""}; ${usd(place.usd_per_million_items[at])} per million items if batches are that full.`
          + (place.is_allowed ? "" : " Not used: below the memory floor, or given up for now."),
      }))),
      points: measured.map((it) => ({
        row: row(it.memory_mib), column: along(sizes, it.items), size: Math.sqrt(it.weight / most),
        label: `Measured: ${ms(it.service_ms)} at ${short(it.items)} items (predicted ${ms(it.predicted_ms)}), weight ${short(it.weight)}${it.explored ? ", by trials" : ""}.`,
      })),
      outlines: outlines(detail.plan.rungs, sizes, row),
    });
  }

  /** Where the plan in force runs batches, as far as it does so with the chosen processes. */
  function outlines(rungs, sizes, row) {
    let before = 0;
    return rungs.flatMap((rung) => {
      const [from, to] = [sizes.findIndex((size) => size > before), sizes.findLastIndex((size) => size <= rung.max_items)];
      before = rung.max_items;
      const isShown = rung.process_count === chosen.processes && row(rung.memory_mib) >= 0 && from >= 0 && to >= from;
      return isShown ? [{ row: row(rung.memory_mib), from, to }] : [];
    });
  }
  return { root, update };
}

/** Where a fill lies among the columns, between two of them by its logarithm. */
function along(sizes, fill) {
  const next = sizes.findIndex((size) => size >= fill);
  if (next < 0) return sizes.length - 1;
  if (next === 0) return 0;
  return next - 1 + Math.log(fill / sizes[next - 1]) / Math.log(sizes[next] / sizes[next - 1]);
}

// The last batches: when each opened, why it closed, where and how long it ran, and how it ended.

import { html, section, table } from "./dom.js";
import { clock, count, items, ms, place, usd, words } from "./format.js";
import { Timeline } from "./timeline.js";

const ROWS = 25;

const REASONS = {
  full: "it was full", bytes: "its bytes were at their bound", delay: "its oldest item had waited long enough", deadline: "a deadline came near",
  immediate: "the packing does not wait", drain: "the gateway drains", retry: "it is a retry", bisect: "it is half of a failed batch",
};

export function describeBatch(batch) {
  const fill = (batch.closed_s - batch.opened_s) * 1000;
  const ran = (batch.ended_s - batch.closed_s) * 1000;
  const more = [
    batch.init_ms > 0 ? `cold, ${ms(batch.init_ms)} of INIT` : null,
    batch.failed_items > 0 ? `${items(batch.failed_items)} without a value` : null,
    batch.attempt > 1 ? `attempt ${count(batch.attempt)}` : null,
    batch.is_canary ? "a trial" : null, batch.is_hold_out ? "alone, to be measured" : null,
    batch.process_restarts > 0 ? `${count(batch.process_restarts)} processes replaced` : null,
  ].filter(Boolean);
  return `batch ${batch.batch}, ${items(batch.items)}, filled for ${ms(fill)}, closed because ${REASONS[batch.reason] ?? words(batch.reason)}; ${place(batch.memory_mib, batch.process_count)}, `
    + `${ms(ran)} until its outcome (${ms(batch.handler_ms)} in the worker, ${ms(batch.billed_ms)} billed), ${usd(batch.cost_usd)}; ${words(batch.outcome)}${more.length ? `, ${more.join(", ")}` : ""}.`;
}

export function batchesSection() {
  const { root, body } = section("batches", "Recent batches", "When did batches open, why did they close, and how did they end?", "wide");
  const timeline = new Timeline(describeBatch);
  const none = html("p", { class: "empty" }, "No batch has ended since the gateway started. A batch appears here when its invocation ends.");
  const rows = table(`The last ${ROWS} batches`, [
    "Closed at", "Why", { text: "Items", number: true }, { text: "Filled", number: true }, "Where", { text: "Until outcome", number: true }, { text: "Billed", number: true }, "Start", "Outcome", { text: "Dollars", number: true },
  ]);
  const details = html("details", { ontoggle: () => fillTable() }, html("summary", null, `The last ${ROWS} as a table`), rows.root);
  body.append(none, timeline.root, details);
  let store = null;

  function fillTable() {
    if (!details.open || !store) return;
    const last = store.batches.slice(-ROWS).reverse();
    rows.setRows(last.map((batch) => [
      clock(store.date(batch.closed_s)), words(batch.reason), count(batch.items), ms((batch.closed_s - batch.opened_s) * 1000), place(batch.memory_mib, batch.process_count),
      ms((batch.ended_s - batch.closed_s) * 1000), ms(batch.billed_ms), batch.init_ms > 0 ? `cold, ${ms(batch.init_ms)}` : "warm",
      words(batch.outcome) + (batch.failed_items ? `, ${count(batch.failed_items)} without a value` : ""), usd(batch.cost_usd),
    ]));
  }

  function update(state) {
    ({ store } = state);
    const has = store.batches.length > 0;
    none.hidden = has;
    timeline.root.hidden = !has;
    details.hidden = !has;
    if (!has) return;
    timeline.update({ batches: store.batches, now: store.now, date: (t) => store.date(t) });
    fillTable();
  }
  return { root, update };
}

// The plan in force, why it was chosen, and what served before.

import { Chart } from "./chart.js";
import { html, section, setText, table } from "./dom.js";
import { clock, confidence, count, items, mib, ms, percent, place, point, processes, short, usd, words } from "./format.js";

export const REASONS = {
  learned: "enough was learned to compute one",
  change_point: "the load changed",
  better: "service times, prices or limits changed what is best",
  objective_at_risk: "the plan before was not expected to keep the objective any more",
  configuration: "the configuration changed",
  operator: "an operator asked",
  guard: "a guard went back to an earlier plan",
};

/** Plans as marks of any plot over time; the first one in sight began before. */
export const planMarks = (store) => store.plans.slice(1).map((plan) => ({ at: plan.at_s, kind: "plan", label: `new plan: ${point(plan)}` }));

export const PLAN_LEGEND = [{ kind: "plan", label: "new plan" }];

export function planSection() {
  const { root, body } = section("plan", "Plan in force", "How are requests batched, where do batches run, and why so?", "wide");
  const sentence = html("p", { class: "sentence" });
  const why = html("p");
  const compared = table("The choice in numbers", [
    "Plan", { text: "Point", wide: true }, { text: "$ per million", number: true }, { text: "Latency at percentile", number: true },
    { text: "Late", number: true }, { text: "Items a batch", number: true }, { text: "Invocations in flight", number: true },
  ]);
  const rungs = table("Where batches run, by their fill", ["Batches", { text: "Memory", number: true }, { text: "Processes", number: true }, "Alias"], "compact");
  const small = (options) => new Chart({ height: 120, marks: PLAN_LEGEND, empty: "Appears when the first plan is in force.", ...options });
  const charts = [
    small({ title: "Batch bound over time", unit: "items", isWhole: true, format: (value) => items(value), series: [{ label: "largest batch", color: 1, shape: "step" }] }),
    small({ title: "Longest wait over time", unit: "ms", format: ms, series: [{ label: "longest wait", color: 2, shape: "step" }] }),
    small({ title: "Memory over time", unit: "MiB", format: mib, tick: count, series: [{ label: "of a full batch", color: 3, shape: "step" }] }),
    small({ title: "Processes over time", unit: "processes", isWhole: true, tick: count, format: (value) => processes(value), series: [{ label: "of a full batch", color: 4, shape: "step" }] }),
  ];
  body.append(sentence, why, html("h4", null, "The choice in numbers"), compared.root, html("p", { class: "muted under" }, "A point: most items of a batch, longest wait of the oldest, memory × processes, by fill where they differ."), html("h4", null, "Where batches run"), rungs.root, html("h4", null, "Plan over time"), html("div", { class: "grid" }, ...charts.map((chart) => chart.root)));

  function update({ store, span }) {
    const { plan, report } = store.detail;
    setText(sentence, planSentence(plan));
    setText(why, reason(store));
    const row = (name, it) => it && [
      name, point(it.point), `${usd(it.expected.usd_per_million)}${it.expected.ln_cost_std > 0.005 ? ` ± ${percent(it.expected.ln_cost_std)}` : ""}`,
      ms(it.expected.latency_ms), percent(it.expected.late_share), short(it.expected.mean_fill), short(it.expected.concurrency),
    ];
    const choice = lastSwitch(store)?.what;
    const isShown = choice && report.hold !== "pinned";
    const realised = report.realised.requests > 0 && ["Measured", `${count(report.realised.requests)} requests since this plan and load began`, usd(report.realised.usd_per_million), "–", percent(report.realised.late_share), short(report.realised.mean_fill), "–"];
    compared.setRows([
      row("In force, expected now", report.incumbent), realised, row("Best known now", report.recommended),
      isShown && row("Chosen then", choice.chosen), isShown && row("Plan before, under that load", choice.before), isShown && row("Runner-up", choice.runner_up),
    ].filter(Boolean));
    rungs.setRows([
      ...plan.rungs.map((rung) => [`up to ${items(rung.max_items)}`, mib(rung.memory_mib), count(rung.process_count), rung.qualifier]),
      ...(plan.canary ? [[`trial: one of ${count(plan.canary.every)} batches`, mib(plan.canary.rung.memory_mib), count(plan.canary.rung.process_count), plan.canary.rung.qualifier]] : []),
      ...(plan.hold_out ? [[`alone, to be measured: ${count(plan.hold_out.run_items)} of ${items(plan.hold_out.every_items)}`, mib(plan.hold_out.rung.memory_mib), count(plan.hold_out.rung.process_count), plan.hold_out.rung.qualifier]] : []),
    ]);
    const largest = (of) => store.plans.map((plan) => [plan.at_s, of(plan)]);
    const values = [largest((plan) => plan.max_batch_size), largest((plan) => plan.max_queue_delay_ms), largest((plan) => plan.rungs.at(-1)?.[1]), largest((plan) => plan.rungs.at(-1)?.[2])];
    charts.forEach((chart, at) => chart.update({ ...span, marks: planMarks(store), series: [values[at]] }));
  }
  return { root, update };
}

export function planSentence(plan) {
  const places = plan.rungs.map((rung) => (plan.rungs.length > 1 ? `up to ${items(rung.max_items)} on ` : "") + place(rung.memory_mib, rung.process_count));
  return `A batch holds up to ${items(plan.max_batch_size)}; its oldest item waits ${ms(plan.max_queue_delay_ms)} at the longest; it runs on ${places.join(", ")}.`;
}

function lastSwitch(store) {
  return store.actions("switched").filter((event) => event.what.revision <= store.detail.plan.revision).at(-1);
}

/** Why this plan and no other serves. */
function reason(store) {
  const { report, policy, plan } = store.detail;
  if (report.hold === "pinned") return `Revision ${count(plan.revision)}. An operator has pinned it: it serves until it is unpinned.`;
  const frozen = report.hold === "frozen" ? " An operator has frozen it: no other plan is chosen until it is unfrozen." : "";
  if (policy === "pinned") return `Revision ${count(plan.revision)}. It is the configuration's: the policy is “pinned”, nothing else is looked for.${frozen}`;
  const event = lastSwitch(store);
  if (!event) {
    const because = report.phase === "learning" ? "too little is known of the service time to compute one; that takes some dozen invocations" : "none was found that is better by enough";
    return `Revision ${count(plan.revision)}. The configured or learned plan serves: ${because}.${frozen}`;
  }
  const { what } = event;
  const kept = store.kept.filter(({ what }) => what.action === "kept").at(-1);
  const since = `Chosen at ${clock(store.date(event.at))}, because ${REASONS[what.reason] ?? words(what.reason)}.`;
  const challenge = kept && kept.at > event.at
    ? ` Kept at ${clock(store.date(kept.at))} against ${point(kept.what.challenger.point)}: ${usd(kept.what.challenger.expected.usd_per_million)} instead of ${usd(kept.what.incumbent.expected.usd_per_million)} per million is not better by enough.`
    : "";
  return `Revision ${count(plan.revision)}. ${since}${challenge}${frozen}`;
}

/** A change of load in one sentence. */
export const changeSentence = (what) => `The load went ${what.after_per_s >= what.before_per_s ? "up" : "down"}, from ${short(what.before_per_s)} to ${short(what.after_per_s)} ± ${short(what.after_standard_error_per_s)} requests/s, ${confidence(what.probability)} sure; it began ${count(what.windows_ago)} windows before.`;

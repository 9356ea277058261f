// Every decision of the tuner in words, with the numbers that it rested on.

import { html, section } from "./dom.js";
import { clock, count, mib, percent, point, processes, short, usd, words } from "./format.js";
import { REASONS, changeSentence } from "./plan.js";

const expected = (it) => `${usd(it.expected.usd_per_million)} per million requests, ${percent(it.expected.late_share)} late`;

const SENTENCES = {
  change_point: changeSentence,
  switched: (what) => `New plan, revision ${count(what.revision)}, because ${REASONS[what.reason] ?? words(what.reason)}: ${point(what.chosen.point)}. Expected: ${expected(what.chosen)}.`
    + (what.before ? ` The plan before: ${expected(what.before)}.` : "")
    + (what.runner_up ? ` Runner-up: ${point(what.runner_up.point)}, ${expected(what.runner_up)}.` : ""),
  refreshed: (what) => `Fresh service times for closing batches, revision ${count(what.revision)}: ${short(what.upper_ms[0])} ms for one item, ${short(what.upper_ms[1])} ms for a full batch at the most.`,
  kept: (what) => `Kept the plan in force (${expected(what.incumbent)}) against ${point(what.challenger.point)} (${expected(what.challenger)}): not better by enough.`,
  trial_started: (what) => `Trial ${count(what.trial)} began: ${point(what.point)}.${typeof what.expected_gain === "number" ? ` Expected gain ${percent(what.expected_gain)} of the cost.` : ""}`,
  trial_ended: (what) => `Trial ${count(what.trial)} ended, ${words(what.verdict)}, after ${count(what.batches)} batches${typeof what.usd_per_million === "number" ? `: ${usd(what.usd_per_million)} per million requests` : ""}.`,
  rolled_back: (what) => `Gave revision ${count(what.from)} up (${words(what.reason)}): ${percent(what.late_share)} of ${count(what.requests)} requests were late. The plan before serves again as revision ${count(what.to)}.`,
  drift: (what) => `Service times have moved together: ${short(what.factor)} times what was learned.`,
  memory_floor: (what) => `Memory ran out with ${processes(what.process_count)}: nothing below ${mib(what.smallest_mib)} is used for so many any more.`,
  blind: (what) => `Nothing usable was observed for ${count(what.windows)} windows although there is traffic: the configured plan serves.`,
  infeasible: (what) => `No plan keeps the objective: the least late one serves, with ${percent(what.late_share)} late expected.`,
  command: (what) => `An operator's command took effect: ${words(what.command)}.`,
  state: (what) => `Learned state: ${words(what.what)}.`,
};

const TONES = { rolled_back: "bad", blind: "bad", infeasible: "bad", memory_floor: "bad", switched: "good", change_point: "note", command: "note" };
const LABELS = { change_point: "load changed", switched: "new plan", kept: "plan kept", refreshed: "refreshed" };

export function decisionsSection() {
  const { root, body } = section("decisions", "Decisions", "What did the tuner do lately, and on which numbers?", "wide");
  const list = html("ol", { class: "events", reversed: true });
  const scroll = html("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Decisions, newest first" }, list);
  const none = html("p", { class: "empty" }, "No decision yet. The first comes when some dozen invocations have told how long batches take; with the policy “pinned” there is none.");
  body.append(none, scroll);
  let shown = "";

  function update({ store }) {
    const events = [...store.decisions, ...store.kept].sort((one, other) => other.number - one.number).slice(0, 60);
    none.hidden = events.length > 0;
    scroll.hidden = events.length === 0;
    const key = `${store.started}:${events.map((event) => event.number).join()}`;
    if (key === shown) return;
    shown = key;
    list.replaceChildren(...events.map(({ at, what }) => html("li", { "data-tone": TONES[what.action] ?? "" },
      html("time", { datetime: store.date(at).toISOString() }, clock(store.date(at))), html("strong", null, LABELS[what.action] ?? words(what.action)), html("span", null, (SENTENCES[what.action] ?? JSON.stringify)(what)))));
  }
  return { root, update };
}


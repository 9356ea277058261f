// The console: asks the gateway, keeps what it said, hands it to the sections. One model at a time is shown in full.

import { getJson, getText, ofModel } from "./api.js";
import { batchesSection } from "./batches.js";
import { commandButtons } from "./commands.js";
import { costSection } from "./cost.js";
import { decisionsSection } from "./decisions.js";
import { choices, html, setText } from "./dom.js";
import { clock, lasting, words } from "./format.js";
import { healthSection } from "./health.js";
import { jobsSection } from "./jobs.js";
import { latencySection } from "./latency.js";
import { loadSection } from "./load.js";
import { Metrics } from "./metrics.js";
import { modelCards } from "./overview.js";
import { planSection } from "./plan.js";
import { ModelStore } from "./store.js";
import { surfaceSection } from "./surface.js";

const POLL_MS = 1500;
const HIDDEN_POLL_MS = 10_000;
const SURFACE_EVERY_MS = 4000;
const JOBS_EVERY_MS = 3000;
const TOAST_MS = 8000;
const SPANS = [{ value: 120, text: "2 min" }, { value: 300, text: "5 min" }, { value: 900, text: "15 min" }];

const by = (id) => document.getElementById(id);
const stores = new Map();
const page = { span: 300, gateway: null, models: [], metrics: new Metrics(), jobs: null, asked: { surface: 0, jobs: 0 }, lastAnswer: null, isFailing: false };
let toastTimer = 0;

const cards = modelCards(by("models"));
const head = modelHead();
const sections = [loadSection(), planSection(), costSection(), latencySection(), healthSection(), surfaceSection(), batchesSection(), decisionsSection()];
const jobs = jobsSection();
const model = html("div", { class: "sections" }, ...sections.map((section) => section.root));
const nothing = html("p", { class: "empty" }, "No model is served. Models appear here once the configuration names one.");
by("main").append(head.root, jumps(), nothing, model, html("h2", null, "The gateway"), jobs.root);
for (const part of [head.root, by("jumps"), nothing, model]) part.hidden = true;

choices(by("span"), "span", SPANS, page.span, (span) => {
  page.span = span;
  show();
});
window.addEventListener("hashchange", () => {
  show();
  poll();
});
document.addEventListener("visibilitychange", () => document.hidden || poll());

/** Links to the sections: the page is long on a phone. They leave the address alone, which names the model. */
function jumps() {
  const link = ({ id, heading }) => html("a", { href: `#${id}`, onclick: (event) => jump(event, heading) }, heading.textContent);
  const all = [...sections, jobs].map(({ root }) => ({ id: root.id, heading: root.querySelector("h3") }));
  return html("nav", { id: "jumps", "aria-label": "Sections" }, html("ul", null, ...all.map((section) => html("li", null, link(section)))));
}

function jump(event, heading) {
  event.preventDefault();
  heading.scrollIntoView();
  heading.focus({ preventScroll: true });
}

/** Name, state, warnings and buttons of the model that is shown. */
function modelHead() {
  const name = html("h2", { id: "model-name" });
  const chips = html("p", { class: "chips" });
  const warnings = html("div", { class: "warnings", role: "alert" });
  const buttons = commandButtons((text) => {
    toast(text);
    poll();
  });
  const root = html("div", { class: "head" }, html("div", null, name, chips), buttons.root, warnings);
  const PHASES = {
    learning: "learning: too little is known to compute a plan", holding: "holding the best known plan", exploring: "trying something out on a few batches",
    rolling_back: "back at the plan before", blind: "blind: nothing usable is observed", frozen: "held by an operator",
  };

  function update(state) {
    const { detail } = state.store;
    setText(name, state.store.name);
    const shown = [
      [`policy: ${words(detail.policy)}`, ""],
      [detail.policy === "pinned" ? "the configured plan serves" : PHASES[detail.phase] ?? words(detail.phase), detail.phase === "blind" ? "bad" : ""],
      ...(detail.hold === "free" ? [] : [[detail.hold, "note"]]),
      ...(detail.warming_revision === null ? [] : [[`starting sandboxes for revision ${detail.warming_revision}`, "note"]]),
    ];
    const key = JSON.stringify(shown);
    if (chips.dataset.shown !== key) {
      chips.dataset.shown = key;
      chips.replaceChildren(...shown.map(([text, tone]) => html("span", { class: "chip", "data-tone": tone }, text)));
    }
    const lines = [
      ...(detail.unservable === null ? [] : [`It cannot be served: ${detail.unservable}`]),
      ...detail.missing_aliases.map((alias) => `The alias ${alias} is missing: its size is left out until it answers. “penstock provision” makes it.`),
    ];
    setText(warnings, lines.join("\n"));
    buttons.update(state);
  }
  return { root, update };
}

function selected() {
  const named = new URLSearchParams(location.hash.slice(1)).get("model");
  const names = page.models.map((model) => model.model);
  page.chosen = [named, page.chosen].find((name) => names.includes(name)) ?? names[0];
  return page.chosen;
}

function storeOf(name) {
  if (!stores.has(name)) stores.set(name, new ModelStore(name));
  return stores.get(name);
}

async function ask() {
  const now = performance.now();
  const [gateway, models, metrics] = await Promise.all([getJson("control/gateway"), getJson("control/models"), getText("metrics")]);
  Object.assign(page, { gateway, models: models.models, metrics: new Metrics(metrics) });
  const name = selected();
  const isDue = (what, every) => now - page.asked[what] >= every;
  const wanted = [];
  if (gateway.has_jobs && isDue("jobs", JOBS_EVERY_MS)) {
    page.asked.jobs = now;
    wanted.push(getJson("control/jobs").then((jobs) => Object.assign(page, { jobs })));
  }
  if (name !== undefined) {
    const store = storeOf(name);
    wanted.push(
      getJson(ofModel(name)).then((detail) => Object.assign(store, { detail })),
      getJson(ofModel(name, `/history${store.after("history")}`)).then((answer) => store.take("history", answer)),
      getJson(ofModel(name, `/batches${store.after("batches")}`)).then((answer) => store.take("batches", answer)),
    );
    if (store.surface === null || isDue("surface", SURFACE_EVERY_MS)) {
      page.asked.surface = now;
      wanted.push(getJson(ofModel(name, "/surface")).then(({ surface }) => Object.assign(store, { surface })));
    }
  }
  await Promise.all(wanted);
}

/** Shows what is known. What is not of one model is shown without one. */
function show() {
  const { gateway, models, metrics } = page;
  if (gateway === null) return;
  const up = gateway.now_s;
  setText(by("gateway"), `version ${gateway.version}, up ${lasting(up)}, ${gateway.is_draining ? "draining" : gateway.is_ready ? "ready" : gateway.is_live ? "not ready" : "not alive"}`);
  by("gateway").dataset.tone = gateway.is_ready ? "good" : "bad";
  const name = selected();
  cards.update({ models, metrics, selected: name });
  jobs.update(page);
  nothing.hidden = name !== undefined;
  const store = name === undefined ? null : storeOf(name);
  const has = store !== null && store.detail !== null && store.started !== null;
  head.root.hidden = !has;
  model.hidden = !has;
  by("jumps").hidden = !has;
  if (!has) return;
  document.title = `${name} · Penstock console`;
  const from = Math.max(store.now - page.span, store.windows.length ? store.windows[0].ended_s - store.windows[0].length_s : 0);
  const span = { from: Math.min(from, store.now - 10), to: store.now, date: (t) => store.date(t) };
  const state = { ...page, store, span };
  head.update(state);
  for (const section of sections) section.update(state);
}

function connection(problem) {
  const line = by("connection");
  page.isFailing = problem !== null;
  document.body.classList.toggle("stale", page.isFailing);
  line.dataset.tone = page.isFailing ? "bad" : "good";
  const since = page.lastAnswer === null ? "there was none yet" : `the last was at ${clock(page.lastAnswer)}, and all figures are of then`;
  setText(line, problem === null ? "connected" : `No answer from the gateway (${problem}); ${since}. Trying again.`);
}

function toast(text) {
  clearTimeout(toastTimer);
  setText(by("toast"), text);
  toastTimer = setTimeout(() => setText(by("toast"), ""), TOAST_MS);
}

let isAsking = false;
let timer = 0;

async function poll() {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  try {
    await ask();
    page.lastAnswer = new Date();
    connection(null);
    show();
  } catch (problem) {
    connection(problem.name === "TimeoutError" ? "it took too long" : problem.message);
  } finally {
    isAsking = false;
    timer = setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
  }
}

poll();

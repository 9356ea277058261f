// What an operator may do to a model's choice of plans. Nothing is sent before a dialog has said what will happen; a refusal is shown in it.

import { Refused, ofModel, post } from "./api.js";
import { html, setText } from "./dom.js";
import { count, items, mib, ms, place, usd } from "./format.js";
import { planSentence } from "./plan.js";

/** Buttons for a model, and the dialog behind them. `done` is called with a text after a command took effect. */
export function commandButtons(done) {
  const dialog = confirmDialog();
  const button = (text, of, tone = "") => html("button", { type: "button", class: tone, onclick: () => dialog.open(of(state)) }, text);
  let state = null;
  const pin = button("Pin…", pinQuestion(done));
  const freeze = button("Freeze…", freezeQuestion(done));
  const resume = button("Unpin…", resumeQuestion(done));
  const forget = button("Forget…", forgetQuestion(done), "danger");
  const root = html("div", { class: "commands", role: "group", "aria-label": "Choice of plans" }, pin, freeze, resume, forget, dialog.root);

  function update(next) {
    state = next;
    const { hold } = state.store.detail.report;
    setText(pin, hold === "pinned" ? "Pin another…" : "Pin…");
    setText(resume, hold === "pinned" ? "Unpin…" : "Unfreeze…");
    freeze.hidden = hold !== "free";
    resume.hidden = hold === "free";
  }
  return { root, update, isOpen: () => dialog.root.open };
}

/** A question: `{title, text: [paragraphs], fields, consequence(), send(), verb, isDanger}`. */
function confirmDialog() {
  const title = html("h2", { id: "confirm-title" });
  const body = html("div", { id: "confirm-text" });
  const error = html("p", { class: "error", role: "alert" });
  const yes = html("button", { type: "submit" });
  const no = html("button", { type: "button", onclick: () => root.close() }, "Cancel");
  const form = html("form", { onsubmit: (event) => submit(event), oninput: () => setText(error, ""), novalidate: true }, title, body, error, html("div", { class: "buttons" }, no, yes));
  const root = html("dialog", { "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" }, form);
  let question = null;

  function open(next) {
    question = next;
    setText(title, next.title);
    setText(error, "");
    setText(yes, next.verb);
    yes.className = next.isDanger ? "danger" : "primary";
    yes.disabled = false;
    body.replaceChildren(...next.content);
    root.showModal();
  }

  async function submit(event) {
    event.preventDefault();
    setText(error, "");
    yes.disabled = true;
    try {
      await question.send();
      root.close();
    } catch (problem) {
      const text = problem instanceof Refused ? `The gateway refused (${problem.status}): ${problem.message}.` : `No answer from the gateway: ${problem.message}. Whether the command took effect shows when the connection is back.`;
      setText(error, text);
    } finally {
      yes.disabled = false;
    }
  }
  return { root, open };
}

const paragraphs = (...texts) => texts.filter(Boolean).map((text) => html("p", null, text));

const send = (name, action, done, text) => async (body) => {
  await post(ofModel(name, `/${action}`), body);
  done(text);
};

function pinQuestion(done) {
  return ({ store }) => {
    const { plan, bounds, report } = store.detail;
    const largest = plan.rungs.at(-1);
    const before = { max_batch_size: plan.max_batch_size, max_queue_delay_ms: Number(plan.max_queue_delay_ms.toFixed(3)), memory_mib: largest.memory_mib, process_count: largest.process_count };
    const consequence = html("p", { class: "consequence", "aria-live": "polite" });
    const believed = html("p", { class: "muted" });
    const input = (name, label, unit, attributes) => {
      const field = attributes.options
        ? html("select", { name, id: `pin-${name}` }, ...attributes.options.map((value) => html("option", { value }, count(value))))
        : html("input", { name, id: `pin-${name}`, type: "number", inputmode: "decimal", ...attributes });
      field.value = String(before[name]);
      field.addEventListener("input", () => tell());
      return { field, root: html("label", { for: `pin-${name}` }, html("span", null, label), html("span", { class: "with-unit" }, field, unit)) };
    };
    const sizes = [...new Set([...bounds.pinnable_memory_mib, largest.memory_mib])].sort((one, other) => one - other);
    const inputs = {
      max_batch_size: input("max_batch_size", "Largest batch", "items", { min: 1, step: 1 }),
      max_queue_delay_ms: input("max_queue_delay_ms", "Longest wait", "ms", { min: 0, step: "any" }),
      memory_mib: input("memory_mib", "Memory", "MiB", { options: sizes }),
      process_count: input("process_count", "Processes", "", { min: 1, step: 1 }),
    };
    const wanted = () => Object.fromEntries(Object.entries(inputs).map(([name, { field }]) => [name, field.value === "" ? null : Number(field.value)]));
    const changes = () => Object.fromEntries(Object.entries(wanted()).filter(([name, value]) => value !== before[name]));

    function tell() {
      const [all, changed] = [wanted(), changes()];
      const movesPlace = "memory_mib" in changed || "process_count" in changed;
      const where = movesPlace ? `every batch runs on ${place(all.memory_mib, all.process_count)}` : "batches run where they run now";
      setText(consequence, Object.keys(changed).length === 0
        ? `The plan in force stays as it is: ${planSentence(plan)}`
        : `Batches will hold up to ${items(all.max_batch_size)}, the oldest item waits ${ms(all.max_queue_delay_ms)} at the longest, and ${where}.`
          + ("memory_mib" in changed ? ` If ${mib(all.memory_mib)} has no warm sandbox, some are started first by calls without items, which are billed; the plan before serves until then.` : ""));
      setText(believed, belief(store, all));
    }
    tell();
    const name = store.name;
    const go = send(name, "pin", done, `${name} is pinned. It serves this point until it is unpinned.`);
    return {
      title: `Pin ${name} to an operating point?`, verb: "Pin", send: () => go(changes()),
      content: [
        html("div", { class: "fields" }, ...Object.values(inputs).map((it) => it.root)), consequence, believed,
        ...paragraphs("Until it is unpinned the tuner chooses no other plan, not even when the load changes or the objective is missed. It goes on learning."
          + (plan.canary && report.hold === "free" ? " The trial that runs now ends." : "") + " Requests under way are not touched; what waits is packed anew."),
      ],
    };
  };
}

/** What the surface says of a point, if it has it. */
function belief(store, point) {
  const found = store.surface?.places.find((it) => it.memory_mib === point.memory_mib && it.process_count === point.process_count);
  const at = store.surface?.batch_sizes.findIndex((size) => size >= point.max_batch_size) ?? -1;
  if (!found || at < 0) return "";
  const slo = store.detail.slo_latency_ms;
  const size = store.surface.batch_sizes[at];
  return `Believed of a batch of ${items(size)} there: up to ${ms(found.upper_ms[at])} until the answer${found.upper_ms[at] > slo ? `, more than the objective of ${ms(slo)}` : `; the objective is ${ms(slo)}`}; ${usd(found.usd_per_million_items[at])} per million items when full.`;
}

function freezeQuestion(done) {
  return ({ store }) => {
    const { name, detail } = store;
    return {
      title: `Freeze the plan of ${name}?`, verb: "Freeze", send: send(name, "freeze", done, `${name} is frozen. Its plan stays until it is unfrozen.`),
      content: paragraphs(
        `The plan in force stays: ${planSentence(detail.plan)}`,
        "Until it is unfrozen the tuner chooses no other plan, not even when the load changes or the objective is missed. It goes on learning.",
        detail.plan.canary ? "The trial that runs now keeps its share of the batches." : null,
      ),
    };
  };
}

function resumeQuestion(done) {
  return ({ store }) => {
    const { name, detail } = store;
    const isPinned = detail.report.hold === "pinned";
    const [title, verb] = isPinned ? [`Unpin ${name}?`, "Unpin"] : [`Unfreeze ${name}?`, "Unfreeze"];
    const goesOn = {
      pinned: "The policy is “pinned”: nothing else is looked for, and the plan in force stays until the configuration is loaded again.",
      observe: "The policy is “observe”: it only recommends, and the plan in force stays.",
    };
    return {
      title, verb, send: send(name, "resume", done, `${name} is free again. Its policy chooses.`),
      content: paragraphs(goesOn[detail.policy] ?? "The policy chooses again from the next window on, by what was learned meanwhile. The plan may change at once, and trials may begin."),
    };
  };
}

function forgetQuestion(done) {
  return ({ store }) => {
    const { name, detail } = store;
    const { points, hold } = detail.report;
    return {
      title: `Forget everything that was learned of ${name}?`, verb: "Forget", isDanger: true, send: send(name, "forget", done, `What was learned of ${name} is forgotten.`),
      content: paragraphs(
        `What was measured at ${count(points.length)} operating points is dropped, in memory and on the disk. This cannot be undone.`,
        hold === "free" ? "The configured plan serves again until enough is learned anew; that takes some dozen invocations, and trials cost what they cost before." : `The plan in force stays, since it is ${hold}; learning begins anew.`,
      ),
    };
  };
}

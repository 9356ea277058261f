// One card a model: the figures by which one is picked. Each is a link, so that a model has an address.

import { html, setText } from "./dom.js";
import { ms, rate, usd, words } from "./format.js";

export const addressOf = (model) => `#model=${encodeURIComponent(model)}`;

export function modelCards(nav) {
  const list = html("ul", { class: "models" });
  nav.append(list);
  let cards = new Map();

  function card(name) {
    const [state, figures] = [html("span", { class: "chip" }), html("span", { class: "muted" })];
    const link = html("a", { href: addressOf(name) }, html("strong", null, name), state, figures);
    return { root: html("li", null, link), link, state, figures };
  }

  function update({ models, metrics, selected }) {
    const names = models.map((model) => model.model);
    if (names.join("\n") !== [...cards.keys()].join("\n")) {
      cards = new Map(names.map((name) => [name, cards.get(name) ?? card(name)]));
      list.replaceChildren(...[...cards.values()].map((it) => it.root));
    }
    nav.hidden = names.length < 2;
    for (const model of models) {
      const { link, state, figures } = cards.get(model.model);
      const labels = { model: model.model };
      const latency = metrics.sum("plan_realised_latency_seconds", labels);
      const isWrong = model.unservable !== null || model.missing_aliases.length > 0;
      const free = model.policy === "pinned" ? "configured plan" : words(model.phase);
      setText(state, model.unservable !== null ? "not served" : model.hold !== "free" ? words(model.hold) : free);
      state.dataset.tone = isWrong ? "bad" : model.hold !== "free" ? "note" : "";
      const dollars = model.realised.requests > 0 ? [`${usd(model.realised.usd_per_million)} per million`] : [];
      setText(figures, [rate(model.load.requests_per_s), ...(latency === undefined ? [] : [`latency ${ms(latency * 1000)}`]), ...dollars].join(" · "));
      if (model.model === selected) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  return { update };
}

// Elements without HTML text: every text goes in as a text node, so that nothing that a model, a caller or a worker wrote can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element with attributes (`onclick` and the like are listeners) and children, texts among them. */
export function html(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of SVG. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Sets a text, if it is another one: screen readers are told of changes only. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A section of the page: a landmark with a heading, a line that says what it answers, and room. */
export function section(id, title, answers, className = "") {
  const heading = html("h3", { id: `${id}-title`, tabindex: "-1" }, title);
  const body = html("div", { class: "body" });
  const root = html("section", { id, class: `card ${className}`, "aria-labelledby": `${id}-title` }, heading, html("p", { class: "answers" }, answers), body);
  return { root, body, heading };
}

/** A table with a caption for those who do not see it. `columns`: texts, or `{text, number, wide}`; `kind`: `compact` where it need not fill the line. */
export function table(caption, columns, kind = "") {
  const heads = columns.map((column) => html("th", { scope: "col", class: column.number ? "number" : null }, column.text ?? column));
  const body = html("tbody");
  const root = html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, html("table", { class: kind }, html("caption", null, caption), html("thead", null, html("tr", null, ...heads)), body));
  const setRows = (rows) => {
    const line = (cells) => html("tr", null, ...cells.map((cell, at) => {
      const tag = at === 0 ? "th" : "td";
      return html(tag, { scope: at === 0 ? "row" : null, class: columns[at].number ? "number" : columns[at].wide ? "wide-text" : null }, cell ?? "–");
    }));
    body.replaceChildren(...rows.map(line));
  };
  return { root, setRows };
}

/** Figures in a row: `{label, value, note, tone}`. The elements stay, the texts change. */
export function tiles(labels) {
  const parts = labels.map((label) => {
    const value = html("dd", { class: "value" }, "–");
    const note = html("dd", { class: "note" }, "");
    return { value, note, root: html("div", { class: "tile" }, html("dt", null, label), value, note) };
  });
  const root = html("dl", { class: "tiles" }, ...parts.map((part) => part.root));
  const set = (figures) => figures.forEach((figure, at) => {
    setText(parts[at].value, figure?.value ?? "–");
    setText(parts[at].note, figure?.note ?? "");
    parts[at].root.dataset.tone = figure?.tone ?? "";
  });
  return { root, set };
}

/** A choice among a few, as radio buttons. Calls `chosen` with the value. */
export function choices(fieldset, name, options, value, chosen) {
  fieldset.querySelectorAll("label").forEach((label) => label.remove());
  for (const option of options) {
    const input = html("input", { type: "radio", name, value: option.value, onchange: () => chosen(option.value) });
    input.checked = option.value === value;
    fieldset.append(html("label", null, input, html("span", null, option.text)));
  }
}

// Elements and what all views are made of: tables, states, severities, small plots.

/** An element. `on…` properties listen, `class` and `aria-…` are attributes, true is an empty attribute. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Say something to screen readers. */
export function speak(text) {
  document.getElementById("spoken").textContent = text;
}

export const loading = (what) => h("p", { class: "state", role: "status" }, `Loading ${what}…`);
export const empty = (title, ...more) => h("div", { class: "state" }, h("strong", {}, title), ...more.map((one) => h("p", {}, one)));
export const failed = (error, again) => h(
  "div", { class: "state failed", role: "alert" },
  h("strong", {}, error.status === 403 ? "Not for this credential" : "That didn't work"),
  h("p", {}, error.message),
  again ? h("button", { type: "button", onclick: again }, "Try again") : null,
);

/** A severity by its shape, its colour and its word; where there is little room the word is for screen readers alone. */
export function severity(name, count = null, { short = false } = {}) {
  const shapes = { info: "0,5 5,0 10,5 5,10", warning: "5,0 10,10 0,10", critical: "3,0 7,0 10,3 10,7 7,10 3,10 0,7 0,3" };
  return h(
    "span", { class: `severity ${name}`, title: short ? name : null },
    svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("polygon", { points: shapes[name] })),
    count === null ? name : [h("b", {}, count), h("span", { class: short ? "unseen" : null }, name)],
  );
}

/** A table that scrolls sideways by itself. columns: {title, cell, number?, sort?}; `sorted` says where an arrow stands. */
export function table(caption, columns, rows, { sorted = null, onsort = null, rowClass = () => "" } = {}) {
  const head = columns.map((column) => {
    const isSorted = sorted && sorted.key === column.key;
    const title = onsort && column.key
      ? h("button", { type: "button", class: "sort", "data-key": column.key, onclick: () => onsort(column.key) }, column.title,
        h("span", { "aria-hidden": "true" }, isSorted ? (sorted.down ? " ↓" : " ↑") : ""))
      : column.title;
    return h("th", {
      scope: "col", class: column.number ? "number" : null,
      "aria-sort": isSorted ? (sorted.down ? "descending" : "ascending") : null,
    }, title);
  });
  const body = rows.map((row) => h("tr", { class: rowClass(row) || null }, columns.map((column) => h(
    "td", { class: column.number ? "number" : null, "data-title": column.title || null }, column.cell(row),
  ))));
  return h(
    "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
  );
}

let labels = 0;

/** A control with its label. */
export function field(label, control, hint = null) {
  labels += 1;
  control.id = `field-${labels}`;
  const more = hint ? h("small", { id: `hint-${labels}` }, hint) : null;
  if (more) control.setAttribute("aria-describedby", more.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, more);
}

/** A select of [value, text] pairs. */
export function select(options, value, onchange = null, name = null) {
  const element = h("select", { name, onchange: onchange ? (event) => onchange(event.target.value) : null },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return element;
}

/** A heading of a view with what stands beside it. */
export const heading = (title, ...beside) => h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), ...beside);

/** A section with its heading. */
export function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), ...content);
}

/** Calls back only when nothing has come for so long. */
export function settled(callback, wait_ms = 250) {
  let timer = null;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => callback(...given), wait_ms);
  };
}

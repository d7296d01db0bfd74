// Packs: searched and filtered by the engine, a page at a time, each with its latest values.

import { ask, isAbort } from "../session.js";
import { empty, failed, field, h, heading, loading, select, settled, speak, table } from "../elements.js";
import { age, measureNames, number, shortName, unit } from "../format.js";

const LIMIT = 50;

export function show(content, { signal, parameters, keep }) {
  const filters = {
    search: parameters.get("search") ?? "", site: parameters.get("site") ?? "", model: parameters.get("model") ?? "",
    order: parameters.get("order") === "descending" ? "descending" : "", cursor: parameters.get("cursor") ?? "",
  };
  const sort = { key: parameters.get("sort") ?? "", down: parameters.get("down") === "1" };
  const before = [];
  let rows = [];
  let next = null;
  const search = h("input", { type: "search", value: filters.search, autocomplete: "off", maxlength: "200", placeholder: "part of a name" });
  search.addEventListener("input", settled(() => change({ search: search.value.trim() })));
  const bar = h("div", { class: "filters", role: "search" }, field("Search", search));
  const body = h("div", { "aria-live": "off" }, loading("packs"));
  content.append(heading("Packs"), bar, body);
  let turn = new AbortController();
  signal.addEventListener("abort", () => turn.abort());
  lists();
  read();

  async function lists() {
    for (const [name, title] of [["site", "Site"], ["model", "Model"]]) {
      let items = [];
      try {
        ({ items } = await ask(`/v1/${name}s`, { parameters: { limit: 1000 }, signal }));
      } catch (error) {
        if (isAbort(error)) return;
      }
      const names = items.map((item) => item.name);
      if (filters[name] && !names.includes(filters[name])) names.push(filters[name]);
      bar.append(field(title, select([["", `All ${name}s`], ...names.map((one) => [one, one])], filters[name], (value) => change({ [name]: value }))));
    }
  }

  function change(given) {
    before.length = 0;
    Object.assign(filters, { cursor: "" }, given);
    read();
  }

  async function read() {
    turn.abort();
    turn = new AbortController();
    const asked = { signal: turn.signal };
    keep({ ...filters, sort: sort.key, down: sort.down ? "1" : "" });
    try {
      const page = await ask("/v1/packs", { parameters: { ...filters, limit: LIMIT }, ...asked });
      rows = page.items;
      next = page.next_cursor;
      await values(rows, asked);
      draw();
      speak(`${rows.length} packs${next ? ", and more" : ""}`);
    } catch (error) {
      if (!isAbort(error)) body.replaceChildren(failed(error, read));
    }
  }

  function draw() {
    if (rows.length === 0) {
      const narrowed = filters.search || filters.site || filters.model;
      body.replaceChildren(...(next
        ? [empty("Nothing so far", "The search went through a part of the packs."), pages()]
        : [narrowed ? empty("No pack matches", "Search for less, or choose another site or model.") : empty("No packs yet", "Register packs, or let a first reading register them.")]));
      return;
    }
    const column = (name) => ({ key: name, title: `${shortName(name)} ${unit(name)}`, number: true, cell: (row) => number(name, row.latest?.[name]?.value) });
    const newest = (row) => Math.max(0, ...Object.values(row.latest ?? {}).map((one) => one.ts));
    const columns = [
      { key: "pack", title: "Pack", cell: (row) => h("a", { href: `#/packs/${encodeURIComponent(row.pack)}` }, row.pack) },
      { key: "site", title: "Site", cell: (row) => row.site ?? "–" },
      { key: "model", title: "Model", cell: (row) => h("span", { class: "nowrap" }, row.model ?? "–") },
      ...measureNames().map(column),
      { key: "newest", title: "Newest reading", number: true, cell: (row) => (newest(row) ? `${age((Date.now() - newest(row)) / 1000)} ago` : "–") },
    ];
    const key = (row) => {
      if (sort.key === "newest") return newest(row) || null;
      return sort.key in row ? row[sort.key] : row.latest?.[sort.key]?.value ?? null;
    };
    const ordered = sort.key ? [...rows].sort((a, b) => compare(key(a), key(b), sort.down)) : rows;
    const sorted = sort.key ? { key: sort.key, down: sort.down } : { key: "pack", down: filters.order === "descending" };
    const focused = body.contains(document.activeElement) && document.activeElement.className === "sort" ? document.activeElement.textContent.split(/ [↑↓]/)[0] : null;
    body.replaceChildren(table("Packs", columns, ordered, { sorted, onsort }), pages());
    if (focused) [...body.querySelectorAll(".sort")].find((one) => one.textContent.startsWith(focused))?.focus();
  }

  /** The name is sorted by the engine over all packs; a value only within the page, which the line below says. */
  function onsort(key) {
    if (key === "pack") {
      const down = sort.key === "" && filters.order === "";
      sort.key = "";
      change({ order: down ? "descending" : "" });
      return;
    }
    sort.down = sort.key === key ? !sort.down : true;
    sort.key = key;
    keep({ ...filters, sort: sort.key, down: sort.down ? "1" : "" });
    draw();
  }

  function pages() {
    const move = (cursor) => {
      filters.cursor = cursor;
      read();
    };
    return h("p", { class: "actions" },
      h("button", { type: "button", disabled: !filters.cursor, onclick: () => move(before.pop() ?? "") }, before.length || !filters.cursor ? "Previous" : "First page"),
      h("button", { type: "button", disabled: !next, onclick: () => {
        before.push(filters.cursor);
        move(next);
      } }, "Next"),
      h("span", { class: "quiet" }, `${rows.length} packs on this page${sort.key ? ", sorted within it" : ""}`));
  }
}

function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}

/** Put the latest values into the rows; who may read packs but no telemetry sees the packs alone. */
async function values(rows, asked) {
  if (rows.length === 0) return;
  try {
    const { columns } = await ask("/v1/packs/latest", { method: "POST", body: { packs: rows.map((row) => row.pack) }, ...asked });
    const place = new Map(columns.pack.map((pack, at) => [pack, at]));
    for (const row of rows) {
      const at = place.get(row.pack);
      if (at === undefined) continue;
      row.latest = Object.fromEntries(measureNames().filter((name) => columns[name][at] !== null).map((name) => [name, { value: columns[name][at], ts: columns[`${name}_ts`][at] }]));
    }
  } catch (error) {
    if (error.status !== 403) throw error;
  }
}

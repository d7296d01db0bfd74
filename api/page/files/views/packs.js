// Packs: searched and filtered by the engine, sorted by name or by value, each with its latest values.

import { ask, isAbort } from "../session.js";
import { empty, failed, field, h, heading, loading, select, settled, speak, table } from "../elements.js";
import { age, count, measureNames, number, plural, shortName, unit } from "../format.js";

const LIMIT = 50;
const ASKED_MAX = 1000;
const SORTED_MAX = 5000;
const TURNS_MAX = 10;
const EVERY_MS = 10000;
const TEXTS = ["site", "model"];

export function show(content, { signal, parameters, keep }) {
  const filters = Object.fromEntries(["search", "region", "site", "model"].map((name) => [name, parameters.get(name) ?? ""]));
  const place = { order: parameters.get("order") === "descending" ? "descending" : "", cursor: parameters.get("cursor") ?? "" };
  const sort = { key: parameters.get("sort") ?? "", down: parameters.get("down") === "1", page: Math.max(0, Number.parseInt(parameters.get("page"), 10) || 0) };
  const before = [];
  let found = nothing();
  const search = h("input", { type: "search", value: filters.search, autocomplete: "off", maxlength: "200", placeholder: "part of a name" });
  search.addEventListener("input", settled(() => change({ search: search.value.trim() })));
  const bar = h("div", { class: "filters", role: "search" }, field("Search", search));
  const body = h("div", { "aria-live": "off" }, loading("packs"));
  content.append(heading("Packs"), bar, body);
  let turn = new AbortController();
  const clock = setInterval(renew, EVERY_MS);
  signal.addEventListener("abort", () => {
    turn.abort();
    clearInterval(clock);
  });
  lists();
  read();

  async function lists() {
    const named = {};
    for (const kind of ["sites", "models"]) {
      try {
        named[kind] = (await ask(`/v1/${kind}`, { parameters: { limit: ASKED_MAX }, signal })).items;
      } catch (error) {
        if (isAbort(error)) return;
        named[kind] = [];
      }
    }
    const regions = [...new Set(named.sites.map((site) => site.region).filter(Boolean))].sort();
    for (const [name, title, names] of [["region", "Region", regions], ["site", "Site", named.sites.map((one) => one.name)], ["model", "Model", named.models.map((one) => one.name)]]) {
      if (filters[name] && !names.includes(filters[name])) names.push(filters[name]);
      if (names.length) bar.append(field(title, select([["", `All ${name}s`], ...names.map((one) => [one, one])], filters[name], (value) => change({ [name]: value }))));
    }
  }

  const isNarrowed = () => Object.values(filters).some(Boolean);

  function change(given) {
    before.length = 0;
    sort.page = 0;
    place.cursor = "";
    Object.assign(filters, given);
    read();
  }

  function address() {
    keep({ ...filters, ...place, sort: sort.key, down: sort.down ? "1" : "", page: sort.page ? String(sort.page) : "" });
  }

  /**
   * Ask until a page is full, or until all packs were looked at: the engine looks at some thousands at a time. By a value
   * it is sorted here, so then all that match are asked for. After so many turns somebody must want it to go on.
   */
  async function read({ goesOn = false } = {}) {
    turn.abort();
    turn = new AbortController();
    const { signal: ended } = turn;
    address();
    if (!goesOn) found = nothing(sort.key ? "" : place.cursor);
    const wanted = sort.key ? SORTED_MAX : LIMIT;
    try {
      for (let turns = 0; turns < TURNS_MAX && found.next !== null && found.rows.length < wanted; turns += 1) {
        found.isGoing = true;
        if (turns > 0 || goesOn) draw();
        const asked = { ...filters, order: place.order, cursor: found.next, limit: Math.min(ASKED_MAX, wanted - found.rows.length) };
        const page = await ask("/v1/packs", { parameters: asked, signal: ended });
        await values(page.items, { signal: ended });
        found.rows.push(...page.items);
        found.next = page.next_cursor;
        found.lookedAt += page.looked_at;
      }
      found.isGoing = false;
      arrange();
      draw();
      speak(`${plural(found.rows.length, "pack")}${found.next === null ? "" : ", and more"}`);
    } catch (error) {
      if (!isAbort(error)) body.replaceChildren(failed(error, () => read()));
    }
  }

  function stop() {
    turn.abort();
    turn = new AbortController();
    found.isGoing = false;
    arrange();
    draw();
  }

  /** The values of the rows that are shown, again. Their order stays, so that nothing moves under a finger. */
  async function renew() {
    const { signal: ended } = turn;
    if (document.hidden || found.isGoing || ended.aborted || !getSelection().isCollapsed) return;
    try {
      await values(shown(), { signal: ended });
      if (!ended.aborted && !found.isGoing) draw();
    } catch {
      // The next time: the bar at the top says when the engine is away.
    }
  }

  const key = (row) => {
    if (sort.key === "newest") return newest(row);
    return sort.key in row ? row[sort.key] : row.latest?.[sort.key]?.value ?? null;
  };

  function arrange() {
    if (sort.key) found.rows.sort((a, b) => compare(key(a), key(b), sort.down));
    sort.page = Math.max(0, Math.min(sort.page, Math.ceil(found.rows.length / LIMIT) - 1));
  }

  const shown = () => (sort.key ? found.rows.slice(sort.page * LIMIT, (sort.page + 1) * LIMIT) : found.rows);

  function draw() {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = body.querySelector(".scroll")?.scrollLeft ?? 0;
    body.replaceChildren(...(found.rows.length ? [theTable()] : [nobody()]), foot());
    if (body.querySelector(".scroll")) body.querySelector(".scroll").scrollLeft = scrolled;
    focusAgain(body, focused);
  }

  function nobody() {
    if (found.isGoing) return loading("packs");
    if (found.next !== null) return empty("Nothing so far");
    if (isNarrowed()) return empty("No pack matches", "Search for less, or choose another region, site or model.");
    return empty("No packs yet", "Register packs, or let a first reading register them.");
  }

  function theTable() {
    const value = (name) => ({ key: name, title: `${shortName(name)} ${unit(name)}`, number: true, cell: (row) => number(name, row.latest?.[name]?.value) });
    const columns = [
      { key: "pack", title: "Pack", cell: (row) => h("a", { href: `#/packs/${encodeURIComponent(row.pack)}` }, row.pack) },
      { key: "site", title: "Site", cell: (row) => row.site ?? "–" },
      { key: "model", title: "Model", cell: (row) => h("span", { class: "nowrap" }, row.model ?? "–") },
      ...measureNames().map(value),
      { key: "newest", title: "Newest reading", number: true, cell: (row) => (newest(row) ? `${age((Date.now() - newest(row)) / 1000)} ago` : "–") },
    ];
    const sorted = sort.key ? { key: sort.key, down: sort.down } : { key: "pack", down: place.order === "descending" };
    return table("Packs", columns, shown(), { sorted, onsort });
  }

  /** The name is sorted by the engine, the rest here; a value begins with the largest. */
  function onsort(name) {
    const was = sort.key;
    const hasAll = found.next === null && !place.cursor;
    if (name === "pack") {
      place.order = was === "" && place.order === "" ? "descending" : "";
      Object.assign(sort, { key: "", down: false });
    } else {
      Object.assign(sort, { key: name, down: was === name ? !sort.down : !TEXTS.includes(name) });
      place.order = "";
    }
    sort.page = 0;
    place.cursor = "";
    before.length = 0;
    if (sort.key && hasAll) {
      address();
      arrange();
      draw();
    } else read();
  }

  /** What was looked at, and the way on. */
  function foot() {
    const searched = `${plural(found.lookedAt, "pack")} searched, ${count(found.rows.length)} match`;
    if (found.isGoing) return line(`${searched}…`, button("Stop", stop));
    const isCut = found.next !== null && found.rows.length < (sort.key ? SORTED_MAX : LIMIT);
    const goOn = isCut ? button("Search on", () => read({ goesOn: true })) : null;
    const pages = sort.key ? sortedPages() : namedPages(isCut);
    const said = isCut ? `${searched} so far. There are more packs to search.` : inWords();
    return line(said, goOn, ...pages);
  }

  function inWords() {
    const rows = shown();
    if (!sort.key) return place.cursor || found.next !== null ? `${plural(rows.length, "pack")} on this page` : plural(rows.length, "pack");
    const from = sort.page * LIMIT;
    const all = found.next === null ? count(found.rows.length) : `the first ${count(found.rows.length)} by name: narrow the search to sort the rest`;
    return rows.length ? `${count(from + 1)}–${count(from + rows.length)} of ${all}` : "";
  }

  function sortedPages() {
    const move = (step) => {
      sort.page += step;
      address();
      draw();
    };
    return [button("Previous", () => move(-1), sort.page === 0), button("Next", () => move(1), (sort.page + 1) * LIMIT >= found.rows.length)];
  }

  function namedPages(isCut) {
    const move = (cursor) => {
      place.cursor = cursor;
      read();
    };
    return [
      button(before.length || !place.cursor ? "Previous" : "First page", () => move(before.pop() ?? ""), !place.cursor),
      button("Next", () => {
        before.push(place.cursor);
        move(found.next);
      }, found.next === null || isCut),
    ];
  }
}

const nothing = (cursor = "") => ({ rows: [], next: cursor, lookedAt: 0, isGoing: false });
const newest = (row) => Math.max(0, ...Object.values(row.latest ?? {}).map((one) => one.ts)) || null;
const button = (text, onclick, disabled = false) => h("button", { type: "button", onclick, disabled }, text);
const line = (text, ...buttons) => h("p", { class: "actions" }, ...buttons, h("span", { class: "quiet", id: "packs-found" }, text));

/** Give the focus to what stands in the place of the element that had it. */
function focusAgain(body, was) {
  if (was === null) return;
  const like = was.className === "scroll" ? body.querySelector(".scroll") : was.className === "sort"
    ? [...body.querySelectorAll(".sort")].find((one) => one.dataset.key === was.dataset.key)
    : [...body.querySelectorAll(was.tagName)].find((one) => one.textContent === was.textContent);
  like?.focus({ preventScroll: true });
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

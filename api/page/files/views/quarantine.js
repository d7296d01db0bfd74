// What was set aside: filtered, judged again after what was wrong has been put right, or let go of.

import { ask, isAbort, may } from "../session.js";
import { empty, failed, field, h, heading, loading, select, settled, speak, table } from "../elements.js";
import { count, engineUnit, inUnit, measureNames, quarantineReasons, time } from "../format.js";

const LIMIT = 50;

export function show(content, { signal, parameters, keep }) {
  const filters = { reason: parameters.get("reason") ?? "", source: parameters.get("source") ?? "", pack: parameters.get("pack") ?? "" };
  let cursor = parameters.get("cursor") ?? "";
  const input = (name) => {
    const element = h("input", { type: "search", value: filters[name], maxlength: "200", autocomplete: "off" });
    element.addEventListener("input", settled(() => {
      filters[name] = element.value.trim();
      cursor = "";
      read();
    }));
    return element;
  };
  const reason = select([["", "All reasons"], ...quarantineReasons().map((name) => [name, name.replaceAll("_", " ")])], filters.reason, (value) => {
    filters.reason = value;
    cursor = "";
    read();
  });
  const told = h("div", { role: "status" });
  const redrive = may("quarantine:write") ? h("div", { class: "actions" },
    h("button", { type: "button", onclick: () => again(true) }, "Try a re-drive"),
    h("button", { type: "button", onclick: () => again(false) }, "Re-drive all that match")) : null;
  const body = h("div", {}, loading("quarantine"));
  content.append(
    heading("Quarantine"),
    h("div", { class: "filters", role: "search" }, field("Reason", reason), field("Source", input("source")), field("Pack", input("pack")), redrive),
    told, body,
  );

  const chosen = () => Object.fromEntries(Object.entries(filters).filter(([, value]) => value));

  async function read() {
    keep({ ...filters, cursor });
    try {
      const page = await ask("/v1/quarantine", { parameters: { ...filters, cursor, limit: LIMIT }, signal });
      draw(page);
      speak(`${page.items.length} items`);
    } catch (error) {
      if (!isAbort(error)) body.replaceChildren(failed(error, read));
    }
  }

  /** A page of a re-drive follows the other, as the engine hands them out, until all that matched has been judged. */
  async function again(dry) {
    const sums = { selected: 0, accepted: 0, duplicate: 0, quarantined: 0, skipped: 0 };
    let at = null;
    try {
      do {
        const answer = await ask("/v1/quarantine/redrive", { method: "POST", body: { dry_run: dry, filter: chosen(), cursor: at }, signal });
        for (const name of Object.keys(sums)) sums[name] += answer[name];
        at = answer.next_cursor;
        told.replaceChildren(h("p", { class: "note" }, `${dry ? "A re-drive would judge" : "Judged again:"} ${count(sums.selected)} ${dry ? "items: " : ""}— ${count(sums.accepted)} accepted, ${count(sums.duplicate)} duplicate, ${count(sums.quarantined)} stay, ${count(sums.skipped)} skipped${at ? "; going on…" : "."}`));
      } while (at && !signal.aborted);
      if (!dry) read();
    } catch (error) {
      if (!isAbort(error)) told.replaceChildren(failed(error));
    }
  }

  async function one(item, path, method, sent, done) {
    try {
      const answer = await ask(path, { method, body: sent, signal });
      const stays = answer.items?.length ? `It stays: ${answer.items[0].reason?.replaceAll("_", " ") ?? "as before"}.` : done;
      told.replaceChildren(h("p", { class: "note" }, stays));
      read();
    } catch (error) {
      if (!isAbort(error)) told.replaceChildren(failed(error));
    }
  }

  function draw({ items, next_cursor: next }) {
    if (items.length === 0) {
      body.replaceChildren(Object.keys(chosen()).length ? empty("Nothing matches") : empty("Nothing is set aside", "Readings that are wrong would stand here, each with its reason."));
      return;
    }
    const columns = [
      { title: "Reason", cell: (item) => item.reason.replaceAll("_", " ") },
      { title: "Field", cell: (item) => [item.field ?? "–", item.limit_value === null ? "" : ` (limit ${limitOf(item)})`].join("") },
      { title: "Pack", cell: (item) => (item.pack ? h("a", { href: `#/packs/${encodeURIComponent(item.pack)}` }, item.pack) : "–") },
      { title: "Source", cell: (item) => item.source },
      { title: "Times", number: true, cell: (item) => count(item.times) },
      { title: "First", cell: (item) => h("span", { class: "nowrap" }, time(item.first_at)) },
      { title: "Last", cell: (item) => h("span", { class: "nowrap" }, time(item.last_at)) },
      { title: "As it came", cell: (item) => h("details", { class: "raw" }, h("summary", {}, item.form), h("pre", { tabindex: "0" }, item.raw)) },
    ];
    if (may("quarantine:write")) {
      columns.push({
        title: "Do",
        cell: (item) => h("span", { class: "actions tight" },
          h("button", { type: "button", class: "small", disabled: !item.whole, onclick: () => one(item, "/v1/quarantine/redrive", "POST", { ids: [item.id] }, "Judged again and stored."), "aria-label": `Re-drive ${item.reason} of ${item.pack ?? item.source}` }, "Re-drive"),
          h("button", { type: "button", class: "small", onclick: (event) => discard(event.target, item), "aria-label": `Discard ${item.reason} of ${item.pack ?? item.source}` }, "Discard")),
      });
    }
    body.replaceChildren(
      table("Quarantine", columns, items),
      h("p", { class: "actions" },
        h("button", { type: "button", disabled: !cursor, onclick: () => { cursor = ""; read(); } }, "First page"),
        h("button", { type: "button", disabled: !next, onclick: () => { cursor = next; read(); } }, "Next"),
        h("span", { class: "quiet" }, `${items.length} items on this page, oldest first`)),
    );
  }

  /** What is let go of doesn't come back, so the button asks once more. */
  function discard(button, item) {
    if (button.dataset.sure) one(item, `/v1/quarantine/${item.id}`, "DELETE", null, "Discarded. The audit log keeps it.");
    else {
      button.dataset.sure = "1";
      button.textContent = "Discard for good?";
      button.setAttribute("aria-label", `Discard ${item.reason} of ${item.pack ?? item.source} for good?`);
    }
  }

  read();
}

/** The limit that was broken: of a measure in its unit, else as it is told. */
function limitOf({ field: name, limit_value: limit }) {
  return measureNames().includes(name) && Number.isFinite(Number(limit)) ? inUnit(Number(limit), engineUnit(name)) : limit;
}

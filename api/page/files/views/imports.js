// Imports with the sums of their receipts, which grow while one goes on.

import { ask } from "../session.js";
import { poll } from "../live.js";
import { empty, failed, h, heading, loading, svg, table } from "../elements.js";
import { count, time } from "../format.js";

const EVERY_MS = 2000;
const LIMIT = 100;
const GOING_MS = 10000;

export function show(content, { signal, parameters, keep }) {
  let cursor = parameters.get("cursor") ?? "";
  const body = h("div", {}, loading("imports"));
  content.append(heading("Imports"), body);
  const seen = new Map();
  let turn = new AbortController();
  signal.addEventListener("abort", () => turn.abort());

  function follow() {
    turn.abort();
    turn = new AbortController();
    keep({ cursor });
    poll(() => ask("/v1/imports", { parameters: { limit: LIMIT, cursor }, signal: turn.signal }), draw, (error) => body.replaceChildren(failed(error, follow)), EVERY_MS, turn.signal);
  }

  /** Readings a second since the last look, while they come. An import has no end of its own: it says nothing of what is still to come. */
  function pace(row) {
    const now_ms = Date.now();
    const before = seen.get(row.id) ?? { received: row.received, at_ms: now_ms, moved_ms: 0, rate: 0 };
    const grown = row.received - before.received;
    const after = { received: row.received, at_ms: now_ms, moved_ms: grown > 0 ? now_ms : before.moved_ms, rate: grown > 0 ? grown * 1000 / Math.max(1, now_ms - before.at_ms) : before.rate };
    seen.set(row.id, after);
    return now_ms - after.moved_ms < GOING_MS ? after.rate : null;
  }

  function draw({ items, next_cursor: next }) {
    if (items.length === 0) {
      body.replaceChildren(empty("No imports", "An import takes in the past: POST /v1/imports begins one, and bpm replay does it for recordings."));
      return;
    }
    const rates = new Map(items.map((row) => [row.id, pace(row)]));
    const rest = (row) => Math.max(0, row.received - row.accepted - row.duplicate - row.quarantined);
    const focused = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    body.replaceChildren(
      table("Imports", [
        { title: "Source", cell: (row) => row.source },
        { title: "Begun", cell: (row) => h("span", { class: "nowrap" }, time(row.created_at)) },
        { title: "By", cell: (row) => row.created_by },
        { title: "Progress", cell: (row) => (rates.get(row.id) === null ? h("span", { class: "quiet" }, row.received ? "at rest" : "nothing yet") : `${count(Math.round(rates.get(row.id)))} readings/s`) },
        { title: "Outcome", cell: (row) => outcome(row, rest(row)) },
        { title: "Received", number: true, cell: (row) => count(row.received) },
        { title: "Accepted", number: true, cell: (row) => count(row.accepted) },
        { title: "Duplicate", number: true, cell: (row) => count(row.duplicate) },
        { title: "Set aside", number: true, cell: (row) => count(row.quarantined) },
        { title: "Conflicting", number: true, cell: (row) => count(row.conflicting) },
      ], items),
      h("p", { class: "actions" },
        h("button", { type: "button", disabled: !cursor, onclick: () => { cursor = ""; follow(); } }, "First page"),
        h("button", { type: "button", disabled: !next, onclick: () => { cursor = next; follow(); } }, "Next")),
    );
    if (focused) [...body.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  follow();
}

/** How the readings received divide into accepted, duplicate and set aside. */
function outcome(row, waiting) {
  if (!row.received) return h("span", { class: "quiet" }, "–");
  let x = 0;
  const parts = [["reporting", row.accepted], ["never_seen", row.duplicate], ["silent", row.quarantined], ["", waiting]].map(([name, n]) => {
    const width = 100 * n / row.received;
    const part = svg("rect", { class: name, x, y: 0, width, height: 6 });
    x += width;
    return part;
  });
  return svg("svg", { class: "states narrow", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": `${Math.round(100 * row.accepted / row.received)} % accepted` }, ...parts);
}

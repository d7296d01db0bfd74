// Imports, the newest first, with the sums of their receipts, which grow while one goes on.

import { ask } from "../session.js";
import { poll } from "../live.js";
import { empty, failed, h, heading, loading, svg, table } from "../elements.js";
import { age, count, time } from "../format.js";

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

  /** Readings a second since the last look, while they come; null when they rest. */
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
        { title: "Progress", cell: (row) => progress(row, rates.get(row.id)) },
        { title: "Outcome", cell: (row) => outcome(row, rest(row)) },
        { title: "Received", number: true, cell: (row) => count(row.received) },
        { title: "Accepted", number: true, cell: (row) => count(row.accepted) },
        { title: "Duplicate", number: true, cell: (row) => count(row.duplicate) },
        { title: "Set aside", number: true, cell: (row) => count(row.quarantined) },
        { title: "Conflicting", number: true, cell: (row) => count(row.conflicting) },
      ], items, { rowClass: (row) => (row.undone_at ? "done" : "") }),
      h("p", { class: "actions" },
        h("button", { type: "button", disabled: !cursor, onclick: () => { cursor = ""; follow(); } }, "First page"),
        h("button", { type: "button", disabled: !next, onclick: () => { cursor = next; follow(); } }, "Next")),
    );
    if (focused) [...body.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  follow();
}

/** How far an import is: a bar where its sender said how many readings will come, and in words what is known. */
function progress(row, rate) {
  const share = row.expected ? Math.min(1, row.received / row.expected) : null;
  const percent = share === null ? null : Math.floor(100 * share);
  const words = inWords(row, rate, share);
  if (share === null || row.undone_at) return h("span", { class: "quiet nowrap" }, words);
  const bar = svg("svg", {
    class: "states", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "progressbar", "aria-label": `Import ${row.source}`,
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": percent, "aria-valuetext": words,
  }, svg("rect", { class: "ground", width: 100, height: 6 }), svg("rect", { class: "reporting", width: 100 * share, height: 6 }));
  return h("div", { class: "progress" }, bar, h("span", { class: "quiet nowrap" }, words));
}

function inWords(row, rate, share) {
  if (row.undone_at) return `undone ${time(row.undone_at)}`;
  if (share === 1) return "complete";
  if (row.received === 0) return "nothing yet";
  const far = share === null ? [] : [`${Math.floor(100 * share)} % of ${count(row.expected)}`];
  if (rate === null) return [...far, `at rest, last ${age((Date.now() - Date.parse(row.last_arrived_at)) / 1000)} ago`].join(", ");
  const left = share === null ? [] : [`${age((row.expected - row.received) / rate)} left`];
  return [...far, `${count(Math.round(rate))} readings/s`, ...left].join(", ");
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

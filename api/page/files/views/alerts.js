// Open alerts as they happen, and what people do with them.

import { ask, isAbort, may } from "../session.js";
import { socket } from "../live.js";
import { empty, failed, field, h, heading, loading, select, severity, speak } from "../elements.js";
import { inUnit, time } from "../format.js";

const SEVERITIES = ["critical", "warning", "info"];
const SHOWN_MAX = 500;
const SETTLE_MS = 50;

export function show(content, { signal, parameters, keep }) {
  const filters = {
    severity: SEVERITIES.includes(parameters.get("severity")) ? parameters.get("severity") : "",
    region: parameters.get("region") ?? "", site: parameters.get("site") ?? "", seen: parameters.get("seen") ?? "",
  };
  const open = new Map();
  let cursor = null;
  let fresh = true;
  let timer = null;
  const sum = h("span", { class: "quiet", id: "alerts-count" });
  const list = h("ul", { class: "alerts", "aria-label": "Open alerts" });
  const state = h("div", {}, loading("alerts"));
  const bar = h("div", { class: "filters" },
    field("Severity", select([["", "All severities"], ...SEVERITIES.map((name) => [name, name])], filters.severity, (value) => change({ severity: value }))),
    field("Acknowledged", select([["", "Show all"], ["hide", "Hide acknowledged"]], filters.seen, (value) => {
      filters.seen = value;
      keep(filters);
      sort();
    })));
  content.append(heading("Alerts", sum), bar, state, list);
  const places = sites();

  /** The sites, once they are known, with a control to choose one or a region; none when they can't be read. */
  async function sites() {
    try {
      const { items } = await ask("/v1/sites", { parameters: { limit: 1000 }, signal });
      for (const [name, title, values] of [["region", "Region", items.map((site) => site.region)], ["site", "Site", items.map((site) => site.name)]]) {
        const names = [...new Set([...values, filters[name]].filter(Boolean))].sort();
        if (names.length) bar.append(field(title, select([["", `All ${name}s`], ...names.map((one) => [one, one])], filters[name], (value) => change({ [name]: value }))));
      }
      return items;
    } catch (error) {
      if (!isAbort(error)) bar.append(h("small", {}, error.message));
      return [];
    }
  }

  let turn = new AbortController();
  signal.addEventListener("abort", () => turn.abort());

  /** Another filter is another stream, which begins with a snapshot. */
  function change(given) {
    Object.assign(filters, given);
    keep(filters);
    connect();
  }

  /** The names of the sites that are wanted; of none, when all are. A region that has none matches nothing. */
  async function wantedSites() {
    if (filters.site) return [filters.site];
    if (!filters.region) return [];
    const within = (await places).filter((site) => site.region === filters.region).map((site) => site.name);
    return within.length ? within : [`no site of ${filters.region}`];
  }

  async function connect() {
    turn.abort();
    turn = new AbortController();
    const { signal: ended } = turn;
    clear();
    cursor = null;
    fresh = true;
    state.replaceChildren(loading("alerts"));
    const wanted = { sites: await wantedSites(), severities: filters.severity ? [filters.severity] : [] };
    if (ended.aborted) return;
    socket("/v1/alerts/live", () => ({ cursor, filter: wanted }), take, (error) => state.replaceChildren(failed(error, connect)), turn.signal);
  }

  function clear() {
    open.clear();
    list.replaceChildren();
  }

  function take({ type, cursor: given, data }) {
    if (type === "snapshot") {
      if (fresh) clear();
      fresh = !data.more;
      for (const alert of data.alerts) put(alert);
    } else if (type === "alert") {
      put(data.alert);
      if (data.event.kind === "raised") speak(`${data.alert.severity}: ${data.alert.rule} on ${about(data.alert)}`);
    }
    cursor = given ?? cursor;
    if (type !== "heartbeat") sort();
  }

  /** Shown is what is open and not muted; an element is made only for what is shown. */
  function put(alert) {
    const known = open.get(alert.id);
    if (alert.state !== "open" || alert.muted) {
      known?.card?.element.remove();
      open.delete(alert.id);
    } else if (known) {
      known.alert = alert;
      known.card?.update(alert);
    } else open.set(alert.id, { alert, card: null });
  }

  /** A burst of frames is shown at once. */
  function sort() {
    timer ??= setTimeout(() => {
      timer = null;
      if (!signal.aborted) draw();
    }, SETTLE_MS);
  }

  function draw() {
    const ordered = [...open.values()].sort((a, b) => SEVERITIES.indexOf(a.alert.severity) - SEVERITIES.indexOf(b.alert.severity) || b.alert.raised_at.localeCompare(a.alert.raised_at));
    const shown = ordered.filter((one) => filters.seen !== "hide" || !one.alert.acknowledged_by).slice(0, SHOWN_MAX);
    // Elements that stand right already aren't touched, so that the focus and an open form stay.
    shown.forEach((one, place) => {
      one.card ??= card(one.alert, put, sort, signal);
      const { element } = one.card;
      if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    });
    while (list.children.length > shown.length) list.lastElementChild.remove();
    const waiting = ordered.filter((one) => !one.alert.acknowledged_by).length;
    sum.textContent = `${ordered.length} open, ${waiting} not acknowledged${ordered.length > SHOWN_MAX ? `; the first ${SHOWN_MAX} are shown` : ""}`;
    state.replaceChildren(...(shown.length ? [] : [empty("No open alerts", filters.severity || filters.region || filters.site || filters.seen ? "None that match these filters." : "New ones appear here by themselves.")]));
  }

  connect();
}

function card(first, put, sort, signal) {
  const top = h("div", { class: "top" });
  const more = h("div", { class: "more", hidden: true });
  const element = h("li", { class: `alert ${first.severity}`, id: `alert-${first.id}` }, top, more);
  const self = { alert: first, element, update };
  let isOpen = false;

  function update(alert) {
    self.alert = alert;
    const focused = top.contains(document.activeElement) ? document.activeElement.textContent : null;
    top.replaceChildren(...summary(alert, isOpen, toggle, acknowledge));
    element.classList.toggle("seen", Boolean(alert.acknowledged_by));
    if (focused) ([...top.querySelectorAll("button, a")].find((one) => one.textContent === focused) ?? top.querySelector("button"))?.focus();
    if (isOpen) history();
  }

  async function act(path, body, done) {
    try {
      const after = await ask(`/v1/alerts/${self.alert.id}/${path}`, { method: "POST", body, signal });
      put(after);
      sort();
      speak(done);
    } catch (error) {
      if (!isAbort(error)) more.replaceChildren(failed(error, history));
      more.hidden = false;
    }
  }

  const acknowledge = () => act("acknowledge", null, "acknowledged");

  async function toggle() {
    isOpen = !isOpen;
    more.hidden = !isOpen;
    update(self.alert);
    if (isOpen && more.children.length === 0) more.replaceChildren(loading("what happened"));
  }

  async function history() {
    try {
      const detail = await ask(`/v1/alerts/${self.alert.id}`, { signal });
      const past = more.querySelector(".history");
      const lines = happened(detail);
      if (past) past.replaceWith(lines);
      else more.replaceChildren(lines, ...(may("alert:write") ? forms(act) : []));
    } catch (error) {
      if (!isAbort(error)) more.replaceChildren(failed(error, history));
    }
  }

  update(first);
  return self;
}

/** What an alert is about, in words: a pack, a source of readings, or the tenant's credentials. */
function about(alert) {
  return alert.pack ?? alert.source ?? (alert.security_kind ? "credentials of this tenant" : "all sources");
}

function summary(alert, isOpen, toggle, acknowledge) {
  const marks = [alert.flapping ? "flapping" : null, alert.late ? "late" : null, alert.provisional ? "provisional" : null, alert.maintenance ? "maintenance" : null].filter(Boolean);
  return [
    severity(alert.severity),
    h("b", {}, alert.rule),
    alert.pack ? h("a", { href: `#/packs/${encodeURIComponent(alert.pack)}` }, alert.pack) : h("span", {}, about(alert)),
    alert.value === null ? null : h("span", {}, inUnit(alert.value, alert.unit)),
    h("span", { class: "quiet" }, [alert.site, `since ${time(alert.onset)}`, ...marks].filter(Boolean).join(" · ")),
    h("span", { class: "actions" },
      alert.assigned_to ? h("span", { class: "quiet" }, `with ${alert.assigned_to}`) : null,
      alert.acknowledged_by
        ? h("span", { class: "quiet acknowledged" }, `acknowledged by ${alert.acknowledged_by}`)
        : may("alert:write") ? h("button", { type: "button", class: "small", onclick: acknowledge, "aria-label": `Acknowledge ${alert.rule} on ${about(alert)}` }, "Acknowledge") : null,
      h("button", { type: "button", class: "small", "aria-expanded": String(isOpen), onclick: toggle, "aria-label": `Details of ${alert.rule} on ${about(alert)}` }, isOpen ? "Less" : "More")),
  ].filter(Boolean);
}

function happened(detail) {
  const lines = [
    ...detail.transitions.map((one) => [one.rule_time, `${one.kind}${one.reason ? ` (${one.reason.replaceAll("_", " ")})` : ""}${one.value === null ? "" : ` at ${inUnit(one.value, detail.unit)}`}`]),
    ...detail.actions.map((one) => [one.at, `${one.kind} by ${one.subject}${one.kind === "assigned" ? ` to ${one.assignee ?? "nobody"}` : ""}${one.comment ? `: ${one.comment}` : ""}`]),
  ].sort(([a], [b]) => Date.parse(a) - Date.parse(b));
  return h("ul", { class: "history", "aria-label": "What happened" }, lines.map(([at, text]) => h("li", {}, h("span", { class: "quiet" }, time(at)), " ", text)));
}

function forms(act) {
  const comment = h("input", { type: "text", maxlength: "2000", required: true });
  const assignee = h("input", { type: "text", maxlength: "200" });
  return [
    h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        act("comments", { comment: comment.value }, "comment added");
        comment.value = "";
      },
    }, field("Comment", comment), h("button", { type: "submit" }, "Add")),
    h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        act("assign", { assignee: assignee.value.trim() || null }, "assigned");
      },
    }, field("Assign to (nobody, if empty)", assignee), h("button", { type: "submit" }, "Assign")),
  ];
}

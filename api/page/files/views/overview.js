// The fleet as it is now, from one cheap call every two seconds.

import { ask } from "../session.js";
import { poll } from "../live.js";
import { empty, failed, h, heading, loading, section, select, severity, svg, table } from "../elements.js";
import { age, count, number, plural, time, unit } from "../format.js";

const EVERY_MS = 2000;
const SPLITS = [["site", "Region and site"], ["model", "Model"], ["region", "Region"], ["state", "State"]];
const STATES = { reporting: "reporting", silent: "silent", never_seen: "never seen" };

export function show(content, { signal, parameters, keep }) {
  let by = SPLITS.some(([key]) => key === parameters.get("by")) ? parameters.get("by") : "site";
  const asOf = h("span", { class: "quiet" });
  const body = h("div", {}, loading("the fleet"));
  const chooser = h("label", { class: "inline" }, "Split by ", select(SPLITS, by, (value) => {
    by = value;
    keep({ by });
    refresh();
  }));
  content.append(heading("Fleet", asOf), body);
  let turn = new AbortController();
  signal.addEventListener("abort", () => turn.abort());
  let regions = null;

  /** Of each site its region, asked for once; a site that came since stands without. */
  async function regionsOf(asked) {
    regions ??= new Map((await ask("/v1/sites", { parameters: { limit: 1000 }, ...asked })).items.map((site) => [site.name, site.region]));
    return regions;
  }

  const live = async (split, asked) => (await ask("/v1/aggregates/live", { parameters: { by: split }, ...asked })).items;

  /** The rows of the table: the groups; of sites a tree, each below its region. */
  async function rows(asked) {
    if (by !== "site") return live(by, asked);
    const [sites, above, region] = await Promise.all([live("site", asked), live("region", asked), regionsOf(asked)]);
    if (above.every((one) => one.group === null)) return sites;
    return above.flatMap((one) => [
      { ...one, isRegion: true },
      ...sites.filter((site) => (region.get(site.group) ?? null) === one.group).map((site) => ({ ...site, isLeaf: true })),
    ]);
  }

  function refresh() {
    turn.abort();
    turn = new AbortController();
    const asked = { signal: turn.signal };
    poll(
      () => Promise.all([ask("/v1/aggregates/live", asked), rows(asked)]),
      ([fleet, groups]) => {
        asOf.textContent = `as of ${time(fleet.as_of)}`;
        draw(body, fleet, groups, by, chooser);
      },
      (error) => body.replaceChildren(failed(error, refresh)),
      EVERY_MS,
      turn.signal,
    );
  }
  refresh();
}

function draw(body, answer, groups, by, chooser) {
  const [fleet] = answer.items;
  const total = Object.values(fleet.packs).reduce((sum, one) => sum + one, 0);
  if (total === 0) {
    body.replaceChildren(empty("No packs yet", "Register packs or send a first reading to /v1/telemetry: they appear here by themselves."));
    return;
  }
  // The control and what has the focus stay where they are: only the figures come anew.
  if (!body.querySelector(".figures")) {
    body.replaceChildren(
      h("div", { class: "figures" }), h("div", { class: "pair" }, h("div", { class: "charge" }), h("div", { class: "health" })),
      h("section", {}, h("div", { class: "heading" }, h("h2", {}, "By group"), chooser), h("div", { class: "groups" })),
    );
  }
  body.querySelector(".figures").replaceChildren(...figures(answer, fleet, total));
  body.querySelector(".charge").replaceChildren(distribution("State of charge", "state_of_charge_pct", fleet.state_of_charge_pct));
  body.querySelector(".health").replaceChildren(distribution("State of health", "state_of_health_pct", fleet.state_of_health_pct));
  const holder = body.querySelector(".groups");
  const scrolled = holder.querySelector(".scroll")?.scrollLeft ?? 0;
  const hadFocus = holder.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  holder.replaceChildren(groupTable(groups, by));
  holder.querySelector(".scroll").scrollLeft = scrolled;
  if (hadFocus) holder.querySelector(`a[href="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
}

function figures(answer, fleet, total) {
  return [
    card("Packs", h("p", { class: "big", id: "packs-total" }, count(total)), states(fleet.packs, total),
      h("dl", { class: "facts" }, Object.entries(STATES).map(([key, name]) => h("div", {}, h("dt", {}, h("i", { class: `dot ${key}` }), name), h("dd", { id: `packs-${key}` }, count(fleet.packs[key])))))),
    card("Open alerts", h("ul", { class: "plain" }, ["critical", "warning", "info"].map((name) => h("li", {},
      h("a", { href: `#/alerts?severity=${name}` }, severity(name, fleet.open_alerts[name]))))),
    h("p", { class: "quiet" }, `${count(fleet.open_alerts.muted)} muted`)),
    card("Readings", h("p", { class: "big" }, fleet.readings_per_s.toFixed(fleet.readings_per_s < 10 ? 2 : 0), h("small", {}, " per s")),
      h("dl", { class: "facts" },
        fact("half are newer than", age(fleet.freshness_s.p50)), fact("95 % are newer than", age(fleet.freshness_s.p95)),
        fact(`clocks off by > ${answer.clock_skew_s_max} s`, count(fleet.clock_skew_s.packs_beyond_limit)))),
    card("Temperature", extremes("temperature_c", fleet.temperature_c)),
    card("Cell voltage", extremes("cell_voltage_min_v", fleet.cell_voltage_v)),
  ];
}

const card = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), ...content);
const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** A bar of the three states; the numbers stand below it. */
function states(packs, total) {
  let x = 0;
  const parts = Object.keys(STATES).map((key) => {
    const width = 100 * packs[key] / total;
    const part = svg("rect", { class: key, x, width, y: 0, height: 6 });
    x += width;
    return part;
  });
  return svg("svg", { class: "states", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
}

function extremes(measure, found) {
  const line = (name, one) => h("div", {}, h("dt", {}, name), h("dd", {}, one
    ? [h("b", {}, number(measure, one.value)), ` ${unit(measure)}`, h("div", { class: "of" }, packLink(one.pack))] : "–"));
  return h("dl", { class: "facts wide" }, line("highest", found.max), line("lowest", found.min));
}

const packLink = (pack) => h("a", { href: `#/packs/${encodeURIComponent(pack)}` }, pack);

function distribution(title, measure, found) {
  if (!found.packs) return card(title, h("p", { class: "quiet" }, "No pack has sent it yet."));
  const { from, width, packs } = found.histogram;
  const most = Math.max(...packs, 1);
  // Empty ends are cut off, so that a fleet between 90 and 100 % isn't a sliver.
  const first = packs.findIndex((n) => n > 0);
  const last = packs.findLastIndex((n) => n > 0);
  const whole = Math.round((100 - from) / width) - 1;
  const high = Math.min(last <= whole ? whole : packs.length - 1, Math.max(last + 1, first + 10));
  const low = Math.max(0, Math.min(first - 1, high - 11));
  const shown = packs.slice(low, high + 1);
  const each = 100 / shown.length;
  const bars = shown.map((n, place) => {
    const height = n === 0 ? 0 : Math.max(1.5, 38 * n / most);
    const begins = from + (low + place) * width;
    return bar(place * each, each, height, `${begins}–${begins + width} %: ${plural(n, "pack")}`);
  });
  const label = `${title}: median ${number(measure, found.p50)} %, from ${number(measure, found.min)} to ${number(measure, found.max)} % over ${plural(found.packs, "pack")}`;
  return card(title,
    svg("svg", { class: "bars", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars),
    h("div", { class: "scale", "aria-hidden": "true" }, h("span", {}, `${from + low * width} %`), h("span", {}, `${from + (high + 1) * width} %`)),
    h("dl", { class: "facts row" }, [["lowest", "min"], ["5 %", "p5"], ["median", "p50"], ["95 %", "p95"], ["highest", "max"]].map(([name, key]) => h("div", {}, h("dt", {}, name), h("dd", {}, number(measure, found[key]))))));
}

/** Which packs and alerts a row stands for, as filters of their views; null where there is no such filter. */
function within(row, by) {
  const kind = row.isRegion ? "region" : by;
  return row.group !== null && ["region", "site", "model"].includes(kind) ? { [kind]: row.group } : null;
}

function groupTable(groups, by) {
  const name = (row) => row.group ?? `no ${row.isRegion ? "region" : by}`;
  const chosen = (row) => within(row, by);
  const spread = (found, measure) => (found.packs ? number(measure, found.p50) : "–");
  const columns = [
    { title: SPLITS.find(([key]) => key === by)[1], cell: (row) => (chosen(row) ? h("a", { href: `#/packs?${new URLSearchParams(chosen(row))}` }, row.group) : STATES[name(row)] ?? name(row)) },
    { title: "Reporting", number: true, cell: (row) => count(row.packs.reporting) },
    { title: "Silent", number: true, cell: (row) => count(row.packs.silent) },
    { title: "Never seen", number: true, cell: (row) => count(row.packs.never_seen) },
    { title: "Charge, median %", number: true, cell: (row) => spread(row.state_of_charge_pct, "state_of_charge_pct") },
    { title: "Health, median %", number: true, cell: (row) => spread(row.state_of_health_pct, "state_of_health_pct") },
    { title: `Highest ${unit("temperature_c")}`, number: true, cell: (row) => (row.temperature_c.max ? number("temperature_c", row.temperature_c.max.value) : "–") },
    { title: "Lowest cell V", number: true, cell: (row) => (row.cell_voltage_v.min ? number("cell_voltage_min_v", row.cell_voltage_v.min.value) : "–") },
    { title: "Freshness, 95 %", number: true, cell: (row) => age(row.freshness_s.p95) },
    { title: "Open alerts", cell: (row) => alertsOf(row.open_alerts, by === "model" ? null : chosen(row)) },
  ];
  return table(`Groups by ${by}`, columns, groups, { rowClass: (row) => (row.isRegion ? "branch" : row.isLeaf ? "leaf" : "") });
}

function alertsOf(found, chosen) {
  const some = ["critical", "warning", "info"].filter((name) => found[name] > 0);
  if (some.length === 0) return h("span", { class: "quiet" }, "none");
  const of = (name) => severity(name, found[name], { short: true });
  return h("span", { class: "nowrap plain-links" }, some.map((name) => (chosen ? h("a", { href: `#/alerts?${new URLSearchParams({ severity: name, ...chosen })}` }, of(name)) : of(name))));
}

function bar(x, width, height, title) {
  const text = svg("title");
  text.textContent = title;
  return svg("rect", { x: x + 0.3, width: width - 0.6, y: 40 - height, height }, text);
}

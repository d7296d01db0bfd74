// One pack: its latest values as they change, a trend with alerts marked and where today's rules would have raised one,
// windows, quarantine, and who held it.

import { ask, isAbort, may } from "../session.js";
import { socket } from "../live.js";
import { empty, failed, field, h, heading, loading, section, select, severity, table } from "../elements.js";
import { age, count, converted, inUnit, measureNames, number, plural, shortName, time, unit, zone } from "../format.js";
import { axis, colour, draw, marks, roomForWords, tinted } from "../plot.js";

const DAY_MS = 86400000;
const QUARTER_MS = DAY_MS / 96;
const SPANS = [["1h", "1 hour", DAY_MS / 24], ["6h", "6 hours", DAY_MS / 4], ["24h", "24 hours", DAY_MS], ["7d", "7 days", 7 * DAY_MS], ["30d", "30 days", 30 * DAY_MS], ["1y", "1 year", 365 * DAY_MS]];
const BANDS = [["", "no other packs"], ["all", "all packs"], ["site", "packs of its site"], ["model", "packs of its model"]];
const DEFAULT = ["temperature_c", "state_of_charge_pct"];
const POINTS = 800;
const PAST_MS_MAX = 31 * DAY_MS;
const PAST_RULES_MAX = 10;

export function show(content, { signal: leaving, parameters, rest: pack, keep }) {
  const here = new AbortController();
  leaving.addEventListener("abort", () => here.abort());
  const { signal } = here;
  const chosen = {
    span: SPANS.some(([key]) => key === parameters.get("span")) ? parameters.get("span") : "24h",
    measure: parameters.getAll("measure").filter((name) => measureNames().includes(name)),
    band: BANDS.some(([key]) => key === parameters.get("band")) ? parameters.get("band") : "",
    past: parameters.get("past") === "no" ? "no" : "",
  };
  if (chosen.measure.length === 0) chosen.measure = [...DEFAULT];
  const about = h("span", { class: "quiet" });
  const tiles = h("dl", { class: "tiles" });
  const plot = h("div", { class: "plot", role: "group" });
  const state = h("div", {}, loading("the trend"));
  const windows = h("div", {}, loading("windows"));
  const alerts = h("div", {}, loading("alerts"));
  const quarantine = h("div", {}, loading("quarantine"));
  const custody = h("div", {}, loading("custody"));
  content.append(
    heading(pack, about),
    h("section", { "aria-label": "Latest values" }, tiles),
    h("section", { class: "box", "aria-label": "Trend" }, controls(chosen, change), state, plot),
    section("Windows", windows),
    h("div", { class: "columns" }, section("Alerts in this span", alerts), section("Custody", custody), section("Quarantine", quarantine)),
  );
  let turn = new AbortController();
  signal.addEventListener("abort", () => turn.abort());

  function change(given) {
    Object.assign(chosen, given);
    keep(chosen);
    trend();
  }

  about.append(h("a", { href: "#/packs" }, "All packs"));
  const known = record(pack, about, custody, signal, () => {
    here.abort();
    content.replaceChildren(heading(pack), empty("There is no such pack", "It may have another name, or stand where you don't see it."), h("p", { class: "state" }, h("a", { href: "#/packs" }, "All packs")));
  });
  latest(pack, tiles, signal);
  setAside(pack, quarantine, signal);
  trend();

  async function trend() {
    turn.abort();
    turn = new AbortController();
    const now_ms = Date.now();
    const span_ms = SPANS.find(([key]) => key === chosen.span)[2];
    // From a whole quarter-hour on, as windows are kept when single readings aren't any more.
    const span = { from: new Date(Math.floor((now_ms - span_ms) / QUARTER_MS) * QUARTER_MS).toISOString(), to: new Date(now_ms + 60000).toISOString() };
    const asked = { signal: turn.signal };
    const base = { pack, measure: chosen.measure, ...span };
    try {
      const [[points, kept], band, raised] = await Promise.all([
        keptPoints(base, asked),
        chosen.band ? ask("/v1/trends", { parameters: { ...base, step: "P1D", band: chosen.band, zone: zone() }, ...asked }) : null,
        alertsOf(pack, span, asked),
      ]);
      const none = points.columns.ts.length === 0;
      state.replaceChildren(
        ...(kept === null ? [] : [h("p", { class: "quiet" }, `Single readings from before ${time(kept)} are no longer kept; the windows below go further back.`)]),
        ...(none ? [empty("No readings in this span", "Choose a longer one, or other measures.")] : []),
      );
      plot.hidden = none;
      async function showRaised(would) {
        const both = [...raised, ...would];
        showAlerts(alerts, both);
        if (none) return;
        const marked = would.length ? `, ${plural(would.length, "alert")} that rules would have raised` : "";
        plot.setAttribute("aria-label", `${chosen.measure.map(shortName).join(", ")} of ${pack} over ${chosen.span}, ${plural(raised.length, "alert")} marked${marked}`);
        await plotTrend(plot, pack, chosen, points, band, both, span, signal);
      }
      await showRaised([]);
      showWindows(windows, await ask("/v1/aggregates", { parameters: { ...base, step: span_ms <= DAY_MS ? "PT1H" : "P1D", zone: zone() }, ...asked }), chosen.measure);
      if (chosen.past === "no" || span_ms > PAST_MS_MAX) return;
      const would = await wouldHaveRaised(pack, await known, { ...span, from: kept ?? span.from }, raised, asked);
      if (would.length) await showRaised(would);
    } catch (error) {
      if (isAbort(error)) return;
      plot.hidden = true;
      state.replaceChildren(failed(error, trend));
      windows.replaceChildren();
      alerts.replaceChildren();
    }
  }
}

/** Points of a span's readings, and from when on they are kept, where that is within the span; else null. */
async function keptPoints(span, asked) {
  const from = (moment) => ask("/v1/trends", { parameters: { ...span, from: moment, points: POINTS, method: "min_max" }, ...asked });
  try {
    return [await from(span.from), null];
  } catch (error) {
    if (error.code !== "archived") throw error;
    return [await from(error.told.limit), error.told.limit];
  }
}

function controls(chosen, change) {
  const boxes = measureNames().map((name) => {
    const box = h("input", { type: "checkbox", value: name, checked: chosen.measure.includes(name) });
    box.addEventListener("change", () => {
      const measure = measureNames().filter((one) => (one === name ? box.checked : chosen.measure.includes(one)));
      if (measure.length === 0) box.checked = true;
      else change({ measure });
    });
    return h("label", { class: "check" }, box, shortName(name));
  });
  const past = h("input", { type: "checkbox", checked: chosen.past !== "no" });
  past.addEventListener("change", () => change({ past: past.checked ? "" : "no" }));
  return h("div", { class: "filters" },
    field("Span", select(SPANS.map(([key, title]) => [key, title]), chosen.span, (span) => change({ span }))),
    field("Beside it, by day", select(BANDS, chosen.band, (band) => change({ band }))),
    h("label", { class: "check", title: "Imports raise no alerts. Marked is where today's rules would have raised one, up to 30 days back." }, past, "what rules would have raised"),
    h("fieldset", { class: "measures" }, h("legend", {}, "Measures"), boxes));
}

/** Show what the pack is and who held it. Gives its record, null when there is none or it can't be read. */
async function record(pack, about, custody, signal, missing) {
  try {
    const { items: [found] } = await ask("/v1/packs", { parameters: { pack }, signal });
    if (!found) {
      missing();
      return null;
    }
    about.prepend([found.model, found.site, found.region].filter(Boolean).join(" · ") || "no model or site", " · ");
    const { tenures } = await ask(`/v1/packs/${found.id}`, { signal });
    custody.replaceChildren(table("Custody", [
      { title: "From", cell: (row) => (row.from ? time(row.from) : "the beginning") },
      { title: "To", cell: (row) => (row.to ? time(row.to) : "now") },
      { title: "Site", cell: (row) => row.site ?? "–" },
      { title: "Model", cell: (row) => row.model ?? "–" },
    ], [...tenures].reverse()));
    return found;
  } catch (error) {
    if (!isAbort(error)) custody.replaceChildren(failed(error));
    return null;
  }
}

/** Tiles of the latest values, which a socket keeps. */
function latest(pack, tiles, signal) {
  const known = {};
  const parts = Object.fromEntries(measureNames().map((name) => {
    const value = h("span", {}, "–");
    const when = h("span", { class: "quiet" }, "never");
    const tile = h("div", { class: "tile", id: `latest-${name}` }, h("dt", {}, shortName(name)), h("dd", {}, value, h("small", {}, ` ${unit(name)}`)), h("dd", { class: "when" }, when));
    return [name, { value, when, tile }];
  }));
  tiles.append(...Object.values(parts).map((part) => part.tile));
  const ages = () => {
    for (const [name, ts] of Object.entries(known)) {
      const part = parts[name];
      part.when.textContent = `${age((Date.now() - ts) / 1000)} ago`;
      part.when.title = time(ts);
    }
  };
  const clock = setInterval(ages, 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  socket("/v1/telemetry/live", () => ({ packs: [pack], rate_hz: 2 }), ({ type, data }) => {
    if (type !== "snapshot" && type !== "telemetry") return;
    if (data.gone?.includes(pack)) {
      // Its values were those of a moment at which it could be seen; what they are now isn't known here.
      clearInterval(clock);
      tiles.replaceChildren(empty("This pack is not in your sight any more", "It has moved to a site, or to somebody, that you don't see. What stands below was asked for before."));
      return;
    }
    const at = data.columns.pack.indexOf(pack);
    if (at < 0) return;
    for (const [name, part] of Object.entries(parts)) {
      const value = data.columns[name]?.[at] ?? null;
      if (value === null) continue;
      part.value.textContent = number(name, value);
      if (known[name] !== undefined && known[name] !== data.columns[`${name}_ts`][at]) {
        part.tile.classList.remove("fresh");
        requestAnimationFrame(() => part.tile.classList.add("fresh"));
      }
      known[name] = data.columns[`${name}_ts`][at];
    }
    ages();
  }, (error) => tiles.replaceChildren(failed(error)), signal);
}

/** Alerts that were raised in the span, or before it and are open still: at most a few hundred are marked. */
async function alertsOf(pack, span, asked) {
  const [raised, open] = await Promise.all([
    ask("/v1/alerts", { parameters: { pack, from: span.from, to: span.to, limit: 200 }, ...asked }),
    ask("/v1/alerts", { parameters: { pack, state: "open", limit: 50 }, ...asked }),
  ]);
  return [...new Map([...open.items, ...raised.items].map((alert) => [alert.id, alert])).values()];
}

const reaches = (scope, found) => scope.kind === "tenant" || scope[scope.kind] === (scope.kind === "pack" ? found.pack : found[scope.kind]);

/** What of an alert that would have been raised comes before those of the same rule that were; null when nothing does. */
function beforeRaised(alert, raised) {
  const real = raised.filter((one) => one.rule === alert.rule && one.onset <= (alert.cleared_at ?? "9") && alert.onset <= (one.cleared_at ?? "9"));
  if (real.length === 0) return alert;
  const ends = real.map((one) => one.onset).sort()[0];
  return alert.onset < ends ? { ...alert, state: "cleared", cleared_at: ends } : null;
}

/** Alerts that today's rules would have raised in the span, had all its readings come live, and that weren't raised. */
async function wouldHaveRaised(pack, found, span, raised, asked) {
  if (!found) return [];
  const { items } = await ask("/v1/rules", { parameters: { limit: 1000 }, ...asked });
  const rules = items.filter((rule) => rule.enabled && reaches(rule.scope, found) && rule.condition.kind !== "quarantine_growth").slice(0, PAST_RULES_MAX);
  const made = await Promise.all(rules.map(async (rule) => {
    const { severity: level, condition, flapping } = rule;
    const body = { scope: { kind: "pack", pack }, severity: level, condition, flapping, imports: true, ...span };
    const { items: alerts } = await ask("/v1/rules/preview", { method: "POST", body, ...asked });
    return alerts.map((alert) => ({ ...alert, rule: rule.name, would: true }));
  }));
  return made.flat().map((alert) => beforeRaised(alert, raised)).filter(Boolean);
}

async function plotTrend(element, pack, chosen, points, band, raised, span, signal) {
  const { measure: measures } = chosen;
  const gap = 0.06;
  const whole = 110 + 160 * measures.length;
  const shapes = marks(raised.filter((alert) => (alert.cleared_at ?? span.to) > span.from), time, span.from, span.to);
  const room = roomForWords(shapes, whole);
  const height = (1 - room - gap * (measures.length - 1)) / measures.length;
  const traces = [];
  const title = `${pack}, last ${SPANS.find(([key]) => key === chosen.span)[1]}`;
  const layout = {
    title: { text: title, x: 0, xref: "paper", xanchor: "left", yref: "container", y: 0.98, yanchor: "top", font: { size: 14 } },
    height: whole, showlegend: true,
    xaxis: axis({ type: "date", range: [time(span.from), time(span.to)], anchor: `y${measures.length > 1 ? measures.length : ""}` }),
    shapes,
  };
  measures.forEach((name, place) => {
    const number_ = place === 0 ? "" : String(place + 1);
    const top = 1 - room - place * (height + gap);
    const line = `series-${measureNames().indexOf(name)}`;
    layout[`yaxis${number_}`] = axis({ domain: [Math.max(0, top - height), top], title: { text: unit(name), standoff: 4 } });
    const yaxis = `y${number_}`;
    if (band?.columns?.[`${name}_band_p50`]) traces.push(...bandTraces(band, name, yaxis, line, span.to, place === 0));
    const kept = points.columns.ts.map((ts, at) => [ts, points.columns[name][at]]).filter(([, value]) => value !== null);
    traces.push({
      type: "scatter", mode: kept.length < 40 ? "lines+markers" : "lines", name: shortName(name), yaxis,
      x: kept.map(([ts]) => time(ts)), y: kept.map(([, value]) => converted(name, value)),
      line: { color: colour(line), width: 1.5 }, marker: { size: 5 },
      hovertemplate: `%{y} ${unit(name)}<extra>${shortName(name)}</extra>`,
    });
  });
  await draw(element, traces, layout, signal);
}

/** The days of other packs: between the 5th and the 95th percentile, and the median. Each day's value stands till the next. */
function bandTraces(band, name, yaxis, line, until, inLegend) {
  const { columns } = band;
  const x = [...columns.ts, until].map(time);
  const of = (key) => {
    const values = columns[`${name}_band_${key}`].map((value) => converted(name, value));
    return [...values, values.at(-1)];
  };
  const shared = { type: "scatter", mode: "lines", x, yaxis, hoverinfo: "skip", legendrank: 2000 };
  return [
    { ...shared, y: of("p5"), line: { width: 0, shape: "hv" }, showlegend: false },
    { ...shared, y: of("p95"), line: { width: 0, shape: "hv" }, fill: "tonexty", fillcolor: tinted(line, 0.18), name: `5–95 % of ${band.band}`, showlegend: inLegend },
    { ...shared, y: of("p50"), line: { width: 1, dash: "dot", shape: "hv", color: colour(line) }, name: "median of them", showlegend: inLegend },
  ];
}

function showWindows(element, { columns }, measures) {
  const byDay = columns.ts.length > 1 && columns.ts[1] - columns.ts[0] > DAY_MS / 2;
  const rows = columns.ts.map((ts, at) => ({ ts, at })).filter(({ at }) => measures.some((name) => columns[`${name}_count`][at])).reverse().slice(0, 31);
  if (rows.length === 0) {
    element.replaceChildren(empty("No windows with readings"));
    return;
  }
  element.replaceChildren(table("Windows", [
    { title: "From", cell: ({ ts }) => h("span", { class: "nowrap" }, time(ts).slice(0, byDay ? 10 : 16)) },
    ...measures.flatMap((name) => [
      { title: `${shortName(name)} ${unit(name)}, mean`, number: true, cell: ({ at }) => number(name, columns[`${name}_mean`]?.[at]) },
      { title: "min–max", number: true, cell: ({ at }) => (columns[`${name}_count`][at] ? `${number(name, columns[`${name}_min`][at])} – ${number(name, columns[`${name}_max`][at])}` : "–") },
    ]),
    { title: "Readings", number: true, cell: ({ at }) => count(Math.max(...measures.map((name) => columns[`${name}_count`][at] ?? 0))) },
  ], rows));
}

function showAlerts(element, raised) {
  element.replaceChildren(raised.length === 0 ? empty("No alerts") : table("Alerts", [
    { title: "Severity", cell: (alert) => severity(alert.severity) },
    { title: "Rule", cell: (alert) => (alert.would ? [alert.rule, h("small", { class: "nowrap", title: "Imports raise no alerts" }, " not raised")] : alert.rule) },
    { title: "Onset", cell: (alert) => h("span", { class: "nowrap" }, time(alert.onset)) },
    { title: "Cleared", cell: (alert) => (alert.state === "open" ? "open" : h("span", { class: "nowrap" }, time(alert.cleared_at))) },
    { title: "Value", number: true, cell: (alert) => inUnit(alert.value, alert.unit) },
  ], raised.slice(0, 30), { rowClass: (alert) => (alert.would ? "done" : "") }));
}

async function setAside(pack, element, signal) {
  if (!may("quarantine:read")) {
    element.replaceChildren(empty("Not for you", "What was set aside is shown to those who may read it, and see all sites."));
    return;
  }
  try {
    const { items } = await ask("/v1/quarantine", { parameters: { pack, limit: 20 }, signal });
    element.replaceChildren(items.length === 0 ? empty("Nothing was set aside") : table("Quarantine", [
      { title: "Reason", cell: (item) => item.reason.replaceAll("_", " ") },
      { title: "Field", cell: (item) => item.field ?? "–" },
      { title: "Times", number: true, cell: (item) => count(item.times) },
      { title: "Last", cell: (item) => h("span", { class: "nowrap" }, time(item.last_at)) },
    ], items), items.length ? h("p", {}, h("a", { href: `#/quarantine?${new URLSearchParams({ pack })}` }, "Work through them")) : "");
  } catch (error) {
    if (!isAbort(error)) element.replaceChildren(failed(error));
  }
}

// Rules: which there are, switching them, and new ones from a template, tried on stored readings before they count.

import { ask, isAbort, may } from "../session.js";
import { empty, failed, field, h, heading, loading, select, severity, speak, table } from "../elements.js";
import { converted, engineUnit, fromShown, inUnit, plural, shortName, shownUnit, time, toShown, unit } from "../format.js";
import { axis, colour, draw, marks, roomForWords } from "../plot.js";

const CHEMISTRIES = ["LFP", "NMC", "NCA", "LTO", "lead-acid"].map((name) => [name, name]);
const SCOPES = [["tenant", "all packs"], ["site", "a site"], ["model", "a model"], ["pack", "one pack"]];
const SEVERITIES = ["info", "warning", "critical"].map((name) => [name, name]);
const SPANS = [["1", "1 day"], ["3", "3 days"], ["7", "7 days"], ["30", "30 days"]];
const SPAN = "3";
const DAY_MS = 86400000;

export function show(content, { signal }) {
  const list = h("div", {}, loading("rules"));
  const stored = h("div", {});
  const maker = h("div", {});
  content.append(heading("Rules"), list, stored, maker);
  if (may("rule:write")) maker.append(fromTemplate(read, signal));

  async function read() {
    try {
      const items = [];
      let cursor = null;
      do {
        const page = await ask("/v1/rules", { parameters: { limit: 1000, cursor }, signal });
        items.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor);
      drawList(list, items, { read, tryOut }, signal);
    } catch (error) {
      if (!isAbort(error)) list.replaceChildren(failed(error, read));
    }
  }
  read();

  /** What a rule that exists would have raised over the past, with imports too. */
  function tryOut(rule) {
    const tried = trial(() => ({ scope: rule.scope, severity: rule.severity, condition: rule.condition, flapping: rule.flapping }), signal);
    const title = h("h2", { tabindex: "-1" }, `What “${rule.name}” would have raised`);
    stored.replaceChildren(h("section", { class: "box", "aria-label": "Preview of a rule" }, title, h("div", { class: "filters" }, ...tried.controls), ...tried.shown));
    title.focus();
    tried.run();
  }
}

function drawList(element, rules, { read, tryOut }, signal) {
  if (rules.length === 0) {
    element.replaceChildren(empty("No rules yet", may("rule:write") ? "Begin with a template below: its limits are those of makers' data sheets." : ""));
    return;
  }
  async function change(rule, enabled) {
    try {
      await ask(`/v1/rules/${rule.id}`, { method: "PATCH", body: { enabled }, headers: { "If-Match": `"${rule.version}"` }, signal });
      speak(`${rule.name} is ${enabled ? "on" : "off"}`);
      await read();
      element.querySelector(`[data-rule="${rule.id}"]`)?.focus();
    } catch (error) {
      if (isAbort(error)) return;
      await read();
      element.prepend(h("p", { class: "trouble", role: "alert" }, error.status === 412 ? `Somebody else has changed ${rule.name} meanwhile: this is how it is now.` : error.message));
    }
  }
  element.replaceChildren(table("Rules", [
    { title: "Name", cell: (rule) => rule.name },
    { title: "Severity", cell: (rule) => severity(rule.severity) },
    { title: "Raises when", cell: (rule) => inWords(rule.condition) },
    { title: "Holds for", cell: (rule) => scopeInWords(rule.scope) },
    { title: "Since", cell: (rule) => h("span", { class: "nowrap" }, time(rule.effective_from)) },
    { title: "On", cell: (rule) => (may("rule:write")
      ? h("button", { type: "button", class: "small switch", role: "switch", "aria-checked": String(rule.enabled), "aria-label": rule.name, "data-rule": rule.id, onclick: () => change(rule, !rule.enabled) }, rule.enabled ? "on" : "off")
      : rule.enabled ? "on" : "off") },
    { title: "Past", cell: (rule) => h("button", { type: "button", class: "small", "aria-label": `Preview ${rule.name}`, onclick: () => tryOut(rule) }, "preview") },
  ], rules, { rowClass: (rule) => (rule.enabled ? "" : "done") }));
}

const scopeInWords = (scope) => (scope.kind === "tenant" ? "all packs" : `${scope.kind} ${scope[scope.kind]}`);
const lasting = (condition) => (condition.duration_s ? ` for ${condition.duration_s} s` : "");
const amount = (measure, value) => inUnit(value, engineUnit(measure));

/** A condition in words. */
function inWords(condition) {
  const { kind, measure } = condition;
  if (kind === "threshold") {
    const meanwhile = condition.during ? ` while ${shortName(condition.during.measure).toLowerCase()} is ${condition.during.side} ${amount(condition.during.measure, condition.during.limit)}` : "";
    return `${shortName(measure).toLowerCase()} ${condition.side} ${amount(measure, condition.limit)}${lasting(condition)}${meanwhile}`;
  }
  if (kind === "rate_of_change") return `${shortName(measure).toLowerCase()} ${condition.trend === "either" ? "changing" : condition.trend} faster than ${inUnit(condition.limit_per_s, `${engineUnit(measure)}/s`)}${lasting(condition)}`;
  if (kind === "cell_imbalance") return `cells further apart than ${condition.limit_v} V${lasting(condition)}`;
  if (kind === "missing_data") return `nothing for longer than ${condition.after_s} s`;
  if (kind === "clock_skew") return `a clock more than ${condition.future_s} s ahead`;
  return `more than ${condition.items_max} readings set aside within ${condition.window_s} s`;
}

function fromTemplate(created, signal) {
  const holder = h("div", {});
  const chooser = h("div", { class: "filters" });
  const chemistry = select([["", "Choose a chemistry"], ...CHEMISTRIES], "", templates);
  chooser.append(field("Chemistry", chemistry));

  async function templates(name) {
    holder.replaceChildren();
    while (chooser.children.length > 1) chooser.lastElementChild.remove();
    if (!name) return;
    try {
      const { items } = await ask("/v1/rules/templates", { parameters: { chemistry: name }, signal });
      chooser.append(field("Template", select([["", "Choose a template"], ...items.map((item, at) => [String(at), item.name])], "", (at) => {
        holder.replaceChildren(...(at === "" ? [] : [form(items[Number(at)], created, signal)]));
      })));
    } catch (error) {
      if (!isAbort(error)) holder.replaceChildren(failed(error));
    }
  }
  return h("section", { class: "box", "aria-label": "New rule" }, h("h2", {}, "New rule from a template"), chooser, holder);
}

function form(template, created, signal) {
  const condition = structuredClone(template.condition);
  const name = h("input", { type: "text", required: true, maxlength: "200", value: template.name });
  const level = select(SEVERITIES, template.severity);
  const where = h("input", { type: "text", maxlength: "200", disabled: true });
  const whereField = field("Its name", where);
  whereField.hidden = true;
  const scope = select(SCOPES, "tenant", (kind) => {
    whereField.hidden = kind === "tenant";
    where.disabled = whereField.hidden;
    where.required = !whereField.hidden;
  });
  const raises = h("p", { class: "quiet" });
  const say = () => { raises.textContent = `Raises when ${inWords(condition)}.`; };
  say();
  // Shown and entered in the unit that was chosen; the condition is in the engine's.
  const numbers = Object.entries(condition).filter(([, value]) => typeof value === "number").map(([key, value]) => {
    const given = unitOf(condition, key);
    const control = h("input", { type: "number", step: "any", required: true, value: String(Number(toShown(value, given).toFixed(3))) });
    control.addEventListener("input", () => {
      condition[key] = fromShown(Number(control.value), given);
      say();
    });
    return field(labelOf(key, given), control);
  });
  const tried = trial(() => ({ scope: scopeNow(), severity: level.value, condition }), signal);
  const scopeNow = () => (scope.value === "tenant" ? { kind: "tenant" } : { kind: scope.value, [scope.value]: where.value.trim() });

  return h("form", {
    class: "maker",
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await ask("/v1/rules", { method: "POST", body: { name: name.value, scope: scopeNow(), severity: level.value, condition }, signal });
        tried.tell(h("p", { class: "note" }, `${name.value} applies to readings from now on.`));
        created();
      } catch (error) {
        if (!isAbort(error)) tried.tell(failed(error));
      }
    },
  },
  raises,
  h("div", { class: "filters" }, field("Name", name), field("Severity", level), field("Holds for", scope), whereField, ...numbers),
  h("div", { class: "filters" }, ...tried.controls, h("button", { type: "submit", class: "main" }, "Create rule")),
  ...tried.shown);
}

/** What a rule would have raised over stored readings: controls to ask for it, and where it is shown. */
function trial(ruleNow, signal) {
  const span = select(SPANS, SPAN);
  const imports = h("input", { type: "checkbox", checked: true });
  const told = h("div", { role: "status" });
  const plot = h("div", { class: "plot", hidden: true });

  function tell(...parts) {
    plot.hidden = true;
    told.replaceChildren(...parts);
  }

  async function run() {
    told.replaceChildren(loading("the preview"));
    const rule = ruleNow();
    const now_ms = Date.now();
    const range = { from: new Date(now_ms - Number(span.value) * DAY_MS).toISOString(), to: new Date(now_ms).toISOString() };
    try {
      const found = await ask("/v1/rules/preview", { method: "POST", body: { ...rule, imports: imports.checked, ...range }, signal });
      await showPreview(told, plot, found, rule.condition, rule.scope, range, signal);
    } catch (error) {
      if (!isAbort(error)) tell(failed(error));
    }
  }
  const controls = [field("Preview over", span), h("label", { class: "check" }, imports, "with what was imported"), h("button", { type: "button", onclick: run }, "Preview")];
  return { controls, shown: [told, plot], tell, run };
}

/** The engine's unit of a number of a condition; empty for a count. */
function unitOf({ measure }, key) {
  if (key === "limit" || key === "clear_limit") return engineUnit(measure);
  if (key === "limit_per_s") return `${engineUnit(measure)}/s`;
  return key.endsWith("_v") ? "V" : key.endsWith("_s") ? "s" : "";
}

function labelOf(key, given) {
  const words = key.replace(/_(v|s|per_s)$/, "").replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
  return given ? `${words}, ${shownUnit(given)}` : words;
}

/** What the rule would have done: how often, and on the plot of one pack. */
async function showPreview(told, plot, found, condition, scope, range, signal) {
  const packs = [...new Set(found.items.map((alert) => alert.pack).filter(Boolean))];
  if (packs.length === 0) packs.push(...await somePack(scope, signal));
  const isCut = Date.parse(found.from) > Date.parse(range.from);
  const said = h("p", {}, h("b", {}, plural(found.items.length, "alert")), ` on ${plural(new Set(found.items.map((alert) => alert.pack)).size, "pack")}, from ${plural(found.readings, "reading")}${isCut ? `: as many as a preview reads, those since ${time(found.from)}` : ""}.`);
  const measures = condition.kind === "cell_imbalance" ? ["cell_voltage_max_v", "cell_voltage_min_v"] : condition.measure ? [condition.measure] : ["voltage_v"];
  plot.hidden = packs.length === 0;
  const one = async (pack) => {
    const trend = await ask("/v1/trends", { parameters: { pack, measure: measures, ...range, points: 800, method: "min_max" }, signal });
    await plotPreview(plot, pack, trend, measures, condition, found.items.filter((alert) => alert.pack === pack), range, signal);
  };
  told.replaceChildren(said, ...(packs.length > 1 ? [field("Shown is", select(packs.slice(0, 200).map((pack) => [pack, pack]), packs[0], one))] : []));
  if (packs.length) await one(packs[0]);
}

/** A pack that the rule would hold for, to be shown when it would have raised nothing. */
async function somePack(scope, signal) {
  if (scope.kind === "pack") return [scope.pack];
  const within = scope.kind === "tenant" ? {} : { [scope.kind]: scope[scope.kind] };
  const { items } = await ask("/v1/packs", { parameters: { ...within, limit: 1 }, signal });
  return items.map((item) => item.pack);
}

async function plotPreview(element, pack, { columns }, measures, condition, alerts, range, signal) {
  const traces = measures.map((name, place) => {
    const kept = columns.ts.map((ts, at) => [ts, columns[name][at]]).filter(([, value]) => value !== null);
    return {
      type: "scatter", mode: kept.length < 40 ? "lines+markers" : "lines", name: shortName(name), x: kept.map(([ts]) => time(ts)),
      y: kept.map(([, value]) => converted(name, value)), line: { color: colour(`series-${place}`), width: 1.5 },
    };
  });
  if (condition.kind === "threshold") {
    for (const [key, dash] of [["limit", "dash"], ["clear_limit", "dot"]]) {
      const level = converted(condition.measure, condition[key]);
      traces.push({
        type: "scatter", mode: "lines", name: key.replace("_", " "), x: [time(range.from), time(range.to)], y: [level, level],
        line: { color: colour("quiet"), width: 1, dash }, hoverinfo: "skip",
      });
    }
  }
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", `${measures.map(shortName).join(", ")} of ${pack} with ${plural(alerts.length, "alert")} that the rule would have raised`);
  const shapes = marks(alerts, time, range.from, range.to);
  await draw(element, traces, {
    title: { text: `${pack}: ${plural(alerts.length, "alert")}`, x: 0, xref: "paper", xanchor: "left", y: 0.97, yref: "container", yanchor: "top", font: { size: 14 } },
    height: 340, showlegend: true,
    xaxis: axis({ type: "date", range: [time(range.from), time(range.to)] }), yaxis: axis({ domain: [0, 1 - roomForWords(shapes, 340)], title: { text: unit(measures[0]), standoff: 4 } }),
    shapes,
  }, signal);
}

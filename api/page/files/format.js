// How times and values are shown: the zone and the units that were chosen, kept in this browser.

const CHOICES = { zone: "browser", temperature: "c" };
const listeners = new Set();
let measures = [];

const SHORT = {
  state_of_charge_pct: "Charge", state_of_health_pct: "Health", temperature_c: "Temperature", voltage_v: "Voltage",
  current_a: "Current", cell_voltage_min_v: "Lowest cell", cell_voltage_max_v: "Highest cell",
};
const DECIMALS = { "%": 1, "°C": 1, "°F": 1, V: 2, A: 2 };

let reasons = [];

/** Take what the engine says of its measures and of why readings are set aside. */
export function setVocabulary(context) {
  ({ measures, quarantine_reasons: reasons } = context);
}

export const quarantineReasons = () => reasons;
export const measureNames = () => measures.map((measure) => measure.name);
export const shortName = (name) => SHORT[name] ?? name;
export const choice = (name) => localStorage.getItem(`bpm.${name}`) ?? CHOICES[name];

/** Choose a zone or unit; all that listen are told. */
export function choose(name, value) {
  localStorage.setItem(`bpm.${name}`, value);
  formats.clear();
  for (const listener of listeners) listener();
}

/** Be told of choices until the signal ends it. */
export function whenChosen(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

export function zone() {
  const chosen = choice("zone");
  return chosen === "browser" ? Intl.DateTimeFormat().resolvedOptions().timeZone : chosen;
}

const formats = new Map();

function formatter(options) {
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("sv-SE", { timeZone: zone(), ...options }));
  return formats.get(key);
}

const asDate = (moment) => (moment instanceof Date ? moment : new Date(moment));

/** A date and a time to the second in the chosen zone: 2026-01-31 12:00:00. */
export const time = (moment) => (moment === null || moment === undefined ? "–" : formatter({ dateStyle: "short", timeStyle: "medium" }).format(asDate(moment)));

/** How long ago something was. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const amount = Math.max(0, seconds);
  if (amount < 120) return `${Math.round(amount)} s`;
  if (amount < 7200) return `${Math.round(amount / 60)} min`;
  if (amount < 172800) return `${Math.round(amount / 3600)} h`;
  return `${Math.round(amount / 86400)} d`;
}

const unitOf = (name) => measures.find((measure) => name.startsWith(measure.name))?.unit ?? "";

/** The unit in which a measure is shown. */
export const unit = (name) => shownUnit(unitOf(name));

/** The unit in which the engine gives a measure. */
export const engineUnit = (name) => unitOf(name);

const FAHRENHEIT = {
  "°C": { there: (value) => value * 1.8 + 32, back: (value) => (value - 32) / 1.8 },
  "°C/s": { there: (value) => value * 1.8, back: (value) => value / 1.8 },
};
const chosenUnit = (given) => (choice("temperature") === "f" ? FAHRENHEIT[given] : undefined);

/** A unit that the engine names, as it is shown. */
export const shownUnit = (given) => (chosenUnit(given) ? given.replace("°C", "°F") : given);

/** A value in a unit that the engine names, in the unit in which it is shown. */
export const toShown = (value, given) => chosenUnit(given)?.there(value) ?? value;

/** What was entered in the unit in which it is shown, in that of the engine, to the resolution of measures. */
export const fromShown = (value, given) => {
  const unit_ = chosenUnit(given);
  return unit_ ? Number(unit_.back(value).toFixed(3)) : value;
};

/** A value of a measure in the unit in which it is shown. */
export const converted = (name, value) => (value === null || value === undefined ? value : toShown(value, unitOf(name)));

/** A value of a measure as text, without its unit. */
export function number(name, value, decimals = DECIMALS[unit(name)] ?? 1) {
  return value === null || value === undefined ? "–" : converted(name, value).toFixed(name.startsWith("cell_voltage") ? 3 : decimals);
}

/** A value of a measure with its unit. */
export const measured = (name, value) => (value === null || value === undefined ? "–" : `${number(name, value)} ${unit(name)}`);

/** A value in a unit that an answer names, which may be of any rule. */
export function inUnit(value, given) {
  if (value === null || value === undefined) return "–";
  return `${Number(toShown(value, given).toFixed(chosenUnit(given) ? 2 : 3))} ${shownUnit(given)}`.trim();
}

export const count = (value) => value.toLocaleString("en-GB").replaceAll(",", "\u202f");

/** So many of something: 1 pack, 2 packs. */
export const plural = (value, one) => `${count(value)} ${one}${value === 1 ? "" : "s"}`;

/** A size for people: 76.0 GiB. */
export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const place = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, size)) / 10)));
  return `${place === 0 ? size : (size / 1024 ** place).toFixed(1)} ${units[place]}`;
}

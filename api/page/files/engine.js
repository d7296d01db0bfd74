// What the engine says of itself to anybody who asks: whether readings are accepted, and for how long its disk lasts.

import { ask, claims, may } from "./session.js";
import { poll } from "./live.js";
import { h } from "./elements.js";
import { bytes, count } from "./format.js";

const EVERY_MS = 10000;
/** With less left it is a warning, as in `bpm doctor`. */
const DAYS_LEFT_MIN = 7;
const MANY_DAYS = 3650;
let told = null;

/** Ask for as long as the page is there. An engine that accepts no readings answers 503, and says why. */
export function watchEngine() {
  const read = () => ask("/readyz").catch((error) => {
    if (error.told?.status === "not ready") return error.told;
    throw error;
  });
  poll(read, (found) => {
    told = found;
    showEngine();
  }, () => {}, EVERY_MS, new AbortController().signal);
}

/** Put what is known into the line at the foot, and into the bar at the top when somebody should look after it. */
export function showEngine() {
  const isShown = told !== null && claims() !== null;
  const foot = document.getElementById("foot");
  foot.hidden = !isShown;
  const trouble = isShown ? troubleOf(told) : null;
  const banner = document.getElementById("engine");
  banner.hidden = trouble === null;
  banner.className = `banner ${trouble?.level ?? ""}`;
  const said = trouble?.text ?? "";
  if (banner.textContent !== said) banner.textContent = said;
  if (isShown) foot.replaceChildren(`Engine ${told.version}`, h("span", { id: "disk", class: isShort(told.disk) ? "warning" : null }, diskInWords(told.disk)));
}

const isShort = (disk) => disk.free_bytes < disk.low_bytes || (disk.days_until_full !== null && disk.days_until_full < DAYS_LEFT_MIN);

/** What is wrong, for all; that the disk will be full soon, for those who run something. */
function troubleOf({ code, reason, disk }) {
  if (code === "disk_low") {
    const text = `Readings are refused: the engine's disk has ${bytes(disk.free_bytes)} left, and needs ${bytes(disk.low_bytes)}. They are accepted again once there is room.`;
    return { level: "error", text };
  }
  if (code !== null) return { level: "error", text: `Readings are not accepted: ${reason}.` };
  if (!isShort(disk) || !may("rule:write")) return null;
  return { level: "", text: `The engine's disk will be full in ${days(disk.days_until_full)} at the pace of now. Then readings are refused.` };
}

const days = (left) => (left < 2 ? `${Math.floor(left * 24)} hours` : `${count(Math.floor(left))} days`);

function diskInWords({ free_bytes: free, days_until_full: left }) {
  const lasts = left === null ? "not filling up" : left < MANY_DAYS ? `full in ${days(left)}` : "lasts for years";
  return `disk: ${bytes(free)} free, ${lasts}`;
}

// Begins the page: who is signed in, which view the address names, and the choices in the bar.

import { h, loading, failed, select } from "./elements.js";
import { choice, choose, setVocabulary, zone } from "./format.js";
import { ask, claims, learn, signOut, token, watch, whenChanged, whenEnded } from "./session.js";
import { setPlotly } from "./plot.js";
import { showEngine, watchEngine } from "./engine.js";
import { signIn } from "./views/sign-in.js";

const VIEWS = [
  { path: "/", title: "Fleet", load: () => import("./views/overview.js") },
  { path: "/packs", title: "Packs", load: () => import("./views/packs.js") },
  { path: "/alerts", title: "Alerts", load: () => import("./views/alerts.js") },
  { path: "/rules", title: "Rules", load: () => import("./views/rules.js") },
  { path: "/quarantine", title: "Quarantine", load: () => import("./views/quarantine.js") },
  { path: "/imports", title: "Imports", load: () => import("./views/imports.js") },
];
const PACK = { path: "/packs/", title: "Pack", load: () => import("./views/pack.js") };

const main = document.getElementById("main");
let context = null;
let leaving = new AbortController();
let shown = null;
let expired = false;

/** Percent-encoded text as it is meant, or as it stands where it can't be decoded. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What the address says: a path, the rest of it, and parameters. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const parameters = new URLSearchParams(query);
  if (path.startsWith(PACK.path)) return { view: PACK, rest: decoded(path.slice(PACK.path.length)), parameters };
  return { view: VIEWS.find((view) => view.path === (path || "/")) ?? null, rest: "", parameters };
}

/** Keep filters in the address without coming anew. */
function keep(parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one) query.append(name, one);
  }
  const path = location.hash.replace(/^#/, "").split("?")[0] || "/";
  history.replaceState(null, "", query.size ? `#${path}?${query}` : `#${path}`);
  shown = location.hash;
}

async function show({ moved = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shown = location.hash;
  bar();
  showEngine();
  if (!token()) {
    document.title = "Sign in · BPM-OS";
    main.replaceChildren(signIn(context.development_sign_in, expired, () => {
      expired = false;
      show();
    }));
    main.querySelector("select, textarea, input")?.focus();
    return;
  }
  const { view, rest, parameters } = place();
  if (view === null) {
    main.replaceChildren(h("h1", {}, "There is no such view"), h("p", {}, h("a", { href: "#/" }, "Go to the fleet")));
    return;
  }
  document.title = `${rest || view.title} · BPM-OS`;
  main.replaceChildren(loading(view.title.toLowerCase()));
  try {
    const [module] = await Promise.all([view.load(), learn(signal)]);
    if (signal.aborted) return;
    showEngine();
    const content = h("div", { class: "view" });
    main.replaceChildren(content);
    module.show(content, { signal, parameters, rest, keep });
    if (moved) content.querySelector("h1")?.focus({ preventScroll: true });
  } catch (error) {
    if (!signal.aborted) main.replaceChildren(failed(error, () => show()));
  }
}

function bar() {
  const signedIn = claims();
  const here = place().view;
  document.getElementById("places").replaceChildren(...(signedIn ? VIEWS.map((view) => h("a", {
    href: `#${view.path}`,
    "aria-current": view === here || (view.path === "/packs" && here === PACK) ? "page" : null,
  }, view.title)) : []));
  document.querySelector("#places [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.getElementById("choices").replaceChildren(menu(signedIn));
}

function menu(signedIn) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = [["browser", `This browser (${own})`], ["UTC", "UTC"],
    ...Intl.supportedValuesOf("timeZone").filter((name) => name !== "UTC").map((name) => [name, name])];
  const theme = document.documentElement.dataset.theme;
  const label = (text, control) => h("label", {}, h("span", {}, text), control);
  const details = h(
    "details", { class: "menu" },
    h("summary", {}, signedIn ? `${signedIn.tenant} · ${zone()}` : "Display"),
    h("div", { class: "panel" },
      signedIn ? h("p", {}, "Signed in as ", h("b", {}, signedIn.name ?? signedIn.sub), h("br"), `for ${signedIn.tenant}, as ${(signedIn.roles ?? []).join(", ")}`,
        signedIn.sites ? `, at ${signedIn.sites.join(", ")}` : "") : null,
      label("Time zone", select(zones, choice("zone"), (value) => chosen(() => choose("zone", value)))),
      label("Temperature", select([["c", "°C"], ["f", "°F"]], choice("temperature"), (value) => chosen(() => choose("temperature", value)))),
      label("Appearance", select([["light", "Light"], ["dark", "Dark"]], theme, (value) => {
        localStorage.setItem("bpm.theme", value);
        document.documentElement.dataset.theme = value;
        chosen(() => {});
      })),
      h("p", {}, h("a", { href: "/docs" }, "HTTP API")),
      signedIn ? h("button", { type: "button", onclick: () => signOut() }, "Sign out") : null),
  );
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    details.open = false;
    details.querySelector("summary").focus();
  });
  return details;
}

/** A choice changes every number on the page, so the view comes anew; the menu stays open and keeps the focus. */
function chosen(change) {
  const place = [...document.querySelectorAll(".menu select")].indexOf(document.activeElement);
  change();
  show();
  document.querySelector(".menu").open = true;
  document.querySelectorAll(".menu select")[place]?.focus();
}

document.addEventListener("click", (event) => {
  const open = document.querySelector("details.menu[open]");
  if (open && !open.contains(event.target)) open.open = false;
});
window.addEventListener("hashchange", () => {
  if (location.hash !== shown) show({ moved: true });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
whenChanged(() => show());
whenEnded((isExpired) => {
  expired = isExpired;
  show();
});

try {
  context = await ask("/page/context");
  setVocabulary(context);
  setPlotly(context.plotly);
  watch();
  watchEngine();
  await show();
} catch (error) {
  main.replaceChildren(failed(error, () => location.reload()));
}

// Who is signed in, requests in their name, and whether the engine answers.

const KEY = "bpm.token";
const REFRESH_KEY = "bpm.refresh";
const OPEN = "/v1/auth/";
const EARLY_MS = 30000;
let refreshing = null;
let onEnded = () => {};
let onChanged = () => {};
let timer = null;
let granted = { token: null, actions: new Set() };

export class Problem extends Error {
  constructor(status, body, retry_after_s) {
    super(body.detail ?? body.title ?? `the engine answered ${status}`);
    this.status = status;
    this.told = body;
    this.code = body.code;
    this.field = body.field;
    this.retry_after_s = retry_after_s;
  }
}

/** The engine could not be reached at all. */
export class Unreachable extends Error {
  constructor() {
    super("the engine can't be reached");
    this.status = 0;
  }
}

/** What the token says, which the engine alone verifies; null for what is no token. */
function claimsOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export const claims = () => (token() ? claimsOf(token()) : null);

/** Learn what the engine's policy lets the holder of the token do; asked once a token. Throws as `ask` does. */
export async function learn(signal) {
  const asking = token();
  if (asking === granted.token) return;
  const { permissions } = await ask("/v1/me/permissions", { signal });
  granted = { token: asking, actions: new Set(permissions.filter((one) => one.allowed).map((one) => one.action)) };
}

/** Whether the policy grants an action, such as rule:write; the engine asks it all the same. */
export const may = (action) => granted.token === token() && granted.actions.has(action);

/** Be told when the session ends; the argument is true when it expired. */
export function whenEnded(callback) {
  onEnded = callback;
}

/** Be told when whoever is signed in may do something else than before. */
export function whenChanged(callback) {
  onChanged = callback;
}

/** Keep a token for this tab, and the refresh token that belongs with it. Throws an Error for what is no token. */
export function begin(given, refresh = null) {
  const found = claimsOf(given.trim());
  if (!found?.exp) throw new Error("That is not an access token: it should be three parts with dots between them.");
  sessionStorage.setItem(KEY, given.trim());
  if (refresh) sessionStorage.setItem(REFRESH_KEY, refresh);
  else sessionStorage.removeItem(REFRESH_KEY);
  watch();
}

/** Sign in: by POST to a route of /v1/auth that gives tokens. Throws as `ask` does. */
export async function signInBy(route, body) {
  const given = await ask(OPEN + route, { method: "POST", body });
  begin(given.access_token, given.refresh_token);
}

/** Forget the token. */
export function end(expired = false) {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(REFRESH_KEY);
  onEnded(expired);
}

/** Sign out, on the engine too. */
export function signOut() {
  const refresh_token = sessionStorage.getItem(REFRESH_KEY);
  end(false);
  if (refresh_token) ask(`${OPEN}revoke`, { method: "POST", body: { refresh_token } }).catch(() => {});
}

/** End the session when its token does, unless it can be refreshed before. */
export function watch() {
  clearTimeout(timer);
  const found = claims();
  if (!found) return;
  const left_ms = found.exp * 1000 - Date.now();
  const refreshes = sessionStorage.getItem(REFRESH_KEY) !== null;
  const once = () => (refreshes ? refreshed().catch(() => {}) : end(true));
  timer = setTimeout(once, Math.min(2 ** 31 - 1, Math.max(0, left_ms - (refreshes ? EARLY_MS : 0))));
}

/** Another access token for the refresh token, which is good once: all who wait share one request. Throws as `ask`. */
function refreshed() {
  refreshing ??= (async () => {
    const before = claims();
    const wasKnown = granted.token === token();
    try {
      await signInBy("refresh", { refresh_token: sessionStorage.getItem(REFRESH_KEY) });
      const after = claims();
      const isSame = ["roles", "sites"].every((name) => JSON.stringify(before[name]) === JSON.stringify(after[name]));
      if (isSame && wasKnown) granted.token = token();
      else if (!isSame) onChanged();
    } catch (error) {
      if (error.status === 401) end(true);
      else timer = setTimeout(() => refreshed().catch(() => {}), EARLY_MS / 6);
      throw error;
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

/** The answer to a request. Throws Problem, Unreachable. */
export async function ask(path, options = {}) {
  const used = path.startsWith(OPEN) ? null : token();
  try {
    return await asked(path, used, options);
  } catch (error) {
    if (error.status !== 401 || used === null) throw error;
    // Others may have refreshed it meanwhile; else it has ended before its time.
    if (token() === used && sessionStorage.getItem(REFRESH_KEY)) await refreshed();
    if (token() !== null && token() !== used) return asked(path, token(), options);
    if (token() === used) end(true);
    throw error;
  }
}

async function asked(path, used, { method = "GET", parameters = {}, body = null, headers = {}, signal = null }) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  const sent = { ...headers };
  if (used) sent.Authorization = `Bearer ${used}`;
  if (body !== null) sent["Content-Type"] = "application/json";
  const address = query.size ? `${path}?${query}` : path;
  let response;
  try {
    response = await fetch(address, { method, headers: sent, signal, body: body === null ? null : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  const text = await response.text();
  let told = {};
  try {
    told = text ? JSON.parse(text) : {};
  } catch {
    told = { detail: `the engine answered ${response.status} with something that isn't JSON` };
  }
  if (!response.ok) throw new Problem(response.status, told, Number(response.headers.get("Retry-After")) || null);
  return told;
}

export const isAbort = (error) => error.name === "AbortError";

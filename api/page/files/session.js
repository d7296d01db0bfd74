// Who is signed in, requests in their name, and whether the engine answers.

const KEY = "bpm.token";
let onEnded = () => {};
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

/** Keep a token for this tab. Throws an Error for what is none. */
export function begin(given) {
  const found = claimsOf(given.trim());
  if (!found?.exp) throw new Error("That is not an access token: it should be three parts with dots between them.");
  sessionStorage.setItem(KEY, given.trim());
  watch();
}

/** Forget the token. */
export function end(expired = false) {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  onEnded(expired);
}

/** End the session when its token does. */
export function watch() {
  clearTimeout(timer);
  const found = claims();
  if (found) timer = setTimeout(() => end(true), Math.min(2 ** 31 - 1, Math.max(0, found.exp * 1000 - Date.now())));
}

/** The answer to a request. Throws Problem, Unreachable. */
export async function ask(path, { method = "GET", parameters = {}, body = null, headers = {}, signal = null } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  const sent = { ...headers };
  if (token()) sent.Authorization = `Bearer ${token()}`;
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
  if (response.status === 401 && token()) end(true);
  if (!response.ok) throw new Problem(response.status, told, Number(response.headers.get("Retry-After")) || null);
  return told;
}

export const isAbort = (error) => error.name === "AbortError";

// What goes on by itself: polling and sockets, which come again with growing waits when the engine is away.

import { ask, isAbort, token } from "./session.js";

const WAIT_MS_MIN = 1000;
const WAIT_MS_MAX = 30000;
const away = new Map();

function tell() {
  const banner = document.getElementById("connection");
  const until_ms = Math.min(...away.values());
  banner.hidden = away.size === 0;
  if (away.size === 0) return;
  const left_s = Math.max(0, Math.ceil((until_ms - Date.now()) / 1000));
  const said = left_s > 0 ? `Disconnected. What you see may be old. Trying again in ${left_s} s.` : "Disconnected. Trying again…";
  if (banner.textContent !== said) banner.textContent = said;
}

setInterval(tell, 1000);

/** How long to wait before the next try: twice as long each time, with a part left to chance. */
function backoff() {
  let wait_ms = WAIT_MS_MIN;
  const key = {};
  return {
    next() {
      const chosen_ms = wait_ms * (0.75 + 0.5 * Math.random());
      wait_ms = Math.min(WAIT_MS_MAX, wait_ms * 2);
      away.set(key, Date.now() + chosen_ms);
      tell();
      return chosen_ms;
    },
    reset() {
      wait_ms = WAIT_MS_MIN;
      if (away.delete(key)) tell();
    },
  };
}

const isAway = (error) => error.status === 0 || error.status === 503 || error.status === 502 || error.status === 504;

/** Asks again and again until the signal ends it. `show` gets what `read` gives, `refused` an error that waiting won't mend. */
export function poll(read, show, refused, every_ms, signal) {
  const waits = backoff();
  let timer = null;
  async function once() {
    let next_ms = every_ms;
    try {
      const found = await read();
      if (signal.aborted) return;
      waits.reset();
      show(found);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      if (isAway(error)) next_ms = waits.next();
      else if (error.status === 429) next_ms = (error.retry_after_s ?? 1) * 1000;
      else {
        waits.reset();
        refused(error);
        return;
      }
    }
    // A page that nobody looks at asks less often.
    timer = setTimeout(once, document.hidden ? Math.max(next_ms, 10000) : next_ms);
  }
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    waits.reset();
  });
  once();
}

const FINAL_CODES = new Set([4400, 4403]);

/** Holds a socket open until the signal ends it. `first` gives its first frame, without the ticket. */
export function socket(path, first, take, refused, signal) {
  const waits = backoff();
  let open = null;
  let timer = null;
  const again = () => {
    if (!signal.aborted && token()) timer = setTimeout(connect, waits.next());
  };
  async function connect() {
    let ticket;
    try {
      ({ ticket } = await ask("/v1/tickets", { method: "POST", signal }));
    } catch (error) {
      if (signal.aborted || isAbort(error) || error.status === 401) return;
      if (isAway(error) || error.status === 429) again();
      else refused(error);
      return;
    }
    if (signal.aborted) return;
    const made = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    open = made;
    made.addEventListener("open", () => made.send(JSON.stringify({ ticket, ...first() })));
    made.addEventListener("message", ({ data }) => {
      if (signal.aborted) return;
      waits.reset();
      take(JSON.parse(data));
    });
    made.addEventListener("close", ({ code, reason }) => {
      if (signal.aborted) return;
      if (FINAL_CODES.has(code)) refused(Object.assign(new Error(reason || "the engine refused the connection"), { status: code }));
      else again();
    });
  }
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    waits.reset();
    if (open) open.close();
  });
  connect();
}

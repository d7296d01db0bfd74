// Plots by plotly.js, which is fetched when a view first needs it. SVG only: no gl traces, which would need more of the policy.

let address = null;
let loaded = null;
const drawn = new WeakSet();

export const setPlotly = (path) => { address = path; };

function library() {
  loaded ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      loaded = null;
      reject(new Error("the plot library can't be loaded"));
    });
    document.head.append(script);
  });
  return loaded;
}

/** A colour of the style sheet, as it is in light or dark. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A colour of the style sheet, so much of it. */
export function tinted(name, share) {
  const [red, green, blue] = colour(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  return `rgba(${red}, ${green}, ${blue}, ${share})`;
}

export const axis = (more = {}) => ({
  gridcolor: colour("line"), linecolor: colour("line-strong"), zerolinecolor: colour("line"), tickcolor: colour("line-strong"),
  automargin: true, fixedrange: false, ...more,
});

/**
 * Marks of alerts from one moment to another: a span each in the severity's colour, with its word; dotted for one that
 * wasn't raised, but would have been. Words of neighbours stand below each other, and one at the right end goes to the left.
 */
export function marks(alerts, time, from, until, words_max = 12) {
  const [from_ms, until_ms] = [Date.parse(from), Date.parse(until)];
  return alerts.map((alert, place) => ({
    type: "rect", xref: "x", yref: "paper", x0: time(alert.onset), x1: time(alert.cleared_at ?? until), y0: 0, y1: 1, layer: "below",
    fillcolor: tinted(alert.severity, alert.would ? 0.07 : 0.16), line: { color: colour(alert.severity), width: 1, dash: alert.would ? "dot" : "solid" },
    label: place >= words_max ? undefined : {
      text: alert.would ? `would be ${alert.severity}` : alert.severity, font: { size: 10, color: colour(alert.severity) }, padding: 3 + 13 * (place % 3),
      textposition: (Date.parse(alert.onset) - from_ms) / (until_ms - from_ms) > 0.85 ? "top right" : "top left",
    },
  }));
}

const LABELS_PX = 44;
const AROUND_PX = 88;

/** The share of a plot's height that is kept above the curves for the words of marks, if there are any. */
export const roomForWords = (shapes, height) => (shapes.length ? LABELS_PX / (height - AROUND_PX) : 0);

/** Draw into an element until the signal ends it. */
export async function draw(element, traces, layout, signal) {
  const Plotly = await library();
  if (signal.aborted) return;
  const narrow = element.clientWidth < 560;
  const height = layout.height + (narrow ? 24 : 0);
  await Plotly.react(element, traces, {
    font: { family: "system-ui, sans-serif", size: 12, color: colour("text") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    // On a phone the legend takes several lines, so it stands below, where it pushes nothing.
    margin: { l: narrow ? 40 : 52, r: 8, t: narrow ? 34 : 60, b: 28 }, hovermode: "x unified", dragmode: narrow ? false : "zoom",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line-strong"), font: { color: colour("text") } },
    legend: { orientation: "h", traceorder: "normal", x: 0, y: narrow ? -46 / (height - 62) : 1, yanchor: narrow ? "top" : "bottom", bgcolor: "rgba(0,0,0,0)" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
    ...layout,
    height,
  }, {
    responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
  if (drawn.has(element)) return;
  drawn.add(element);
  signal.addEventListener("abort", () => Plotly.purge(element), { once: true });
}

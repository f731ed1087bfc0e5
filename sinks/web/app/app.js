/* The page: which view is shown, the range that all views share, and what the server says as windows close. */
import { alerts } from "./alerts.js";
import { ask, secret } from "./ask.js";
import { backtests } from "./backtests.js";
import { loadAll, release } from "./chart.js";
import { budgets } from "./budgets.js";
import { button, make, problem } from "./dom.js";
import { explore } from "./explore.js";
import { business, health } from "./groups.js";
import { heard, live } from "./live.js";
import { overview } from "./overview.js";
import { pipeline } from "./pipeline.js";
import { DEFAULT, change, follow, link, onMove, range, relative, spans, view, words, zoom } from "./place.js";
import { slos } from "./slos.js";
import { duration, when } from "./words.js";

const VIEWS = { overview: ["Overview", overview], live: ["Live", live], explore: ["Explore", explore], alerts: ["Alerts", alerts], slos: ["SLOs", slos], budgets: ["Budgets", budgets], health: ["Health", health], business: ["Business", business], pipeline: ["Pipeline", pipeline], backtests: ["Backtests", backtests] };
const WITHOUT_RANGE = new Set(["live", "slos", "backtests"]);
const main = document.getElementById("content");
let meta = null, state = null, asking = null, shown = "";

/* Made anew only where it changed, and the focus stays where it was: news must not throw a keyboard's reader out of the menu. */
let menued = "";
const menu = () => {
  const loud = state && state.alerts ? state.alerts.filter((each) => each.state !== "pending").length : 0;
  const links = Object.keys(VIEWS).map((name) => [name, link(name, {}), name === view() ? "page" : null, name === "alerts" ? loud : 0]);
  if (menued === JSON.stringify(links)) return;
  menued = JSON.stringify(links);
  const list = document.getElementById("views"), focused = [...list.querySelectorAll("a")].indexOf(document.activeElement);
  list.replaceChildren(...links.map(([name, href, current, count]) => make("li", {}, make("a", { href, "data-view": true, "aria-current": current }, VIEWS[name][0],
    count ? make("span", { class: "count" }, String(count), make("span", { class: "aside" }, " firing")) : null))));
  list.querySelectorAll("a")[focused]?.focus();
};

const local = (ms) => new Date(ms).toISOString().slice(0, 16);
const ranges = () => {
  const form = document.getElementById("range"), given = range();
  form.hidden = WITHOUT_RANGE.has(view()) || (view() === "alerts" && "rule" in words());
  const select = make("select", { id: "span", "aria-label": "Range", onchange: (event) => {
    if (event.target.value === "own") { const to = meta.until || Date.now(); change({ from: to - 86400000, to, span: null, zoom: null }); } else change({ span: event.target.value === DEFAULT ? null : event.target.value, from: null, to: null, zoom: null });
  } }, spans.map(([value, text]) => make("option", { value, selected: given.span === value }, "last " + text)), make("option", { value: "own", selected: "from" in given }, "from … to …"));
  const time = (name, label) => make("input", { type: "datetime-local", "aria-label": `${label} (UTC)`, value: local(Number(given[name]) || Date.parse(given[name]) || meta.until), onchange: (event) => change({ [name]: Date.parse(event.target.value + "Z") || null, zoom: null }) });
  const zoomed = zoom();
  form.replaceChildren(select, ...("from" in given ? [time("from", "From"), time("to", "To")] : []),
    ...(zoomed ? [button("Range of the zoom", () => change({ from: zoomed[0] * 1000, to: zoomed[1] * 1000, span: null, zoom: null }))] : []));
};

const until = () => {
  const place = document.getElementById("until");
  const at = state && state.until ? state.until : meta.until;
  const text = state && state.problem ? state.problem : at ? `Data until ${when(at)} UTC, ${duration(Date.now() - at)} ago` : "No window has closed yet";
  if (place.textContent !== text) place.textContent = text;
  place.className = state && state.problem ? "critical" : "";
};

/* A reader who types or has a table open is not disturbed by news. */
const busy = () => {
  const active = document.activeElement;
  return Boolean(active && main.contains(active) && /INPUT|SELECT|TEXTAREA/.test(active.tagName)) || Boolean(main.querySelector("details[open]"));
};

const render = async ({ news = false } = {}) => {
  asking?.abort();
  const own = asking = new AbortController(), name = view() in VIEWS ? view() : "overview", [title, work] = VIEWS[name];
  menu();
  ranges();
  document.title = `${title}: edgewatch ${meta.environment}`;
  main.setAttribute("aria-busy", "true");
  try {
    const made = await work(meta, own.signal, state);
    if (own.signal.aborted) return;
    release(main);
    const top = scrollY;
    main.replaceChildren(...made.flat(3).filter((each) => each instanceof Node));
    if (news) scrollTo(0, top);
    else if (shown && shown !== location.href.split("?")[0]) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
    shown = location.href.split("?")[0];
    main.querySelectorAll("figure").forEach((each) => { each.begin?.(); each.paint?.(); });
    await loadAll(main);
  } catch (error) {
    if (own.signal.aborted) return;
    release(main);
    main.replaceChildren(make("h1", {}, title), problem(error), button("Try again", () => render()));
  } finally {
    if (asking === own) main.removeAttribute("aria-busy");
  }
};

const listen = () => {
  const source = new EventSource("api/events");
  source.addEventListener("state", ({ data }) => {
    const before = state;
    state = JSON.parse(data);
    heard(state);
    if (state.until) meta.until = state.until;
    until();
    menu();
    const moved = before && (before.until !== state.until || before.settled !== state.settled);
    if (view() === "live" || (moved && relative() && !busy())) render({ news: true });
  });
  source.onerror = () => { state = { ...(state || { partitions: [], alerts: [] }), problem: "The dashboard does not answer; trying again." }; until(); };
};

const begin = async () => {
  try {
    meta = await ask("meta");
  } catch (error) {
    main.replaceChildren(problem(error), button("Try again", begin));
    return;
  }
  secret(meta.page);
  document.getElementById("environment").textContent = meta.environment;
  document.getElementById("foot").textContent = `edgewatch, configuration ${meta.version}; windows of ${duration(meta.window)}; times are UTC.`;
  follow();
  onMove(render);
  until();
  setInterval(until, 30000);
  listen();
  await render();
};

begin();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => main.querySelectorAll("figure.heated").forEach((each) => each.paint()));

/* A chart in a card: it asks for its values, zooms with its neighbours, and gives its link, values as a table or CSV, and SQL. */
import { address, ask } from "./ask.js";
import { button, make, problem, sqlOf, table } from "./dom.js";
import { change, range, zoom } from "./place.js";
import { number, when } from "./words.js";

const charts = () => globalThis.edgewatchCharts;

const unrolled = (runs) => runs.flatMap(([first, step, count]) => Array.from({ length: count }, (_, i) => first + i * step));

const asTable = (title, spec) => {
  const times = unrolled(spec.x), each = Math.ceil(times.length / 48) || 1, rows = [];
  for (let first = 0; first < times.length; first += each) {
    const cells = spec.lines.map(({ y }) => {
      const part = y.slice(first, first + each).filter((value) => value !== null);
      if (!part.length) return "no data";
      const low = Math.min(...part), high = Math.max(...part);
      return low === high ? number(low) : `${number(low)} to ${number(high)}`;
    });
    rows.push([when(times[first] * 1000), ...cells]);
  }
  const columns = ["From (UTC)", ...spec.lines.map(({ name }) => [spec.unit ? `${name} (${spec.unit})` : name, "number"])];
  return table(title, columns, rows);
};

const behind = (title, spec) => {
  const details = make("details", {}, make("summary", {}, "Table"));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(asTable(title, spec)); });
  return details;
};

export const copied = async (event) => {
  const said = event.currentTarget, before = said.textContent;
  try { await navigator.clipboard.writeText(location.href); said.textContent = "Copied"; } catch { prompt("The link of this view", location.href); }
  setTimeout(() => { said.textContent = before; }, 1500);
};

const LEGEND = { firing: "firing", pending: "pending", recovering: "recovering" };
const legend = (spec) => {
  const used = [...new Set(spec.states.map(([, , name]) => name))].filter((name) => name in LEGEND);
  const marks = spec.marks.length ? [spec.marks.some((mark) => mark[3]) ? ["page", "a page"] : null, spec.marks.some((mark) => !mark[3]) ? ["told", "another message"] : null] : [];
  const all = [...used.map((name) => [name, LEGEND[name]]), ...marks.filter(Boolean)];
  return all.length ? make("ul", { class: "key" }, all.map(([name, text]) => make("li", {}, make("i", { class: name }), text))) : null;
};

/* Let go of the charts within an element that is to go. */
export const release = (element) => element.querySelectorAll(".chart").forEach((host) => charts().stop(host));

export const drawn = (host, spec, title) => {
  host.spec = spec;
  host.dataset.title = title;
  charts().show(spec.shown, zoom());
  charts().start(host);
};

/* `given` are the words of the question (metric, statistic, key, rule, compare ...), beside those of the range. */
export const chartCard = (title, given, { note = "", height = 200, also = [], path = "series" } = {}) => {
  const asked = { ...range(), ...given };
  const host = make("div", { class: "chart" });
  const said = make("span", {}, note);
  const tools = make("div", { class: "tools" });
  const figure = make("figure", { class: "card" }, make("figcaption", {}, make("h3", {}, title), " ", said), host, tools);
  const load = async () => {
    const found = await ask(path, asked);
    if (!figure.isConnected) return;
    if (!found.rows) { host.replaceChildren(make("p", { class: "none" }, "no data in this range")); return; }
    charts().stop(host);
    host.replaceChildren();
    drawn(host, { ...found.chart, height }, title);
    said.textContent = [note, found.how].filter(Boolean).join("; ");
    tools.replaceChildren(...[legend(found.chart), make("div", { class: "links" },
      ...also, button("Link", copied, { class: "quiet" }), make("a", { href: address(`${path}.csv`, asked), download: "edgewatch.csv" }, "CSV"),
      behind(title, found.chart), sqlOf(found.sql))].filter(Boolean));
  };
  figure.load = () => load().catch((error) => host.replaceChildren(problem(error)));
  return figure;
};

/* Put cards on the page and let them ask, those in sight first. */
export const loadAll = (element) => Promise.all([...element.querySelectorAll("figure.card")].filter((each) => each.load).map((each) => each.load()));

let waits = 0;
document.addEventListener("chartzoom", ({ detail }) => {
  clearTimeout(waits);
  waits = setTimeout(() => change({ zoom: detail.whole ? null : `${Math.round(detail.min)}-${Math.round(detail.max)}` }, { quiet: true, replace: true }), 150);
});

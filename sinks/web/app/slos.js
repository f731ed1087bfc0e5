/* SLOs: what each objective attained, what is left of its budget, and how fast it burns. */
import { address, ask } from "./ask.js";
import { copied, drawn } from "./chart.js";
import { button, card, make, section, sqlOf, table } from "./dom.js";
import { link } from "./place.js";
import { duration, keyWords, number, when } from "./words.js";

const percent = (value, digits = 3) => value === null || value === undefined ? "no data" : `${(value * 100).toFixed(digits).replace(/\.?0+$/, "")}\u202f%`;

const budget = (row) => {
  const { at, values } = row.left, first = values.findIndex((each) => each !== null);
  if (first < 0) return null;
  const x = at.slice(first).map((each) => each / 1000), host = make("div", { class: "chart" }), step = x.length > 1 ? x[1] - x[0] : 3600;
  const spec = { kind: "time", unit: "%", zone: "UTC", height: 170, step, shown: [x[0], x[x.length - 1] + step], x: x.map((each) => [each, 0, 1]),
    lines: [{ name: "budget left", y: values.slice(first), colour: 1 }], limits: [{ name: "used up", value: 0, tone: "critical" }], states: [], incidents: [], marks: [] };
  const links = make("div", { class: "links" }, button("Link", copied, { class: "quiet" }), make("a", { href: address("slos.csv", { slo: row.name }), download: "edgewatch.csv" }, "CSV"), sqlOf(row.sql));
  const figure = make("figure", {}, make("figcaption", {}, make("h3", {}, "Budget left")), host, links);
  figure.begin = () => drawn(host, spec, `${row.name}: budget left`);
  return figure;
};

const rates = (row) => table("Burn rate: how many times faster than the budget allows", ["Over", ["Long", "number"], ["and short", "number"], ["Both above", "number"], "Then"],
  row.rates.map((each) => [`${duration(each.long_ms)} and ${duration(each.short_ms)}`, number(each.long), number(each.short), number(each.factor),
    make("span", { class: each.long > each.factor && each.short > each.factor ? each.severity : "muted" }, each.severity)]));

const slo = (row) => {
  const aim = `${percent(row.objective)} over ${duration(row.period_ms)}` + (row.threshold_ms ? `, good is up to ${number(row.threshold_ms, "ms")}` : "");
  if (row.left_out) return section(row.name, card(make("p", {}, aim), make("p", { class: "none" }, row.left_out)));
  const { period, range: today } = row, tone = !period ? "" : period.budget_left < 0 ? "critical" : period.budget_left < 0.2 ? "warning" : "good";
  const tile = (name, value, cls, note) => make("li", {}, make("div", { class: "tile" }, make("span", { class: "name" }, name), make("span", { class: "value " + cls }, value), make("span", { class: "note muted" }, note)));
  const worst = row.worst.map((each) => [keyWords(each.key), percent(each.attained), percent(each.budget_left, 1), number(each.bad)]);
  return section(row.name, make("p", { class: "muted" }, aim, " · ", make("a", { "data-view": true, href: link("alerts", { rule: row.rule }) }, "its alert")),
    make("ul", { class: "tiles" }, tile("Attained", period ? percent(period.attained) : "no data", tone, "over the period, as far as there are windows"), tile("Budget left", period ? percent(period.budget_left, 1) : "no data", tone, period ? `${number(period.bad)} bad of ${number(period.good + period.bad)}` : ""),
      tile("Last 24 hours", today ? percent(today.attained) : "no data", today && !today.met ? "warning" : "", today ? `${number(today.bad)} bad` : "")),
    card(budget(row), rates(row), worst.length ? table("Keys that used most of it", ["Key", ["Attained", "number"], ["Budget left", "number"], ["Bad", "number"]], worst) : null));
};

export const slos = async (meta, signal) => {
  const found = await ask("slos", {}, signal);
  if (!found.slos.length) return [make("h1", {}, "SLOs"), card(make("p", {}, "The configuration has no [[slo]]; docs/rules.md has how to write one."))];
  return [make("h1", {}, "SLOs"), make("p", { class: "lead" }, `Up to ${when(found.until)} UTC.`), found.slos.map(slo)];
};

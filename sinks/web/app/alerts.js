/* Alerts: what fires, the states of each alert over the range, alerts lined up one below the other, messages, and silences. */
import { alert } from "./alert.js";
import { address, ask } from "./ask.js";
import { chartCard, copied, loadAll } from "./chart.js";
import { button, card, make, section, sqlOf, table } from "./dom.js";
import { firing } from "./overview.js";
import { change, link, range, words } from "./place.js";
import { silences } from "./silences.js";
import { states } from "./spark.js";
import { clock, duration, keyText, keyWords, when } from "./words.js";

const MOST_LINED = 8;

const spoken = (row) => row.states.filter((each) => each[2] === "firing").map(([start, end]) => `fired ${when(start)} for ${duration(end - start)}`).join("; ") || "never fired";
const nameOf = (row) => `${row.rule} on ${keyWords(row.key)}`;
const atOf = (row, found, meta) => {
  const fired = row.states.find((each) => each[2] === "firing") || row.states[0];
  return fired ? Math.max(fired[0], found.from + meta.window) : found.to;
};

const timeline = (found, meta) => {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => make("span", {}, part === 0 ? when(found.from) : clock(found.from + part * (found.to - found.from))));
  const rows = found.rows.map((row) => make("li", {},
    make("a", { "data-view": true, href: link("alerts", { rule: row.rule, key: keyText(row.key), at: atOf(row, found, meta) }) }, make("b", {}, row.rule), " ", make("span", {}, keyWords(row.key))),
    states(row.states, found.from, found.to, `${nameOf(row)}: ${spoken(row)}`)));
  if (!rows.length) return card(make("p", { class: "none" }, "No alert was pending or fired in this range."));
  return card(make("ul", { class: "timeline" }, rows), make("div", { class: "axis", "aria-hidden": "true" }, marks),
    found.rows_left_out ? make("p", {}, `and ${found.rows_left_out} more`) : null,
    make("ul", { class: "key" }, ["pending", "firing", "recovering"].map((name) => make("li", {}, make("i", { class: name }), name))),
    make("div", { class: "links" }, button("Link", copied, { class: "quiet" }), make("a", { href: address("alerts.csv", { ...range(), run: words().run }), download: "edgewatch.csv" }, "CSV"), sqlOf(found.sql)));
};

/* Incident view: the charts of several alerts below each other, over the same time. */
const lined = (found, meta) => {
  const place = make("div", { class: "lined" });
  const began = (row) => row.states.find((each) => each[2] === "firing")?.[0] ?? Infinity;
  const loud = found.rows.filter((row) => row.worst < 2).slice(0, MOST_LINED).sort((a, b) => began(a) - began(b));
  if (!loud.length) return null;
  const show = () => {
    place.replaceChildren(...loud.map((row) => {
      const rule = meta.rules.find((each) => each.name === row.rule);
      return rule && rule.shows ? chartCard(nameOf(row), { metric: rule.metric, statistic: rule.shows, key: keyText(row.key), rule: row.rule, run: words().run }, { height: 130 }) : null;
    }).filter(Boolean));
    change({ lined: "1" }, { quiet: true, replace: true });
    return loadAll(place);
  };
  if (words().lined) setTimeout(show);
  return section("Lined up", card(make("p", {}, "The alerts that fired, one below the other over the same time: what began first is above what followed."), button("Line them up", show, { class: "main" })), place);
};

const messages = (found) => card(table("What was said", [["Time (UTC)", "plain"], "Status", "Message", "Why", "To"],
  found.said.map((each) => [
    make("a", { "data-view": true, href: link("alerts", { rule: each.rule, key: keyText(each.key), at: each.at }) }, when(each.at)),
    make("span", { class: each.status === "firing" ? each.severity : "good" }, each.status === "firing" ? each.severity : "resolved"), each.title, each.reason, each.channels.join(", ") || "nobody",
  ]), "nothing in this range"), found.said_left_out ? make("p", {}, `and ${found.said_left_out} before`) : null);

export const alerts = async (meta, signal) => {
  if (words().rule) return alert(meta, signal);
  const [found, quiet] = await Promise.all([ask("alerts", { ...range(), run: words().run }, signal), silences(meta, null)]);
  return [make("h1", {}, words().run ? `Alerts of run ${words().run}` : "Alerts"), words().run ? null : firing(found.open, meta.until), section("States", timeline(found, meta)), lined(found, meta),
    section("Messages", messages(found)),
    found.quiet.length ? section("Kept quiet", card(table("Evaluations that were not said", ["Rule", "By", ["Evaluations", "number"]], found.quiet.map((each) => [each.rule, each.by, String(each.evaluations)])))) : null,
    section("Silences", quiet)];
};

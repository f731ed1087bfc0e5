/* Overview: the numbers that are read first, each with its course, its limits and what it was a day before. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { make, section } from "./dom.js";
import { link, range } from "./place.js";
import { spark } from "./spark.js";
import { brief, change, duration, keyText, keyWords, number } from "./words.js";

const worstOn = (opened, tile) => opened.filter((each) => each.metric === tile.metric && each.statistic === tile.statistic && each.state !== "pending")
  .map((each) => each.severity).sort()[0] || "";

const tileOf = (tile, found) => {
  const tone = worstOn(found.open, tile), moved = change(tile.value, tile.before, tile.good);
  const note = moved
    ? make("span", { class: "note " + moved.tone }, moved.text, make("span", { class: "muted" }, moved.way ? ` on ${found.compared}` : ` ${found.compared}`))
    : make("span", { class: "note muted" }, tile.before === null ? `no whole range ${found.compared}` : "");
  const name = tile.how ? `${tile.name}, ${tile.how}` : tile.name;
  return make("li", {}, make("a", { class: "tile " + tone, "data-view": true, href: link("explore", { metric: tile.metric, statistic: tile.statistic }) },
    make("span", { class: "name" }, tile.name, tile.how ? `, ${tile.how}` : null),
    make("span", { class: "value " + tone }, brief(tile.value, tile.unit), tone ? make("span", { class: "aside" }, ` (${tone})`) : null),
    note, spark(tile.course, tile.limits, tile.unit, name, found),
    make("span", { class: "limits muted" }, tile.limits.map((each) => each.name).join(", "))));
};

export const firing = (opened, until) => {
  const loud = opened.filter((each) => each.state !== "pending");
  if (!loud.length) return make("p", { class: "calm card" }, make("b", { class: "good" }, "Nothing fires."), opened.length ? ` ${opened.length} pending.` : "");
  return make("ul", { class: "fires" }, loud.map((each) => make("li", { class: "card " + (each.severity || "") },
    make("a", { "data-view": true, href: link("alerts", { rule: each.rule, key: keyText(each.key), at: until }) },
      make("b", {}, each.rule), ` on ${keyWords(each.key)}`),
    make("span", { class: each.severity || "" }, each.severity || each.state), make("span", { class: "muted" }, `for ${duration(until - each.since)}`),
    each.said ? make("span", { class: "title" }, each.said.title) : null)));
};

export const overview = async (meta, signal) => {
  const found = await ask("overview", range(), signal);
  const groups = found.groups.map((group) => section(group.name, make("ul", { class: "tiles" }, group.tiles.map((tile) => tileOf(tile, found)))));
  const charts = found.charts.map(({ title, lines }) => chartCard(title, { lines: lines.map((each) => each.join(":")).join(",") }));
  const missing = found.left_out.length ? make("details", { class: "missing" }, make("summary", {}, `${found.left_out.length} numbers have no data`),
    make("ul", {}, found.left_out.map((each) => make("li", {}, `${each.group}, ${each.tile}: ${each.why}`)))) : null;
  return [make("h1", {}, "Overview"), firing(found.open, meta.until), groups, section("Courses", make("div", { class: "pair" }, charts)), missing,
    make("p", { class: "aside" }, `Steps of ${duration(found.step)}; ${number(found.groups.length)} groups`)];
};

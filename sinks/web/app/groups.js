/* Health and business: each metric of a dataset as a chart, with its keys below: value, change, course; each opens in Explore. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { card, make, section, table } from "./dom.js";
import { firing } from "./overview.js";
import { link, range } from "./place.js";
import { spark } from "./spark.js";
import { brief, change, day, keyText, keyWords, number } from "./words.js";

const STATUS = { operational: ["operational", "good"], degraded_performance: ["degraded", "warning"], partial_outage: ["partial outage", "warning"], major_outage: ["major outage", "critical"], no_data: ["no data", "muted"] };

/* A key as a link to its own chart, where it can be zoomed and has its CSV and SQL. */
export const keyLink = (metric, statistic, key) => make("a", { "data-view": true, href: link("explore", { metric, statistic, key: Object.keys(key).length ? keyText(key) : null }) }, keyWords(key));

const rowsOf = (metric, found) => metric.rows.map((row) => {
  const moved = change(row.value, row.before, "");
  return [keyLink(metric.metric, metric.statistic, row.key), brief(row.value, metric.unit), moved ? make("span", { class: moved.tone }, moved.text) : "",
    spark(row.course, [], metric.unit, `${metric.metric} of ${keyWords(row.key)}`, found), number(row.records)];
});

const metricCard = (metric, found) => {
  const title = `${metric.metric} ${metric.statistic}`;
  const chart = chartCard(title, { metric: metric.metric, statistic: metric.statistic }, { height: 150 });
  const keys = metric.rows.length > 1 ? card(table(`${title} by key`, ["Key", ["Value", "number"], [found.compared, "number"], "Course", ["Records", "number"]], rowsOf(metric, found)),
    metric.left_out ? make("p", {}, `and ${metric.left_out} more keys`) : null) : null;
  return make("div", { class: "grouped" }, chart, keys);
};

const components = (found) => found.components.length ? section("Status", card(make("ul", { class: "components" }, found.components.map((each) => make("li", {},
  make("b", {}, each.name), make("span", { class: (STATUS[each.status] || STATUS.no_data)[1] }, (STATUS[each.status] || [each.status])[0]),
  make("span", { class: "days", role: "img", "aria-label": `${each.name}, the last ${each.days.length} days: ${each.days.map(([at, status]) => `${day(at)} ${STATUS[status]?.[0] || status}`).join(", ")}` },
    each.days.map(([at, status]) => make("i", { class: status, title: `${day(at)}: ${STATUS[status]?.[0] || status}` }))),
  make("span", { class: "muted" }, each.uptime === null ? "" : `${number(each.uptime * 100)} % up`)))),
  make("p", { class: "muted" }, "What `edgewatch status-page` shows to everybody; days are those of UTC."))) : null;

const view = (title, question, none) => async (meta, signal) => {
  const found = await ask(question, range(), signal);
  const charts = found.metrics.length ? section("Metrics", make("div", { class: "pair" }, found.metrics.map((each) => metricCard(each, found)))) : card(make("p", { class: "none" }, none));
  return [make("h1", {}, title), found.metrics.length || found.open.length ? firing(found.open, meta.until) : null, found.components ? components(found) : null, charts];
};

export const health = view("Health", "health", "No metric of health checks has rows; docs/probes.md has how `edgewatch probe` makes some.");
export const business = view("Business", "business", "No metric of business events has rows; docs/datasets.md has how a topic holds them.");

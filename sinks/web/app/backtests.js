/* Backtests: runs whose rows are kept under their id, each beside what the live run said over the same range. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { card, make, section, sqlOf, table } from "./dom.js";
import { link, words } from "./place.js";
import { duration, number, when } from "./words.js";

const HOW = "No run has rows here. `edgewatch replay --into-clickhouse RUN` keeps a replay's windows and decisions beside the live ones.";

const beside = (row, name) => [number(row.run[name]), number(row.live[name])];

export const backtests = async (meta, signal) => {
  const found = await ask("runs", { run: words().run }, signal);
  const list = found.runs.map((each) => [make("a", { "data-view": true, href: link("backtests", { run: each.run }, false), "aria-current": each.run === words().run ? "true" : null }, each.run),
    when(each.from), when(each.to), String(each.metrics), each.version, when(each.written)]);
  const head = [make("h1", {}, "Backtests"), card(found.runs.length ? table("Runs", ["Run", ["From (UTC)", "plain"], ["To (UTC)", "plain"], ["Metrics", "number"], "Configuration", ["Written (UTC)", "plain"]], list) : make("p", {}, HOW))];
  if (!found.chosen) return head;
  const { from, to, run } = found.chosen;
  const rows = found.rules.map((row) => [row.rule, ...beside(row, "episodes"), duration(row.run.firing_ms), duration(row.live.firing_ms), ...beside(row, "notifications")]);
  const metric = meta.metrics.find((each) => each.name === "error_rate") || meta.metrics.find((each) => each.kind === "ratio") || meta.metrics[0];
  const statistic = metric.statistics[metric.statistics.length - 1];
  return [...head, section(`Run ${run} and live`, make("p", {}, `${when(from)} to ${when(to)} UTC. `, make("a", { "data-view": true, href: link("alerts", { run, from, to }, false) }, "Its alerts"), " · ", make("a", { "data-view": true, href: link("alerts", { from, to }, false) }, "the live ones")),
    card(table("By rule", ["Rule", ["Fired, run", "number"], ["live", "number"], ["For, run", "number"], ["live", "number"], ["Messages, run", "number"], ["live", "number"]], rows, "nothing fired, there or live"), sqlOf(found.sql)),
    make("div", { class: "pair" }, chartCard(`${metric.name} ${statistic}, run`, { metric: metric.name, statistic, run, from, to, span: null }), chartCard(`${metric.name} ${statistic}, live`, { metric: metric.name, statistic, from, to, span: null })))];
};

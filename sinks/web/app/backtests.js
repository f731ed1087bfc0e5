/* Backtests: runs whose rows are kept under their id, each beside what the live run said over the same range. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { card, make, section, sqlOf, table } from "./dom.js";
import { link, words } from "./place.js";
import { duration, number, when } from "./words.js";

const HOW = "No run has rows here. `edgewatch replay --into-clickhouse --run NAME` keeps a replay's windows and decisions beside the live ones.";

/* What the run came to and what live came to; where they differ, the run's stands out. */
const beside = (row, name, text = number) => [row.run[name] === row.live[name] ? text(row.run[name]) : make("b", { class: "warning" }, text(row.run[name])), text(row.live[name])];

export const backtests = async (meta, signal) => {
  const found = await ask("runs", { run: words().run }, signal);
  const list = found.runs.map((each) => [make("a", { "data-view": true, href: link("backtests", { run: each.run }, false), "aria-current": each.run === words().run ? "true" : null }, each.run),
    when(each.from), when(each.to), String(each.metrics), each.version, when(each.written)]);
  const head = [make("h1", {}, "Backtests"), card(found.runs.length ? table("Runs", ["Run", ["From (UTC)", "plain"], ["To (UTC)", "plain"], ["Metrics", "number"], "Configuration", ["Written (UTC)", "plain"]], list) : make("p", {}, HOW))];
  if (!found.chosen) return head;
  const { from, to, run } = found.chosen;
  const rows = found.rules.map((row) => [row.rule, ...beside(row, "episodes"), ...beside(row, "firing_ms", duration), ...beside(row, "notifications")]);
  const metric = meta.metrics.find((each) => each.name === "error_rate") || meta.metrics.find((each) => each.kind === "ratio") || meta.metrics[0];
  const statistic = metric.statistics[metric.statistics.length - 1];
  return [...head, section(`Run ${run} and live`, make("p", {}, `${when(from)} to ${when(to)} UTC. `, make("a", { "data-view": true, href: link("alerts", { run, from, to }, false) }, "Its alerts"), " · ", make("a", { "data-view": true, href: link("alerts", { from, to }, false) }, "the live ones")),
    card(table("By rule", ["Rule", ["Fired, run", "number"], ["live", "number"], ["For, run", "number"], ["live", "number"], ["Messages, run", "number"], ["live", "number"]], rows, "nothing fired, there or live"), sqlOf(found.sql)),
    make("p", { class: "muted" }, "Where a run differs from live, its figure stands out. The limits in the charts are those of the configuration that this page was started with."),
    make("div", { class: "pair" }, chartCard(`${metric.name} ${statistic}, run`, { metric: metric.name, statistic, run, from, to, span: null }), chartCard(`${metric.name} ${statistic}, live`, { metric: metric.name, statistic, from, to, span: null })))];
};

/* Explore: any metric, statistic and key over any range, beside an earlier time, and how its values are spread. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { make, problem } from "./dom.js";
import { heatCard } from "./heat.js";
import { change, range, words } from "./place.js";
import { keyText, keyWords, number } from "./words.js";

const COMPARED = [["", "nothing"], ["1d", "the day before"], ["7d", "the week before"]];
const option = (value, text, chosen) => make("option", { value, selected: value === chosen }, text);
const labelled = (text, control) => make("p", { class: "field" }, make("label", { for: control.id }, text), control);

export const explore = async (meta, signal) => {
  const given = words(), there = meta.metrics.filter((each) => each.there);
  if (!there.length) return [make("h1", {}, "Explore"), problem(new Error("no metric has rows yet"))];
  const metric = there.find((each) => each.name === given.metric) || there.find((each) => each.kind === "distribution") || there[0];
  const usual = metric.kind === "distribution" ? ["p50", "p99"] : [metric.statistics[metric.statistics.length - 1]];
  const chosen = (given.statistic || "").split(",").filter((each) => metric.statistics.includes(each));
  const statistics = chosen.length ? chosen : usual;
  const { keys } = await ask("keys", { ...range(), metric: metric.name }, signal);
  const names = make("select", { id: "metric", onchange: (event) => change({ metric: event.target.value, statistic: null, key: null, zoom: null }) }, there.map((each) => option(each.name, each.name, metric.name)));
  const key = make("select", { id: "key", onchange: (event) => change({ key: event.target.value }) }, option("", "all (the total)", given.key || ""),
    keys.map((each) => option(keyText(each.key), `${keyWords(each.key)} (${number(each.records)})`, given.key)));
  if (given.key && !keys.some((each) => keyText(each.key) === given.key)) key.append(option(given.key, given.key, given.key));
  const compare = make("select", { id: "compare", onchange: (event) => change({ compare: event.target.value }) }, COMPARED.map(([value, text]) => option(value, text, given.compare || "")));
  const boxes = make("fieldset", {}, make("legend", {}, "Statistics"), metric.statistics.map((name) => make("label", {}, make("input", {
    type: "checkbox", checked: statistics.includes(name), onchange: (event) => {
      const left = metric.statistics.filter((each) => each === name ? event.target.checked : statistics.includes(each));
      change({ statistic: left.join(",") || name });
    },
  }), name)));
  const form = make("form", { class: "card row", "aria-label": "What to show", onsubmit: (event) => event.preventDefault() },
    labelled("Metric", names), labelled("Key", key), labelled("Compare with", compare), boxes);
  const asked = { metric: metric.name, key: given.key, compare: given.compare };
  const units = [...new Set(statistics.map((each) => metric.units[each]))];
  const charts = units.map((unit) => {
    const own = statistics.filter((each) => metric.units[each] === unit);
    return chartCard(`${metric.name} ${own.join(", ")}${given.key ? ` on ${keyWords(JSON.parse(given.key))}` : ""}`, { ...asked, statistic: own.join(",") }, { height: 300 });
  });
  const spread = { ...range(), metric: metric.name, key: given.key };
  const heat = metric.kind === "distribution" ? heatCard(`How ${metric.name} is spread`, await ask("heatmap", spread, signal), spread) : null;
  return [make("h1", {}, "Explore"), form, charts, heat, make("p", { class: "muted" }, `${metric.name} is a ${metric.kind} of ${metric.dataset}.`)];
};

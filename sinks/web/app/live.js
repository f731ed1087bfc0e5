/* Live: how far windows are, partition by partition, and what fires, as windows close. */
import { chartCard } from "./chart.js";
import { card, make, section, table } from "./dom.js";
import { firing } from "./overview.js";
import { duration, number, when } from "./words.js";

const LOG = 30;
const seen = [];

export const heard = (state) => {
  if (!state || state.problem || (seen.length && seen[0].until === state.until)) return;
  const records = state.partitions.reduce((sum, each) => sum + (each.records || 0), 0);
  seen.unshift({ until: state.until, records, alerts: state.alerts.length, at: Date.now() });
  seen.length = Math.min(seen.length, LOG);
};

/* What waited at the broker when it was last looked at; only a run that reads Kafka looks. */
const waiting = (parts) => {
  const known = parts.filter((each) => each.lag_at);
  if (!known.length) return ["not known", "measured by a live run that reads Kafka"];
  const at = Math.min(...known.map((each) => each.lag_at)), text = number(known.reduce((sum, each) => sum + each.lag, 0));
  return [text, `records that waited at the broker ${duration(Date.now() - at)} ago` + (known.length < parts.length ? `, in ${known.length} of ${parts.length} partitions` : "")];
};

const share = (part, all) => part ? `${number(part)} (${number((100 * part) / (all || 1))} %)` : "0";

export const live = async (meta, _, state) => {
  if (!state) return [make("h1", {}, "Live"), make("p", { class: "words" }, "Waiting for the first word of the server…")];
  if (state.problem) return [make("h1", {}, "Live"), card(make("p", { class: "critical" }, state.problem))];
  const late = state.partitions.reduce((sum, each) => sum + (each.late || 0), 0), all = state.partitions.reduce((sum, each) => sum + (each.records || 0), 0);
  const dead = state.partitions.reduce((sum, each) => sum + (each.dead_letters || 0), 0);
  const tile = (name, value, note) => make("li", {}, make("div", { class: "tile" }, make("span", { class: "name" }, name), make("span", { class: "value" }, value), make("span", { class: "note muted" }, note)));
  const rows = state.partitions.map((each) => [`${each.topic || each.dataset}/${each.partition}`, each.dataset, when(each.closed),
    !each.closed ? "" : each.watermark === null || each.watermark === undefined ? "read to its end" : `${number(each.watermark)} s past it`, each.delay === null ? "" : duration(1000 * Math.max(0, each.delay)), each.lag_at ? number(each.lag) : "not known", number(each.records), share(each.late, each.records), share(each.dead_letters, each.records)]);
  const metric = meta.metrics.find((each) => each.there && each.name === "requests") || meta.metrics.find((each) => each.there);
  return [make("h1", {}, "Live"),
    make("ul", { class: "tiles" }, tile("Data until", when(state.until) + " UTC", `${duration(Date.now() - state.until)} ago`), tile("Delay", duration(1000 * Math.max(0, ...state.partitions.map((each) => each.delay))), "from a window's end to its rows: lag, waiting for late records, writing"), tile("Lag", ...waiting(state.partitions)), tile("Records read", number(all), "since the first"),
      tile("Late", share(late, all), "counted, never in a window"), tile("Dead letters", share(dead, all), "could not be read")),
    firing(state.alerts.map((each) => ({ ...each, said: null })), state.until),
    metric ? chartCard(`${metric.name}, the last hours`, { metric: metric.name, span: "3h", from: null, to: null }) : null,
    section("Partitions", card(table("How far each partition was when its last window closed", ["Partition", "Dataset", ["Window closed (UTC)", "plain"], "Watermark", ["Written after its end by", "number"], ["Lag", "number"], ["Records", "number"], ["Late", "number"], ["Dead letters", "number"]], rows))),
    section("Windows as they closed", card(table("Since this page was opened", [["Window end (UTC)", "plain"], ["Records read", "number"], ["Open alerts", "number"], "Heard"],
      seen.map((each) => [when(each.until), number(each.records), String(each.alerts), `${duration(Date.now() - each.at)} ago`]))))];
};

/* Pipeline: how reading goes: records, late ones and dead letters by partition, and what could not be read. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { card, make, section, sqlOf, table } from "./dom.js";
import { range } from "./place.js";
import { spark } from "./spark.js";
import { duration, number, when } from "./words.js";

const LAG = ["lag", "Lag: records that waited at the broker"];
const FLOW = [["records", "Records by partition"], ["watermark", "Watermark past the window"], ["late", "Late records"], ["dead_letters", "Dead letters"]];
const sum = (points) => points.reduce((all, [, value]) => all + value, 0);
const course = (points, found) => {
  const steps = Math.ceil((found.to - found.from) / found.step), out = new Array(steps).fill(null);
  for (const [second, value] of points) out[Math.floor((second * 1000 - found.from) / found.step)] = value;
  return out;
};
const share = (part, all) => part ? `${number((100 * part) / (all || 1))} %` : "0";

export const pipeline = async (meta, signal) => {
  const found = await ask("pipeline", range(), signal);
  const rows = found.partitions.map((each) => {
    const records = sum(each.records), last = each.watermark[each.watermark.length - 1];
    return [each.partition, each.dataset, number(records), spark(course(each.records, found), [], "", `records of ${each.partition}`, found), share(sum(each.late), records),
      spark(course(each.late, found), [], "", `late records of ${each.partition}`, found), share(sum(each.dead_letters), records), last ? `${number(last[1])} s` : "at its end"];
  });
  const reasons = found.dead.reasons.map((each) => [each.reason, each.dataset, number(each.n)]);
  const last = found.dead.last.map((each) => [`${each.topic}/${each.partition} at ${each.offset}/${each.index}`, each.dataset, each.reason, make("code", {}, each.payload.slice(0, 300))]);
  const written = found.now.written_s, flow = found.partitions.some((each) => each.lag.length) ? [FLOW[0], LAG, ...FLOW.slice(1)] : FLOW;
  return [make("h1", {}, "Pipeline"),
    make("p", { class: "lead" }, `Windows are closed until ${when(found.now.until)} UTC; the last rows were written ${written === null ? "more than a day before that" : duration(written * 1000) + " ago"}.`),
    found.partitions.length ? make("div", { class: "pair" }, flow.map(([event, title]) => chartCard(title, { event }, { path: "flow", height: 160 }))) : null,
    section("Partitions", card(table(`In steps of ${duration(found.step)}`, ["Partition", "Dataset", ["Records", "number"], "Course", ["Late", "number"], "Course", ["Dead letters", "number"], ["Watermark past the window", "number"]], rows, "no rows of how reading went; replays leave none"), sqlOf(found.sql))),
    section("Dead letters", card(table("Reasons", ["Reason", "Dataset", ["Count", "number"]], reasons, "none: every record could be read")), last.length ? card(table("The last ones", ["Where", "Dataset", "Reason", "Payload, scrubbed"], last), sqlOf(found.dead.sql)) : null)];
};

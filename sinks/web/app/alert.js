/* One alert: why it did or did not page in a window, its evidence, the records before, and a silence ready to add. */
import { ask } from "./ask.js";
import { chartCard } from "./chart.js";
import { card, make, section, sqlOf, table } from "./dom.js";
import { link, words } from "./place.js";
import { drillButton, silenceForm } from "./silences.js";
import { keyText, keyWords, number, seconds, when } from "./words.js";

const CHART_MS = 12 * 3600000;

const unitOf = (meta, rule) => meta.metrics.find(({ name }) => name === rule.metric)?.units[rule.statistic] || "";
const shown = (value, unit) => value === null ? "" : unit === "%" ? number(value * 100, unit) : number(value, unit);

const records = (found, unit, at, here) => table("Decision records before this window", ["Window end (UTC)", ["Value", "number"], ["Records", "number"], "Level", "State", "Kept quiet by"],
  found.records.slice(-36).reverse().map((row) => {
    const ms = seconds(row.window_end);
    const time = make("a", { "data-view": true, href: link("alerts", { ...here, at: ms }), "aria-current": ms === at ? "true" : null }, when(ms));
    const moved = row.state_before === row.state_after ? row.state_after : `${row.state_before} → ${row.state_after}`;
    const level = make("span", { class: row.level === "critical" || row.level === "warning" ? row.level : "" }, row.level);
    return [time, shown(row.value, unit), number(Number(row.count)), level, moved, row.suppressed_by || ""];
  }), "none");

const traceOf = (row) => row.trace ? make("a", { href: row.trace, rel: "noreferrer" }, row.trace_id) : row.trace_id || "";

const evidence = (found) => {
  const lines = found.evidence.lines || [];
  const share = (found.evidence.contribution || []).map((each) => make("li", {}, make("span", {}, `${each.dimension} ${each.value}`),
    make("meter", { min: 0, max: 1, value: each.share, "aria-label": `${each.dimension} ${each.value} contributes` }), `${number(each.share * 100)} % of the ${each.of}`));
  const rays = found.exemplars.map((row) => [row.reason, row.value === null ? "" : number(row.value), String(row.event_time), row.ray_id || "", traceOf(row), `${row.partition} at ${row.offset}/${row.index}`]);
  return section("Evidence",
    card(share.length ? make("ul", { class: "shares" }, share) : null,
      make("ul", {}, lines.filter((each) => !each.includes("contributes")).map((each) => make("li", {}, each))),
      lines.length ? null : make("p", { class: "none" }, "Nothing was said of this alert up to this window, so no evidence was kept.")),
    card(table("Records kept as examples", ["Why", ["Value", "number"], ["Time (UTC)", "plain"], "Ray", "Trace", "Where it was read"], rays, "none in this window")));
};

export const alert = async (meta, signal) => {
  const { rule: name, key: keyed, at } = words();
  const found = await ask("alert", { rule: name, key: keyed, at }, signal);
  const rule = meta.rules.find((each) => each.name === name) || { name, metric: "", statistic: "", shows: "", runbook: "" };
  const back = make("p", {}, make("a", { "data-view": true, href: link("alerts", {}) }, "← All alerts"));
  if (found.problem) return [back, make("h1", {}, name), card(make("p", {}, found.problem))];
  const key = keyText(found.key), unit = unitOf(meta, rule), end = found.end, here = { rule: name, key };
  const past = await ask("records", { ...here, from: end - 6 * 3600000, to: end }, signal);
  const frame = { from: Math.max(0, end - CHART_MS), to: Math.min(end + CHART_MS, Math.max(meta.until, end)) };
  const chart = rule.shows ? chartCard(`${rule.metric} ${rule.shows} on ${keyWords(found.key)}`, { metric: rule.metric, statistic: rule.shows, key, rule: name, span: null, ...frame }) : null;
  const others = found.keys.filter((each) => keyText(each.key) !== key && (each.state !== "inactive" || each.level === "critical" || each.level === "warning"));
  const step = (ms, text) => make("a", { "data-view": true, href: link("alerts", { ...here, at: end + ms }) }, text);
  const about = make("dl", { class: "about" }, found.sentences.map((each) => [make("dt", {}, each.about), make("dd", {}, each.text)]), found.deliveries.map((each) => [make("dt", {}, "sent"), make("dd", {}, each)]));
  return [back, make("h1", {}, `${name} on ${keyWords(found.key)}`),
    make("p", { class: "lead" }, `Window ${when(seconds(found.window_start))} to ${when(end)} UTC. `, step(-meta.window, "Window before"), " · ", step(meta.window, "next window")),
    section("Why", card(make("p", { class: "verdict" }, found.verdict), about, rule.runbook ? make("p", {}, "Runbook: ", /^https?:/.test(rule.runbook) ? make("a", { href: rule.runbook, rel: "noreferrer" }, rule.runbook) : rule.runbook) : null)),
    chart, evidence(found), section("Records", card(records(past, unit, end, here), sqlOf(past.sql))),
    others.length ? section("Other keys of this window", card(make("ul", {}, others.map((each) => make("li", {}, make("a", { "data-view": true, href: link("alerts", { rule: name, key: keyText(each.key), at: end }) }, keyWords(each.key)), `: ${each.level}, ${each.state}`))))) : null,
    section("Do something", meta.silences && !meta.read_only ? silenceForm(meta, { rule: name, key: found.key }, async () => {}) : card("Silences: see the list of all alerts."), card(drillButton(meta, name)))];
};

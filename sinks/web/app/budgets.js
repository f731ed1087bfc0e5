/* Performance budgets: what each endpoint took against what it may take, those that are over it most often first. */
import { ask } from "./ask.js";
import { card, make, section, sqlOf, table } from "./dom.js";
import { keyLink } from "./groups.js";
import { firing } from "./overview.js";
import { link, range } from "./place.js";
import { spark } from "./spark.js";
import { keyText, number } from "./words.js";

const HOW = "No rule is a budget. A rule of kind = \"budget\" gives each endpoint what it may take; docs/rules.md has an example.";

const toned = (value, row, unit) => make("span", { class: value > row.budget ? "warning" : "" }, number(value, unit));

const rule = (found) => (each) => {
  const rows = each.rows.map((row) => [keyLink(each.metric, each.statistic, row.key), number(row.budget, each.unit), toned(row.last, row, each.unit), toned(row.worst, row, each.unit),
    make("span", { class: row.beyond ? "warning" : "good" }, `${number(row.beyond)} of ${number(row.windows)}`),
    spark(row.course, [{ value: row.budget, tone: "warning" }], each.unit, `${each.statistic} of ${Object.values(row.key).join(", ")}`, found),
    make("a", { "data-view": true, href: link("alerts", { rule: each.rule, key: keyText(row.key) }) }, "why")]);
  return section(each.rule, card(table(`${each.metric} ${each.statistic} by endpoint`,
    ["Endpoint", ["Budget", "number"], ["Last window", "number"], ["Worst", "number"], ["Windows over it", "number"], "Worst by step", "Decision"], rows, "no endpoint with a budget has rows in this range"),
  each.left_out ? make("p", {}, `and ${each.left_out} more endpoints`) : null, sqlOf(each.sql)));
};

export const budgets = async (meta, signal) => {
  const found = await ask("budgets", range(), signal);
  if (!found.rules.length) return [make("h1", {}, "Budgets"), card(make("p", {}, HOW))];
  return [make("h1", {}, "Budgets"), firing(found.open, meta.until), found.rules.map(rule(found))];
};

/* Silences: what is kept quiet by people, a form to add one, and its end. */
import { ask, send } from "./ask.js";
import { button, card, make, problem, table } from "./dom.js";
import { when } from "./words.js";

const NEEDS = "The state folder of the run is not on the dashboard's machine, so silences are neither shown nor added here; use `edgewatch silence` beside the run.";

const field = (label, control, hint) => make("p", { class: "field" }, make("label", { for: control.id }, label), control, hint ? make("span", { class: "muted", id: control.id + "-hint" }, hint) : null);

const matchersOf = (given) => given ? [`rule=${JSON.stringify(given.rule)}`, ...Object.entries(given.key || {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`)].join("\n") : "";

export const silenceForm = (meta, given, done) => {
  const match = make("textarea", { id: "silence-match", rows: 3, required: true, spellcheck: "false", "aria-describedby": "silence-match-hint" });
  match.value = matchersOf(given);
  const length = make("select", { id: "silence-for" }, ["30m", "1h", "2h", "4h", "8h", "1d", "3d", "7d"].map((each) => make("option", { selected: each === "1h" }, each)));
  const reason = make("input", { id: "silence-reason", required: true, maxlength: 300 });
  const author = make("input", { id: "silence-author", required: true, maxlength: 100, autocomplete: "name", value: localStorage.getItem("author") || "" });
  const said = make("p", { role: "status" });
  const body = (only) => ({ match: match.value.split("\n").map((each) => each.trim()).filter(Boolean), for: length.value, reason: only ? reason.value || "try" : reason.value, author: author.value, try: only });
  const tell = (found) => [`matches ${found.matches} of ${found.open} open alerts`, ...found.warnings].join("; ");
  const work = async (only) => {
    try {
      const found = await send("silences", body(only));
      if (meta.names_nobody) localStorage.setItem("author", author.value);
      said.replaceChildren(only ? tell(found) : `Silence ${found.id} until ${when(found.end)}: ${tell(found)}. It holds from the next window that closes on.`);
      if (!only) await done();
    } catch (error) { said.replaceChildren(problem(error)); }
  };
  return make("form", { class: "card", "aria-label": "Add a silence", onsubmit: (event) => { event.preventDefault(); work(false); } },
    make("h3", {}, "Add a silence"),
    field("Matchers, one a line", match, 'rule="slow_responses" or ClientRequestHost=~"api.*"'),
    make("div", { class: "row" }, field("For", length), field("Reason", reason), meta.names_nobody ? field("Your name", author) : null),
    make("div", { class: "row" }, make("button", { type: "submit", class: "main" }, "Add silence"), button("What would it match?", () => work(true))), said);
};

export const silences = async (meta, given) => {
  const place = make("div", { id: "silences" });
  const fill = async () => {
    const found = await ask("silences");
    const end = (id) => async () => {
      try { await send("silences/expire", { id }); await fill(); } catch (error) { place.prepend(problem(error)); }
    };
    const rows = found.silences.map((each) => [each.id, each.state, each.match.join(", "), when(each.end), each.author, each.reason,
      meta.read_only ? "" : button("Expire", end(each.id), { "aria-label": `Expire silence ${each.id}` })]);
    place.replaceChildren(card(table("Silences in force or to come", ["Silence", "State", "Matches", ["Until (UTC)", "plain"], "By", "Reason", "End"], rows, "none")));
  };
  if (!meta.silences) return [card(make("p", {}, NEEDS))];
  await fill();
  return [place, meta.read_only ? card(make("p", {}, "This dashboard is read-only.")) : silenceForm(meta, given, fill)];
};

export const drillButton = (meta, rule) => {
  if (meta.read_only) return null;
  const said = make("div", { role: "status" });
  const work = async () => {
    if (!confirm(`Send a marked test alert of ${rule}, and its end, through every channel of its route?`)) return;
    said.replaceChildren("Sending…");
    try {
      const found = await send("drill", { rule });
      said.replaceChildren(table(`Drill of ${rule} (${found.severity})`, ["Channel", "Arrived", "What it said"],
        found.arrivals.map((each) => [each.channel, each.ok === null ? "left out" : each.ok ? "yes" : "no", each.words]), "no route takes it: nobody would hear of it"));
    } catch (error) { said.replaceChildren(problem(error)); }
  };
  return make("div", {}, button("Drill this rule", work), said);
};

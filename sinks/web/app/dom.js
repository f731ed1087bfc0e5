/* Elements of a page. Every text is put in as text, never as markup: keys and titles come from logs. */
const SVG = "http://www.w3.org/2000/svg";

const filled = (element, given, children) => {
  for (const [name, value] of Object.entries(given || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
};

export const make = (tag, given, ...children) => filled(document.createElement(tag), given, children);
export const draw = (tag, given, ...children) => filled(document.createElementNS(SVG, tag), given, children);

/* A table: columns are names, or [name, kind]; the first cell of a row names it. */
export const table = (caption, columns, rows, nothing = "nothing") => {
  const kinds = columns.map((each) => Array.isArray(each) ? each[1] : "text");
  const head = columns.map((each, i) => make("th", { scope: "col", class: kinds[i] }, Array.isArray(each) ? each[0] : each));
  const cell = (value, i) => make(i ? "td" : "th", { class: kinds[i], scope: i ? null : "row" }, value === null || value === undefined ? "" : value);
  const body = rows.map((row) => make("tr", {}, row.map(cell)));
  if (!rows.length) return make("p", { class: "none" }, make("b", {}, caption), ": ", nothing);
  return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body)));
};

export const section = (title, ...children) => {
  const id = "s-" + title.toLowerCase().replace(/[^a-z]+/g, "-");
  return make("section", { "aria-labelledby": id }, make("h2", { id }, title), children);
};

export const card = (...children) => make("div", { class: "card" }, children);
export const button = (text, onclick, given) => make("button", { type: "button", onclick, ...given }, text);
export const problem = (error) => make("p", { class: "problem card", role: "alert" }, error.message || String(error));

/* SQL behind what is shown, to be copied. */
export const sqlOf = (sql) => sql ? make("details", { class: "sql" }, make("summary", {}, "SQL"), make("pre", { tabindex: 0 }, sql)) : null;

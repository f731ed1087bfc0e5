/* Numbers, times and keys as people read them; times are UTC. */
const THIN = "\u202f";

export const number = (value, unit) => {
  if (value === null || value === undefined || Number.isNaN(value)) return "no data";
  const size = Math.abs(value), digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : size ? 4 : 0;
  const text = new Intl.NumberFormat("en-GB", { maximumFractionDigits: digits }).format(value).replace(/,/g, THIN);
  return unit ? text + THIN + unit : text;
};

/* Large counts in a small place: 1.24 M. */
export const brief = (value, unit) => {
  if (value === null || value === undefined) return "no data";
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"]]) if (Math.abs(value) >= size) return number(value / size) + THIN + sign + (unit || "");
  return number(value, unit);
};

export const duration = (ms) => {
  let rest = Math.max(0, Math.floor(ms / 1000));
  const out = [];
  for (const [name, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count) out.push(`${count}${THIN}${name}`);
  }
  return out.slice(0, 2).join(" ") || "0\u202fs";
};

const parts = (ms) => new Date(ms).toISOString();
export const clock = (ms) => parts(ms).slice(11, 16);
export const day = (ms) => parts(ms).slice(0, 10);
export const when = (ms) => ms ? `${day(ms)} ${clock(ms)}` : "";
export const exact = (ms) => parts(ms).slice(0, 19) + "Z";
export const seconds = (text) => Date.parse(text.replace(" ", "T") + (text.endsWith("Z") ? "" : "Z"));

export const keyWords = (key) => Object.entries(key).map(([, value]) => value).join(", ") || "all";
export const keyText = (key) => JSON.stringify(Object.fromEntries(Object.entries(key).sort(([a], [b]) => (a < b ? -1 : 1))));

export const change = (now, before, good) => {
  if (now === null || before === null || now === undefined || before === undefined || !before) return null;
  const part = now / before - 1, size = Math.abs(part) * 100;
  if (size < 0.05) return { text: "as", tone: "muted" };
  const way = part > 0 ? "up" : "down", tone = !good || size < 5 ? "muted" : way === good ? "good" : "warning";
  return { text: `${way === "up" ? "\u25b2" : "\u25bc"} ${size < 10 ? size.toFixed(1) : size.toFixed(0)}${THIN}%`, tone, way };
};

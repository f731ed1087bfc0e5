/* A heat map on a canvas: time across, values upwards on a scale of doublings, colour for how many records. */
import { make, sqlOf, table } from "./dom.js";
import { number, when } from "./words.js";

const HIGH = 240, LEFT = 62, BELOW = 22;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const paint = (canvas, found, bands, most) => {
  const wide = Math.max(canvas.parentElement.clientWidth, 200), px = devicePixelRatio || 1, ctx = canvas.getContext("2d");
  canvas.width = wide * px;
  canvas.height = HIGH * px;
  ctx.scale(px, px);
  const steps = Math.ceil((found.to - found.from) / found.step), w = (wide - LEFT) / steps, h = (HIGH - BELOW) / bands.length;
  ctx.fillStyle = style("--c1");
  for (const [step, band, count] of found.cells) {
    ctx.globalAlpha = 0.12 + 0.88 * Math.log1p(count) / Math.log1p(most);
    ctx.fillRect(LEFT + step * w, HIGH - BELOW - (bands.indexOf(band) + 1) * h, Math.ceil(w), Math.ceil(h));
  }
  ctx.globalAlpha = 1;
  ctx.fillStyle = style("--muted");
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "right";
  const each = Math.max(1, Math.ceil(bands.length / 8));
  bands.forEach((band, i) => { if (i % each === 0) ctx.fillText(number(found.bands[band][0], found.unit), LEFT - 6, HIGH - BELOW - i * h); });
  ctx.textAlign = "left";
  ctx.fillText(when(found.from), LEFT, HIGH - 6);
  ctx.textAlign = "right";
  ctx.fillText(when(found.to), wide, HIGH - 6);
  return { steps, w, h };
};

export const heatCard = (title, found) => {
  const known = Object.keys(found.bands).map(Number);
  if (!known.length) return make("figure", { class: "card" }, make("figcaption", {}, make("h3", {}, title)), make("p", { class: "none" }, "no histograms in this range"));
  const bands = Array.from({ length: Math.max(...known) - Math.min(...known) + 1 }, (_, i) => Math.min(...known) + i);
  for (const band of bands) found.bands[band] ??= found.bands[known.filter((each) => each < band).pop()];
  const most = Math.max(...found.cells.map((each) => each[2]));
  const total = new Map();
  for (const [, band, count] of found.cells) total.set(band, (total.get(band) || 0) + count);
  const canvas = make("canvas", { class: "heat", role: "img", "aria-label": `${title}: records by time and value; the table below has the values` });
  const said = make("p", { class: "muted", "aria-live": "off" }, "Point at a cell to read it.");
  const counts = new Map(found.cells.map(([step, band, count]) => [`${step} ${band}`, count]));
  let frame = null;
  canvas.addEventListener("pointermove", (event) => {
    const step = Math.floor((event.offsetX - LEFT) / frame.w), row = Math.floor((HIGH - BELOW - event.offsetY) / frame.h), band = bands[row];
    if (step < 0 || step >= frame.steps || band === undefined) return;
    const [low, high] = found.bands[band];
    said.textContent = `${when(found.from + step * found.step)}, ${number(low, found.unit)} to ${number(high, found.unit)}: ${number(counts.get(`${step} ${band}`) || 0)} records`;
  });
  const rows = [...total].sort((a, b) => b[0] - a[0]).map(([band, count]) => [`${number(found.bands[band][0], found.unit)} to ${number(found.bands[band][1], found.unit)}`, number(count)]);
  const figure = make("figure", { class: "card heated" }, make("figcaption", {}, make("h3", {}, title)), make("div", { class: "canvas" }, canvas), said,
    make("div", { class: "links" }, make("details", {}, make("summary", {}, "Table"), table(title, ["Values", ["Records", "number"]], rows)), sqlOf(found.sql)));
  figure.paint = () => { frame = paint(canvas, found, bands, most); };
  new ResizeObserver(() => figure.isConnected && figure.paint()).observe(figure);
  return figure;
};

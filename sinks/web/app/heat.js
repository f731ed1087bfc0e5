/* A heat map on a canvas: time across, values upwards on a scale of doublings, colour for how many records. */
import { address } from "./ask.js";
import { copied } from "./chart.js";
import { button, make, sqlOf, table } from "./dom.js";
import { change, zoom } from "./place.js";
import { number, when } from "./words.js";

const HIGH = 240, LEFT = 62, BELOW = 22;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* The time that is shown (ms): all of it, or the zoom that the charts of the page share. */
const shownOf = (found) => {
  const zoomed = zoom();
  if (!zoomed) return [found.from, found.to];
  const [from, to] = [Math.max(zoomed[0] * 1000, found.from), Math.min(zoomed[1] * 1000, found.to)];
  return from < to ? [from, to] : [found.from, found.to];
};

const paint = (canvas, found, bands, most) => {
  const [from, to] = shownOf(found), first = Math.floor((from - found.from) / found.step);
  const wide = Math.max(canvas.parentElement.clientWidth, 200), px = devicePixelRatio || 1, ctx = canvas.getContext("2d");
  canvas.width = wide * px;
  canvas.height = HIGH * px;
  ctx.scale(px, px);
  const steps = Math.max(Math.ceil((to - found.from) / found.step) - first, 1), w = (wide - LEFT) / steps, h = (HIGH - BELOW) / bands.length;
  ctx.fillStyle = style("--c1");
  for (const [at, band, count] of found.cells) {
    const step = at - first;
    if (step < 0 || step >= steps) continue;
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
  ctx.fillText(when(found.from + first * found.step), LEFT, HIGH - 6);
  ctx.textAlign = "right";
  ctx.fillText(when(Math.min(found.from + (first + steps) * found.step, found.to)), wide, HIGH - 6);
  return { first, steps, w, h };
};

/* A drag over the canvas zooms all charts of the page; a double click shows the whole again. */
const dragged = (canvas, found, frame) => {
  let began = null;
  const at = (event) => found.from + (frame().first + Math.max(0, Math.min(frame().steps, (event.offsetX - LEFT) / frame().w))) * found.step;
  canvas.addEventListener("pointerdown", (event) => { began = at(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", (event) => {
    const ends = at(event), [min, max] = [Math.min(began, ends), Math.max(began, ends)];
    if (began !== null && max - min >= found.step) change({ zoom: `${Math.round(min / 1000)}-${Math.round(max / 1000)}` });
    began = null;
  });
  canvas.addEventListener("dblclick", () => change({ zoom: null }));
};

export const heatCard = (title, found, asked) => {
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
    const step = frame.first + Math.floor((event.offsetX - LEFT) / frame.w), row = Math.floor((HIGH - BELOW - event.offsetY) / frame.h), band = bands[row];
    if (step < frame.first || step >= frame.first + frame.steps || band === undefined) return;
    const [low, high] = found.bands[band];
    said.textContent = `${when(found.from + step * found.step)}, ${number(low, found.unit)} to ${number(high, found.unit)}: ${number(counts.get(`${step} ${band}`) || 0)} records`;
  });
  const rows = [...total].sort((a, b) => b[0] - a[0]).map(([band, count]) => [`${number(found.bands[band][0], found.unit)} to ${number(found.bands[band][1], found.unit)}`, number(count)]);
  const figure = make("figure", { class: "card heated" }, make("figcaption", {}, make("h3", {}, title)), make("div", { class: "canvas" }, canvas), said,
    make("div", { class: "links" }, button("Link", copied, { class: "quiet" }), make("a", { href: address("heatmap.csv", asked), download: "edgewatch.csv" }, "CSV"), make("details", {}, make("summary", {}, "Table"), table(title, ["Values", ["Records", "number"]], rows)), sqlOf(found.sql)));
  figure.paint = () => { frame = paint(canvas, found, bands, most); };
  dragged(canvas, found, () => frame);
  const moved = () => { if (figure.isConnected) setTimeout(figure.paint, 200); else document.removeEventListener("chartzoom", moved); };
  document.addEventListener("chartzoom", moved);
  new ResizeObserver(() => figure.isConnected && figure.paint()).observe(figure);
  return figure;
};

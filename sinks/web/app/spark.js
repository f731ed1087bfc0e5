/* Small drawings: a course with its limits, and the states of an alert over a range. */
import { draw, make } from "./dom.js";
import { number, when } from "./words.js";

const WIDE = 100, HIGH = 30;

/* Say the value under the pointer in the line below the drawing's numbers; `time` has from and step (ms) where they are known. */
const follow = (svg, values, unit, time) => {
  const said = draw("title", {});
  svg.append(said);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), i = Math.max(0, Math.min(values.length - 1, Math.round(((event.clientX - box.left) / box.width) * (values.length - 1))));
    said.textContent = `${time && time.from ? when(Math.floor(time.from / time.step) * time.step + i * time.step) + " UTC: " : ""}${number(values[i], unit)}`;
    svg.querySelector(".at")?.remove();
    svg.append(draw("line", { class: "at", x1: (i / Math.max(values.length - 1, 1)) * WIDE, x2: (i / Math.max(values.length - 1, 1)) * WIDE, y1: 0, y2: HIGH }));
  });
  svg.addEventListener("pointerleave", () => svg.querySelector(".at")?.remove());
  return svg;
};

export const spark = (values, limits, unit, name, time) => {
  const known = values.filter((each) => each !== null);
  if (!known.length) return make("p", { class: "none" }, "no data");
  let low = Math.min(...known), high = Math.max(...known);
  const near = limits.filter(({ value }) => value <= high + 2 * (high - Math.min(low, 0)) && value >= low / 2);
  for (const { value } of near) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > 0 && low < 0.6 * high) low = 0;
  const room = (high - low) * 0.08 || 1;
  const y = (value) => HIGH - ((value - low + room) / (high - low + 2 * room)) * HIGH;
  const x = (i) => values.length > 1 ? (i / (values.length - 1)) * WIDE : WIDE / 2;
  const lines = [[]];
  values.forEach((value, i) => { if (value === null) lines.push([]); else lines[lines.length - 1].push(`${x(i).toFixed(2)},${y(value).toFixed(2)}`); });
  const label = `${name}: from ${number(Math.min(...known), unit)} to ${number(Math.max(...known), unit)}`;
  return follow(draw("svg", { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    near.map(({ value, tone }) => draw("line", { class: "limit " + tone, x1: 0, x2: WIDE, y1: y(value), y2: y(value) })),
    lines.filter((line) => line.length).map((line) => line.length > 1
      ? draw("polyline", { class: "course", points: line.join(" ") })
      : draw("circle", { class: "dot", cx: line[0].split(",")[0], cy: line[0].split(",")[1], r: 1 }))), values, unit, time);
};

/* States [start, end, name, severity] over [from, to). */
export const states = (spans, from, to, name) => {
  const x = (at) => Math.max(0, Math.min(1000, ((at - from) / (to - from)) * 1000));
  return draw("svg", { class: "states", viewBox: "0 0 1000 14", preserveAspectRatio: "none", role: "img", "aria-label": name },
    draw("rect", { class: "track", x: 0, y: 4, width: 1000, height: 6 }),
    spans.map(([start, end, state, severity]) => draw("rect", {
      class: `${state} ${severity || ""}`, x: x(start), y: state === "firing" ? 0 : 4, width: Math.max(x(end) - x(start), 2), height: state === "firing" ? 14 : 6,
    })));
};

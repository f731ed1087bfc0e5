/* Charts of edgewatch over uPlot: lines and bars over time with limits, states, incidents and marks, and a scatter.
   A chart is a <div class="chart"> with its JSON in a <script type="application/json"> inside. Charts over time share cursor and
   zoom. Every text is put in as text, never as markup: keys and titles come from logs. */
"use strict";
(() => {
  const STATES = { pending: ["--pending", 0.5], firing: ["--critical", 1], recovering: ["--recovering", 0.5] };
  const TONES = { critical: "--critical", warning: "--warning", resolved: "--good", muted: "--muted" };
  const RAMP = ["--ramp1", "--ramp2", "--ramp3", "--ramp4", "--ramp5"];
  const FONT = "12px system-ui, sans-serif";
  const STRIP = 9, NEAR = 9;
  const plots = [];
  const ranges = new Map(); /* what charts of the same stretch of time show, once one was zoomed */
  let busy = false;
  let colours = {};

  const colour = (name) => {
    if (!(name in colours)) colours[name] = getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
    return colours[name];
  };
  const make = (tag, cls, text) => {
    const made = document.createElement(tag);
    if (cls) made.className = cls;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (value, unit) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "no data";
    const size = Math.abs(value);
    const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4;
    const text = new Intl.NumberFormat("en-GB", { maximumFractionDigits: digits }).format(value).replace(/,/g, "\u202f");
    return unit ? text + "\u202f" + unit : text;
  };
  const clock = (zone, parts) => {
    const format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...parts });
    return (seconds) => format.format(new Date(seconds * 1000));
  };
  const DAY = { day: "numeric", month: "short", year: "numeric" };
  const MINUTE = { hour: "2-digit", minute: "2-digit" };
  const unrolled = (runs) => {
    const out = [];
    for (const [first, step, count] of runs) for (let i = 0; i < count; i++) out.push(first + i * step);
    return out;
  };
  const lineColour = (line, number) => "--c" + (((line.colour || number + 1) - 1) % 8 + 1);

  /* What the tooltip of a place says: pairs of words and a colour, in the order in which they are read. */
  const told = (chart, index, left) => {
    const { spec, plot, xs } = chart, x = xs[index], rows = [];
    const values = spec.kind === "bars" ? chart.plain : plot.data.slice(1);
    spec.lines.forEach((line, i) => {
      if (plot.series[i + 1].show) rows.push([line.name, number(values[i][index], spec.unit), lineColour(line, i)]);
    });
    const states = spec.states.filter(([from, to]) => from <= x && x < to);
    for (const [, , name] of states) rows.push(["state", name, STATES[name] ? STATES[name][0] : "--muted"]);
    for (const [from, to, name] of spec.incidents)
      if (from < x + spec.step && x < to) rows.push(["incident", name, "--incident"]);
    for (const [at, text, kind, pager] of spec.marks)
      if (Math.abs(plot.valToPos(at, "x") - left) < NEAR) rows.push([pager ? "page" : "told", text, TONES[kind] || "--muted"]);
    return rows;
  };
  const heading = (chart, index) => {
    const { spec, xs, day, minute } = chart, x = xs[index];
    if (spec.kind === "bars") return day(x);
    return spec.step >= 86400 ? day(x) : `${day(x)}, ${minute(x)}\u2013${minute(x + spec.step)} ${spec.zone}`;
  };

  const showTip = (chart, head, rows, left, top, spoken) => {
    const { tip, plot } = chart;
    tip.replaceChildren(make("div", "tip-head", head));
    for (const [name, text, tone] of rows) {
      const row = make("div", "tip-row"), dot = make("i", "tip-dot");
      dot.style.background = `var(${tone})`;
      row.append(dot, make("span", "tip-name", name), make("b", "", text));
      tip.append(row);
    }
    tip.hidden = false;
    const box = plot.over.getBoundingClientRect(), outer = chart.host.getBoundingClientRect();
    const x = box.left - outer.left + left, width = tip.offsetWidth;
    const beside = x + 14 + width < outer.width ? x + 14 : x - 14 - width;
    tip.style.left = Math.max(0, Math.min(beside, outer.width - width)) + "px";
    tip.style.top = Math.max(0, box.top - outer.top + Math.min(top, 60)) + "px";
    if (spoken) chart.spoken.textContent = [head, ...rows.map(([name, text]) => `${name}: ${text}`)].join(". ");
  };

  const clipped = (plot, draw) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(ctx, bbox);
    ctx.restore();
  };
  const drawIncidents = (chart, plot) => clipped(plot, (ctx, box) => {
    const px = devicePixelRatio;
    for (const [from, to] of chart.spec.incidents) {
      const left = plot.valToPos(from, "x", true), right = plot.valToPos(to, "x", true);
      if (right < box.left || left > box.left + box.width) continue;
      ctx.globalAlpha = 0.16;
      ctx.fillStyle = colour("--incident");
      ctx.fillRect(left, box.top, Math.max(right - left, px), box.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(left, box.top, Math.max(right - left, px), 2 * px);
    }
  });
  const legible = (ctx, text, x, y) => {
    const ink = ctx.fillStyle;
    ctx.save();
    ctx.setLineDash([]);
    ctx.strokeStyle = colour("--card");
    ctx.lineJoin = "round";
    ctx.lineWidth = 3 * devicePixelRatio;
    ctx.strokeText(text, x, y);
    ctx.fillStyle = ink;
    ctx.fillText(text, x, y);
    ctx.restore();
  };
  const nameIncidents = (chart, plot) => clipped(plot, (ctx, box) => {
    const px = devicePixelRatio;
    let free = -1e9;
    ctx.font = `${11 * px}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    ctx.fillStyle = colour("--incident-ink");
    for (const [from, to, name] of chart.spec.incidents) {
      const left = plot.valToPos(from, "x", true), long = ctx.measureText(name).width;
      if (plot.valToPos(to, "x", true) < box.left || left > box.left + box.width) continue;
      const at = Math.max(box.left, Math.min(left, box.left + box.width - long - 6 * px)) + 3 * px;
      if (at < free) continue;
      legible(ctx, name, at, box.top + 5 * px);
      free = at + long + 6 * px;
    }
  });
  const drawLimits = (chart, plot) => {
    const px = devicePixelRatio, { ctx, bbox } = plot, { min, max } = plot.scales.y, taken = [];
    const right = bbox.left + bbox.width - 4 * px, high = 14 * px;
    ctx.save();
    ctx.font = `${11 * px}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.textBaseline = "top";
    const inside = chart.spec.limits.filter(({ value }) => value <= max && value >= min);
    for (const { value, tone } of inside) {
      const y = Math.round(plot.valToPos(value, "y", true));
      ctx.strokeStyle = colour(TONES[tone] || "--muted");
      ctx.lineWidth = px;
      ctx.setLineDash([6 * px, 4 * px]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    /* A label stands on the bad side of its line, where values seldom are, or at the edge beyond which the limit lies; where another
       one is, below that, or above it at the lower edge. */
    for (const { name, value, tone, low } of chart.spec.limits) {
      const beyond = value > max ? " \u2191" : value < min ? " \u2193" : "";
      let y = value > max ? bbox.top + 2 * px : value < min ? bbox.top + bbox.height - high : plot.valToPos(value, "y", true) + (low ? 3 * px : -high);
      if (y + high > bbox.top + bbox.height) y -= high + 3 * px;
      if (y < bbox.top) y += high + 2 * px;
      while (taken.some((other) => Math.abs(other - y) < high)) y += value < min ? -high / 2 : high / 2;
      taken.push(y);
      ctx.fillStyle = colour(TONES[tone] || "--muted");
      legible(ctx, name + beyond, right, y);
    }
    ctx.restore();
  };
  const drawStates = (chart, plot) => {
    const px = devicePixelRatio, { ctx, bbox } = plot;
    const top = bbox.top + bbox.height + 3 * px, end = bbox.left + bbox.width;
    ctx.save();
    for (const [from, to, name] of chart.spec.states) {
      const [tone, high] = STATES[name] || ["--muted", 0.3];
      const left = Math.max(plot.valToPos(from, "x", true), bbox.left);
      const right = Math.min(Math.max(plot.valToPos(to, "x", true), left + px), end);
      if (right <= bbox.left || left >= end) continue;
      ctx.fillStyle = colour(tone);
      ctx.fillRect(left, top + STRIP * px * (1 - high), right - left, STRIP * px * high);
    }
    ctx.restore();
  };
  const drawMarks = (chart, plot) => {
    const px = devicePixelRatio, { ctx, bbox } = plot, size = 5 * px;
    ctx.save();
    for (const [at, , kind, pager] of chart.spec.marks) {
      const x = plot.valToPos(at, "x", true), y = bbox.top - 3 * px;
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.fillStyle = ctx.strokeStyle = colour(TONES[kind] || "--muted");
      ctx.lineWidth = 1.5 * px;
      ctx.beginPath();
      ctx.moveTo(x - size, y - size * 1.6);
      ctx.lineTo(x + size, y - size * 1.6);
      ctx.lineTo(x, y);
      ctx.closePath();
      if (pager) ctx.fill(); else ctx.stroke();
      if (!pager) continue;
      ctx.globalAlpha = 0.45;
      ctx.lineWidth = px;
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
    ctx.restore();
  };

  /* The axis shows the data, zero where that is near, and the limits that are not far beyond. */
  const rangeOf = (spec) => (plot, low, high) => {
    if (low === null || low === undefined) return [0, 1];
    for (const { value } of spec.limits) {
      if (value > high && value <= high + 3 * (high - Math.min(low, 0))) high = value;
      if (value < low && value >= low / 2) low = value;
    }
    if (low > 0 && low < 0.6 * high) low = 0;
    if (low === high) { high += Math.abs(high) || 1; if (low > 0) low = 0; }
    const room = (high - low) * 0.06;
    return [low === 0 ? 0 : low - room, high + room];
  };
  const axis = (more) => ({
    stroke: () => colour("--muted"), font: FONT, labelFont: FONT,
    grid: { stroke: () => colour("--grid"), width: 1 }, ticks: { stroke: () => colour("--grid"), width: 1, size: 4 }, ...more,
  });
  const TICKS = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  ];

  const WHOLE = [1, 2, 5].flatMap((n) => [...Array(9).keys()].map((power) => n * 10 ** power)).sort((a, b) => a - b);

  const zoomTo = (chart, min, max) => {
    if (chart.spec.kind === "scatter") return;
    const [first, last] = chart.spec.shown, least = Math.min(chart.spec.step * 4, last - first);
    if (max - min < least) { const middle = (min + max) / 2; min = middle - least / 2; max = middle + least / 2; }
    if (max - min >= last - first) { min = first; max = last; }
    const shift = min < first ? first - min : max > last ? last - max : 0;
    chart.plot.setScale("x", { min: min + shift, max: max + shift });
  };
  const zoomBy = (chart, factor) => {
    if (chart.spec.kind === "scatter") return;
    const { min, max } = chart.plot.scales.x, half = (max - min) / 2 * factor, at = chart.plot.cursor.left;
    const middle = factor < 1 && at > 0 ? chart.plot.posToVal(at, "x") : (min + max) / 2;
    zoomTo(chart, middle - half, middle + half);
  };
  const reset = (chart) => {
    if (chart.spec.kind !== "scatter") { zoomTo(chart, ...chart.spec.shown); return; }
    chart.zoomed = null;
    chart.plot.setData(chart.plot.data, true);
  };
  const follow = (chart) => (plot, key) => {
    if (key !== "x") return;
    const { min, max } = plot.scales.x, [first, last] = chart.spec.shown, group = String(chart.spec.shown);
    chart.host.classList.toggle("zoomed", max - min < last - first);
    if (busy) return;
    busy = true;
    ranges.set(group, [min, max]);
    chart.host.dispatchEvent(new CustomEvent("chartzoom", { bubbles: true, detail: { min, max, whole: max - min >= last - first } }));
    for (const other of plots)
      if (other !== chart && other.spec.kind !== "scatter" && String(other.spec.shown) === group) other.plot.setScale("x", { min, max });
    busy = false;
  };

  const timePlot = (chart, width) => {
    const { spec } = chart, bars = spec.kind === "bars", xs = unrolled(spec.x);
    chart.xs = xs;
    chart.day = clock(spec.zone, DAY);
    chart.minute = clock(spec.zone, MINUTE);
    chart.plain = spec.lines.map((line) => line.y);
    let columns = chart.plain;
    if (bars) { /* stacked: each on top of those before it */
      const sums = new Array(xs.length).fill(0);
      columns = columns.map((y) => y.map((value, i) => (sums[i] += value || 0)));
    }
    const step = () => spec.step * width / (spec.shown[1] - spec.shown[0]);
    const series = spec.lines.map((line, i) => ({
      label: line.name, width: bars ? 0 : 1.5, points: { show: !bars && xs.length < 3 ? true : undefined },
      stroke: () => colour(lineColour(line, i)), fill: bars ? () => colour(lineColour(line, i)) : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.8, 160], align: 1 }) : uPlot.paths.stepped && step() > 12
        ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }));
    if (bars) { series.reverse(); columns = columns.slice().reverse(); chart.plain = chart.plain.slice().reverse(); spec.lines.reverse(); }
    const marked = spec.marks.length > 0, banded = spec.states.length > 0;
    const range = ranges.get(String(spec.shown)) || spec.shown;
    return new uPlot({
      width, height: spec.height, padding: [marked ? 16 : 8, 24, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), spec.zone),
      scales: { x: { time: true, min: range[0], max: range[1], auto: false }, y: { range: rangeOf(spec) } },
      axes: [
        axis({ values: TICKS, gap: banded ? STRIP + 7 : 5, size: banded ? 54 : 44, space: 70 }),
        axis({ size: 62, values: (plot, ticks) => ticks.map((tick) => number(tick, spec.unit)), space: 34, incrs: bars ? WHOLE : undefined }),
      ],
      series: [{}, ...series],
      legend: { show: spec.lines.length > 1, live: false, markers: { fill: (plot, i) => `var(${lineColour(spec.lines[i - 1], i - 1)})`, stroke: () => "transparent" } },
      cursor: {
        drag: { x: true, y: false, dist: 4 }, sync: { key: String(spec.shown), setSeries: false, scales: ["x", null] }, points: { show: !bars, size: 7 }, y: false,
        bind: { dblclick: () => () => { reset(chart); return null; } },
      },
      hooks: {
        drawClear: [(plot) => drawIncidents(chart, plot)],
        draw: [(plot) => { drawStates(chart, plot); drawLimits(chart, plot); drawMarks(chart, plot); nameIncidents(chart, plot); }],
        setScale: [follow(chart)],
        setCursor: [(plot) => pointed(chart, plot)],
      },
    }, [xs, ...columns], chart.drawn);
  };
  const pointed = (chart, plot) => {
    const { left, idx } = plot.cursor;
    const own = chart.host.matches(":hover") || chart.host.contains(document.activeElement);
    if (!own || left < 0 || idx === null || idx === undefined) { chart.tip.hidden = true; return; }
    showTip(chart, heading(chart, idx), told(chart, idx, left), left, plot.cursor.top, chart.keyed);
  };

  /* The colour of a number between the least and the greatest of its scatter. */
  const onRamp = (value, low, high) => {
    if (value === null || value === undefined) return colour("--muted");
    const place = high > low ? (value - low) / (high - low) : 0;
    return colour(RAMP[Math.min(Math.floor(place * RAMP.length), RAMP.length - 1)]);
  };
  const drawPoints = (chart, plot) => clipped(plot, (ctx) => {
    const px = devicePixelRatio, at = (p) => [plot.valToPos(p[0], "x", true), plot.valToPos(p[1], "y", true)];
    const front = chart.spec.points.filter((p) => p[4]);
    ctx.strokeStyle = colour("--muted");
    ctx.lineWidth = 1.5 * px;
    ctx.beginPath();
    front.forEach((p, i) => { const [x, y] = at(p); if (i) { ctx.lineTo(x, at(front[i - 1])[1]); ctx.lineTo(x, y); } else ctx.moveTo(x, y); });
    ctx.stroke();
    for (const p of [...chart.spec.points].sort((a, b) => a[4] + 2 * Boolean(a[5]) - b[4] - 2 * Boolean(b[5]))) {
      const [x, y] = at(p), size = (p[4] ? 5.5 : 3.5) * px;
      ctx.globalAlpha = p[4] || p[5] ? 1 : 0.55;
      ctx.fillStyle = onRamp(p[2], ...chart.ends);
      ctx.beginPath();
      ctx.arc(x, y, size, 0, 7);
      ctx.fill();
      if (!p[5]) continue;
      ctx.strokeStyle = colour("--ink");
      ctx.lineWidth = 2 * px;
      ctx.beginPath();
      ctx.arc(x, y, 9 * px, 0, 7);
      ctx.stroke();
      ctx.fillStyle = colour("--ink");
      ctx.font = `600 ${11 * px}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      const right = x + ctx.measureText(p[5]).width + 16 * px < plot.bbox.left + plot.bbox.width;
      ctx.textAlign = right ? "left" : "right";
      legible(ctx, p[5], x + (right ? 13 : -13) * px, y);
    }
    ctx.globalAlpha = 1;
  });
  const scatterPlot = (chart, width) => {
    const { spec } = chart, known = spec.points.map((p) => p[2]).filter((c) => c !== null);
    chart.ends = known.length ? [Math.min(...known), Math.max(...known)] : [0, 0];
    chart.xs = spec.points.map((p) => p[0]);
    const padded = (plot, low, high) => {
      if (low === null) return [0, 1];
      const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
      return [low - room, high + room];
    };
    const legend = make("div", "ramp");
    legend.append(make("span", "", `${spec.names[2]}: ${number(chart.ends[0])}`), make("i", "ramp-bar"), make("span", "", number(chart.ends[1])));
    if (known.length) chart.drawn.append(legend);
    return new uPlot({
      width, height: spec.height, padding: [10, 14, 0, 0],
      scales: { x: { time: false, range: padded }, y: { range: padded } },
      axes: [axis({ label: spec.names[0], labelSize: 18, size: 34 }), axis({ label: spec.names[1], labelSize: 22, size: 52, values: (plot, ticks) => ticks.map((tick) => number(tick)) })],
      series: [{}, { paths: () => null, points: { show: false } }],
      legend: { show: false },
      cursor: { drag: { x: true, y: true, uni: 20, dist: 4 }, points: { show: false }, bind: { dblclick: () => () => { reset(chart); return null; } } },
      hooks: { draw: [(plot) => drawPoints(chart, plot)], setCursor: [(plot) => nearest(chart, plot)] },
    }, [chart.xs, spec.points.map((p) => p[1])], chart.drawn);
  };
  const nearest = (chart, plot) => {
    const { left, top } = plot.cursor;
    let best = null, least = 16;
    chart.spec.points.forEach((p) => {
      const far = Math.hypot(plot.valToPos(p[0], "x") - left, plot.valToPos(p[1], "y") - top);
      if (far < least) { least = far; best = p; }
    });
    if (!best) { chart.tip.hidden = true; return; }
    const [x, y, c] = chart.spec.names;
    const rows = [[x, number(best[0]), "--muted"], [y, number(best[1]), "--muted"], [c, best[2] === null ? "none found" : number(best[2]), "--muted"]];
    showTip(chart, best[3], rows, left, top, false);
  };

  const stepTo = (chart, by) => {
    const { plot, xs } = chart, { min, max } = plot.scales.x;
    let index = plot.cursor.idx ?? xs.findIndex((x) => x >= min);
    index = Math.max(0, Math.min(xs.length - 1, index + by));
    while (index > 0 && xs[index] > max) index--;
    chart.keyed = true;
    plot.setCursor({ left: plot.valToPos(xs[index], "x"), top: 20 });
    chart.keyed = false;
  };
  const KEYS = {
    ArrowRight: (chart) => stepTo(chart, 1), ArrowLeft: (chart) => stepTo(chart, -1),
    "+": (chart) => zoomBy(chart, 0.5), "-": (chart) => zoomBy(chart, 2),
    "0": reset, Escape: reset,
  };
  const buttons = (chart) => {
    const row = make("div", "zoom");
    for (const [text, label, work] of [["Reset", "Show all", reset], ["+", "Zoom in", (c) => zoomBy(c, 0.5)], ["\u2212", "Zoom out", (c) => zoomBy(c, 2)]]) {
      const button = make("button", "", text);
      button.type = "button";
      button.setAttribute("aria-label", label);
      button.addEventListener("click", () => work(chart));
      row.append(button);
    }
    return row;
  };

  const start = (host) => {
    const spec = host.spec || JSON.parse(host.querySelector("script").textContent);
    const chart = { host, spec, keyed: false, drawn: make("div", "drawn"), tip: make("div", "tip"), spoken: make("div", "aside") };
    chart.tip.hidden = true;
    chart.spoken.setAttribute("role", "status");
    chart.drawn.tabIndex = 0;
    chart.drawn.setAttribute("role", "group");
    chart.drawn.setAttribute("aria-label", `Chart: ${host.dataset.title}. Arrow keys read it, plus and minus zoom, 0 shows all.`);
    host.replaceChildren(chart.drawn, chart.tip, chart.spoken);
    if (spec.kind !== "scatter") host.prepend(buttons(chart));
    const width = Math.max(host.clientWidth, 200);
    chart.plot = (spec.kind === "scatter" ? scatterPlot : timePlot)(chart, width);
    chart.plot.root.querySelector("canvas").setAttribute("role", "img");
    chart.plot.root.querySelector("canvas").setAttribute("aria-label", host.dataset.title);
    chart.drawn.addEventListener("keydown", (event) => {
      const work = KEYS[event.key];
      if (work && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); work(chart); }
    });
    chart.drawn.addEventListener("blur", () => { chart.tip.hidden = true; });
    host.addEventListener("mouseleave", () => { chart.tip.hidden = true; });
    chart.drawn.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomBy(chart, event.deltaY < 0 ? 0.7 : 1.4);
    }, { passive: false });
    chart.sized = new ResizeObserver(() => fit(chart));
    chart.sized.observe(host);
    plots.push(chart);
    host.chart = chart;
  };
  const fit = (chart, width = chart.host.clientWidth) => {
    if (width > 0 && width !== chart.plot.width) chart.plot.setSize({ width, height: chart.spec.height });
  };
  /* A page that changes what it shows lets go of a chart, and says what charts of a stretch of time show before they are there. */
  const stop = (host) => {
    if (!host.chart) return;
    host.chart.sized.disconnect();
    host.chart.plot.destroy();
    plots.splice(plots.indexOf(host.chart), 1);
    delete host.chart;
  };
  const show = (shown, range) => { if (range) ranges.set(String(shown), range); else ranges.delete(String(shown)); };
  const repaint = () => {
    colours = {};
    for (const chart of plots) chart.plot.redraw(false);
  };

  /* A page of many charts opens at once: a chart is made when it comes near, or when the page is printed. */
  const hosts = () => [...document.querySelectorAll(".chart")].filter((host) => !host.chart);
  const startAll = () => hosts().forEach(start);
  document.addEventListener("DOMContentLoaded", () => {
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries)
        if (isIntersecting && !target.chart) { seen.unobserve(target); start(target); }
    }, { rootMargin: "600px" });
    hosts().forEach((host) => seen.observe(host));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    addEventListener("beforeprint", () => {
      document.documentElement.classList.add("printed");
      startAll();
      plots.forEach((chart) => fit(chart, Math.min(chart.host.clientWidth, 680)));
      repaint();
    });
    addEventListener("afterprint", () => {
      document.documentElement.classList.remove("printed");
      plots.forEach((chart) => fit(chart));
      repaint();
    });
  });
  globalThis.edgewatchCharts = { plots, start, startAll, stop, show };
})();

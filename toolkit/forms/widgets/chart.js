// Draws panels over one axis: stacked bars, lines, and lanes of points with spans behind them. Drawn anew at the width
// there is. Dragging over it chooses a part of the axis, where that is of use.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 58, RIGHT = 10, AXIS = 24, GAP = 18, TITLE = 30;

function add(parent, name, attributes = {}, text = "") {
  const element = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function paint(element, { light, dark }) {
  element.style.setProperty("--light", light);
  element.style.setProperty("--dark", dark);
  return element;
}

const short = (value) =>
  value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M` : value >= 1e4 ? `${+(value / 1e3).toPrecision(3)}k` : `${+value.toPrecision(3)}`;

// The least of 1, 2, 5, 10, 20, 50, ... that is at least so high.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= value * 0.999);
}

function heights(panel) {
  if (panel.kind === "bars") {
    return panel.edges.slice(1).map((_, at) => panel.series.reduce((sum, one) => sum + one.values[at], 0));
  }
  return panel.series.flatMap((one) => one.points.map(([, y]) => y));
}

// Where a value is, from 0 at the bottom to 1 at the top, and the ticks beside it.
function scaleOf(panel) {
  const values = heights(panel).filter((value) => value > 0);
  const highest = Math.max(0, ...values);
  if (!panel.log) {
    const top = roundUp(highest);
    return { at: (value) => value / top, ticks: [0, top / 2, top] };
  }
  const low = Math.floor(Math.log10(Math.min(highest || 1, ...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(highest || 10)));
  const every = Math.ceil((high - low) / 4);
  const ticks = [];
  for (let power = low; power <= high; power += every) ticks.push(10 ** power);
  return { at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), ticks };
}

function drawScale(group, scale, width, height) {
  for (const tick of scale.ticks) {
    const y = height * (1 - scale.at(tick));
    add(group, "line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "sms-grid" });
    add(group, "text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, short(tick));
  }
}

function drawBars(group, panel, x, height) {
  const scale = scaleOf(panel);
  drawScale(group, scale, x.width, height);
  for (let at = 0; at + 1 < panel.edges.length; at++) {
    let below = height;
    for (const series of panel.series) {
      if (series.values[at] <= 0) continue;
      const tall = Math.max(1, height * scale.at(series.values[at])); // even the rarest can be seen
      below -= tall;
      const left = x.at(panel.edges[at]);
      const wide = Math.max(0.5, x.at(panel.edges[at + 1]) - left);
      paint(add(group, "rect", { x: left, y: below, width: wide, height: tall, class: "sms-fill" }), series);
    }
  }
}

function drawLines(group, panel, x, height) {
  const scale = scaleOf(panel);
  drawScale(group, scale, x.width, height);
  for (const series of panel.series) {
    const places = series.points.map(([at, y]) => `${x.at(at).toFixed(1)},${(height * (1 - scale.at(y))).toFixed(1)}`);
    const line = add(group, "polyline", { points: places.join(" "), class: "sms-line" });
    if (series.dashed) line.setAttribute("stroke-dasharray", "5 4");
    paint(line, series);
  }
}

function drawLane(group, panel, x, height) {
  for (const span of panel.spans) {
    const left = x.within(span.from), wide = x.within(span.to) - left;
    const place = height * span.place, tall = height * span.part;
    paint(add(group, "rect", { x: left, y: place, width: wide, height: tall, class: "sms-fill sms-span" }), span);
  }
  for (const series of panel.series) {
    for (const [at, y] of series.points) {
      const there = x.at(at), middle = height * (1 - y);
      const mark = series.mark === "cross"
        ? add(group, "path", { d: `M${there - 3.5} ${middle - 3.5}l7 7m0-7l-7 7`, class: "sms-line" })
        : add(group, "circle", { cx: there, cy: middle, r: 4, class: "sms-fill" });
      paint(mark, series);
    }
  }
  add(group, "text", { x: LEFT - 8, y: height / 2 + 4, "text-anchor": "end" }, panel.label);
}

const DRAW = { bars: drawBars, lines: drawLines, lane: drawLane };

function drawAxis(svg, spec, x, top) {
  let free = -Infinity;
  for (const [at, label] of spec.x.ticks) {
    const place = x.at(at), half = label.length * 3.4;
    if (place - half < free) continue;
    free = place + half + 10;
    const anchor = place - half < LEFT - 30 ? "start" : place + half > x.width ? "end" : "middle";
    add(svg, "text", { x: place, y: top + 16, "text-anchor": anchor }, label);
  }
}

function drawLegend(box, spec) {
  const named = new Map();
  for (const panel of spec.panels) {
    for (const one of [...panel.series, ...(panel.spans ?? [])]) if (one.name) named.set(one.name, { ...one, kind: panel.kind });
  }
  const legend = box.appendChild(document.createElement("ul"));
  legend.className = "sms-legend";
  for (const [name, one] of named) {
    const item = legend.appendChild(document.createElement("li"));
    const swatch = item.appendChild(document.createElement("i"));
    swatch.className = one.mark === "cross" ? "sms-cross" : one.kind === "lines" ? (one.dashed ? "sms-dashed" : "sms-stroke") : "";
    paint(item, one);
    item.append(name);
  }
}

// What stands at a place of the axis, in words.
function readAt(spec, at) {
  const found = [];
  for (const panel of spec.panels) {
    if (panel.kind === "bars") {
      const bar = panel.edges.findIndex((edge, place) => edge <= at && at < panel.edges[place + 1]);
      if (bar < 0) continue;
      for (const one of panel.series) if (one.values[bar]) found.push([panel.title, one, one.values[bar]]);
    } else if (panel.kind === "lines") {
      for (const one of panel.series) {
        const point = one.points.reduce((best, next) => (Math.abs(next[0] - at) < Math.abs((best?.[0] ?? Infinity) - at) ? next : best), null);
        if (point) found.push([panel.title, one, point[1]]);
      }
    }
  }
  return found;
}

function tipLines(found) {
  const lines = [];
  let above = null;
  for (const [title, one, value] of found) {
    if (title !== above) lines.push(Object.assign(document.createElement("p"), { textContent: title }));
    above = title;
    const line = document.createElement("div");
    const number = Object.assign(document.createElement("b"), { textContent: short(value) });
    line.append(paint(document.createElement("i"), one), one.name, number);
    lines.push(line);
  }
  return lines;
}

function readout(box, spec, x, svg) {
  const tip = box.appendChild(document.createElement("div"));
  const rule = add(svg, "line", { y1: 0, y2: svg.getAttribute("height") - AXIS, class: "sms-rule", visibility: "hidden" });
  tip.className = "sms-tip";
  tip.hidden = true;
  svg.addEventListener("pointermove", (event) => {
    const place = event.clientX - svg.getBoundingClientRect().left;
    const found = readAt(spec, x.from(place));
    tip.hidden = !found.length || place < LEFT;
    rule.setAttribute("visibility", tip.hidden ? "hidden" : "visible");
    if (tip.hidden) return;
    for (const end of ["x1", "x2"]) rule.setAttribute(end, place);
    tip.replaceChildren(...tipLines(found));
    tip.style.left = `${Math.min(place + 14, x.width - tip.offsetWidth)}px`;
    if (place + 14 + tip.offsetWidth > x.width) tip.style.left = `${Math.max(0, place - tip.offsetWidth - 14)}px`;
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    rule.setAttribute("visibility", "hidden");
  });
}

function selectable(model, svg, x, height) {
  const shade = add(svg, "rect", { y: 0, height, class: "sms-selection", visibility: "hidden" });
  const show = (one, other) => {
    const [left, right] = [x.at(one), x.at(other)].sort((a, b) => a - b);
    shade.setAttribute("x", left);
    shade.setAttribute("width", right - left);
    shade.setAttribute("visibility", "visible");
  };
  const chosen = model.get("selection");
  if (chosen.length) show(...chosen);
  let began = null;
  const place = (event) => x.from(event.clientX - svg.getBoundingClientRect().left);
  svg.style.cursor = "crosshair";
  svg.addEventListener("pointerdown", (event) => {
    began = place(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => began !== null && show(began, place(event)));
  svg.addEventListener("pointerup", (event) => {
    if (began === null) return;
    const range = [began, place(event)].sort((a, b) => a - b);
    const isDrag = x.at(range[1]) - x.at(range[0]) > 4;
    began = null;
    model.set("selection", isDrag ? range : []);
    model.save_changes();
  });
}

function draw(model, box) {
  const spec = model.get("spec");
  box.replaceChildren();
  box.hidden = !spec.panels?.length;
  const width = box.clientWidth;
  if (!width) return;
  const [low, high] = spec.x.range;
  const at = (value) => LEFT + ((width - LEFT - RIGHT) * (value - low)) / (high - low || 1);
  const from = (place) => Math.min(high, Math.max(low, low + ((place - LEFT) / (width - LEFT - RIGHT)) * (high - low)));
  const within = (value) => at(Math.min(high, Math.max(low, value)));
  const x = { width, at, from, within };
  const svg = add(box, "svg", { width, role: "img", "aria-label": spec.says });
  let top = 0;
  for (const panel of spec.panels) {
    if (panel.title) add(svg, "text", { x: 0, y: top + 13, class: "sms-panel-title" }, panel.title);
    top += panel.title ? TITLE : 0;
    DRAW[panel.kind](add(svg, "g", { transform: `translate(0 ${top})` }), panel, x, panel.height);
    top += panel.height + (panel.kind === "lane" ? 0 : GAP);
  }
  top -= spec.panels.at(-1).kind === "lane" ? 0 : GAP;
  drawAxis(svg, spec, x, top);
  svg.setAttribute("height", top + AXIS);
  drawLegend(box, spec);
  readout(box, spec, x, svg);
  if (spec.selectable) selectable(model, svg, x, top);
}

function render({ model, el }) {
  const box = el.appendChild(document.createElement("div"));
  box.className = "sms-chart";
  el.style.width = "100%";
  const redraw = () => draw(model, box);
  const sized = new ResizeObserver(redraw);
  sized.observe(el);
  model.on("change:spec", redraw);
  model.on("change:selection", redraw);
  redraw();
  return () => {
    sized.disconnect();
    model.off("change:spec", redraw);
    model.off("change:selection", redraw);
  };
}

export default { render };

// Draws the panels of a chart over one x axis with uPlot, and adds what uPlot lacks: stacked bars with patterns, lanes of
// points, a readout of all series at the crosshair, a legend of buttons, and keys. The page or the widget mounts it.

const AXIS_PX = 24, LEFT_PX = 58, RIGHT_PX = 26, GAP_PX = 18, FONT = "12px system-ui, sans-serif";
const KEYS_HELP = "The arrow keys, Page Up, Page Down, Home and End move the crosshair.";
const SELECT_HELP = " Shift and an arrow key select a range, Enter applies it, Escape clears it.";
const SECOND_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const NINES = [2, 10, 100, 1000, 10000];

const short = (value) =>
  value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M` : value >= 1e4 ? `${+(value / 1e3).toPrecision(3)}k` : `${+value.toPrecision(3)}`;

// A value from 100 on as a whole number, a smaller one with three significant digits.
const full = (value) => (value >= 100 ? Math.round(value).toLocaleString("en-US") : `${+value.toPrecision(3)}`);

function make(parent, tag, className = "", text = "") {
  const element = parent.appendChild(document.createElement(tag));
  element.className = className;
  element.textContent = text;
  return element;
}

// The labels of the ticks and of the crosshair for each kind of x axis.
const X_KINDS = {
  time: (x) => {
    const text = (at) => new Date(Math.round(at * 1000)).toLocaleString("sv-SE", { timeZone: x.zone });
    const exact = (at) => text(at) + (Math.round(at * 1000) % 1000 ? (at % 1).toFixed(3).slice(1) : "");
    const shortened = (end, start) => (end.slice(0, 10) === start.slice(0, 10) ? end.slice(11) : end); // of one day
    return {
      label: (at) => `${text(at)} (${x.zone})`,
      span: (from, to) => {
        const [start, end] = [from, to].map(to - from < 0.999 ? exact : text);
        return `${start} to ${shortened(end, start)} (${x.zone})`;
      },
      axis: {
        values: [
          [86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
          [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{YYYY}-{MM}-{DD}", null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{YYYY}-{MM}-{DD}", null, null, null, 1],
          [0.001, "{HH}:{mm}:{ss}.{fff}", "\n{YYYY}-{MM}-{DD}", null, "\n{YYYY}-{MM}-{DD}", null, null, null, 1],
        ],
        size: AXIS_PX + 14,
        space: 84, // of a date
      },
      rightPx: 38, // half of a date, at the end of the axis
    };
  },
  seconds: () => {
    const whole = (at) => `${Math.floor(at / 60)}:${String(at % 60).padStart(2, "0")} min`;
    const label = (at) => (Math.abs(at) < 60 ? `${+at.toFixed(1)} s` : whole(Math.round(at)));
    return { label, span: (from, to) => `${label(from)} to ${label(to)}`, axis: { incrs: SECOND_STEPS, values: (_, ticks) => ticks.map(label) } };
  },
  nines: (x) => {
    const label = (at) => `p${+(100 - 100 / 10 ** at).toFixed(4)}`;
    const ticks = NINES.map(Math.log10).filter((at) => at <= x.range[1] + 1e-9);
    return { label, axis: { splits: () => ticks, values: () => ticks.map(label) } };
  },
  number: () => ({ label: (at) => short(at), axis: { values: (_, ticks) => ticks.map(short) } }),
};

// The colours of the theme, which is dark if the page's text is light.
function themeOf(box) {
  const style = getComputedStyle(box), [red, green, blue] = style.color.match(/[\d.]+/g).map(Number);
  const colour = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const isDark = red + green + blue > 384;
  return { isDark, muted: colour("--muted", isDark ? "#a4a9b8" : "#5a6070"), line: colour("--line", isDark ? "#343845" : "#dcdfe7"), card: colour("--card", isDark ? "#1c1e25" : "#ffffff") };
}

const colourOf = (series, theme) => (theme.isDark ? series.dark : series.light);
const inkOf = (series, theme) => (theme.isDark ? series.dark_ink : series.light_ink);

// A colour, or a pattern over it, to fill an area of a canvas with.
function fillOf(series, theme, context) {
  if (!series.path) return colourOf(series, theme);
  const ratio = devicePixelRatio, tile = Object.assign(document.createElement("canvas"), { width: 8 * ratio, height: 8 * ratio });
  const drawn = tile.getContext("2d");
  drawn.scale(ratio, ratio);
  drawn.fillStyle = colourOf(series, theme);
  drawn.fillRect(0, 0, 8, 8);
  Object.assign(drawn, { strokeStyle: inkOf(series, theme), lineWidth: 1.5, lineCap: "round" });
  drawn.stroke(new Path2D(series.path));
  return context.createPattern(tile, "repeat");
}

// The series of a panel that the legend does not hide.
const shownSeries = (panel, hidden) => panel.series.filter(({ name }) => !hidden.has(name));

// The value at which a logarithmic axis shows 0: a decade below the smallest other value; null if no value is 0.
function zeroOf(panel) {
  if (!panel.log) return null;
  let smallest = Infinity, hasZero = false;
  for (const { points } of panel.series) {
    for (const [, y] of points) {
      if (y > 0) smallest = Math.min(smallest, y);
      else hasZero ||= y !== null;
    }
  }
  return hasZero ? 10 ** (Number.isFinite(smallest) ? Math.floor(Math.log10(smallest)) - 1 : -1) : null;
}

const drawnAt = (y, zero) => (y === null || zero === null ? y : Math.max(y, zero));

function scaleOf(panel) {
  if (panel.kind === "lane") return { range: [0, 1] };
  if (!panel.log) return { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] };
  const zero = zeroOf(panel);
  return {
    distr: 3,
    range: (_, low, high) => {
      const [bottom, top] = uPlot.rangeLog(low ?? 1, Math.max(high ?? 10, zero === null ? 0 : 10 * zero), 10, false);
      return [zero ?? bottom, top];
    },
  };
}

function tickLabelsOf(panel) {
  const zero = zeroOf(panel);
  return (_, ticks) => ticks.map((tick) => (tick === null ? "" : zero !== null && tick < zero * 1.5 ? "0" : short(tick)));
}

function dataOf(panel, hidden) {
  if (panel.kind === "bars") {
    const shown = shownSeries(panel, hidden);
    const totals = panel.edges.slice(1).map((_, at) => shown.reduce((sum, { values }) => sum + values[at], 0));
    return [panel.edges, [...totals, totals.at(-1) ?? 0]];
  }
  const zero = zeroOf(panel);
  const tables = shownSeries(panel, hidden).map(({ points }) => [points.map(([at]) => at), points.map(([, y]) => drawnAt(y, zero))]);
  return tables.length ? uPlot.join(tables, tables.map(() => [2])) : [[], []];
}

function drawBars(plot, panel, hidden, theme) {
  const { ctx } = plot, shown = shownSeries(panel, hidden), base = plot.valToPos(0, "y", true);
  const fills = shown.map((series) => fillOf(series, theme, ctx));
  for (let at = 0; at + 1 < panel.edges.length; at++) {
    const [left, right] = [at, at + 1].map((edge) => Math.round(plot.valToPos(panel.edges[edge], "x", true)));
    ctx.globalAlpha = panel.partial[at] ? 0.45 : 1;
    let below = base;
    shown.forEach(({ values }, index) => {
      if (!(values[at] > 0)) return;
      const height = Math.max(devicePixelRatio, base - plot.valToPos(values[at], "y", true)); // even the rarest is seen
      below -= height;
      ctx.fillStyle = fills[index];
      ctx.fillRect(left, below, Math.max(1, right - left), height);
    });
  }
}

function drawLane(plot, panel, hidden, theme) {
  const { ctx } = plot, { top, height } = plot.bbox, ratio = devicePixelRatio;
  ctx.globalAlpha = 0.4;
  for (const span of panel.spans) {
    if (hidden.has(span.name)) continue;
    const [from, to] = [span.from, span.to].map((at) => plot.valToPos(at, "x", true));
    ctx.fillStyle = fillOf(span, theme, ctx);
    ctx.fillRect(from, top + height * span.place, to - from, height * span.part);
  }
  ctx.globalAlpha = 1;
  for (const series of shownSeries(panel, hidden)) {
    Object.assign(ctx, { strokeStyle: colourOf(series, theme), fillStyle: colourOf(series, theme), lineWidth: 2 * ratio });
    for (const [at, value] of series.points) {
      const x = plot.valToPos(at, "x", true), y = plot.valToPos(value, "y", true), arm = 3.5 * ratio;
      ctx.beginPath();
      if (series.mark === "cross") {
        for (const slope of [-1, 1]) {
          ctx.moveTo(x - arm, y - slope * arm);
          ctx.lineTo(x + arm, y + slope * arm);
        }
        ctx.stroke();
      } else {
        ctx.arc(x, y, 4 * ratio, 0, 7);
        ctx.fill();
      }
    }
  }
}

// Draw hollow points where a line's bucket is covered only in part.
function drawHollow(plot, panel, hidden, theme) {
  const { ctx } = plot, zero = zeroOf(panel);
  for (const series of shownSeries(panel, hidden)) {
    for (const index of series.hollow) {
      const [at, y] = series.points[index];
      Object.assign(ctx, { strokeStyle: colourOf(series, theme), fillStyle: theme.card, lineWidth: 1.5 * devicePixelRatio });
      ctx.beginPath();
      ctx.arc(plot.valToPos(at, "x", true), plot.valToPos(drawnAt(y, zero), "y", true), 3.2 * devicePixelRatio, 0, 7);
      ctx.fill();
      ctx.stroke();
    }
  }
}

const DRAW = { bars: drawBars, lane: drawLane, lines: drawHollow };

// Keep a drawing within the axes; a point at their end may stick out by its half.
function clipped(draw, margin) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - margin, bbox.top - margin, bbox.width + 2 * margin, bbox.height + 2 * margin);
    ctx.clip();
    draw(plot);
    ctx.restore();
  };
}

// The smallest distance of two points of a line.
function stepOf(panel) {
  let step = Infinity;
  for (const { points } of panel.series) for (let next = 1; next < points.length; next++) step = Math.min(step, points[next][0] - points[next - 1][0]);
  return step;
}

// The index of a panel's bucket at a place of the axis, -1 for none.
const barAt = (panel, at) => panel.edges.findIndex((edge, index) => edge <= at && at < panel.edges[index + 1]);

// The index of a line's point at a place of the axis, -1 for none: that of the bucket. Without buckets it is the nearer
// neighbour, in a gap and beyond an end only within half a step.
function pointAt(panel, points, at, step) {
  if (panel.edges.length) {
    const bar = barAt(panel, at);
    return points.findIndex(([x, y]) => y !== null && panel.edges[bar] <= x && x < panel.edges[bar + 1]);
  }
  const after = points.findIndex(([x]) => x >= at), next = after < 0 ? points.length : after;
  const neighbours = [next - 1, next].filter((index) => points[index] && points[index][1] !== null);
  const distance = (index) => Math.abs(points[index][0] - at);
  const nearest = neighbours.reduce((best, index) => (best >= 0 && distance(best) <= distance(index) ? best : index), -1);
  return neighbours.length > 1 || (neighbours.length && distance(nearest) <= step / 2) ? nearest : -1;
}

// The number of calls of a bar's rate.
function countOf(panel, bar, rate) {
  const calls = Math.round((rate * (panel.edges[bar + 1] - panel.edges[bar])) / panel.unit_s);
  return ` · ${full(calls)} ${calls === 1 ? "call" : "calls"}`;
}

// The values of a panel at a place of the axis, each with its series, and in the title whether its time is covered in part;
// null without a value. A text such as "no calls" is a value without a series.
function readPanel(panel, hidden, at) {
  const isBars = panel.kind === "bars", bar = isBars ? barAt(panel, at) : -1, step = stepOf(panel);
  if (panel.kind === "lane" || (isBars && bar < 0)) return null;
  let partial = isBars && panel.partial[bar], isHidden = false;
  const values = [];
  for (const series of panel.series) {
    const index = isBars ? bar : pointAt(panel, series.points, at, step), value = isBars ? series.values[bar] : series.points[index]?.[1];
    if (index < 0 || (isBars && !value)) continue;
    if (hidden.has(series.name)) {
      isHidden = true;
      continue;
    }
    values.push([series, full(value) + (isBars ? countOf(panel, bar, value) : "")]);
    partial ||= series.hollow.includes(index);
  }
  if (!values.length && panel.empty) values.push([null, isHidden ? "hidden series only" : panel.empty]);
  return values.length ? { title: panel.title + (partial ? " (covered in part)" : ""), values } : null;
}

// The label of the crosshair: the time of its bucket, or its place on the axis.
function placeLabel(spec, at) {
  const kind = X_KINDS[spec.x.kind](spec.x), panel = spec.panels.find((each) => barAt(each, at) >= 0);
  if (!panel || !kind.span) return kind.label(at);
  const bar = barAt(panel, at);
  return kind.span(panel.edges[bar], panel.edges[bar + 1]);
}

function swatchOf(series, theme) {
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg"), colour = colourOf(series, theme);
  const draw = (d, attributes) => {
    const path = svg.appendChild(document.createElementNS(ns, "path"));
    for (const [name, value] of Object.entries({ d, fill: "none", stroke: colour, "stroke-width": 2, ...attributes })) path.setAttribute(name, value);
  };
  for (const [name, value] of Object.entries({ width: 16, height: 12, viewBox: "0 0 16 12", "aria-hidden": "true" })) svg.setAttribute(name, value);
  if (series.mark === "cross") draw("M4 2L12 10M12 2L4 10", {});
  else if (series.kind === "lines") draw("M0 6H16", series.dashed ? { "stroke-dasharray": "4 3" } : {});
  else {
    draw("M0 0H16V12H0Z", { fill: colour, stroke: "none" });
    if (series.path) for (const [x, y] of [[0, 0], [8, 0], [0, 8], [8, 8]]) draw(series.path, { transform: `translate(${x} ${y})`, stroke: inkOf(series, theme), "stroke-width": 1.5, "stroke-linecap": "round" });
  }
  return svg;
}

// The places at which the crosshair stops: the middle of each bar, and each point of a line.
function stopsOf(spec) {
  const stops = new Set();
  for (const panel of spec.panels) {
    if (panel.kind === "bars") panel.edges.slice(1).forEach((edge, at) => stops.add((edge + panel.edges[at]) / 2));
    else for (const { points } of panel.series) for (const [at] of points) stops.add(at);
  }
  return [...stops].filter((at) => spec.x.range[0] <= at && at <= spec.x.range[1]).sort((one, other) => one - other);
}

// Mount a chart in an element. onSelect gets the selected range of the x axis, or an empty list.
function mountChart(box, onSelect = () => {}) {
  let spec = {}, plots = [], theme = {}, selection = [], place = null, anchor = null, legendOf = "", width = 0, hovered = null, pressed = null;
  const hidden = new Set();
  const area = make(box, "div", "sms-area"), tip = make(area, "div", "sms-tip"), panels = make(area, "div");
  const legend = make(box, "ul", "sms-legend"), note = make(box, "p", "sms-covered");
  const sync = uPlot.sync(`sms-${Math.random()}`);
  tip.hidden = true;
  area.tabIndex = 0;
  area.setAttribute("role", "application");

  function showTip(at) {
    place = at;
    const read = at === null ? [] : spec.panels.map((panel) => readPanel(panel, hidden, at)).filter(Boolean);
    tip.hidden = !read.length;
    if (tip.hidden) return;
    tip.replaceChildren();
    make(tip, "p", "sms-at", placeLabel(spec, at));
    for (const { title, values } of read) {
      make(tip, "p", "", title);
      for (const [series, value] of values) {
        const row = make(tip, "div");
        if (series) {
          row.append(swatchOf(series, theme));
          make(row, "span", "", series.name);
        }
        make(row, series ? "b" : "i", "", value);
      }
    }
    const left = plots[0].valToPos(at, "x") + LEFT_PX, needed = tip.offsetWidth + 14, room = area.clientWidth;
    const isRight = left + needed <= room, isBeside = isRight || left >= needed;
    tip.style.left = `${isRight ? left + 14 : Math.max(0, left - needed)}px`;
    tip.style.top = isBeside ? "" : `${area.clientHeight}px`; // below a narrow chart, not over it
  }

  function moveTo(at) {
    if (!plots.length) return;
    plots[0].setCursor({ left: plots[0].valToPos(at, "x"), top: 10 });
    showTip(at);
  }

  function showSelection() {
    for (const plot of plots) {
      if (!selection.length) plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      else {
        const [from, to] = selection.map((at) => plot.valToPos(at, "x"));
        plot.setSelect({ left: from, width: to - from, top: 0, height: plot.over.clientHeight }, false);
      }
    }
  }

  function leave() {
    showTip(null);
    for (const plot of plots) plot.setCursor({ left: -10, top: -10 });
  }

  function select(range) {
    selection = range;
    anchor = null;
    showSelection();
    onSelect(range);
  }

  function draw() {
    for (const plot of plots.splice(0)) plot.destroy();
    panels.replaceChildren();
    box.hidden = !spec.panels?.length;
    width = area.clientWidth;
    if (box.hidden || !width) return;
    theme = themeOf(box);
    for (const name of ["muted", "line", "card"]) box.style.setProperty(`--sms-${name}`, theme[name]);
    const x = X_KINDS[spec.x.kind](spec.x), last = spec.panels.length - 1, [start, end] = spec.x.range;
    const range = start < end ? [start, end] : [start - 0.5, end + 0.5]; // a single point has no length
    const right = x.rightPx ?? RIGHT_PX;
    const shared = { stroke: theme.muted, font: FONT, ticks: { show: false }, grid: { stroke: theme.line, width: 1 } };
    spec.panels.forEach((panel, number) => {
      if (panel.title) make(panels, "p", "sms-panel-title", panel.title);
      const isLane = panel.kind === "lane", axisPx = number === last ? x.axis.size ?? AXIS_PX : 0;
      const lines = panel.kind === "lines" ? shownSeries(panel, hidden) : [];
      const plot = new uPlot({
        width, height: panel.height + axisPx + (isLane ? 0 : GAP_PX), padding: isLane ? [0, right, 0, 0] : [GAP_PX / 2, right, axisPx ? 0 : GAP_PX / 2, 0], legend: { show: false },
        ...(spec.x.zone ? { tzDate: (at) => uPlot.tzDate(new Date(at * 1000), spec.x.zone) } : {}),
        scales: { x: { time: spec.x.kind === "time", range: () => range }, y: scaleOf(panel) },
        axes: [
          { ...shared, show: number === last, size: AXIS_PX, space: 60, ...x.axis, grid: { show: false } },
          { ...shared, size: LEFT_PX, ...(isLane ? { splits: () => [0.5], values: () => [panel.label], grid: { show: false } } : { space: 28, values: tickLabelsOf(panel) }) },
        ],
        series: [{}, ...(lines.length ? lines.map((line) => ({ stroke: colourOf(line, theme), width: 2, dash: line.dashed ? [5, 4] : [], points: { show: line.points.length < 2, size: 5 } })) : [{ paths: () => null, points: { show: false } }])],
        cursor: { sync: { key: sync.key, scales: ["x", null] }, y: false, points: { show: panel.kind === "lines" }, drag: { x: Boolean(spec.selectable), y: false, setScale: false } },
        hooks: {
          ready: [(u) => u === plots.at(-1) && restorePlaces()],
          draw: [clipped((u) => DRAW[panel.kind](u, panel, hidden, theme), panel.kind === "bars" ? 0 : 5 * devicePixelRatio)],
          setCursor: [(u) => u === hovered && showTip(u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null)],
          setSelect: [(u) => {
            if (u !== pressed) return; // another plot, or one that is gone
            pressed = null;
            select(u.select.width > 4 ? [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")] : []);
          }],
        },
      }, dataOf(panel, hidden), make(panels, "div"));
      plot.over.addEventListener("mouseenter", () => { hovered = plot; });
      plot.over.addEventListener("mouseleave", () => {
        hovered = null;
        showTip(null);
      });
      plot.over.addEventListener("mousedown", () => { pressed = plot; }); // it may be released outside
      plots.push(plot);
    });
    area.setAttribute("aria-label", `${spec.description}. ${KEYS_HELP}${spec.selectable ? SELECT_HELP : ""}`);
    drawLegend();
    note.textContent = spec.note;
    note.hidden = !spec.note;
  }

  // Show the selection and the crosshair in the new plots. A plot has its scales only once it is ready.
  function restorePlaces() {
    showSelection();
    if (place !== null) moveTo(place);
  }

  function drawLegend() {
    const named = new Map();
    for (const panel of spec.panels) for (const item of [...panel.series, ...panel.spans]) if (item.name && !named.has(item.name)) named.set(item.name, { ...item, kind: panel.kind });
    const items = JSON.stringify([[...named.values()].map(({ name, light, dark, path }) => [name, light, dark, path]), theme.isDark]);
    if (items !== legendOf) fillLegend(named); // else a button keeps the focus while a run goes on
    legendOf = items;
    for (const button of legend.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", String(!hidden.has(button.textContent)));
    legend.lastElementChild.hidden = !hidden.size;
  }

  function fillLegend(named) {
    legend.replaceChildren();
    for (const [name, item] of named) {
      const button = make(make(legend, "li"), "button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.title = "Click to hide or show, double-click or Shift and click to show it alone";
      button.append(swatchOf(item, theme), name);
      button.addEventListener("click", ({ detail, shiftKey }) => {
        if (detail > 1 || shiftKey) named.forEach((_, other) => (other === name ? hidden.delete(other) : hidden.add(other)));
        else if (!hidden.delete(name)) hidden.add(name);
        draw();
      });
    }
    const all = make(make(legend, "li"), "button", "sms-all", "Show all");
    all.type = "button";
    all.addEventListener("click", () => {
      hidden.clear();
      draw();
      area.focus();
    });
  }

  area.addEventListener("keydown", (event) => {
    const stops = stopsOf(spec), move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (move && stops.length) {
      tip.setAttribute("role", "status");
      const now = place === null ? (move > 0 ? -1 : stops.length) : stops.findLastIndex((at) => at <= place);
      const next = stops[Math.min(stops.length - 1, Math.max(0, now + move))];
      if (event.shiftKey && spec.selectable) {
        anchor ??= place ?? next;
        selection = [anchor, next].sort((one, other) => one - other);
        showSelection();
      } else anchor = null;
      moveTo(next);
    } else if (event.key === "Enter" && spec.selectable && selection.length) select(selection);
    else if (event.key === "Escape") {
      anchor = null;
      leave();
      if (selection.length) select([]);
    } else return;
    event.preventDefault();
  });
  area.addEventListener("blur", leave);

  const sized = new ResizeObserver(() => {
    if (area.clientWidth !== width) draw(); // not if only the height changed, as it does by drawing
  });
  const recolour = () => {
    if (JSON.stringify(themeOf(box)) !== JSON.stringify(theme)) draw(); // classes change for many reasons
  };
  const coloured = new MutationObserver(recolour), scheme = matchMedia("(prefers-color-scheme: dark)");
  sized.observe(box.parentElement ?? box);
  for (const root of [document.documentElement, document.body]) coloured.observe(root, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-dark"] });
  scheme.addEventListener("change", recolour);

  return {
    update(changed) {
      spec = changed;
      draw();
    },
    select(range) {
      selection = range;
      showSelection();
    },
    destroy() {
      sized.disconnect();
      coloured.disconnect();
      scheme.removeEventListener("change", recolour);
      for (const plot of plots.splice(0)) plot.destroy();
    },
  };
}

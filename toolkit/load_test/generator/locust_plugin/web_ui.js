// Draws, above the table of locust's tab "Return codes", how many calls a second came to what over time.

const TAB = "return-codes";
const SVG = "http://www.w3.org/2000/svg";
const EVERY_MS = 2000; // as often as locust's page asks for its tables
const WIDTH = 1200, HEIGHT = 150, LEFT = 60, BOTTOM = 20;

const figure = document.createElement("figure");
figure.id = "codes-over-time";
figure.style.margin = 0;
figure.setAttribute("aria-label", "Calls per second by return code, over time");

function add(parent, name, attributes, text = "") {
  const element = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// The least of 1, 2, 5, 10, 20, 50, ... that is at least so high.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= value);
}

function drawAxes(svg, top, times, x, y) {
  for (const rate of [0, top / 2, top]) {
    add(svg, "line", { x1: LEFT, x2: WIDTH, y1: y(rate), y2: y(rate), stroke: "currentColor", "stroke-opacity": 0.15 });
    add(svg, "text", { x: LEFT - 8, y: y(rate) + 4, "text-anchor": "end" }, rate.toLocaleString());
  }
  for (let part = 0; part <= 4; part++) {
    const time = times[0] + ((times.at(-1) - times[0]) * part) / 4;
    const anchor = ["start", "middle", "middle", "middle", "end"][part];
    add(svg, "text", { x: x(time), y: HEIGHT - 4, "text-anchor": anchor }, new Date(time * 1000).toLocaleTimeString());
  }
}

// The colour of an outcome, or its colour with its pattern over it.
function fillOf(svg, { colour, path, ink }) {
  if (!path) return colour;
  const id = `sms-${colour.slice(1)}`;
  if (!svg.querySelector(`#${id}`)) {
    const tile = add(svg, "pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" });
    add(tile, "path", { d: "M0 0H8V8H0Z", fill: colour });
    add(tile, "path", { d: path, fill: "none", stroke: ink, "stroke-width": 1.5, "stroke-linecap": "round" });
  }
  return `url(#${id})`;
}

// One bar for each span of time, its outcomes on top of one another; even the rarest can be seen.
function drawBars(svg, outcomes, times, x, y) {
  for (let span = 0; span + 1 < times.length; span++) {
    let below = y(0);
    for (const outcome of outcomes) {
      const { name } = outcome, rate = outcome.calls_per_s[span];
      if (rate <= 0) continue;
      const height = Math.max(1, y(0) - y(rate));
      below -= height;
      const bar = add(svg, "rect", { x: x(times[span]), y: below, height, fill: fillOf(svg, outcome), "shape-rendering": "crispEdges" });
      bar.setAttribute("width", x(times[span + 1]) - x(times[span]));
      add(bar, "title", {}, `${name}: ${rate.toFixed(1)}/s`);
    }
  }
}

function drawPanel(endpoint, outcomes, times) {
  const panel = document.createElement("div");
  panel.style.marginBottom = "16px";
  panel.append(`${endpoint}, calls per second`);
  const svg = add(panel, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, fill: "currentColor", "font-size": 12 });
  const highest = Math.max(...times.slice(1).map((_, span) => outcomes.reduce((sum, of) => sum + of.calls_per_s[span], 0)));
  const top = roundUp(highest);
  const x = (time) => LEFT + ((WIDTH - LEFT) * (time - times[0])) / (times.at(-1) - times[0]);
  const y = (rate) => (HEIGHT - BOTTOM) * (1 - rate / top) + 8 * (rate / top);
  drawAxes(svg, top, times, x, y);
  drawBars(svg, outcomes, times, x, y);
  panel.append(...outcomes.map(legend));
  return panel;
}

function legend(outcome) {
  const label = document.createElement("span");
  const swatch = add(label, "svg", { width: 12, height: 12, style: "margin: 0 6px 0 16px; vertical-align: -1px" });
  add(swatch, "path", { d: "M0 0H12V12H0Z", fill: fillOf(swatch, outcome) });
  label.append(outcome.name);
  return label;
}

async function draw() {
  if (!figure.isConnected || figure.hidden) return;
  const answer = await fetch(`./${TAB}/chart.json`);
  if (!answer.ok) return;
  const { times_s, panels } = await answer.json();
  const shown = times_s.length < 2 ? [] : Object.entries(panels).filter(([, outcomes]) => outcomes.length);
  figure.replaceChildren(...shown.map(([endpoint, outcomes]) => drawPanel(endpoint, outcomes, times_s)));
}

// Locust's page builds a tab when it is chosen: be above the table of ours, and nowhere else.
function place() {
  figure.hidden = new URLSearchParams(location.search).get("tab") !== TAB;
  const table = document.querySelector("#root table")?.parentElement;
  if (figure.hidden || !table || table.previousSibling === figure) return;
  table.before(figure);
  draw();
}

new MutationObserver(place).observe(document.getElementById("root"), { childList: true, subtree: true });
setInterval(draw, EVERY_MS);

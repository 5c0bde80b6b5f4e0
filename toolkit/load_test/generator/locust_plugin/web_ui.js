// Shows, above the table of locust's tab "Return codes", the rate of each return code over time.

const TAB = "return-codes";
const EVERY_MS = 2000; // as often as locust's page loads its tables
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone; // that of locust's own charts

const figure = document.createElement("figure");
figure.id = "codes-over-time";
figure.style.margin = "0 0 16px";
const box = make(figure, "div", "sms-chart");
const chart = mountChart(box);

async function update() {
  if (!figure.isConnected || figure.hidden) return;
  const response = await fetch(`./${TAB}/chart.json`);
  if (!response.ok) return;
  const spec = await response.json();
  chart.update({ ...spec, x: { ...spec.x, zone: ZONE } });
}

// Show the chart above the table of our tab only. Locust's page builds a tab when it is chosen.
function place() {
  figure.hidden = new URLSearchParams(location.search).get("tab") !== TAB;
  const table = document.querySelector("#root table")?.parentElement;
  if (figure.hidden || !table || table.previousSibling === figure) return;
  table.before(figure);
  update();
}

new MutationObserver(place).observe(document.getElementById("root"), { childList: true, subtree: true });
setInterval(update, EVERY_MS);

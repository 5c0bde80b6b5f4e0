// Replaces an image in a notebook's output with a chart to explore, or else with a picture whose marks have tooltips.

function showOutput(box, spec) {
  const image = box.querySelector("img");
  if (spec) {
    const chart = box.appendChild(document.createElement("div"));
    chart.className = "sms-chart";
    image.style.display = "none";
    mountChart(chart).update({ ...spec, selectable: false });
  } else {
    const bytes = Uint8Array.from(atob(image.src.split(",")[1]), (letter) => letter.charCodeAt(0));
    box.innerHTML = new TextDecoder().decode(bytes);
    Object.assign(box.firstElementChild.style, { maxWidth: "100%", height: "auto" });
  }
}

// In a notebook's output: shows a chart to explore, or else a picture whose marks have tooltips, in place of an image.

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

// The chart widget: draws the chart that the kernel sends, and returns the selected range.

function render({ model, el }) {
  const box = el.appendChild(document.createElement("div"));
  box.className = "sms-chart";
  el.style.width = "100%";
  const chart = mountChart(box, (range) => {
    model.set("selection", range);
    model.save_changes();
  });
  const update = () => {
    chart.update(model.get("spec"));
    el.classList.toggle("sms-nothing", box.hidden);
  };
  const select = () => chart.select(model.get("selection"));
  model.on("change:spec", update);
  model.on("change:selection", select);
  update();
  return () => {
    model.off("change:spec", update);
    model.off("change:selection", select);
    chart.destroy();
  };
}

export default { render };

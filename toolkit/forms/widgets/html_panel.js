// A panel: HTML of the kernel's. A button with data-copy copies that element's text.

function render({ model, el }) {
  const panel = el.appendChild(document.createElement("div"));
  panel.className = "sms-panel";
  if (model.get("live")) panel.setAttribute("role", "status");

  function update() {
    panel.innerHTML = model.get("html");
    panel.hidden = !model.get("html");
  }

  panel.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(panel.querySelector(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
  model.on("change:html", update);
  update();
  return () => model.off("change:html", update);
}

export default { render };

// A panel of HTML that the kernel sends. A button with data-copy copies that element's text. Links lead to a Jupyter server,
// so they are removed from pages without one, as in VS Code.

function render({ model, el }) {
  const panel = el.appendChild(document.createElement("div"));
  panel.className = "sms-panel";
  if (model.get("live")) panel.setAttribute("role", "status");

  function update() {
    panel.innerHTML = model.get("html");
    panel.hidden = !model.get("html");
    el.classList.toggle("sms-nothing", panel.hidden); // a card with nothing in it is folded
    if (document.getElementById("jupyter-config-data")) return;
    for (const link of panel.querySelectorAll('a[href^="/"]')) link.remove();
  }

  panel.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-copy]");
    if (!button) return;
    const source = panel.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source); // plain HTTP has no clipboard, and a frame may not use it
      button.textContent = "Press Ctrl+C";
    }
  });
  model.on("change:html", update);
  update();
  return () => model.off("change:html", update);
}

export default { render };

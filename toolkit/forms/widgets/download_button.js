// A button that requests a file from the kernel, piece by piece, and saves it in the browser.

const AT_ONCE = 4, PAUSE_MS = 450; // Jupyter's server holds back what comes faster for long

function save(name, pieces) {
  const url = URL.createObjectURL(new Blob(pieces));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function render({ model, el }) {
  const button = el.appendChild(document.createElement("button"));
  let pieces = null;
  button.type = "button";

  function update() {
    button.textContent = model.get("label");
    button.disabled = model.get("disabled");
  }

  function receive({ name, from, of }, buffers) {
    if (!pieces) return; // another view requested it
    pieces.push(buffers[0]);
    const next = from + buffers[0].byteLength;
    button.textContent = `${Math.round((100 * next) / (of || 1))} %`;
    if (next < of) return setTimeout(() => model.send({ from: next }), pieces.length > AT_ONCE ? PAUSE_MS : 0);
    save(name, pieces);
    pieces = null;
    update();
  }

  button.addEventListener("click", () => {
    pieces = [];
    model.send({ asks: true });
  });
  model.on("change", update);
  model.on("msg:custom", receive);
  update();
  return () => {
    model.off("change", update);
    model.off("msg:custom", receive);
  };
}

export default { render };

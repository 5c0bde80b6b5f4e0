// A text field: label, input, and below it the help or the error. The typed text is sent to the kernel as messages. It is
// not part of the widget's state, which could be saved.

const TYPES = { text: "text", password: "password", number: "text" };

function add(parent, name, className) {
  const element = parent.appendChild(document.createElement(name));
  if (className) element.className = className;
  return element;
}

function render({ model, el }) {
  const id = `sms-field-${Math.random().toString(36).slice(2)}`; // this module is loaded anew for each field
  el.classList.add("sms-field");
  const label = add(el, "label");
  const input = add(el, model.get("kind") === "lines" ? "textarea" : "input");
  const below = add(el, "p", "sms-below");
  label.htmlFor = input.id = id;
  below.id = `${id}-below`;
  input.setAttribute("aria-describedby", below.id);
  input.autocomplete = model.get("kind") === "password" ? "new-password" : "off";
  input.spellcheck = false;
  if (model.get("kind") === "lines") input.rows = 2;
  else input.type = TYPES[model.get("kind")];
  if (model.get("kind") === "number") input.inputMode = "decimal";

  function update() {
    const error = model.get("error");
    label.textContent = model.get("label");
    input.placeholder = model.get("hint");
    input.disabled = model.get("disabled");
    input.setAttribute("aria-invalid", String(Boolean(error)));
    below.textContent = error || model.get("help");
    below.classList.toggle("sms-error", Boolean(error));
  }

  function show(message) {
    if ("show" in message) input.value = message.show;
  }

  input.addEventListener("input", () => model.send({ typed: input.value }));
  input.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // or a notebook takes letters for its own shortcuts
    if (event.key !== "Enter" || input.rows) return;
    event.preventDefault();
    model.send({ entered: true });
  });
  model.on("change", update);
  model.on("msg:custom", show);
  update();
  model.send({ asks: true });
  return () => {
    model.off("change", update);
    model.off("msg:custom", show);
  };
}

export default { render };

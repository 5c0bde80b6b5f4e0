// Makes the browser ask before the page is left. The browser shows its own words, and only if the page was used.

const models = (globalThis.smscodeLeaveGuards ??= new Set()); // the console's page asks them itself, see leave.js

function render({ model, el }) {
  el.hidden = true;
  function ask(event) {
    if (model.get("asks")) event.preventDefault();
  }
  models.add(model);
  addEventListener("beforeunload", ask);
  return () => {
    models.delete(model);
    removeEventListener("beforeunload", ask);
  };
}

export default { render };

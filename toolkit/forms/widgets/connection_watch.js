// Shows when a form has lost its kernel or its server, and how to go on; disables the form until then.
//
// Every 1.5 s, while the page is visible: read the kernel's state from the Jupyter server, and send the kernel a message
// that it answers. A restarted kernel is idle, but does not answer, because it lacks the page's widgets. A kernel that
// runs a cell is busy, and answers later. Outside a Jupyter server (VS Code, Colab) only a closed connection is detected.
// A model that never had a connection is one of a stored state, as in a notebook that was exported as HTML.

const EVERY_MS = 1500, TIMEOUT_MS = 2500, UNANSWERED = 2;
const GO_ON = " Load tests that were started go on.";
const TEXTS = {
  console: {
    server: "No connection to the console: it was stopped, or the network is gone. This page connects again by itself; if it"
      + " does not, start smscode console." + GO_ON,
    kernel: "The process of this page has ended or was restarted. Load the page again." + GO_ON,
    stranger: "The console was started again. Open the address that it has printed." + GO_ON,
  },
  notebook: {
    server: "No connection to the Jupyter server: it was stopped, or the network is gone." + GO_ON,
    kernel: "The kernel has ended or was restarted: run the cell again." + GO_ON,
    stranger: "The Jupyter server was started again. Load the page again, and run the cell again." + GO_ON,
    stored: "This form shows a stored state. To use it, run its cell in a notebook.",
  },
};
const watches = (globalThis.smscodeConnectionWatches ??= new Map()); // each widget loads this module anew

class Watch {
  constructor(kernelId) {
    const config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
    this.headers = config.token ? { Authorization: `token ${config.token}` } : {};
    this.url = config.baseUrl && kernelId ? `${config.baseUrl.replace(/\/?$/, "/")}api/kernels/${kernelId}` : "";
    this.isConsole = "voila" in document.body.dataset;
    this.models = new Map(); // by the element of their view
    this.unanswered = 0;
    this.isStored = false;
    this.lost = "";
    this.timer = setInterval(() => this.look(), EVERY_MS);
    this.lookNow = () => this.look();
    for (const name of ["online", "offline"]) addEventListener(name, this.lookNow);
    document.addEventListener("visibilitychange", this.lookNow);
  }

  close() {
    clearInterval(this.timer);
    for (const name of ["online", "offline"]) removeEventListener(name, this.lookNow);
    document.removeEventListener("visibilitychange", this.lookNow);
  }

  async look() {
    if (document.hidden || this.isLooking) return;
    this.isLooking = true;
    if (this.isStored) {
      this.show("stored");
      return this.close();
    }
    const state = await this.kernelState();
    if (state in TEXTS.console) this.show(state);
    if (state === "kernel" || state === "stranger") return this.close(); // for good
    if (state === "server") {
      this.isLooking = false;
      return;
    }
    if (state === "idle" && this.unanswered >= UNANSWERED) this.show("kernel");
    else if (this.lost !== "kernel") this.show("");
    this.unanswered += 1;
    try {
      [...this.models.values()].at(-1)?.send({ ping: true });
    } catch {
      this.show("kernel"); // its connection is closed
    }
    this.isLooking = false;
  }

  // Returns the execution state of the kernel, or the key of TEXTS for what is lost.
  async kernelState() {
    if (!this.url) return "unknown";
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await fetch(this.url, { cache: "no-store", headers: this.headers, signal });
      if (response.status === 404) return "kernel";
      if (response.status === 401 || response.status === 403) return "stranger";
      return response.ok ? (await response.json()).execution_state : "server";
    } catch {
      return "server";
    }
  }

  markAnswered() {
    this.unanswered = 0;
    if (this.lost === "kernel") this.show("");
  }

  show(lost) {
    this.lost = lost;
    document.body.toggleAttribute("data-kernel-lost", lost === "kernel" || lost === "stranger");
    const forms = [...this.models.keys()].map((el) => el.closest(".sms-form")).filter(Boolean);
    for (const form of forms) form.inert = Boolean(lost);
    const text = lost && forms.some((form) => form.offsetParent) ? TEXTS[this.isConsole ? "console" : "notebook"][lost] : "";
    if (!text) {
      this.banner?.remove();
      this.banner = null;
      return;
    }
    if (!this.banner) {
      this.banner = document.body.appendChild(document.createElement("div"));
      this.banner.className = "sms-banner";
      this.banner.setAttribute("role", "alert");
    }
    if (this.banner.dataset.lost === lost) return;
    this.banner.dataset.lost = lost;
    this.banner.textContent = text;
    if (this.isConsole && lost === "kernel") {
      const again = this.banner.appendChild(document.createElement("button"));
      again.type = "button";
      again.textContent = "Load the page again";
      again.addEventListener("click", () => location.reload());
    }
  }
}

function render({ model, el }) {
  const [kernelId, process] = [model.get("kernel_id"), `${model.get("kernel_id")} ${model.get("process_id")}`];
  el.hidden = true;
  if (!watches.has(process)) watches.set(process, new Watch(kernelId)); // a restarted kernel keeps its id
  const watch = watches.get(process);
  watch.models.set(el, model);
  const markAnswered = () => watch.markAnswered();
  const own = model.widget_manager.get_model(model.get("own_id"));
  const lose = async () => (await own).comm_live === false && watch.show("kernel");
  own.then(({ comm }) => (watch.isStored = !comm));
  model.on("msg:custom", markAnswered);
  model.on("comm_live_update", lose);
  return () => {
    model.off("msg:custom", markAnswered);
    model.off("comm_live_update", lose);
    watch.models.delete(el);
    if (watch.models.size) return;
    watch.close();
    watch.banner?.remove();
    watches.delete(process);
  };
}

export default { render };

// Keeps a busy machine from leaving the page at "Starting …" for good, and offers to load it again if it stays there.
//
// anywidget drops all messages for a widget whose module is not ready after 2 s, for good, and has no setting for that.
// Some 140 widgets start at once, so these 2 s are replaced by a longer timeout.
const WIDGET_MS = 2000, PATIENT_MS = 120_000, LATE_MS = 10_000;
const timeoutAfter = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (ms) => timeoutAfter(ms === WIDGET_MS ? PATIENT_MS : ms);

function offerReload(place, text) {
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Load the page again";
  again.addEventListener("click", () => location.reload());
  place.replaceChildren(text, " ", again);
}
setTimeout(() => {
  if (document.body.classList.contains("ready")) return;
  offerReload(document.getElementById("starting"), "Still starting: the machine may be busy.");
}, LATE_MS);
addEventListener("load", () => setTimeout(() => {
  for (const panel of document.querySelectorAll('[role="tabpanel"]:has(.output):not(:has(.sms-panel))')) {
    const late = panel.insertBefore(document.createElement("p"), panel.querySelector(".output"));
    late.className = "late";
    late.setAttribute("role", "status");
    offerReload(late, "This form is not shown yet: the machine may be busy.");
  }
}, LATE_MS));

// The tabs, as WAI-ARIA has them: arrows move between them; the address remembers which is open.
const tabs = [...document.querySelectorAll('[role="tab"]')];
function choose(tab) {
  for (const each of tabs) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
  history.replaceState(null, "", `#${tab.textContent.toLowerCase()}`);
}
function step(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const next = tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
  choose(next);
  next.focus();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", step);
}
const named = tabs.find((tab) => location.hash === `#${tab.textContent.toLowerCase()}`);
if (named) choose(named);
// The forms are there once the kernel's widgets are drawn.
new MutationObserver((_, observer) => {
  if (!document.querySelector(".output .sms-form")) return;
  document.body.classList.add("ready");
  observer.disconnect();
}).observe(document.getElementById("forms"), { childList: true, subtree: true });

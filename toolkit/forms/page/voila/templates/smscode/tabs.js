// The tabs, as WAI-ARIA describes them: arrows move between them. The address has the open tab, so Back returns to the last.
const tabs = [...document.querySelectorAll('[role="tab"]')];
const addressOf = (tab) => `${location.pathname}#${tab.textContent.toLowerCase().replaceAll(" ", "-")}`;
const inAddress = () => tabs.find((tab) => addressOf(tab) === location.pathname + location.hash) ?? tabs[0];
function choose(tab) {
  show(tab);
  if (tab !== inAddress()) history.pushState(null, "", addressOf(tab));
}
function show(tab) {
  for (const each of tabs) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
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
addEventListener("popstate", () => show(inAddress()));
show(inAddress());
history.replaceState(null, "", location.pathname + location.hash); // without the token: a cookie has its place now
// The forms are there once the kernel's widgets are drawn: the form itself, and a panel, which has a script of its own.
new MutationObserver((_, observer) => {
  if (!document.querySelector(".sms-form .sms-panel")) return;
  document.body.classList.add("ready");
  observer.disconnect();
}).observe(document.getElementById("forms"), { childList: true, subtree: true });

// Light or dark: as the system says, unless somebody chose here. The forms look at the body's attribute.
const dark = matchMedia("(prefers-color-scheme: dark)");
const kept = () => localStorage.getItem("smscode-theme");
function applyTheme() {
  const isDark = kept() ? kept() === "dark" : dark.matches;
  document.documentElement.toggleAttribute("data-dark", isDark);
  if (document.body) document.body.dataset.jpThemeLight = String(!isDark);
}
applyTheme();
dark.addEventListener("change", applyTheme);
addEventListener("DOMContentLoaded", () => {
  applyTheme();
  document.getElementById("theme").addEventListener("click", () => {
    const isDark = document.documentElement.hasAttribute("data-dark");
    localStorage.setItem("smscode-theme", isDark ? "light" : "dark");
    applyTheme();
  });
});

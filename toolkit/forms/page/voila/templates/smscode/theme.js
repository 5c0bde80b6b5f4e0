// The theme, light or dark: that of the system, unless the person chose one here. The forms use the body's attribute.
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

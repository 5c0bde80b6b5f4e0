// Ends the page's kernel when the page is gone. Voilà would end it when the browser asks whether to leave, even if the
// person stays; its listener was added later than this one, and is not called.
const page = JSON.parse(document.getElementById("jupyter-config-data").textContent);
addEventListener("beforeunload", (event) => {
  event.stopImmediatePropagation();
  if ([...(globalThis.smscodeLeaveGuards ?? [])].some((guard) => guard.get("asks"))) event.preventDefault();
});
addEventListener("pagehide", () => {
  if ("kernelLost" in document.body.dataset) return;
  const form = new FormData();
  form.append("_xsrf", document.cookie.match("\\b_xsrf=([^;]*)\\b")?.[1] ?? "");
  navigator.sendBeacon(`${page.baseUrl}voila/api/shutdown/${page.kernelId}`, form);
});
addEventListener("pageshow", (event) => event.persisted && location.reload());

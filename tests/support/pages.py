"""Pages in a browser: what they ask for, how they look, and who can use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
_UNTIL_STILL = """async () => {  // half a change of colours is no contrast of anything
  const changes = document.getAnimations().filter((it) => it instanceof CSSTransition);
  await Promise.allSettled(changes.map((it) => it.finished));
}"""
SLOW_MS = 120_000  # two cores, of which a kernel, a sandbox and a browser want one each


class Watched:
    """A page, all addresses that it asked for, and the errors of its scripts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(SLOW_MS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def strangers(self) -> list[str]:
        """Return the addresses that are not on loopback."""
        local = ("127.0.0.1", "localhost")
        here = ("data:", "blob:")
        return [it for it in self.asked if not it.startswith(here) and urlsplit(it).hostname not in local]


@contextmanager
def watched(browser: Browser, **options: Any) -> Iterator[Watched]:
    """Open a page without an address."""
    with browser.new_page(viewport=WIDE, accept_downloads=True, **options) as page:
        yield Watched(page)


def keep(page: Page, name: str) -> None:
    """Keep how a page looks, for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.evaluate("() => scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def violations(page: Page, axe: Path, within: str) -> list[str]:
    """Return what axe-core finds wrong in a part of a page."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(f"() => {{ {axe.read_text(encoding='utf-8')} }}")
    page.evaluate(_UNTIL_STILL)
    found = page.evaluate("within => axe.run(within)", within)
    return [
        f"{it['id']}: {it['help']}: {node['html']} {node['failureSummary']}"
        for it in found["violations"]
        for node in it["nodes"]
    ]


def overflowing(page: Page, within: str) -> list[str]:
    """Return the parts of a page that can be scrolled sideways, or stick out of the window."""
    return page.evaluate(  # type: ignore[no-any-return]
        """within => [...document.querySelectorAll(`${within}, ${within} *`)].filter((it) => {
          if (it.closest("svg, textarea, select, input, thead") || !it.clientWidth) return false;
          if (it.parentElement?.closest(".sms-scroll")) return false;  // wide tables, which are scrolled by themselves
          const scrolls = it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).overflowX !== "visible";
          return scrolls && !it.matches(".sms-scroll")
            || it.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
        }).map((it) => it.outerHTML.slice(0, 120))""",
        within,
    )


def walk_to(page: Page, target: Locator, most: int = 40) -> None:
    """Press Tab until something has the focus."""
    for _ in range(most):
        if target.evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab doesn't reach {target}")


def send(form: Locator, mobile: str) -> None:
    """Type a mobile and press the button that sends a code to it."""
    form.get_by_label("Mobile").fill(mobile)
    form.get_by_role("button", name="Send code").click()


def expect_answer(form: Locator, code: int, message: str) -> None:
    """Wait for an answer to be shown."""
    expect(form.locator(".sms-verdict")).to_contain_text(f"{code} {message}")


def read_code(form: Locator) -> str:
    """Have the sandbox tell the code, and return it once it stands in its field."""
    form.get_by_role("button", name="Read code").click()
    expect(form.get_by_label("Code", exact=True)).not_to_have_value("")
    return form.get_by_label("Code", exact=True).input_value()

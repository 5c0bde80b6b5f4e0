"""Tables of the report's page in a browser: they fit or fold at each width, and print whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from support.pages import Watched, keep, violations, watched

from toolkit.report import html
from toolkit.report.model import Badge, Bar, Header, Report, Section, Table

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PRINTED_PX = 688  # of A4 paper without its margins


def table(columns: int, is_grouped: bool = False) -> Table:
    """Return a table whose cells are as wide as those of a real report."""
    names = ("endpoint", "kind", "share", "calls", "first (Asia/Shanghai)", "conversion of other prefixes", "ids")
    cells = ("send", Badge("ACCOUNT", "#a8321e"), Bar("95.59 %", 0.9559, "#1f7a4d"), "217,025", "2026-11-06 12:00:00")
    row = (*cells, "74.87 %", f"{ID} {ID}", *["0.24 CNY"] * 4)[:columns]
    headers = [Header(name, is_number=name in ("share", "calls", names[5])) for name in names]
    headers += [Header(f"cost {number}", is_number=True) for number in range(4)]
    rows = [row, ("send", *row[1:]), ("verify", *row[1:])]
    return Table(
        f"t{columns}", tuple(headers[:columns]), rows, pd.DataFrame(), f"Table {columns}", is_grouped=is_grouped
    )


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Watched]:
    tables = [table(2), table(3), table(5), table(8, is_grouped=True), table(11)]
    file = tmp_path_factory.mktemp("page") / "report.html"
    sections = [Section("s", "Tables", parts=tables)]
    file.write_text(html.render(Report("run", "2026-11-06", "http://x", 120, (), (), sections)), encoding="utf-8")
    with watched(browser) as page:
        page.page.goto(file.as_uri())
        yield page


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_no_table_is_cut_at_any_width(it: Watched, width: int) -> None:
    it.page.set_viewport_size({"width": width, "height": 900})
    keep(it.page, f"report-tables-{width}")
    assert cut(it) == []


def test_a_folded_row_shows_each_value_with_its_header(it: Watched) -> None:
    it.page.set_viewport_size({"width": 390, "height": 900})
    row = it.page.locator(".t5 tbody tr").first
    labels = row.locator("td").evaluate_all("cells => cells.map((it) => getComputedStyle(it, '::before').content)")
    assert [it.split('"')[1] for it in labels] == ["kind: ", "share", "calls", "first (Asia/Shanghai): "]
    assert row.evaluate("it => getComputedStyle(it).display") == "grid"
    assert it.page.locator(".t3 tbody tr").first.evaluate("it => getComputedStyle(it).display") == "table-row"
    group = it.page.locator(".t8 tbody").first
    expect(group.get_by_role("rowheader", name="send")).to_be_visible()
    expect(it.page.get_by_role("table").nth(3).get_by_role("columnheader")).to_have_count(8)
    expect(it.page.get_by_role("table").nth(3).get_by_role("row")).to_have_count(4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_folded_tables_can_be_used_by_all(it: Watched, axe: Path, scheme: str) -> None:
    it.page.set_viewport_size({"width": 390, "height": 900})
    it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert violations(it.page, axe, "body") == []


def test_tables_are_tables_in_print_and_fit_the_paper(it: Watched) -> None:
    it.page.set_viewport_size({"width": PRINTED_PX, "height": 900})
    it.page.emulate_media(media="print")
    displays = it.page.locator("tbody tr").evaluate_all("rows => rows.map((it) => getComputedStyle(it).display)")
    assert set(displays) == {"table-row"}
    assert cut(it) == []
    it.page.emulate_media(media="screen")


def cut(it: Watched) -> list[str]:
    """Return the tables that are wider than their container, and the container's page if it can be scrolled."""
    return it.page.evaluate(  # type: ignore[no-any-return]
        """() => [document.documentElement, ...document.querySelectorAll(".scroll")]
            .filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.className)"""
    )

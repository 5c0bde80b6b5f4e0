"""The docs site builds without warnings, loads nothing from other hosts, and shows the stored notebooks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
HOST = r"""["']?(?:https?:)?//\w"""
LOADS = re.compile(rf"<(?:script|link|img|iframe|source|object|embed)\b[^>]*\b(?:src|href|data)={HOST}")
STYLES = re.compile(rf"(?:url\(|@import)\s*{HOST}")


def test_no_page_names_another_host_in_scripts_styles_fonts_or_pictures(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 20
    styles = {style: style.read_text(encoding="utf-8") for style in site.rglob("*.css")}
    assert [page.name for page, text in pages.items() if LOADS.search(text)] == []
    assert [file.name for file, text in (pages | styles).items() if STYLES.search(text)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shown_with_its_stored_pictures_and_nothing_is_loaded(
    site: Path, browser: Browser, notebook: Path
) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    page = browser.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((site / "notebooks" / f"{notebook.stem}.html").as_uri())
    shown = page.locator(".cell_output img").evaluate_all("images => images.map(it => it.naturalWidth)")
    assert len(shown) == sum("image/png" in output for output in outputs) > 0
    assert min(shown) > 100
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    page.close()

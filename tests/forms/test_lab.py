"""A form in JupyterLab, opened by `smscode lab`, in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect
from support.pages import Watched, expect_answer, keep, read_code, send, watched
from support.redis import free_port

from toolkit.forms.notebooks import copy_to, notebooks
from toolkit.runs.live_run import find_live

NAME = "form.ipynb"
MOBILE = "13800138005"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a notebook that shows a form."""
    folder = tmp_path_factory.mktemp("lab")
    cell = nbformat.v4.new_code_cell("from toolkit.forms import CallForm\n\nCallForm()")
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=about), folder / NAME)
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """JupyterLab on the folder: its URL, with its token."""
    port, log = free_port(), folder / "lab.log"
    command = [
        sys.executable,
        "-m",
        "toolkit",
        "lab",
        str(folder),
        "--port",
        str(port),
        "--no-browser",
        "--",
        "--allow-root",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMSCODE_")}
    with log.open("wb") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        try:
            yield wait_for_match(log, rf"http://127\.0\.0\.1:{port}/lab\?token=\S+")
        finally:
            process.terminate()


def wait_for_match(file: Path, pattern: str) -> str:
    """Return what of a file that is written matches a pattern."""
    until = time.monotonic() + 240
    while not (found := re.search(pattern, file.read_text())):
        assert time.monotonic() < until, file.read_text()
        time.sleep(0.1)  # nothing tells when another program wrote a file
    return found[0]


@pytest.fixture(scope="module")
def it(lab: str, browser: Browser) -> Iterator[Watched]:
    with watched(browser) as page:
        page.page.goto(lab.replace("/lab?", f"/lab/tree/{NAME}?"))
        show_form(page.page)
        yield page


def show_form(page: Page, selector: str = ".sms-form") -> Locator:
    """Run the cell until it shows a form, and return that.

    JupyterLab loses the keys, or the widget, if its commands or its extensions are not ready yet.
    """
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
    until = time.monotonic() + 240
    form = page.locator(selector)
    while not form.is_visible():
        assert time.monotonic() < until, page.locator(".jp-Cell").first.inner_text()
        page.locator(".jp-CodeCell .cm-content").first.press("Shift+Enter")
        with suppress(TimeoutError):
            form.wait_for(timeout=30_000)
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").first).not_to_contain_text(
        "*"
    )  # a second run replaces the form
    form.wait_for()
    return form


def run_all(page: Page) -> None:
    """Run all cells, and wait for the form of the last one; again, if JupyterLab was not ready."""
    until = time.monotonic() + 240
    while not page.locator(".sms-form").is_visible():
        assert time.monotonic() < until, page.locator(".jp-Notebook").inner_text()
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        with suppress(TimeoutError):
            page.locator(".sms-form").wait_for(timeout=60_000)


@pytest.fixture
def form(it: Watched) -> Locator:
    return it.page.locator(".sms-form")


def test_a_code_is_sent_read_and_verified_in_a_notebook(it: Watched, form: Locator) -> None:
    send(form, MOBILE)
    expect_answer(form, 50000, "success")
    read_code(form)
    form.get_by_role("button", name="Verify").click()
    expect(form.locator(".sms-facts")).to_contain_text("verify")
    expect_answer(form, 50000, "success")
    keep(it.page, "lab")


def test_a_bad_mobile_is_refused_beside_its_field_in_a_notebook(form: Locator) -> None:
    send(form, "1380013800")
    expect(form.get_by_label("Mobile")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Mobile").fill(MOBILE)


def test_a_letter_typed_into_a_field_is_no_shortcut_of_the_notebook(it: Watched, form: Locator) -> None:
    cells = it.page.locator(".jp-Notebook .jp-Cell").count()
    form.get_by_label("Code", exact=True).fill("")
    form.get_by_label("Code", exact=True).press_sequentially("dd x a")
    expect(form.get_by_label("Code", exact=True)).to_have_value("dd x a")
    expect(it.page.locator(".jp-Notebook .jp-Cell")).to_have_count(cells)


def test_a_page_that_is_loaded_again_shows_the_same_form(it: Watched, form: Locator, folder: Path) -> None:
    form.get_by_label("Code", exact=True).fill("wrong")
    it.page.keyboard.press("ControlOrMeta+s")
    wait_for_match(folder / NAME, "widget-view")
    it.page.reload()
    form.wait_for()
    expect(form.get_by_label("Mobile")).to_have_value(MOBILE)
    form.get_by_role("button", name="Verify").click()
    expect_answer(form, 50012, "verified code")


def test_a_form_whose_kernel_was_restarted_says_to_run_the_cell_again(it: Watched, form: Locator, lab: str) -> None:
    base, token = lab.partition("/lab?token=")[::2]
    headers = {"Authorization": f"token {token}"}
    [kernel] = it.page.request.get(f"{base}/api/kernels", headers=headers).json()
    it.page.request.post(f"{base}/api/kernels/{kernel['id']}/restart", headers=headers)
    banner = it.page.locator(".sms-banner")
    expect(banner).to_contain_text("run the cell again")
    expect(form).to_have_attribute("inert", "")
    keep(it.page, "lab-restarted")
    show_form(it.page, ".sms-form:not([inert])")
    expect(banner).to_have_count(0)
    form.get_by_role("button", name="Send code").click()
    expect(form.get_by_label("Mobile")).to_have_attribute("aria-invalid", "true")  # the kernel has looked at it


def test_the_notebook_that_was_saved_holds_no_mobile_and_no_secret(it: Watched, folder: Path) -> None:
    text = (folder / NAME).read_text()  # as the browser saved it
    assert "widget-view" in text
    assert MOBILE not in text
    assert "master_secret" not in text


def test_a_load_test_goes_on_while_its_kernel_is_restarted_and_the_cell_shows_it_again(
    it: Watched, folder: Path
) -> None:
    page = it.page
    # The fields are filled by the cell: if it runs twice, its second form is filled, too.
    filled = "form = LoadForm()\nform.fields.amount.value, form.fields.duration.value = '1', '10m'\nform"
    page.locator(".jp-CodeCell .cm-content").first.fill(f"from toolkit.forms import LoadForm\n\n{filled}")
    form = show_form(page, ".sms-loads")
    form.get_by_role("button", name="Start").click()
    expect(form.locator(".sms-busy")).to_contain_text("Loading")
    ((run, live),) = find_live(folder / "runs").items()
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Kernel$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Restart Kernel…$")).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(page.locator(".sms-banner")).to_contain_text("run the cell again. Load tests that were started go on.")
    expect(form).to_have_attribute("inert", "")
    assert find_live(folder / "runs") == {run: live}
    form = show_form(page, ".sms-loads:not([inert])")
    expect(page.locator(".sms-banner")).to_have_count(0)
    expect(form.locator(".sms-busy")).to_contain_text("Loading")
    expect(form.locator(".sms-chart canvas").first).to_be_attached()
    expect(form.get_by_role("button", name="Start")).to_be_disabled()
    form.get_by_role("button", name="Stop").click()
    expect(form.locator(".sms-verdicts li")).to_have_count(3)
    assert json.loads((run / "run.json").read_text())["settings"]["ended"] == "interrupted"
    assert not find_live(folder / "runs")


def test_nothing_was_asked_of_another_host(it: Watched) -> None:
    assert len(it.asked) > 20
    assert it.strangers() == []


def test_the_pictures_of_a_notebook_that_runs_can_be_explored(browser: Browser, lab: str) -> None:
    with watched(browser) as other:
        page = other.page
        page.goto(lab.replace("/lab?", "/doc/tree/08_my_access_log.ipynb?"))
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
        run_all(page)
        page.locator(".jp-Cell", has_text="charts.over_time(").last.scroll_into_view_if_needed()
        chart = page.locator(".jp-RenderedHTMLCommon .sms-chart").get_by_role("application")
        chart.focus()
        page.keyboard.press("Home")
        expect(chart.get_by_role("status")).to_contain_text("50000 success")
        assert other.errors == []
        assert other.strangers() == []


def test_the_notebooks_are_copied_and_what_was_worked_on_stays(folder: Path, lab: str, tmp_path: Path) -> None:
    assert {path.name for path in folder.glob("*.ipynb")} == {NAME, *(path.name for path in notebooks())}
    first = tmp_path / notebooks()[0].name
    first.write_text("mine")
    copy_to(tmp_path)
    assert first.read_text() == "mine"
    assert len(list(tmp_path.glob("*.ipynb"))) == len(notebooks())


def test_without_the_token_there_is_no_lab(lab: str) -> None:
    with urlopen(lab.partition("?")[0]) as answer:
        assert "/login" in answer.url

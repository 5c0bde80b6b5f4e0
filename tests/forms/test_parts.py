"""The parts that forms are made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.forms import state, type_into

from toolkit.api.errors import InputError, RunError
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.interrupt_watcher import InterruptWatcher
from toolkit.forms.widgets.download_button import PIECE_BYTES, DownloadButton
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.runs.live_run import LiveRun, RunKind, hold, is_stop_requested


def test_importing_the_forms_loads_no_locust_no_gevent_and_no_server() -> None:
    check = (
        "import sys, toolkit.forms; print(*({'locust', 'gevent', 'voila', 'jupyterlab', 'altair'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("kind", ["text", "password", "number", "lines"])
def test_what_is_typed_is_in_no_state(kind: str) -> None:
    field = TextField("Mobile", kind=kind)
    type_into(field, "13800138000")
    field.value = "13900139000"
    assert field.value == "13900139000"
    assert "00138" not in state()
    assert "00139" not in state()


def test_a_view_that_asks_is_told_what_stands_in_the_field_but_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, shown in (("text", "typed"), ("password", "")):
        field, sent = TextField("x", kind=kind), list[Any]()
        monkeypatch.setattr(field, "send", sent.append)
        type_into(field, "typed")
        field._receive(field, {"asks": True}, [])
        assert sent == [{"show": shown}]


def test_a_field_shows_what_is_wrong_until_something_else_is_typed() -> None:
    field = TextField("x", "one")
    assert field.read(int) is None
    assert field.error
    type_into(field, " 2 ")
    assert not field.error
    assert field.read(int) == 2


def test_enter_calls_back() -> None:
    field, entered = TextField("x"), list[str]()
    field.on_enter(lambda: entered.append(field.value))
    type_into(field, "now", enter=True)
    assert entered == ["now"]


def test_one_thing_is_done_at_a_time() -> None:
    go_on, busy = threading.Event(), list[bool]()
    work = BackgroundTask(busy.append, print)
    assert work.begin(go_on.wait)
    assert not work.begin(print)
    go_on.set()
    work.wait()
    assert busy == [True, False]
    work.stop()
    assert work.is_stopped
    assert work.begin(go_on.wait)
    assert not work.is_stopped
    work.wait()


@pytest.mark.parametrize("problem", [InputError("it's wrong"), RunError("it's wrong"), OSError("it's wrong")])
def test_what_goes_wrong_is_shown(problem: Exception) -> None:
    shown = list[str]()

    def fail() -> None:
        raise problem

    work = BackgroundTask(lambda _: None, shown.append)
    work.begin(fail)
    work.wait()
    assert shown == ["it's wrong"]


def test_a_defect_is_called_one() -> None:
    shown = list[str]()
    work = BackgroundTask(lambda _: None, shown.append)
    work.begin(lambda: 1 / 0)
    work.wait()
    assert shown == ["internal error: ZeroDivisionError: division by zero"]


def end_with(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which ends without a wait for anything."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=240)


def test_a_process_can_end_while_a_view_computes() -> None:
    log = Path(__file__).parents[2] / "notebooks" / "access.log"
    code = "import sys; from toolkit import analysis, forms; forms.ReportView(analysis.read(sys.argv[1]))"
    done = end_with(code, str(log))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_can_end_while_a_form_follows_a_run_which_goes_on(tmp_path: Path) -> None:
    code = """if True:
        import sys, time
        from toolkit.forms import LoadForm
        form = LoadForm(out=sys.argv[1])
        while not form.controls.work.is_busy:
            time.sleep(0.05)
        """
    folder = tmp_path / "run"
    folder.mkdir()
    with hold(folder, LiveRun.of_this_process(kind=RunKind.LOAD_TEST, scenario="throughput")):
        done = end_with(code, str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_stop_requested(folder)


def test_a_download_comes_whole_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    file = os.urandom(2 * PIECE_BYTES + 5)
    download, sent = DownloadButton("CSV", "calls.csv", lambda: file, lambda job: job()), list[bytes]()

    def receive(about: dict[str, Any], buffers: list[bytes]) -> None:
        assert about == {"name": "calls.csv", "from": sum(map(len, sent)), "of": len(file)}
        sent.extend(buffers)

    monkeypatch.setattr(download, "send", receive)
    download._receive(download, {"asks": True}, [])
    while sum(map(len, sent)) < len(file):
        download._receive(download, {"from": sum(map(len, sent))}, [])
    assert b"".join(sent) == file
    assert len(sent) == 3


def test_an_interrupt_of_the_process_group_is_seen_and_nothing_stays() -> None:
    with InterruptWatcher() as sentinel:
        process = sentinel._process
        assert sentinel.interrupted_s == 0
        process.send_signal(signal.SIGINT)
        process.wait(240)
        assert sentinel.interrupted_s > 0
    with InterruptWatcher() as sentinel:
        process = sentinel._process
    assert process.returncode == 0


def test_values_are_escaped() -> None:
    assert render("problem", text="<b>&") == '<p class="sms-problem">&lt;b&gt;&amp;</p>'

"""LoadForm, without a browser: real load tests of a real sandbox, as short as they can be."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from support.api import serving
from support.forms import press, state, type_into
from support.processes import of_run
from support.service import Running

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.forms import LoadForm, Sandbox
from toolkit.forms.inputs.load_options import RATE, STAGES, LoadFields
from toolkit.forms.inputs.target_chooser import ANOTHER, CONFIGURED
from toolkit.forms.parts.live_chart import panels
from toolkit.forms.parts.live_results import Bucket, LiveResults
from toolkit.records.call_record import RecordBuilder
from toolkit.records.packed import PackedWriter
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.progress import ProgressReader
from toolkit.settings import Target


@pytest.fixture
def form(shared: Sandbox, tmp_path: Path) -> LoadForm:
    return LoadForm(shared, tmp_path / "runs")


def begin(form: LoadForm, duration: str, users: str = "2") -> None:
    type_into(form.fields.duration, duration)
    type_into(form.fields.amount, users)
    press(form.start)


def once_it_draws(form: LoadForm, then: Callable[[], object]) -> None:
    """Do something once the chart has moved."""

    def act(change: dict[str, Any]) -> None:
        if change["new"]:
            form.chart.unobserve(act, "spec")
            then()

    form.chart.observe(act, "spec")


def processes(form: LoadForm) -> list[psutil.Process]:
    return of_run(form.controls._out)


def test_a_run_is_watched_judged_and_kept(form: LoadForm) -> None:
    drawn: Counter[str] = Counter()
    form.chart.observe(lambda change: drawn.update(it["title"] for it in change["new"].get("panels", [])), "spec")
    type_into(form.fields.more["label"], "release 7")
    begin(form, "3s")
    assert form.start.disabled
    assert form.fields.amount.disabled
    form.wait()
    (run,) = form.runs
    assert min(drawn[title] for title in ("send: calls per second", "response time (ms)")) >= 3
    assert "PASS" in form._result.html
    assert run.summary["calls"] == pq.read_metadata(run.folder / "calls.parquet").num_rows > 0
    assert json.loads((run.folder / "run.json").read_text()) == run.summary
    assert run.summary["settings"]["label"] == "release 7"
    assert (run.folder / "report.html").exists()
    assert f"{run.summary['calls']:,}" in form._history.html
    assert not form.start.disabled


def test_a_run_that_is_stopped_ends_at_once_and_counts(form: LoadForm) -> None:
    once_it_draws(form, form.stop_run)
    begin(form, "10m")
    form.wait(240)
    (run,) = form.runs
    assert run.summary["settings"]["ended"] == "interrupted"
    assert run.summary["calls"] > 0
    assert not processes(form)


def test_a_run_ends_when_the_kernel_is_interrupted(form: LoadForm) -> None:
    def interrupt() -> None:
        (sentinel,) = (it for it in psutil.Process().children() if "SIGINT" in " ".join(it.cmdline()))
        sentinel.send_signal(signal.SIGINT)  # which Jupyter sends to the whole group

    once_it_draws(form, interrupt)
    begin(form, "10m")
    form.wait(240)
    assert len(form.runs) == 1
    assert not processes(form)


def test_a_run_ends_with_its_form(form: LoadForm) -> None:
    begin(form, "10m")
    form.close()
    assert not processes(form)


def test_a_rate_draws_what_was_intended_and_achieved(form: LoadForm) -> None:
    form.fields.pace.value = RATE
    begin(form, "3s", "20")
    form.wait()
    drawn = {it["title"]: it["series"] for it in form.chart.spec["panels"]}
    assert [it["name"] for it in drawn["journeys per second"]] == ["intended", "achieved"]
    assert "of 20/s" in form._facts.html


def test_a_real_target_is_loaded_only_once_that_was_confirmed(
    shared: Sandbox, configured: Running, tmp_path: Path
) -> None:
    form = LoadForm(shared, tmp_path / "runs")
    form.chooser.choice.value = CONFIGURED
    type_into(form.fields.messages, "5")
    begin(form, "5s")
    assert not (tmp_path / "runs").exists()
    assert "0.23 CNY" in form.controls.question.html
    press(form.controls.confirm)
    form.wait()
    (run,) = form.runs
    assert run.summary["spent"] == {"messages": 5, "cost": "0.225", "currency": "CNY"}
    assert "0.23" in form._result.html
    assert configured.master_secret not in state()


def test_without_a_target_nothing_is_loaded(form: LoadForm) -> None:
    form.chooser.choice.value = ANOTHER
    press(form.start)
    form.wait()
    assert "no target: enter the base URL" in form._result.html


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("amount", "0"),
        ("amount", "many"),
        ("duration", "10"),
        ("thresholds", "p99 < 3"),
        ("messages", "0"),
        ("cost", "5"),
        ("mobiles", "abc"),
        ("mobiles", "file:none.txt"),
        ("workers", "1" * 20),
    ],
)
def test_what_cannot_be_used_is_refused_beside_its_field(field: str, text: str) -> None:
    order = LoadFields()
    typed = order.more[field] if field in order.more else getattr(order, field)
    type_into(typed, text)
    assert order.read(None) is None
    assert typed.error


def test_options_that_exclude_each_other_are_refused_in_place_of_a_result(form: LoadForm) -> None:
    type_into(form.fields.thresholds, "dropped < 1%")
    press(form.start)
    assert not form.controls.work.is_busy
    assert "a threshold on dropped arrivals needs --rate or --stages" in form._result.html


@pytest.mark.parametrize(("pace", "text"), [(RATE, "-1"), (RATE, "fast"), (STAGES, "10s"), (STAGES, "")])
def test_a_pace_is_checked_in_its_own_words(pace: str, text: str) -> None:
    order = LoadFields()
    order.pace.value = pace
    type_into(order.amount, text)
    assert order.read(None) is None
    assert order.amount.error


def test_another_machine_needs_a_cap_and_is_then_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("https://sms.example.com", "key", "secret")
    order = LoadFields()
    assert order.read(target) is None
    assert "expected a maximum" in order.messages.error
    type_into(order.messages, "100")
    load_test = order.read(target)
    assert load_test
    options = load_test.options
    assert (options.max_messages, options.max_cost) == (100, None)
    assert (options.allow_target, options.i_pay_for_this) == (("sms.example.com",), True)
    assert options.thresholds


def test_production_on_this_machine_needs_a_cap_too() -> None:
    with serving() as api:
        assert LoadFields().read(api.target)
        api.state = None
        order = LoadFields()
        assert order.read(api.target) is None
        assert "expected a maximum" in order.messages.error


def test_every_scenario_says_what_it_is() -> None:
    order = LoadFields()
    for name in order.scenario.options:
        order.scenario.value = name
        assert len(order._description.html) > 40, name


def write(folder: Path, waits_ms: list[int], outcome: ReturnCode = ReturnCode.SUCCESS) -> None:
    builder = RecordBuilder.of("run", "host", "key", "secret")
    answer = ApiResponse(outcome.http_status, outcome, outcome.message)
    writer = PackedWriter(folder / "1.msgpack")
    for second, wait_ms in enumerate(waits_ms):
        times = (10**18 + second * 10**9, 1_000_000)
        writer.append(builder.build(Endpoint.SEND, *times, response=answer, wait_ns=(wait_ms - 1) * 10**6))
    writer.close()


def follow(folder: Path) -> LiveResults:
    live, follower = LiveResults(), ProgressReader(folder)
    follower.read(on_rows=live.add)
    follower.close()
    return live


def test_live_figures_are_those_of_the_records(tmp_path: Path) -> None:
    write(tmp_path, [10] * 98 + [1000] * 2)
    live = follow(tmp_path)
    assert live.messages == 100
    assert live.waited_ms((50, 99)) == {50: pytest.approx(10, rel=0.01), 99: pytest.approx(1000, rel=0.01)}
    assert sum(it.calls[Endpoint.SEND, ReturnCode.SUCCESS] for it in live.buckets()) == 100


def test_a_refused_send_may_not_have_cost_anything(tmp_path: Path) -> None:
    write(tmp_path, [1] * 5, ReturnCode.OUT_OF_FREQ)
    live = follow(tmp_path)
    assert live.messages == 0


def test_a_long_run_is_drawn_in_few_buckets(tmp_path: Path) -> None:
    write(tmp_path, [10] * 1000)
    live = follow(tmp_path)
    buckets = live.buckets()
    assert len(buckets) <= 120
    assert (buckets[0].start_s, buckets[-1].end_s) == (0, 1000)
    (bars, waited) = panels(buckets, [])
    assert bars.series[0].values[0] == 1
    assert len(waited.series[0].points) == len(buckets)


def test_a_second_without_calls_has_no_response_time() -> None:
    sent = Counter({(Endpoint.SEND, ReturnCode.SUCCESS): 1})
    times = {50: 10.0, 99: 20.0}
    (_, waited) = panels([Bucket(0, 1, sent, times), Bucket(1, 2, Counter(), {}), Bucket(2, 3, sent, times)], [])
    assert waited.series[0].points == [(0.5, 20.0), (1.5, None), (2.5, 20.0)]


def test_paces_are_drawn_as_what_came_between_them() -> None:
    paces = [ArrivalCounts(1, 10, 0, 0, 0, 0), ArrivalCounts(2, 30, 0, 0, 5, 0), ArrivalCounts(2, 30, 0, 0, 5, 0)]
    (pace, _) = panels([], paces)
    assert {it.name: list(it.points) for it in pace.series} == {"intended": [(2, 20)], "achieved": [(2, 15)]}

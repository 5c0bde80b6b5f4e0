"""What a run may send: locust in its processes, and a server that counts what it accepted."""

from __future__ import annotations

import psutil
import pytest
from support.api import Api
from support.locust import plain_locust, run_locust

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint, ServerResponse


def accepted(api: Api) -> int:
    return api.answered["send", ReturnCode.SUCCESS]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("messages", [1, 7, 300])
def test_a_closed_loop_sends_exactly_its_cap(api: Api, messages: int, processes: int) -> None:
    done = run_locust(api.target, "--max-messages", str(messages), "--processes", str(processes))
    assert (done.returncode, accepted(api)) == (97, messages), done.stderr
    assert done.stderr.count(f"it allowed {number_format.plural(messages, 'message')}") == 1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("messages", [1, 150])
def test_an_open_loop_sends_exactly_its_cap(api: Api, messages: int, processes: int) -> None:
    options = ("--rate", "300", "--max-messages", str(messages), "--processes", str(processes))
    done = run_locust(api.target, *options)
    assert (accepted(api), "it allowed" in done.stderr) == (messages, True), done.stderr


def test_an_open_loop_sends_the_messages_that_refusals_refunded(api: Api) -> None:
    api.refuse = {Endpoint.SEND: (20, ReturnCode.OUT_OF_FREQ)}
    run_locust(api.target, "--rate", "100", "--max-messages", "25", "-t", "3")
    assert accepted(api) == 20
    assert api.answered["send", ReturnCode.OUT_OF_FREQ] > 100


def test_a_cost_buys_whole_messages_at_their_price(api: Api) -> None:
    done = run_locust(api.target, "--max-cost", "1.00", SMSCODE_PRICE_PER_SEND="0.03")
    assert (done.returncode, accepted(api)) == (97, 33), done.stderr


def test_of_two_caps_the_lesser_holds(api: Api) -> None:
    run_locust(api.target, "--max-cost", "1", "--max-messages", "5", SMSCODE_PRICE_PER_SEND="0.01")
    assert accepted(api) == 5


def test_a_refused_send_costs_nothing(api: Api) -> None:
    api.refuse = {Endpoint.SEND: (20, ReturnCode.OUT_OF_FREQ)}
    done = run_locust(api.target, "--max-messages", "25", "-t", "2")
    assert "it allowed" not in done.stderr
    assert accepted(api) == 20
    assert api.answered["send", ReturnCode.OUT_OF_FREQ] > 25


@pytest.mark.parametrize(
    "reply",
    [ServerResponse(0, (), b""), ServerResponse(502, ((b"content-length", b"1"),), b"?")],
    ids=["hung up", "a proxy's page"],
)
def test_a_send_without_an_answer_may_have_cost_a_message(api: Api, reply: ServerResponse) -> None:
    api.reply = reply
    assert run_locust(api.target, "--max-messages", "25", "--max-failed", "100%").returncode == 97


def test_an_error_of_the_service_may_have_cost_a_message(api: Api) -> None:
    api.refuse = {Endpoint.SEND: (0, ReturnCode.SERVER_ERROR)}
    assert run_locust(api.target, "--max-messages", "25", "--max-failed", "100%").returncode == 97
    assert api.answered.total() == 25


def test_a_worker_that_is_killed_takes_its_portion_with_it_and_no_more_is_sent(api: Api) -> None:
    with plain_locust(api.target, "--max-messages", "2000", "--processes", "2") as locust:
        try:
            api.wait_for(calls=100)
            psutil.Process(locust.pid).children()[0].kill()
            _, err = locust.communicate(timeout=240)
        finally:
            locust.kill()
    assert locust.returncode == 99, err  # the last calls of the killed worker are unknown, so no threshold passes
    assert 2000 - 2 * 20 - 4 <= accepted(api) <= 2000  # two portions of 20, and what four users were in


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max-messages", "0"], "not send a single message"),
        (["--max-cost", "5"], "SMSCODE_PRICE_PER_SEND"),
        (["--host", "http://192.0.2.1"], "--allow-target 192.0.2.1"),
        (["--host", "https://api.sms.jpush.cn", "--allow-target", "api.sms.jpush.cn"], "--i-pay-for-this"),
    ],
)
def test_plain_locust_refuses_targets_that_may_not_be_loaded(api: Api, options: list[str], reason: str) -> None:
    done = run_locust(api.target, *options)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not api.connections


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_plain_locust_loads_production_on_this_machine_only_with_consent_and_a_cap(
    api: Api, options: tuple[str, ...]
) -> None:
    api.state = None
    done = run_locust(api.target, *options)
    assert done.returncode, done.stderr
    assert "127.0.0.1 is not known to be a sandbox (it answered HTTP 404" in done.stderr
    assert "--allow-target 127.0.0.1, and a limit" in done.stderr
    assert not api.answered
    assert run_locust(api.target, *options, "--allow-target", "127.0.0.1", "--max-messages", "20").returncode == 97
    assert accepted(api) == 20

"""The prober counts what may have been sent, and ends on what no further send can change."""

from __future__ import annotations

import pytest
from support.service import Running

from toolkit.api.errors import NotConnectedError, ProtocolError, ReturnCodeError, TransportError
from toolkit.client import Client
from toolkit.probe.planner import Planner
from toolkit.probe.prober import TargetClock, run_probe

START_S = 1_800_000_000.0


class StoppedClock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def probed(*answers: BaseException | None, cap: int = 3, mobiles: int = 9) -> tuple[Planner, int]:
    """Return the planner after a probe whose sends get these answers, then acceptance; and the number of sends."""
    elapsed, sends, left = StoppedClock(), 0, list(answers)

    def send(mobile: str) -> None:
        nonlocal sends
        sends += 1
        elapsed.now_s += 0.02
        if left and (answer := left.pop(0)):
            raise answer

    planner = Planner(mobiles=mobiles, max_messages=cap, until_s=START_S + 1000)
    clock = TargetClock(1.0, elapsed, elapsed.sleep, START_S)
    run_probe(planner, [f"1380013800{it}" for it in range(mobiles)], send, clock)
    return planner, sends


@pytest.mark.parametrize(
    "answer",
    [
        TransportError("no response within 10 s"),
        ProtocolError("not JSON", 502, b"<html>"),
        ReturnCodeError(50019, 500, "server error"),
        ReturnCodeError(59999, 403, "something new"),
    ],
    ids=str,
)
def test_what_may_have_been_sent_counts(answer: Exception) -> None:
    planner, sends = probed(answer)
    assert (planner.messages, planner.unknown, sends) == (3, 1, 3)
    assert planner.limits == []


def test_a_refusal_of_the_account_ends_the_probe() -> None:
    planner, sends = probed(ReturnCodeError(50014, 403, "no money"))
    assert (planner.messages, sends) == (0, 1)
    assert planner.stopped == "the API refused a send for another reason: 50014 no money (HTTP 403)"


def test_a_target_that_cannot_be_reached_ends_the_probe() -> None:
    planner, sends = probed(*[NotConnectedError("no connection to host; nothing was sent")] * 9)
    assert (planner.messages, sends) == (0, 5)
    assert planner.stopped == "no connection to host; nothing was sent"


def test_a_target_that_hangs_ends_the_probe_before_its_cap() -> None:
    planner, sends = probed(*[TransportError("no response within 10 s")] * 9, cap=9)
    assert (planner.messages, planner.unknown, sends) == (5, 5, 5)
    assert planner.stopped == "the last 5 sends got no usable response"
    assert planner.problem is not None


def test_a_target_that_hangs_until_no_mobile_is_left_cuts_the_probe_off() -> None:
    planner, sends = probed(None, *[TransportError("no response within 10 s")] * 9, cap=9, mobiles=2)
    assert sends == 3
    assert "no mobile is left" in str(planner.problem)


def test_mobiles_that_are_all_refused_at_first_cut_the_probe_off() -> None:
    planner, sends = probed(*[ReturnCodeError(50009, 403, "out of freq")] * 9, mobiles=2)
    assert sends == 2
    assert "no mobile is left" in str(planner.problem)


@pytest.mark.parametrize(("reason", "said"), [("", "it was stopped"), ("SIGTERM", "it was stopped by SIGTERM")])
def test_a_stopped_probe_sends_no_more_and_says_why(reason: str, said: str) -> None:
    elapsed, sent = StoppedClock(), list[str]()
    planner = Planner(mobiles=1, max_messages=3, until_s=START_S + 1000)
    clock = TargetClock(1.0, elapsed, elapsed.sleep, START_S)
    stop = run_probe(planner, ["13800138000"], sent.append, clock, find_stop=lambda: reason if sent else None)
    assert (stop, planner.stopped, len(sent)) == (reason, said, 1)


def test_an_interrupt_after_a_refused_connection_counts_no_message() -> None:
    elapsed = StoppedClock()

    def send(mobile: str) -> None:
        raise NotConnectedError("no connection to host; nothing was sent")

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    planner = Planner(mobiles=1, max_messages=3, until_s=START_S + 1000)
    with pytest.raises(KeyboardInterrupt):
        run_probe(planner, ["13800138000"], send, TargetClock(1.0, elapsed, sleep, START_S))
    assert (planner.messages, planner.unknown) == (0, 0)


def test_an_interrupted_send_counts() -> None:
    elapsed = StoppedClock()
    planner = Planner(mobiles=1, max_messages=3, until_s=START_S + 1000)

    def send(mobile: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_probe(planner, ["13800138000"], send, TargetClock(1.0, elapsed, elapsed.sleep, START_S))
    assert (planner.messages, planner.unknown) == (1, 1)


def test_a_sandbox_is_probed(sandbox: Running) -> None:
    planner = Planner(mobiles=2, max_messages=2, until_s=TargetClock().started_s + 60)
    with Client(sandbox.url, sandbox.app_key, sandbox.master_secret) as client:
        mobiles = [next(sandbox.mobiles), next(sandbox.mobiles)]
        run_probe(planner, mobiles, lambda mobile: client.send_code(mobile, 1), TargetClock())
    assert planner.messages == 2
    assert [it.best.count for it in planner.limits] == [1]

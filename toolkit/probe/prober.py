"""Carry out the sends of a planner. The sender, the clock and the pause are passed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from toolkit import number_format
from toolkit.api.errors import CallError, NotConnectedError, ReturnCodeError, TransportError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.probe.findings import find_rules
from toolkit.probe.planner import Attempt, NextSend, Outcome, Planner

_MAX_FAILURES = 5  # in a row, until the probe ends
_RETRY_S = 1.0  # after a send that did not reach the API
_WATCH_S = 0.2  # between two looks at whether the probe is to stop


@dataclass(slots=True)
class TargetClock:
    """A clock that runs ``speed`` times as fast as real time, as that of a sandbox may.

    ``now`` returns the seconds since 1970 by this clock, which begins at the present time.
    """

    speed: float = 1.0
    elapsed_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    started_s: float = field(default_factory=time.time)
    _begin_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._begin_s = self.elapsed_s()

    def now(self) -> float:
        """Return the time."""
        return self.started_s + (self.elapsed_s() - self._begin_s) * self.speed

    def wait_until(self, time_s: float, is_stopped: Callable[[], bool]) -> None:
        """Wait until a time of this clock, or until the probe is to stop."""
        while (left_s := (time_s - self.now()) / self.speed) > 0 and not is_stopped():
            self.sleep(min(left_s, _WATCH_S))


@dataclass(frozen=True, slots=True)
class ProbeProgress:
    """The state of a probe; ``next`` is the send that is waited for."""

    elapsed_s: float
    messages: int
    refused: int
    unknown: int
    found: Sequence[str]
    next: NextSend

    def __str__(self) -> str:
        counts = [number_format.plural(self.messages, "message"), f"{self.refused:,} refused sends"]
        counts += [number_format.plural(len(self.found), "rule"), self.next.reason]
        return f"{number_format.duration(self.elapsed_s)} of the target's time: {', '.join(counts)}"


def run_probe(
    planner: Planner,
    mobiles: Sequence[str],
    send: Callable[[str], object],
    clock: TargetClock,
    show: Callable[[ProbeProgress], object] = lambda _: None,
    find_stop: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Probe until the planner has no further send, or until it is stopped. The planner keeps the evidence.

    Args:
        planner: Plans the sends; it stops at its cap and at its time.
        mobiles: As many as the planner has.
        send: Sends a code to a mobile, as ``Client.send_code`` does, and raises its errors.
        clock: The target's clock.
        show: Called with the progress before each wait.
        find_stop: Returns by whom or why the probe is to be stopped now, "" if that is not known; None: it goes on.

    Returns:
        The result of ``find_stop`` if the probe was stopped, None if it ended by itself.

    Raises:
        KeyboardInterrupt: The probe was interrupted. A send that was in flight counts as one without a response.
    """
    began_s, failures = clock.now(), 0
    open_send: tuple[int, float] | None = None

    def is_stopped() -> bool:
        return find_stop() is not None

    try:
        while (stop := find_stop()) is None:
            due = planner.next_send(clock.now())
            if due is None:
                is_out_of_mobiles = len(planner.retired) == planner.mobiles and planner.messages < planner.max_messages
                if failures or is_out_of_mobiles:  # with failures, the target hangs and used the messages up
                    planner.problem = TransportError(planner.stopped)
                break
            show(_progress(planner, clock.now() - began_s, due))
            clock.wait_until(due.at_s, is_stopped)
            if is_stopped():
                continue
            open_send = due.mobile, clock.now()
            try:
                outcome, retry_after_s = _send_code(send, mobiles[due.mobile])
                wait_s = None if retry_after_s is None else retry_after_s * clock.speed  # the header is in real time
                attempt, open_send = Attempt(*open_send, clock.now(), outcome, wait_s), None
                planner.observe(attempt)
                failures = failures + 1 if outcome is Outcome.UNKNOWN else 0
                if failures == _MAX_FAILURES:
                    planner.stopped = f"the last {failures} sends got no usable response"
                    planner.problem = TransportError(planner.stopped)
                    break
            except NotConnectedError as problem:  # nothing was sent
                open_send = None
                failures += 1
                if failures == _MAX_FAILURES:
                    planner.stopped, planner.problem = str(problem), problem
                    break
                clock.wait_until(clock.now() + _RETRY_S * clock.speed, is_stopped)
            except ReturnCodeError as problem:
                planner.stopped = f"the API refused a send for another reason: {problem}"
                planner.problem = problem
                break
    except KeyboardInterrupt:
        planner.stopped = "it was interrupted"
        if open_send:  # it may have been accepted
            planner.observe(Attempt(*open_send, clock.now(), Outcome.UNKNOWN))
        raise
    if stop is not None:
        planner.stopped = f"it was stopped by {stop}" if stop else "it was stopped"
    return stop


def _send_code(send: Callable[[str], object], mobile: str) -> tuple[Outcome, int | None]:
    """Send a code; raise ReturnCodeError for a refusal that every further send will get."""
    try:
        send(mobile)
    except NotConnectedError:
        raise
    except ReturnCodeError as refusal:
        if refusal.return_code == ReturnCode.OUT_OF_FREQ:
            return Outcome.REFUSED, refusal.retry_after_s
        if refusal.kind in (Kind.ACCOUNT, Kind.REQUEST):
            raise
        return Outcome.UNKNOWN, None
    except CallError:
        return Outcome.UNKNOWN, None
    return Outcome.ACCEPTED, None


def _progress(planner: Planner, elapsed_s: float, due: NextSend) -> ProbeProgress:
    outcomes = [it.outcome for it in planner.attempts]
    found = [str(it) for it in find_rules(planner)]
    refused, unknown = outcomes.count(Outcome.REFUSED), outcomes.count(Outcome.UNKNOWN)
    return ProbeProgress(elapsed_s, planner.messages, refused, unknown, found, due)

"""Probes: journeys along the edges of the frequency rules, where a service shows whether its windows are exact."""

from __future__ import annotations

import math
import time

from toolkit.api.return_codes import ReturnCode
from toolkit.load_test.generator.checks.rate_limit_oracle import Sent, resets_ns
from toolkit.load_test.generator.checks.registry import read_sent
from toolkit.load_test.generator.journeys.steps import Journey, Pause, Send
from toolkit.load_test.generator.locust_plugin.context import Worker
from toolkit.load_test.plan.expectations import TICK_NS

_RATE = (ReturnCode.OUT_OF_FREQ,)
_BURST = 3
_MOST_TICKS_BEFORE = 100  # that an answer comes before a reset
_IDLE_SHARE = 0.5  # of the shortest window
_MOST_SLOT_NS = 2_000_000_000
_SLOTS_PER_MOBILE = 4


def probe_edges(worker: Worker) -> Journey:
    """Send to one mobile in bursts, and just before, at and just after each reset, for as long as the test lasts."""
    mobile, rules, clock = worker.next_mobile(), worker.expectations.rules, worker.expectations.clock
    shortest_ns = min(clock.window_ns(rule) for rule in rules)
    sends: list[Sent] = []
    while True:
        for _ in range(_BURST):
            outcome = yield Send(mobile, expected=_RATE)
            sends.append(read_sent(outcome))
        first_ns, last_ns = resets_ns(sends, rules, clock)
        for at_ns in (first_ns - _draw_before_ns(worker, sends[-1]), last_ns, last_ns + TICK_NS):
            yield _until(at_ns)
            outcome = yield Send(mobile, expected=_RATE)
            sends.append(read_sent(outcome))
            if sends[-1].accepted:
                break
        yield Pause(worker.chance.uniform(0, _IDLE_SHARE) * shortest_ns / 1e9)  # a fixed window would keep in step


def contest(worker: Worker) -> Journey:
    """Send to a mobile at the same instant as all others in this journey, on all workers, a window after the last."""
    shortest_ns = min(worker.expectations.clock.window_ns(rule) for rule in worker.expectations.rules)
    slot_ns = min(shortest_ns, _MOST_SLOT_NS)
    slot = time.time_ns() // slot_ns + 1
    mobile = worker.shared_mobile(slot // _SLOTS_PER_MOBILE)
    yield _until(slot * slot_ns)
    yield Send(mobile, expected=_RATE)
    yield Send(mobile, expected=_RATE)


def _draw_before_ns(worker: Worker, latest: Sent) -> int:
    """Draw how long before a reset to send: for an answer a tick ahead of it as likely as for one ten times as far."""
    ticks = math.exp(worker.chance.uniform(0, math.log(_MOST_TICKS_BEFORE)))
    return round(ticks * TICK_NS + latest.ended_ns - latest.began_ns)


def _until(at_ns: int) -> Pause:
    return Pause(max(0, at_ns - time.time_ns()) / 1e9)

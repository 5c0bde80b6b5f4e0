"""Journeys that send at the edges of the rate limits' windows, where a service shows whether they are exact."""

from __future__ import annotations

import math
from collections import deque

from toolkit.load_test.generator.checks.rate_limit_oracle import Sent, resets_ns
from toolkit.load_test.generator.checks.registry import read_sent
from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Pause, Send, pause_until
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.load_test.plan.expectations import TICK_NS

_BURST = 3
_MAX_TICKS_BEFORE = 100  # by which a response precedes a reset
_MAX_IDLE = 0.5  # of the shortest window
_MAX_SLOT_NS = 2_000_000_000
_SLOTS_PER_MOBILE = 4


def probe_edges(context: LoadContext) -> Journey:
    """Send to one mobile in bursts, and just before, at and just after each reset, as long as the test lasts."""
    mobile, rules, clock = context.next_mobile(), context.expectations.rules, context.expectations.clock
    shortest_ns = min(clock.window_ns(rule) for rule in rules)
    accepted: deque[Sent] = deque(maxlen=max(rule.count for rule in rules))  # no earlier one is in a window
    while True:
        for _ in range(_BURST):
            sent = read_sent((yield Send(mobile)))
            if sent.accepted:
                accepted.append(sent)
        first_ns, last_ns = resets_ns(accepted, rules, clock)
        # A response one tick before the reset is as likely as one ten ticks before it.
        ticks = math.exp(context.random.uniform(0, math.log(_MAX_TICKS_BEFORE)))
        before_ns = round(ticks * TICK_NS + sent.ended_ns - sent.began_ns)
        for at_ns in (first_ns - before_ns, last_ns, last_ns + TICK_NS):
            yield pause_until(at_ns)
            sent = read_sent((yield Send(mobile)))
            if sent.accepted:
                accepted.append(sent)
                break
        # Without this pause, the bursts would keep in step with fixed windows, and not reveal them.
        yield Pause(context.random.uniform(0, _MAX_IDLE) * shortest_ns / 1e9)


def send_simultaneously(context: LoadContext) -> Journey:
    """Send to a mobile at the same instant as all other users of this journey, on all workers, once in each window."""
    shortest_ns = min(context.expectations.clock.window_ns(rule) for rule in context.expectations.rules)
    slot_ns = min(shortest_ns, _MAX_SLOT_NS)
    slot = UTC_CLOCK.now_ns() // slot_ns + 1
    mobile = context.shared_mobile(slot // _SLOTS_PER_MOBILE)
    yield pause_until(slot * slot_ns)
    yield Send(mobile)
    yield Send(mobile)

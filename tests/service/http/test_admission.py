"""Apps take turns, and little is in flight at once, whoever calls how often. Counts and order only, no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from toolkit.service.http.admission import CALLS_A_TURN, CONTENDED_S, Admission
from toolkit.service.metrics.counters import Counters

FAST_S, SLOW_S = 0.0005, 0.012  # commits


@dataclass
class Loop:
    """An event loop and a store: requests begin, wait for the store, and end when the test says so."""

    now_s: float = 0.0
    commit_s: float = FAST_S
    waits: bool = True  # whether a request waits for the store, as a send does; a refusal does not
    begun: list[str] = field(default_factory=list)
    steps: list[Callable[[], None]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.counters, self.steps.append, lambda: self.commit_s, lambda: self.now_s)

    def arrive(self, app_key: str, count: int = 1) -> None:
        for _ in range(count):
            if self.admission.begins_now():
                self.begin(app_key)
            else:
                self.admission.put(app_key, lambda: self.begin(app_key))

    def begin(self, app_key: str) -> None:
        self.begun.append(app_key)
        self.counters.waiting += self.waits

    def turn(self) -> list[str]:
        """Return the requests that begin in the next turn."""
        before, steps, self.steps[:] = len(self.begun), list(self.steps), []
        for step in steps:
            step()
        return self.begun[before:]

    def turns(self) -> list[str]:
        """Return the requests that begin in turns until none is left to take."""
        before = len(self.begun)
        while self.steps:
            self.turn()
        return self.begun[before:]

    def commit(self) -> None:
        """Answer all calls that wait for the store."""
        ended, self.counters.waiting = self.begun[-self.counters.waiting :] if self.counters.waiting else [], 0
        for app_key in ended:
            self.admission.end(app_key)

    def contend(self) -> None:
        """Let one call of each of two apps pass."""
        for app_key in ("A", "B"):
            self.arrive(app_key)
            self.commit()


def test_a_few_requests_begin_at_once() -> None:
    loop = Loop()
    loop.arrive("A", CALLS_A_TURN)
    assert len(loop.begun) == CALLS_A_TURN
    assert loop.counters.queued == 0


def test_only_so_many_requests_begin_in_a_turn_although_none_waits_for_the_store() -> None:
    loop = Loop(waits=False)
    loop.arrive("A", 1500)
    assert len(loop.begun) == CALLS_A_TURN
    sizes = [len(loop.turn()) for _ in range(1500 // CALLS_A_TURN + 1)]
    assert max(sizes) == CALLS_A_TURN
    assert len(loop.begun) == 1500
    assert loop.counters.queued == 0


def test_a_quiet_app_is_next_however_many_requests_of_another_are_queued() -> None:
    loop = Loop(waits=False)
    loop.arrive("A", 1500)
    loop.arrive("B", 2)
    assert "B" not in loop.begun
    assert loop.turn()[:4] == ["A", "B", "A", "B"]


def test_apps_with_many_requests_get_equal_shares() -> None:
    loop = Loop(waits=False)
    for app_key, count in (("A", 1500), ("B", 100), ("C", 100)):
        loop.arrive(app_key, count)
    shares = Counter(loop.turn() + loop.turn() + loop.turn())
    assert max(shares.values()) - min(shares.values()) <= 1


@pytest.mark.parametrize(
    ("commit_s", "contended", "limit"),
    [(FAST_S, False, 128), (FAST_S, True, 24), (SLOW_S, False, 400), (SLOW_S, True, 200)],
)
def test_the_calls_that_wait_for_the_store_are_limited_by_its_speed(
    commit_s: float, contended: bool, limit: int
) -> None:
    loop = Loop(commit_s=commit_s)
    if contended:
        loop.contend()
    for _ in range(1000):  # turns in which the slow disk becomes known
        loop.arrive("A", CALLS_A_TURN)
        loop.commit()
        loop.turn()
    loop.arrive("A", 1500)
    loop.turns()
    assert loop.counters.waiting == limit


def test_one_slow_commit_does_not_let_more_calls_wait() -> None:
    loop = Loop()
    loop.contend()
    loop.commit_s = 0.3
    loop.arrive("A", 1500)
    loop.turns()
    assert loop.counters.waiting == 24


def test_queued_calls_begin_when_others_end() -> None:
    loop = Loop()
    loop.contend()
    loop.arrive("A", 1500)
    loop.turns()
    loop.arrive("B")
    assert loop.turns() == []
    loop.commit()
    assert "B" in loop.turns()[:2]


def test_a_single_app_has_more_calls_in_the_store_once_the_other_has_gone() -> None:
    loop = Loop()
    loop.contend()
    loop.now_s += CONTENDED_S
    loop.arrive("A", 1500)
    loop.turns()
    assert loop.counters.waiting == 128

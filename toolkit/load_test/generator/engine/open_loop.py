"""Open loop: what of a locust process drives the engine. One locust user stands for one share of the arrivals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from random import Random
from typing import TypeAlias

import gevent
import numpy as np
from locust.user.task import LOCUST_STATE_STOPPING
from locust.user.users import User

from toolkit.load_test.generator.engine.event_loop import ActiveJourney, Engine
from toolkit.load_test.generator.engine.pace import OpenLoop
from toolkit.load_test.generator.http.address import Line
from toolkit.load_test.generator.journeys.steps import Journey
from toolkit.load_test.generator.locust_plugin.context import Worker
from toolkit.load_test.generator.results.result_sink import Tally

_DRAWN_AT_ONCE = 1024

Begin: TypeAlias = tuple[Callable[[Worker], Journey], float, Collection[int]]
"""How a journey begins, how often it does in proportion to others, and the return codes that are no failure of it."""


def draw_trips(worker: Worker, begins: Sequence[Begin], seed: object) -> Iterator[ActiveJourney]:
    """Begin journeys for ever, each as often as it should be, the same for a seed."""
    draw = np.random.default_rng(Random(f"trips/{seed}").getrandbits(64))
    shares = np.array([weight for _, weight, _ in begins], float)
    shares /= shares.sum()

    def draw_some(_: object) -> Iterable[Begin]:
        return [begins[number] for number in draw.choice(len(begins), _DRAWN_AT_ONCE, p=shares)]

    drawn = chain.from_iterable(map(draw_some, repeat(None)))
    return (ActiveJourney(begin(worker), expected) for begin, _, expected in drawn)


def play(user: User, worker: Worker, begins: Sequence[Begin], loop: OpenLoop) -> bool:
    """Play journeys until the arrivals of a share have come, or locust or a journey ends the user; tell which it was.

    True: all the arrivals have come.
    """
    trips = draw_trips(worker, begins, (loop.share.seed, loop.share.shard))
    tally = Tally(user, worker, loop.max_connections)
    engine = Engine(Line(worker.target), tally, trips, loop.share, loop.max_connections)

    def is_stopping() -> bool:
        return user._state == LOCUST_STATE_STOPPING or tally.is_ended

    engine.run(partial(gevent.sleep, 0), is_stopping)
    return not is_stopping()

"""A restart changes no decision: random histories with and without restarts, on both engines, decide the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.redis import RedisServer
from support.stores import CODE, MOBILE, OTHER_CODE, Case, new_message

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.policy import Policy

HOUR_S, DAY_S = 3600, 86_400


class Send(NamedTuple):
    """A send to one of two mobiles; ``forced`` and ``rate_limited`` as in ``NewMessage``."""

    mobile: int = 0
    ttl_s: int = 300
    forced: ReturnCode | None = None
    rate_limited: bool = True


class Verify(NamedTuple):
    """A code for one of the messages so far, counted from the last one."""

    message: int = 0
    right: bool = False


class Wait(NamedTuple):
    """Time that passes."""

    seconds: int


class Prune(NamedTuple):
    """Delete everything that is not needed any more."""


class Restart(NamedTuple):
    """Close the store and open it again."""


Step = Send | Verify | Wait | Prune | Restart
Decisions = list[tuple[ReturnCode, int]]
SENDS = st.builds(
    Send,
    st.integers(0, 1),
    st.sampled_from([1, 300, HOUR_S, DAY_S]),
    st.sampled_from([None, None, None, ReturnCode.EXPIRED_CODE]),
    st.sampled_from([True, True, False]),
)
VERIFICATIONS = st.builds(Verify, st.integers(0, 5), st.booleans())


def histories(*waits_s: int) -> st.SearchStrategy[list[Step]]:
    """Return histories in which the given times pass."""
    waits = st.builds(Wait, st.sampled_from(waits_s))
    upkeep = st.sampled_from([Prune(), Restart()])
    return st.lists(st.one_of(SENDS, SENDS, VERIFICATIONS, VERIFICATIONS, waits, upkeep), max_size=40)


async def decide(case: Case, policy: Policy, history: list[Step]) -> Decisions:
    """Carry out a history and return its decisions with their waits."""
    await case.begin(policy, balance=20)
    sent: list[str] = []
    decided: Decisions = []
    for step in history:
        match step:
            case Send(mobile, ttl_s, forced, rate_limited):
                message = new_message(MOBILE + mobile, ttl_s=ttl_s, forced=forced, rate_limited=rate_limited)
                decision = await case.store.send(message)
                decided.append((decision.return_code, decision.wait_ms))
                sent += [decision.msg_id] if decision.msg_id else []
            case Verify(number, right) if number < len(sent):
                decision = await case.store.verify(1, sent[-1 - number], CODE if right else OTHER_CODE)
                decided.append((decision.return_code, decision.wait_ms))
            case Wait(seconds):
                case.pass_s(seconds)
            case Prune():
                while await case.store.prune():
                    pass
            case Restart():
                await case.reopen(policy)
    await case.close()
    return decided


def on_sqlite(policy: Policy, history: list[Step]) -> Decisions:
    """Return the decisions of a new SQLite store."""
    with TemporaryDirectory() as folder:
        return asyncio.run(decide(Case(f"sqlite:///{folder}/store.db", Path(folder)), policy, history))


STRICT = Policy((Rule(2, 60), Rule(4, DAY_S)), (Rule(5, HOUR_S),), tries=2, failures_per_hour=3)
UNCOUNTED = [*[Send(rate_limited=False)] * 5, Restart(), Send()]
LATE_FAILURES = [
    Send(0, DAY_S),
    Wait(DAY_S - 60),
    *[Verify()] * 2,
    Send(),
    Verify(),
    Wait(120),
    Prune(),
    Restart(),
    Send(),
    Verify(),
]
USED = [
    Send(),
    Verify(0, True),
    Send(1, DAY_S),
    Wait(DAY_S),
    Wait(2 * HOUR_S),
    Prune(),
    Send(),
    Prune(),
    Restart(),
    Verify(2),
]
USED_ON_A_LATER_PAGE = [
    Send(),
    Verify(0, True),
    Wait(400),
    Prune(),
    Send(1, DAY_S),
    Wait(DAY_S - 1),
    Wait(HOUR_S),
    Prune(),
    Verify(1),
]


@settings(max_examples=60)
@given(histories(1, 59, HOUR_S - 60, HOUR_S, DAY_S - HOUR_S, DAY_S))
@example(UNCOUNTED)
@example(LATE_FAILURES)
@example(USED)
@example(USED_ON_A_LATER_PAGE)
def test_a_restart_and_pruning_change_no_decision(history: list[Step]) -> None:
    undisturbed = [step for step in history if not isinstance(step, Prune | Restart)]
    assert on_sqlite(STRICT, history) == on_sqlite(STRICT, undisturbed)


LENIENT = Policy(STRICT.rules, STRICT.app_rules, tries=2, failures_per_hour=100)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(1, 59, HOUR_S - 60))
def test_redis_decides_as_sqlite_does_over_restarts(redis: RedisServer, history: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        redis.empty()
        shared = asyncio.run(decide(Case(redis.url, Path(folder)), LENIENT, history))
    assert on_sqlite(LENIENT, history) == shared

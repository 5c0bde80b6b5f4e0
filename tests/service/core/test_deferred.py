"""A value goes through its steps once, and a step that fails harms nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from toolkit.service.core.deferred import Deferred


def fail(value: object) -> Any:
    raise LookupError(value)


def test_steps_run_in_their_order_also_after_the_value_is_known() -> None:
    number: Deferred[int] = Deferred()
    text = number.then(lambda it: it + 1).then(str)
    number.settle(1)
    number.settle(8)
    assert text.then(lambda it: it + "!").value == "2!"


@pytest.mark.parametrize("settled_first", [True, False])
def test_an_exception_of_a_step_skips_the_steps_up_to_the_next_that_handles_it(settled_first: bool) -> None:
    skipped: list[object] = []
    deferred: Deferred[Any] = Deferred()
    if settled_first:
        deferred.settle(1)
    deferred.then(fail).then(skipped.append).then(skipped.append, repr).then(str.upper)
    deferred.settle(1)
    assert (deferred.value, skipped) == ("LOOKUPERROR(1)", [])


def test_an_exception_of_a_step_is_raised_to_the_task_that_awaits_it() -> None:
    async def claim() -> None:
        deferred: Deferred[Any] = Deferred()
        task = asyncio.create_task(wait(deferred.then(fail)))
        await asyncio.sleep(0)
        deferred.settle(1)
        with pytest.raises(LookupError):
            await task
        with pytest.raises(LookupError):
            await deferred

    asyncio.run(claim())


def test_a_cancelled_task_does_not_keep_others_from_the_value() -> None:
    async def claim() -> None:
        deferred: Deferred[int] = Deferred()
        tasks = [asyncio.create_task(wait(deferred)) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        deferred.settle(1)
        assert await tasks[1] == 1

    asyncio.run(claim())


async def wait(deferred: Deferred[Any]) -> Any:
    return await deferred

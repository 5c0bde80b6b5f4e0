"""A result that is known now or later, without a task and without an event loop.

A call of the API is decided at once, but answered only after the commit that holds it. A task and a future for each
call would cost more than the decision. The idea is that of Twisted's ``Deferred``. It has no error callbacks here: an
error is a value like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

_WAITING: Any = object()  # the value of a Deferred that has none yet


class Deferred(Generic[T]):
    """A value and the steps that it goes through; the steps run as soon as it is settled.

    It can be awaited, once; then an exception that is its value is raised.

    >>> sent = Deferred()
    >>> replied = sent.then(str.upper)
    >>> sent.settle("ok")
    >>> replied.value
    'OK'
    """

    __slots__ = ("_steps", "_value")

    def __init__(self, value: T = _WAITING) -> None:
        self._value: Any = value
        self._steps: list[Callable[[Any], Any]] = []

    @property
    def settled(self) -> bool:
        """Whether the value is known."""
        return self._value is not _WAITING

    @property
    def value(self) -> T:
        """The value after all steps so far. Ask only if ``settled``."""
        return cast("T", self._value)

    def then(self, step: Callable[[T], U]) -> Deferred[U]:
        """Add a step, which maps the value to the next one. This object is changed and returned."""
        if self._value is _WAITING:
            self._steps.append(step)
        else:
            self._value = step(self._value)
        return cast("Deferred[U]", self)

    def settle(self, value: T) -> None:
        """Set the value, and run the steps on it. A second value is ignored."""
        if self._value is not _WAITING:
            return
        result: Any = value
        for step in self._steps:
            result = step(result)
        self._value = result

    def __await__(self) -> Generator[Any, None, T]:
        if self._value is _WAITING:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(value: T) -> T:
                if not future.done():  # the awaiting task may have been cancelled
                    future.set_result(None)
                return value

            self._steps.append(wake)
            yield from future
        if isinstance(self._value, BaseException):
            raise self._value
        return cast("T", self._value)


def run(
    answering: Coroutine[Any, Any, T], tasks: set[asyncio.Task[T]], failed: Callable[[BaseException], T]
) -> Deferred[T]:
    """Run a coroutine in a task that is kept in ``tasks``; ``failed`` maps its exception to a value."""
    deferred: Deferred[T] = Deferred()

    def end(task: asyncio.Task[T]) -> None:
        tasks.discard(task)
        problem = asyncio.CancelledError() if task.cancelled() else task.exception()
        deferred.settle(failed(problem) if problem else task.result())

    task = asyncio.get_running_loop().create_task(answering)
    tasks.add(task)
    task.add_done_callback(end)
    return deferred

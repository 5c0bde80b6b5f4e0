"""A result that is known now or later, without a task and without an event loop.

A call of the API is decided at once, but answered only after the commit that holds it. A task and a future for each
call would cost more than the decision. The idea is that of Twisted's ``Deferred``: an expected error is a value like
any other, and an exception that a step raises goes to ``failed`` of a later step, as to an errback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

log = logging.getLogger(__name__)

_WAITING: Any = object()  # the value of a Deferred that has none yet


class _Raised:
    """The value after a step that raised an exception."""

    __slots__ = ("problem",)

    def __init__(self, problem: Exception) -> None:
        self.problem = problem


class Deferred(Generic[T]):
    """A value and the steps that it goes through; the steps run as soon as it is settled.

    A step that raises an exception never harms the object that settles the value: the exception is logged, and the
    steps up to the next one with ``failed`` are left out. A Deferred can be awaited, once; then an exception that is
    its value, or that its last step raised, is raised.

    >>> sent = Deferred()
    >>> replied = sent.then(str.upper)
    >>> sent.settle("ok")
    >>> replied.value
    'OK'
    """

    __slots__ = ("_steps", "_value", "settled")

    def __init__(self, value: T = _WAITING) -> None:
        self._value: Any = value
        self._steps: list[tuple[Callable[[Any], Any], Callable[[Exception], Any] | None]] = []
        self.settled = value is not _WAITING  # whether the value is known

    @property
    def value(self) -> T:
        """The value after all steps so far. It is valid only if ``settled``."""
        return self._value  # type: ignore[no-any-return]  # typing.cast would be a call

    def then(self, step: Callable[[T], U], failed: Callable[[Exception], U] | None = None) -> Deferred[U]:
        """Add a step, which maps the value to the next one. This object is changed and returned.

        ``failed`` maps an exception that an earlier step raised to the next value instead.
        """
        if self.settled:
            self._value = _run_step(step, failed, self._value)
        else:
            self._steps.append((step, failed))
        return self  # type: ignore[return-value]  # typing.cast would be a call

    def settle(self, value: T) -> None:
        """Set the value, and run the steps on it. A second value is ignored."""
        if self.settled:
            return
        result: Any = value
        steps = iter(self._steps)
        try:
            for step, _ in steps:
                result = step(result)
        except Exception as problem:
            result = _log_raised(problem)
            for step, failed in steps:
                result = _run_step(step, failed, result)
        self._value, self.settled = result, True

    def __await__(self) -> Generator[Any, None, T]:
        if not self.settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(value: Any) -> Any:
                if not future.done():  # the awaiting task may have been cancelled
                    future.set_result(None)
                return value

            self._steps.append((wake, lambda problem: wake(_Raised(problem))))
            yield from future
        if isinstance(self._value, _Raised):
            raise self._value.problem
        if isinstance(self._value, BaseException):
            raise self._value
        return cast("T", self._value)


def _run_step(step: Callable[[Any], Any], failed: Callable[[Exception], Any] | None, value: Any) -> Any:
    try:
        if isinstance(value, _Raised):
            return failed(value.problem) if failed else value
        return step(value)
    except Exception as problem:
        return _log_raised(problem)


def _log_raised(problem: Exception) -> _Raised:
    log.exception("the service failed on an answer")
    return _Raised(problem)


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

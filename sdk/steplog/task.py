"""A task of a run: one attempt for as long as a block or a function lasts."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, cast

from steplog import exits, place
from steplog.events import DEFAULT_TASK, End, Start
from steplog.run import Run, current_place, place_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Token
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")

_IS_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`; the module would cost a third of our import."""


class TaskContext:
    """A task as a context manager, once, and as a decorator, any number of times.

    Entering it starts an attempt, leaving it ends the attempt: SUCCESS, or FAIL when an exception
    leaves it. Processes and threads that are in it at the same time share the attempt.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any] | None, run: Run | None) -> None:
        self.name = str(name) or DEFAULT_TASK
        # As they stand: what is wrong with them is the writer's to count, and raises nothing.
        self._parameters = {} if parameters is None else parameters
        self._run = run
        self._entered: list[tuple[place.Place, Token[place.Place | None]]] = []

    def __enter__(self) -> Self:
        at = self._place()
        at.writer.append(Start, task=at.task, parameters=self._parameters)
        self._entered.append((at, place.enter(at)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        at, token = self._entered.pop()
        status, message = exits.outcome_of(error)
        try:
            at.writer.append(End, task=at.task, status=status, message=message)
        finally:
            place.leave(at, token)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function: each call is an attempt."""
        code = getattr(function, "__code__", None)
        if code is None or not code.co_flags & _IS_COROUTINE:
            return self._around(function)
        waits = cast("Callable[P, Awaitable[Any]]", function)
        return cast("Callable[P, R]", self._around_coroutine(waits))

    def _around(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return attempt

    def _around_coroutine(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @functools.wraps(function)
        async def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return await function(*args, **kwargs)

        return attempt

    def _again(self) -> TaskContext:
        return TaskContext(self.name, self._parameters, self._run)

    def _place(self) -> place.Place:
        at = current_place() if self._run is None else place_in(self._run)
        return at.inner(self.name)


def task(name: str, parameters: Mapping[str, Any] | None = None) -> TaskContext:
    """Return a task of the current run, as a context manager and as a decorator.

        with steplog.task("train"):
            steplog.track_this(step=1, loss=0.5)

        @steplog.task("evaluate")
        def evaluate(): ...

    Within another task it stands below that, `train.epoch` in the run log; so the branches of

        with steplog.task("chunks"):
            pool.map(branch, [1, 2])

    are `chunks.1` and `chunks.2` when `branch(i)` enters `steplog.task(str(i))`, in threads and in
    processes. A process is, for good, in the task that it was started in (that of a fork server:
    in the task that started the server), so a pool that outlives a task is better made outside of
    it. Within the task that `STEPLOG_TASK` names, or the step of a pipeline, a task of that very
    name is that task. Starts a run when there is none.

    As a decorator it is not for generator functions, asynchronous ones neither: these are in the
    task while they are called, and no more when they are iterated. Put the loop into the task.

    Args:
        name: What the task is called in the run log; any text.
        parameters: What the attempt was started with, any values that can be tracked; what cannot
            is counted, and warned of once.

    Raises:
        TrackingError: Only when asked for, by entering or leaving it: something was not recorded.
    """
    return TaskContext(name, parameters, None)

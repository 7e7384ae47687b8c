"""Threads that work for a build; where none can be had (at an interpreter's exit, under a limit), the caller works."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import Future, wait

from . import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any, Self, TypeVar

    T = TypeVar("T")

__all__ = ["Pool", "aside", "result"]


class Pool:
    """Does things at once; left when all are done, or given up: then what they have started is ended.

    Args:
        most: how many at once.
    """

    def __init__(self, most: int) -> None:
        self._scope = process.Scope()
        self._given: list[Future[Any]] = []
        self._threads: ThreadPoolExecutor | None = None
        with contextlib.suppress(RuntimeError):
            self._threads = _threads(most, self._scope)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        done = False
        try:
            if kind is None or issubclass(kind, Exception):
                while pending := [one for one in self._given if not one.done()]:
                    wait(pending, process.SLICE)
                done = True
        finally:
            if not done:
                self._scope.cancel()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=not done)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have ``function(*args)`` done; it is done already where there is no thread for it."""
        done: Future[T] = Future()
        self._given.append(done)
        turns = itertools.count()

        def work() -> None:
            # What could not get a thread of its own is still in the queue of the others.
            if next(turns) == 0:
                try:
                    done.set_result(function(*args))
                except BaseException as error:  # noqa: BLE001  (for who asks for the result)
                    done.set_exception(error)

        try:
            if self._threads is not None:
                self._threads.submit(work)
                return done
        except RuntimeError:
            pass
        work()
        return done

    def map(self, function: Callable[..., T], *many: Iterable[Any]) -> list[T]:
        """What the built-in `map` gives."""
        return [result(one) for one in [self.submit(function, *args) for args in zip(*many, strict=True)]]


def result(future: Future[T]) -> T:
    """What a future gives, waited for in slices (`process.SLICE`)."""
    while not future.done():
        wait([future], process.SLICE)
    return future.result()


def aside(function: Callable[..., object], *args: Any) -> None:
    """Have something done that nobody waits for, if there can be a thread for it."""
    with contextlib.suppress(RuntimeError):
        threads = _threads(1)
        threads.submit(function, *args)
        threads.shutdown(wait=False)


def _threads(most: int, scope: process.Scope | None = None) -> ThreadPoolExecutor:
    # At exit, it can't even be imported any more.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(most, initializer=process.inherited(scope))

"""Interpreters shared by threads: each is used by one at a time and outlives the thread that opened it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class InterpreterPool(Generic[T]):
    """As many interpreters as are in use at the same time, opened when they are first needed.

    Args:
        open_one: opens an interpreter. Not called before one is needed: naming a model must stay cheap.
    """

    def __init__(self, open_one: Callable[[], T]) -> None:
        self._open = open_one
        self._free: list[T] = []  # append and pop of a list are atomic

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """One interpreter, for the length of the block."""
        try:
            interpreter = self._free.pop()
        except IndexError:
            interpreter = self._open()
        try:
            yield interpreter
        finally:
            self._free.append(interpreter)

"""Work that goes together when it has to wait, without models: every call and its company is looked at."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from web.photos.together import Together
from web.problems import Problem


class Worker:
    """Squares numbers; can be held in the middle of a call; -1 is poison to its whole call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, group: str, numbers: list[int]) -> list[int | Exception]:
        self.calls.append((group, list(numbers)))
        self.begun.release()
        assert self.go.wait(20)
        if -1 in numbers:
            raise RuntimeError("poison")
        return [ValueError("zero") if number == 0 else number**2 for number in numbers]

    @property
    def sizes(self) -> list[int]:
        return [len(numbers) for _, numbers in self.calls]


@contextmanager
def working(
    at_once: int, threads: int = 1, most_waiting: int = 100
) -> Iterator[tuple[Worker, Together[str, int, int]]]:
    worker = Worker()
    with Together(worker, lambda group: at_once, threads, most_waiting) as together:
        yield worker, together


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 20))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def held(worker: Worker, together: Together[str, int, int]) -> "asyncio.Task[int]":
    """A first thing whose call does not end before `worker.go`."""
    worker.go.clear()
    return asyncio.ensure_future(together.run("a", 1))


def test_what_comes_alone_is_begun_at_once() -> None:
    async def scene() -> None:
        assert await together.run("a", 3) == 9

    with working(at_once=8) as (worker, together):
        run(scene())
        assert worker.calls == [("a", [3])]


def test_what_waited_goes_together_up_to_what_is_fastest() -> None:
    async def scene() -> None:
        first = held(worker, together)
        await until(lambda: worker.sizes == [1])
        others = [asyncio.ensure_future(together.run("a", number)) for number in range(2, 8)]
        await asyncio.sleep(0)
        worker.go.set()
        assert [await first, *await asyncio.gather(*others)] == [1, 4, 9, 16, 25, 36, 49]

    with working(at_once=4) as (worker, together):
        run(scene())
        assert worker.sizes == [1, 4, 2]


def test_where_a_call_takes_one_thing_only_every_thing_has_its_own() -> None:
    async def scene() -> None:
        assert await asyncio.gather(*(together.run("a", number) for number in range(1, 6))) == [1, 4, 9, 16, 25]

    with working(at_once=1, threads=2) as (worker, together):
        run(scene())
        assert worker.sizes == [1] * 5


def test_what_waits_is_shared_out_to_the_threads_that_are_free() -> None:
    async def scene() -> None:
        first = [held(worker, together)]
        await until(lambda: worker.sizes == [1])
        first.append(asyncio.ensure_future(together.run("a", 1)))
        await until(lambda: len(worker.calls) == 2)
        others = [asyncio.ensure_future(together.run("a", number)) for number in range(2, 8)]
        await asyncio.sleep(0)
        worker.go.set()
        await asyncio.gather(*first, *others)

    with working(at_once=32, threads=2) as (worker, together):
        run(scene())
        assert worker.sizes[:2] == [1, 1] and sum(worker.sizes) == 8
        assert max(worker.sizes) > 1


def test_groups_are_not_mixed_and_none_is_forgotten() -> None:
    async def scene() -> None:
        first = held(worker, together)
        await until(lambda: worker.sizes == [1])
        others = [asyncio.ensure_future(together.run(group, 2)) for group in "abababab"]
        await asyncio.sleep(0)
        worker.go.set()
        await asyncio.gather(first, *others)

    with working(at_once=32) as (worker, together):
        run(scene())
        assert sorted(worker.calls[1:]) == [("a", [2, 2, 2, 2]), ("b", [2, 2, 2, 2])]


def test_poison_costs_only_itself() -> None:
    async def scene() -> None:
        first = held(worker, together)
        await until(lambda: worker.sizes == [1])
        others = [asyncio.ensure_future(together.run("a", number)) for number in (2, -1, 0, 3)]
        await asyncio.sleep(0)
        worker.go.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [str(one) for one in found] == ["1", "4", "poison", "zero", "9"]
        assert await together.run("a", 5) == 25

    with working(at_once=32) as (worker, together):
        run(scene())
        assert worker.sizes == [1, 4, 1, 1, 1, 1, 1]


def test_who_gave_up_is_not_worked_for() -> None:
    async def scene() -> None:
        first = held(worker, together)
        await until(lambda: worker.sizes == [1])
        others = [asyncio.ensure_future(together.run("a", number)) for number in (2, 3)]
        await asyncio.sleep(0)
        others[0].cancel()
        await asyncio.sleep(0)
        worker.go.set()
        assert await asyncio.gather(first, others[1]) == [1, 9]

    with working(at_once=32) as (worker, together):
        run(scene())
        assert worker.calls == [("a", [1]), ("a", [3])]


def test_who_is_one_too_many_is_told_so_at_once() -> None:
    async def scene() -> None:
        first = held(worker, together)
        await until(lambda: worker.sizes == [1])
        others = [asyncio.ensure_future(together.run("a", number)) for number in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await together.run("a", 4)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        worker.go.set()
        assert await asyncio.gather(first, *others) == [1, 4, 9]
        assert await together.run("a", 4) == 16

    with working(at_once=1, most_waiting=2) as (worker, together):
        run(scene())


def test_an_error_in_asking_how_many_is_the_works_own_to_tell() -> None:
    def unknown(group: str) -> int:
        raise LookupError(group)

    with Together(Worker(), unknown, 1, 10) as together:
        assert asyncio.run(together.run("a", 6)) == 36

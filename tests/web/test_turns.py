"""Turns are bounded by the work that goes on, whether anybody waits for it or not."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from web.problems import Problem
from web.turns import Turns


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 20))


async def _is_busy(turns: Turns) -> bool:
    try:
        await turns.run(lambda: None)
    except Problem as problem:
        assert (problem.status, problem.kind, problem.headers) == (503, "busy", {"Retry-After": "1"})
        return True
    return False


def test_work_whose_caller_is_gone_keeps_its_place_to_its_end() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(20)

    async def scene() -> None:
        caller = asyncio.ensure_future(turns.run(work))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await _is_busy(turns)
        go.set()
        while await _is_busy(turns):
            await asyncio.sleep(0.001)

    with Turns(1, 0) as turns:
        run(scene())


def test_who_gives_up_before_its_turn_frees_the_place() -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go.wait(20)
        return "worked"

    async def scene() -> None:
        first = asyncio.ensure_future(turns.run(work))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(turns.run(done.set))
        await asyncio.sleep(0)
        assert await _is_busy(turns)
        waiting.cancel()
        await asyncio.wait([waiting])
        next_one = asyncio.ensure_future(turns.run(lambda: "next"))
        await asyncio.sleep(0)
        go.set()
        assert [await first, await next_one] == ["worked", "next"]
        assert not done.is_set()

    with Turns(1, 1) as turns:
        run(scene())


def test_what_the_work_raises_is_the_callers_and_frees_the_place() -> None:
    async def scene() -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await turns.run(lambda: 1 // 0)

    with Turns(1, 0) as turns:
        run(scene())

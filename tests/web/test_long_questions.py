"""Questions that take long have turns of their own: others are answered meanwhile."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.search.engine import SearchEngine
from vetrina.search.explaining import Explanation, explain
from vetrina.search.filters import Filter
from vetrina.search.window import ShopWindow
from web.application import build_app
from web.shop import Options


@pytest.fixture
def address(web_shop: Shop) -> Iterator[str]:
    """A server that has answered nothing before."""
    with running(build_app(ServedShop(web_shop.deployment), Options())) as address:
        yield address


class Gate:
    """Where work waits until it may go on."""

    def __init__(self) -> None:
        self._waiting = threading.Semaphore(0)
        self._open = threading.Event()

    def wait(self) -> None:
        """Called by the work."""
        self._waiting.release()
        assert self._open.wait(60)

    def await_two(self) -> None:
        """Until two have come."""
        for _ in range(2):
            assert self._waiting.acquire(timeout=30)

    def open(self) -> None:
        """Let all go on."""
        self._open.set()


def all_answered_while_others_wait(address: str, asked: list[str], others: list[str], gate: Gate) -> None:
    """Whether `others` are answered before `asked`, which come to the gate."""
    with ThreadPoolExecutor(len(asked)) as threads:
        waiting = [threads.submit(requests.get, address + path, timeout=60) for path in asked]
        try:
            gate.await_two()
            for path in others:
                assert requests.get(address + path, timeout=20).status_code == 200, path
            assert not any(one.done() for one in waiting)
        finally:
            gate.open()
        assert [one.result().status_code for one in waiting] == [200] * len(asked)


def test_filters_that_take_long_keep_nobody_from_likes(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passing, gate = ShopWindow.passing, Gate()

    def slowly(self: ShopWindow, where: Filter | None) -> SearchEngine:
        if where is not None:
            gate.wait()
        return passing(self, where)

    monkeypatch.setattr(ShopWindow, "passing", slowly)
    narrow = ["/?where=price", "/product?id=box&is.category=Hall", "/api/v1/similar?id=box&where=price"]
    others = ["/api/v1/similar?id=box", "/product?id=box", "/"]
    all_answered_while_others_wait(address, [*narrow, "/api/v1/products?where=price"], others, gate)


def test_explanations_that_take_long_keep_nobody_from_likes_and_filters(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    def slowly(*asked: object, **named: object) -> Explanation:
        gate.wait()
        return explain(*asked, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("web.asking.explain", slowly)
    why = ["/api/v1/explain?id=box&result=bootie", "/why?id=box&result=bootie", "/why/part?product=box&result=bootie"]
    others = ["/api/v1/similar?id=box", "/product?id=box", "/?where=price"]
    all_answered_while_others_wait(address, why, others, gate)

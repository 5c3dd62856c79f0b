"""Questions that take long have turns of their own: others are answered meanwhile."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import requests
from support.shops import Shop
from support.web_server import running

import web.sending
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


def test_nothing_is_drawn_or_written_out_where_all_requests_come_in(
    address: str, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: dict[str, list[bool]] = {}

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work; whether the event loop runs in its thread is noted."""

        def do(*given: Any, **named: Any) -> Any:
            try:
                asyncio.get_running_loop()
                done[asked].append(True)
            except RuntimeError:
                done[asked].append(False)
            return work(*given, **named)

        return do

    monkeypatch.setattr(jinja2.Template, "render", noted(jinja2.Template.render))
    monkeypatch.setattr(web.sending, "json", SimpleNamespace(dumps=noted(json.dumps)))
    tabs = ("", "/batches", "/problems", "/versions", "/reports", "/sign-in")
    listed = ("coverage", "problems", "batches", "versions", "reports", "retry", "similar?id=box", "products")
    for asked in [*(f"/operations{tab}" for tab in tabs), *(f"/api/v1/{name}" for name in listed), "/api", "/"]:
        done[asked] = []
        assert requests.get(address + asked, timeout=30).status_code == 200
    asked = "/api/v1/search"
    done[asked] = []
    assert requests.post(address + asked, data=product_pictures["box"], timeout=30).status_code == 200
    assert {asked: found for asked, found in done.items() if found != [False]} == {}

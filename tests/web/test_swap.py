"""The shop changes while it is asked: no request fails, and no answer is mixed from two states."""

import gc
import json
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from support.shops import Shop, opened_shop
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options


@pytest.fixture
def shop(tmp_path: Path, bundled_models: None) -> Iterator[Shop]:
    with opened_shop(tmp_path / "shop") as shop:
        yield shop


def _bring(shop: Shop, catalog: str, pictures: dict[str, bytes], names: list[str]) -> None:
    """A batch that is worked and not in the index yet."""
    for name in names:
        (shop.folder / f"{name}.png").write_bytes(pictures[name])
    shop.work(shop.register(shop.catalog(catalog, [{"id": name, "path": f"{name}.png"} for name in names])))


def _until(come: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not come():
        assert time.monotonic() < until
        time.sleep(0.02)


class _Askers:
    """Threads that ask the same questions again and again."""

    def __init__(self, address: str, product_ids: list[str]) -> None:
        self.answers: dict[tuple[str, str, int], set[bytes]] = defaultdict(set)
        self.failures: list[Any] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(f"{address}/api/v1/similar?k=20&id={product_id}", product_id))
            for product_id in product_ids
        ]

    def __enter__(self) -> "_Askers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, address: str, product_id: str) -> None:
        with requests.Session() as session:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    # Every second one is made anew.
                    answer = session.get(
                        f"{address}&min_similarity=0.{number:08d}" if number % 2 else address, timeout=30
                    )
                    answer.raise_for_status()
                    said = answer.json()
                    self.answers[product_id, said["index_version"], said["available"]].add(answer.content)
                except Exception as error:
                    self.failures.append(error)


def test_the_index_is_swapped_under_load(shop: Shop, product_pictures: dict[str, bytes]) -> None:
    app: FastAPI = build_app(ServedShop(shop.deployment), Options(refresh_seconds=0.05))
    with running(app) as address:
        assert requests.get(f"{address}/readyz", timeout=30).status_code == 503
        _bring(shop, "first", product_pictures, ["oak-chair", "white-chair", "box"])
        shop.publish()
        _until(lambda: requests.get(f"{address}/readyz", timeout=30).status_code == 200)
        old = weakref.ref(app.state.house.showcase.now.window)

        def shown(products: int, newer: int) -> Callable[[], bool]:
            lines = [f"vetrina_products {products:.1f}", f"vetrina_tail_products {newer:.1f}"]
            return lambda: set(lines) <= set(requests.get(f"{address}/metrics", timeout=30).text.splitlines())

        with _Askers(address, ["oak-chair", "white-chair", "box"]) as askers:
            _until(shown(3, 0))
            _bring(shop, "second", product_pictures, ["coffee-cup", "television"])
            _until(shown(5, 2))
            shop.publish()
            _until(shown(5, 0))
            ready = requests.get(f"{address}/readyz", timeout=30).json()
            _until(lambda: len(askers.answers) >= 9)
        assert len(askers.answers) == 9, "three products in three states"
        assert askers.failures == []
        for (_, version, available), bodies in askers.answers.items():
            assert len(bodies) == 1, "one state gives one answer"
            answer = json.loads(*bodies)
            found = {other["product_id"] for other in answer["similar"] + answer["left_out"]}
            assert len(found) == available, "all of that state and no other"
            assert {"coffee-cup", "television"} <= found or available == 2
            assert available == 4 or version != ready["index_version"]
        gc.collect()
        assert old() is None, "what is shown no more is let go"

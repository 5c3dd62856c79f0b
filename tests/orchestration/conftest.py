import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from support.sensors import Ticker
from support.shops import Shop


@pytest.fixture
def ticker(shop: Shop) -> Iterator[Ticker]:
    with dg.DagsterInstance.get() as instance:
        yield Ticker(instance)


@pytest.fixture
def folder(shop: Shop) -> Path:
    """The watched folder of a shop in which files count as whole at once."""
    folder = shop.folder / "in"
    folder.mkdir()
    shop.set(WATCH=folder, WATCH_SETTLE=0)
    return folder


@pytest.fixture
def hours_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on it is two hours later for the sensors, longer than any pause."""

    def later() -> None:
        ahead = time.time() + 2 * 3600
        monkeypatch.setattr("orchestration.sensors.time", SimpleNamespace(time=lambda: ahead))

    return later

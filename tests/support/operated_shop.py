"""A shop with a past: two batches, two index versions, pictures that failed, rows that were rejected."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.fault_server import FaultServer, html, status
from support.shops import Shop, opened_shop

TOKEN = "a-token-of-the-tests"
HOSTILE = '<script>alert("id")</script>'
FIRST = ("box", "bootie", "coffee-cup")
SECOND = ("slippers", "teddy-bear", "television", HOSTILE)
SEARCHABLE = {*FIRST, "slippers"}


@dataclass(frozen=True)
class Operated:
    """The shop, and the server of its pictures: `television` and `teddy-bear` fail there until they are healed."""

    shop: Shop
    server: FaultServer

    def heal(self) -> None:
        """Let every picture be had."""
        for name in ("television", "teddy-bear"):
            self.server.heal(f"/{name}.png")


@contextmanager
def operated_shop(folder: Path, pictures: Mapping[str, bytes]) -> Iterator[Operated]:
    """See the module; one picture is not there at all, and two more cannot be had until they are healed."""
    pages = {f"/{name}.png": data for name, data in pictures.items()}
    with FaultServer(pages) as server, opened_shop(folder) as shop:
        server.fail("/television.png", status(500))
        server.fail("/teddy-bear.png", html())
        shop.add(shop.catalog("first", [_row(server, name) for name in FIRST]))
        rejected = [{"id": "", "url": "x.png", "name": "No id"}, {"id": "<b>bare</b>", "url": "", "name": "Bare"}]
        second = [*(_row(server, name) for name in SECOND), *rejected, _row(server, "slippers")]
        shop.add(shop.catalog("second", second))
        yield Operated(shop, server)


@contextmanager
def copied(operated: Operated, folder: Path) -> Iterator[Operated]:
    """A copy that may be changed; the server of the pictures is the same."""
    with opened_shop(folder) as shop:
        shutil.copytree(operated.shop.folder / "store", folder / "store")
        yield Operated(shop, operated.server)


def _row(server: FaultServer, name: str) -> dict[str, str]:
    picture = "gone" if name == HOSTILE else name
    return {"id": name, "url": server.url(f"/{picture}.png"), "name": name.title()}

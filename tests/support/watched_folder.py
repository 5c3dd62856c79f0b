"""A watched folder beside a store, visited as the sensor does."""

import random
from pathlib import Path

from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.watching import WatchReport, watch
from vetrina.store import Store

ROWS = b"id,image_url\n1,https://pics.example/1.jpg\n2,https://pics.example/2.jpg\n"
OTHER = b"id,image_url\n1,https://pics.example/other.jpg\n"


class Folder:
    """A watched folder beside a store; `visit` is one tick, each a minute after the one before."""

    def __init__(self, home: Path) -> None:
        self.path = home / "in"
        self.path.mkdir()
        self.store = Store(home / "store")
        self.options = ReadOptions()
        self.now = 1_000_000.0

    def put(self, name: str, content: bytes) -> Path:
        file = self.path / name
        file.write_bytes(content)
        return file

    def visit(self, *, budget: float = 60, settle: float = 5, seconds: float = 60, large: int = 1 << 30) -> WatchReport:
        self.now += seconds
        return watch(
            self.store,
            str(self.path),
            self.options,
            settle=settle,
            budget=budget,
            large_bytes=large,
            clock=lambda: self.now,
        )

    def settled(self) -> WatchReport:
        """Two visits: the first sees the files, the second finds them unchanged."""
        self.visit()
        return self.visit()

    @property
    def batches(self) -> list[Batch]:
        return list_batches(self.store)

    @property
    def aside(self) -> dict[str, str]:
        return {Path(problem.source).name: problem.reason for problem in list_set_aside(self.store)}


NOISE = b"".join(b"%d,https://pics.example/%x.jpg\n" % (n, random.Random(n).getrandbits(200)) for n in range(3000))

"""A shop of its own for a test: store, Dagster home and catalogs in one folder, worked in this process.

with opened_shop(tmp_path) as shop:
    shop.add(shop.catalog("spring", [{"id": "1", "url": server.url("/box.png")}]))
    assert shop.similar("1") == []
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration import printing
from orchestration.deployment import Deployment
from orchestration.home import make_home
from orchestration.intake import add_catalogs, retry_failed, sync_source
from orchestration.runs import RunReport, run_batch, run_publish
from support.fault_server import FaultServer
from vetrina.catalog.batches import Batch, Mode, list_batches, register_batch
from vetrina.index.sources import IndexItems
from vetrina.index.versions import current
from vetrina.settings import Settings
from vetrina.tables import IMAGES, read_rows

Row = Mapping[str, str]
_QUIET = printing.Steps(quiet=True)


class Shop:
    """One shop. Its settings are put into the environment, and again whenever it is turned to: there may be others."""

    def __init__(self, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._environment = environment
        self._own: dict[str, str] = {}
        self._runs = dg.DagsterInstance.ephemeral()
        folder.mkdir(parents=True, exist_ok=True)
        make_home(folder / "home")
        self._own["DAGSTER_HOME"] = str(folder / "home")
        self.set(STORE=folder / "store", WORKERS=1, ALLOW_PRIVATE="yes", FETCH_ATTEMPTS=2)

    def set(self, **settings: object) -> None:
        """Change settings, named as in the environment without VETRINA_."""
        self._own |= {f"VETRINA_{name}": str(value) for name, value in settings.items()}
        self._turn_to()

    def _turn_to(self) -> None:
        for name, value in self._own.items():
            self._environment.setenv(name, value)

    @property
    def deployment(self) -> Deployment:
        """The shop as it is now."""
        self._turn_to()
        return Deployment(Settings.from_environment())

    def catalog(self, name: str, rows: Sequence[Row]) -> str:
        """Write (over) a CSV catalog; gives its path."""
        file = self.folder / f"{name}.csv"
        columns = list(dict.fromkeys(column for row in rows for column in row)) or ["id", "url"]
        with file.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, columns)
            writer.writeheader()
            writer.writerows(rows)
        return str(file)

    def add(self, *catalogs: str, snapshot: bool = False, confirmed: bool = False) -> dict[str, Any]:
        """As `vetrina add`."""
        return add_catalogs(
            self.deployment, catalogs, name=None, snapshot=snapshot, confirmed=confirmed, progress=_QUIET
        )

    def sync(
        self, source: str, name: str | None = None, *, dry_run: bool = False, confirmed: bool = False
    ) -> dict[str, Any]:
        """As `vetrina sync`."""
        return sync_source(
            self.deployment, source=source, name=name, dry_run=dry_run, confirmed=confirmed, progress=_QUIET
        )

    def retry(self) -> dict[str, Any]:
        """As `vetrina retry`."""
        return retry_failed(self.deployment, progress=_QUIET)

    def register(self, catalog: str, mode: Mode = "delta") -> Batch:
        """Register a catalog; no run yet."""
        return register_batch(self.deployment.store, catalog, mode=mode)[0]

    def work(self, batch: Batch) -> RunReport:
        """Only the batch job: nothing is published. Its Dagster history is kept in memory, which is faster."""
        self._turn_to()
        return run_batch(self._runs, batch.key)

    def publish(self) -> RunReport:
        """Only the publication, as `work`."""
        self._turn_to()
        return run_publish(self._runs)

    def similar(self, product_id: str, k: int = 20) -> list[str]:
        """Ids of what looks like a product, best first."""
        return [found.product_id for found in self.deployment.window().similar(product_id, k).answer.neighbours]

    def states(self) -> dict[str, str]:
        """Product → where it ended ("state" or "state: reason"), and the counts checked against the rows."""
        coverage = self.deployment.coverage(1000).shop()
        assert coverage.rows == sum(coverage.states.values())
        return {str(problem.product_id): f"{problem.state}: {problem.reason}" for problem in coverage.problems}

    def outcomes(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Product → what came of its picture in a batch."""
        rows = read_rows(self.deployment.store, batch.path("images.parquet"), IMAGES)
        return {row["product_id"]: row for row in rows}

    def end_state(self) -> dict[str, Any]:
        """All that a person could tell one finished shop from another by, without its clocks."""
        deployment = self.deployment
        published = current(deployment.store)
        assert published is not None
        items = IndexItems(deployment.store, deployment.extractor.embeddings_fingerprint(deployment.detector))
        rows = [row for table in items() for row in table.to_pylist()]
        coverage = deployment.coverage().shop()
        return {
            "batches": [batch.key for batch in list_batches(deployment.store)],
            "states": dict(coverage.states),
            "problems": self.states(),
            "index": published.version,
            "items": sorted((row["product_id"], row["crop_id"], _digest(row["vector"])) for row in rows),
        }


@contextmanager
def opened_shop(folder: Path) -> Iterator[Shop]:
    """A shop whose settings end with the block."""
    with pytest.MonkeyPatch.context() as environment:
        yield Shop(folder, environment)


def cost(run: RunReport) -> dict[str, int]:
    """What a run of the batch job cost."""
    images = run.metadata["raw_images"]
    return {
        "fetched": images["fetched"],
        "unchanged": images["unchanged"],
        "detected": run.metadata["crops"]["detected"],
        "embedded": run.metadata["embeddings"]["embedded"],
    }


NOTHING = {"fetched": 0, "unchanged": 0, "detected": 0, "embedded": 0}


def rows_of(server: FaultServer, names: Sequence[str], **attributes: str) -> list[dict[str, str]]:
    """A catalog row for each picture of a server; the product is called as its picture."""
    return [{"id": name, "url": server.url(f"/{name}.png"), **attributes} for name in names]


def _digest(vector: Sequence[float]) -> str:
    return hashlib.sha256(repr(list(vector)).encode()).hexdigest()

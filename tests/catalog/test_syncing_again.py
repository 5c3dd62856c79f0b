"""What a sync makes known that changes no product: batches that nobody has worked, and rows that are refused.

A command that was killed, or whose run failed, loses no batch.
"""

from pathlib import Path

import pytest

from vetrina.catalog.batches import Batch, Origin, batches_to_launch, list_batches, register_batch
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.shop import catalogue_batch
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.syncing import SyncOrder, SyncResult, sync_catalog
from vetrina.errors import CatalogError
from vetrina.store import Store
from vetrina.tables import REJECTED, read_rows


class Export:
    """A catalog file, and the store that it is synced to."""

    def __init__(self, home: Path) -> None:
        self.store = Store(home / "store")
        self.file = home / "shop.csv"

    def put(self, *rows: str) -> None:
        self.file.write_text("\n".join(("id,image", *rows, "")))

    def sync(self, origin: Origin, *, dry_run: bool = False) -> SyncResult:
        return sync_catalog(self.store, SyncOrder(str(self.file), ReadOptions(), origin=origin, dry_run=dry_run))

    def work(self, batch: Batch) -> None:
        """As far as anybody can tell from the store."""
        self.store.write(batch.path("embeddings/0123.parquet"), b"")

    def forget(self) -> None:
        """What was remembered of the last sync is lost, as when the command dies before it."""
        for name in self.store.names("intake/synced"):
            self.store.delete(f"intake/synced/{name}")

    @property
    def launched(self) -> list[str]:
        """The batches that the sensor would launch."""
        return [batch.key for batch in batches_to_launch(self.store, 0, 100)[1]]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    export = Export(tmp_path)
    export.put("a,a.jpg", "b,b.jpg")
    return export


def _first(export: Export, origin: Origin = "command") -> Batch:
    batch = export.sync(origin).batch
    assert batch is not None
    return batch


@pytest.mark.parametrize("remembered", [True, False])
def test_a_command_that_is_run_again_is_given_the_batch_that_it_left(export: Export, remembered: bool) -> None:
    batch = _first(export)
    if not remembered:
        export.forget()
    again = export.sync("command")
    assert (again.batch, again.left) == (None, (batch,))
    assert again.skipped
    assert export.sync("command", dry_run=True).left == ()
    export.work(batch)
    assert export.sync("command").left == ()


@pytest.mark.parametrize("remembered", [True, False])
def test_the_schedules_sync_has_the_sensor_launch_what_a_command_left(export: Export, remembered: bool) -> None:
    batch = _first(export)
    assert export.launched == []
    if not remembered:
        export.forget()
    assert export.sync("sync").left == (batch,)
    assert export.launched == [batch.key]
    export.work(batch)
    assert export.sync("sync").left == ()
    assert export.launched == []


def test_what_the_sensor_launches_anyway_is_left_to_it_by_the_schedule_and_worked_by_a_command(export: Export) -> None:
    batch = _first(export, "sync")
    assert export.sync("sync").left == ()
    assert export.store.names("intake/taken_over") == []
    assert export.sync("command").left == (batch,)


def test_an_export_that_changed_meanwhile_does_not_bury_what_was_left(export: Export) -> None:
    worked = _first(export)
    export.work(worked)
    left: list[Batch] = []
    for more in (["c,c.jpg"], ["c,c.jpg", "d,d.jpg"]):
        export.put("a,a.jpg", "b,b.jpg", *more)
        result = export.sync("command")
        assert result.left == tuple(left)
        assert result.batch is not None
        left.append(result.batch)
    assert export.sync("sync").left == tuple(left)
    assert export.launched == [batch.key for batch in left]


def test_a_broken_export_does_not_keep_the_schedule_from_what_was_left(export: Export) -> None:
    batch = _first(export)
    export.file.write_text("")
    with pytest.raises(CatalogError, match="is empty"):
        export.sync("sync")
    assert export.launched == [batch.key]
    assert len(list_set_aside(export.store)) == 1


def test_what_was_left_of_another_catalog_is_none_of_a_syncs_business(export: Export, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,image\no,o.jpg\n")
    register_batch(export.store, str(tmp_path / "other.csv"))
    export.work(_first(export))
    assert export.sync("command").left == ()
    assert export.sync("sync").left == ()
    assert len(list_batches(export.store)) == 2


# ---- Rows that are refused


def _refused(export: Export) -> dict[str | None, str]:
    """Product → reason of each refused row of the catalog's newest batch, where the status shows them."""
    newest = list_batches(export.store)[-1]
    catalogue_batch(export.store, newest)
    return {
        row["product_id"]: row["reason"] for row in read_rows(export.store, newest.path("rejected.parquet"), REJECTED)
    }


@pytest.mark.parametrize(
    ("row", "refused"),
    [("c,ftp://pics.example/c.jpg", {"c": "bad-picture"}), ("a,a.jpg", {"a": "duplicate-id"})],
    ids=["rejected", "repeated"],
)
def test_rows_that_are_refused_are_news_once_and_so_is_that_they_are_not_any_more(
    export: Export, row: str, refused: dict[str | None, str]
) -> None:
    export.sync("sync")
    export.put("a,a.jpg", "b,b.jpg", row)
    news = export.sync("sync")
    assert news.batch is not None
    assert news.difference is not None
    assert (news.difference.new, news.difference.changed, news.difference.unchanged) == (0, 0, 2)
    assert news.difference.refused_otherwise
    assert _refused(export) == refused

    export.put("b,b.jpg", row, "a,a.jpg")  # in other lines
    again = export.sync("sync")
    assert "says nothing new" in again.skipped
    assert again.difference is not None
    assert not again.difference.refused_otherwise

    export.put("a,a.jpg", "b,b.jpg")
    assert export.sync("sync").batch is not None
    assert _refused(export) == {}
    assert len(list_batches(export.store)) == 3


def test_a_row_that_is_refused_for_another_reason_is_news(export: Export) -> None:
    export.put("a,a.jpg", "b,")
    export.sync("sync")
    export.put("a,a.jpg", "b,../b.jpg")
    assert export.sync("sync").batch is not None
    assert _refused(export) == {"b": "picture-outside"}


def test_what_other_catalogs_refuse_is_no_news(export: Export, tmp_path: Path) -> None:
    export.sync("sync")
    (tmp_path / "other.csv").write_text("id,image\no,o.jpg\np,\n")
    register_batch(export.store, str(tmp_path / "other.csv"))
    export.put("b,b.jpg", "a,a.jpg")
    assert "says nothing new" in export.sync("sync").skipped

"""Batches: each arrival of catalog changes, once, in a sequence.

A batch is registered when its record in `sequence/` is created; the number of that record is its place, and the
highest place wins for each product, whatever order batches are worked in. The catalog file is copied into the
store, so a batch can be worked again although the source has moved on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from vetrina.catalog.columns import ColumnMap
from vetrina.catalog.reading import read_catalog
from vetrina.errors import CatalogError, NotFound, StoreError
from vetrina.store import Store, sha256_of

Mode = Literal["delta", "snapshot"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One arrival of catalog changes.

    Attributes:
        key: its name everywhere, also the Dagster partition: the catalog's name and a part of its sha256.
        catalog: the catalog's name; a snapshot stands for all products that this catalog brought.
        mode: "delta" (rows are upserts) or "snapshot" (what the file lacks was removed).
        source: where the file was, as given.
        base: the folder that relative pictures are relative to.
        file: the file's own name; its suffixes tell the format.
        sha256: of the file's content.
        sequence: its place; later batches win.
    """

    key: str
    catalog: str
    mode: Mode
    source: str
    base: str
    file: str
    sha256: str
    sequence: int
    id_columns: tuple[str, ...]
    picture_columns: tuple[str, ...]
    allow_outside: bool
    registered_at: str

    @property
    def columns(self) -> ColumnMap:
        """Which columns of the file hold what."""
        usual = ColumnMap()
        return ColumnMap(id=self.id_columns or usual.id, picture=self.picture_columns or usual.picture)

    def path(self, name: str) -> str:
        """Where the batch's file `name` lies in the store."""
        return f"batches/{self.key}/{name}"


def register_batch(
    store: Store,
    source: str,
    *,
    name: str | None = None,
    mode: Mode = "delta",
    id_columns: tuple[str, ...] = (),
    picture_columns: tuple[str, ...] = (),
    allow_outside: bool = False,
) -> tuple[Batch, bool]:
    """Make `source` (a local path or s3:// URL) a batch, unless it is the newest of its catalog already.

    Args:
        name: the catalog's name; by default the file's name without suffixes.

    Returns:
        The batch, and whether it is new.

    Raises:
        CatalogError: the catalog is missing, empty, of an unknown format or without the columns that it needs.
            Nothing is registered then.
    """
    with _local_copy(source) as (file, base, file_name):
        sha256 = sha256_of(file)
        catalog = name or re.sub(r"(\.[A-Za-z]+)?(\.gz)?$", "", file_name, count=1) or file_name
        draft = Batch(
            key="",
            catalog=catalog,
            mode=mode,
            source=source,
            base=base,
            file=file_name,
            sha256=sha256,
            sequence=0,
            id_columns=id_columns,
            picture_columns=picture_columns,
            allow_outside=allow_outside,
            registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # The first row is enough to know that the file can be read as a catalog at all.
        next(read_catalog(file, name=file_name, base=base, columns=draft.columns), None)
        while True:
            batches = list_batches(store)
            same_catalog = [batch for batch in batches if batch.catalog == catalog]
            if same_catalog and (same_catalog[-1].sha256, same_catalog[-1].mode) == (sha256, mode):
                return same_catalog[-1], False
            batch = dataclasses.replace(
                draft,
                key=_free_key(catalog, sha256, {batch.key for batch in batches}),
                sequence=batches[-1].sequence + 1 if batches else 1,
            )
            with store.writing(batch.path(f"source/{_safe_file_name(file_name)}")) as target:
                shutil.copyfile(file, target)
            record = json.dumps(dataclasses.asdict(batch), ensure_ascii=False, indent=1).encode()
            if store.create(_record(batch.sequence), record):
                return batch, True


def list_batches(store: Store) -> list[Batch]:
    """All batches by sequence."""
    paths = [f"sequence/{name}" for name in store.names("sequence")]
    return list(store.map(lambda path: _read_record(store, path), paths))


def find_batch(store: Store, key: str) -> Batch:
    """The batch called `key`. Raises NotFound."""
    for batch in reversed(list_batches(store)):
        if batch.key == key:
            return batch
    raise NotFound(f"There is no batch {key!r} in {store.root}; `vetrina status` lists the batches")


def catalog_file(store: Store, batch: Batch) -> Path:
    """A local copy of the batch's catalog, as it was registered."""
    return store.local_file(batch.path(f"source/{_safe_file_name(batch.file)}"), batch.sha256)


# Records never change once created, so one read for each is enough.
_RECORDS: dict[tuple[str, str], Batch] = {}


def _read_record(store: Store, path: str) -> Batch:
    known = _RECORDS.get((store.identity, path))
    if known is None:
        values = store.read_json(path)
        for name in ("id_columns", "picture_columns"):
            values[name] = tuple(values[name])
        known = _RECORDS[store.identity, path] = Batch(**values)
    return known


def _record(sequence: int) -> str:
    return f"sequence/{sequence:09d}.json"


def _free_key(catalog: str, sha256: str, taken: set[str]) -> str:
    """The catalog's name made fit for a path and a partition, and the content's hash; numbered when it returns."""
    slug = re.sub(r"[^a-z0-9]+", "-", catalog.lower()).strip("-")[:60] or "catalog"
    # Two names may fold to the same slug, so the name goes into the hash as well.
    digest = hashlib.sha256(f"{catalog}\0{sha256}".encode()).hexdigest()[:10]
    key = f"{slug}-{digest}"
    number = 2
    while key in taken:
        key = f"{slug}-{digest}-{number}"
        number += 1
    return key


def _safe_file_name(name: str) -> str:
    return "catalog" + "".join(re.findall(r"\.[A-Za-z0-9]{1,10}", name.lower())[-2:])


@contextlib.contextmanager
def _local_copy(source: str) -> Iterator[tuple[Path, str, str]]:
    """The source as a local file, with the folder its pictures are relative to and its own name."""
    if "://" not in source:
        file = Path(source).expanduser().absolute()
        if not file.exists():
            raise CatalogError(f"There is no catalog at {file}; check the path")
        if file.is_dir():
            raise CatalogError(f"{file} is a folder; name the catalog file inside it")
        yield file, str(file.parent), file.name
        return
    if not source.startswith("s3://"):
        raise CatalogError(f"{source}: a catalog is a local path or an s3:// URL")
    base, _, name = source.rpartition("/")
    from vetrina.store.s3 import copy_object  # s3fs takes a second to import, and most catalogs are local

    with tempfile.TemporaryDirectory(prefix="vetrina-") as folder:
        file = Path(folder) / "catalog"
        try:
            copy_object(source, file)
        except FileNotFoundError:
            raise CatalogError(f"There is no catalog at {source}; check the address") from None
        except (StoreError, OSError) as error:
            raise CatalogError(f"{source} cannot be read: {error}") from error
        yield file, base, name


def catalogs(batches: list[Batch]) -> Iterator[Batch]:
    """The newest batch of each catalog."""
    yield from {batch.catalog: batch for batch in batches}.values()

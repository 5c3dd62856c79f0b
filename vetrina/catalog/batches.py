"""Batches: each arrival of catalog changes, once, in a sequence.

A batch is registered when its record in `sequence/` is created; the number of that record is its place, and the
highest place wins for each product, whatever order batches are worked in. The catalog file is copied into the
store, so a batch can be worked again although the source has moved on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from vetrina.catalog.checking import check_whole, in_time
from vetrina.catalog.reading import CatalogRow, RejectedRow, read_catalog
from vetrina.catalog.source_files import ReadOptions, SourceFile, check_name, content_of, open_source
from vetrina.errors import CatalogError, NotFound
from vetrina.store import Store, sha256_of

Mode = Literal["delta", "snapshot"]
Origin = Literal["command", "watch", "sync"]


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
        origin: who brought it. A "command" works its batch itself; a sensor launches the runs of all others
            (see `batches_to_launch`).
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
    origin: Origin = "command"

    @property
    def options(self) -> ReadOptions:
        """How its file is read."""
        return ReadOptions(self.id_columns, self.picture_columns, self.allow_outside)

    def rows(self, file: Path) -> Iterator[CatalogRow | RejectedRow]:
        """The rows of its file, of which `file` is a copy, as `read_catalog` gives them. Raises CatalogError."""
        return read_catalog(
            file, name=self.file, base=self.base, columns=self.options.columns, allow_outside=self.allow_outside
        )

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
    """Make `source` (a local path or s3:// URL) a batch that this process works, as `register_file` does."""
    with open_source(source) as found:
        options = ReadOptions(id_columns, picture_columns, allow_outside)
        return register_file(store, found, options, name=name, mode=mode)


def register_file(
    store: Store,
    found: SourceFile,
    options: ReadOptions,
    *,
    name: str | None = None,
    mode: Mode = "delta",
    origin: Origin = "command",
    until: float | None = None,
    checked: str | None = None,
) -> tuple[Batch, bool]:
    """Make a catalog a batch, unless it is the newest of its catalog already.

    Args:
        name: the catalog's name; by default the file's name without suffixes.
        checked: sha256 of the content if the caller has read it to its end already.
        until: `time.monotonic()` at which to give up reading it.

    Returns:
        The batch, and whether it is new.

    Raises:
        CatalogError: the catalog is missing, empty, cut, of an unknown format or without the columns that it needs,
            or it changes while it is read. Nothing is registered then.
        TooLong: `until` has passed.
    """
    sha256 = content_of(found)
    draft = Batch(
        key="",
        catalog=name or found.catalog,
        mode=mode,
        source=found.source,
        base=found.base,
        file=found.name,
        sha256=sha256,
        sequence=0,
        id_columns=options.id_columns,
        picture_columns=options.picture_columns,
        allow_outside=options.allow_outside,
        registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=origin,
    )
    check_name(draft.catalog, "catalog")
    differs_from: Batch | None = None
    while True:
        batches = list_batches(store)
        known = newest_of(batches, draft.catalog)
        if known is not None and known != differs_from:
            if _is_repeated(known, draft, found.file, until):
                take_over(store, known, origin)
                return known, False
            differs_from = known
        if checked != sha256:
            check_whole(
                found.file,
                name=found.name,
                base=found.base,
                columns=options.columns,
                allow_outside=options.allow_outside,
                until=until,
            )
            checked = sha256
        batch = dataclasses.replace(
            draft,
            key=_free_key(draft.catalog, sha256, {batch.key for batch in batches}),
            sequence=batches[-1].sequence + 1 if batches else 1,
        )
        with store.writing(batch.path(f"source/{_safe_file_name(found.name)}")) as target:
            shutil.copyfile(found.file, target)
            if sha256_of(target) != sha256:
                raise CatalogError(f"{found.name}: changes while it is read; try again once it is whole")
        record = json.dumps(dataclasses.asdict(batch), ensure_ascii=False, indent=1).encode()
        if store.create(_record(batch.sequence), record):
            return batch, True


def _is_repeated(batch: Batch, draft: Batch, file: Path, until: float | None = None) -> bool:
    """Whether a batch would come again with `draft`: the same content, each row of which says the same as before.

    What the rows say depends on settings as well, and on the folder of the catalog where pictures are relative to it.

    Args:
        file: the content of both.
        until: `time.monotonic()` at which to give up.

    Raises:
        TooLong: `until` has passed.
    """
    if (batch.sha256, batch.mode) != (draft.sha256, draft.mode):
        return False
    before, now = (dataclasses.replace(one, base=_real_folder(one.base)) for one in (batch, draft))
    if (before.file, before.base, before.options) == (now.file, now.base, now.options):
        return True
    rows = itertools.zip_longest(_rows_or_error(before, file), _rows_or_error(now, file))
    return all(one == other for one, other in in_time(rows, until))


def _rows_or_error(batch: Batch, file: Path) -> Iterator[CatalogRow | RejectedRow | str]:
    try:
        yield from batch.rows(file)
    except CatalogError as error:
        yield str(error)


def _real_folder(base: str) -> str:
    return base if "://" in base else os.path.realpath(base)


def newest_of(batches: list[Batch], catalog: str) -> Batch | None:
    """The newest batch of a catalog."""
    return next((batch for batch in reversed(batches) if batch.catalog == catalog), None)


def list_batches(store: Store) -> list[Batch]:
    """All batches by sequence.

    Records are only ever added, at the end: what was listed before is not read again, unless another store has
    taken the place of the one that was listed.
    """
    (stamp,) = store.stamps("sequence", [_record(1)])
    known_by, listed = _LISTED.get(store.identity, (None, []))
    if known_by == stamp and listed:
        listed = [*listed, *_records_after(store, listed[-1].sequence)]
    else:
        listed = list(store.map(lambda name: _read_record(store, f"sequence/{name}"), store.names("sequence")))
    _LISTED[store.identity] = stamp, listed
    return list(listed)


def _records_after(store: Store, sequence: int) -> Iterator[Batch]:
    for following in itertools.count(sequence + 1):
        try:
            yield _read_record(store, _record(following))
        except FileNotFoundError:
            return


def batches_to_launch(store: Store, after: int, most: int) -> tuple[list[Batch], list[Batch]]:
    """The batches with a sequence beyond `after`, at most `most`, and which batches want a run by somebody else.

    A batch that is worked already, or that a command works, wants none; one that a command left behind does once
    its catalog comes again by the watched folder or a sync.
    """
    batches = list_batches(store)
    new = [batch for batch in batches if batch.sequence > after][:most]
    left = {name.removesuffix(".json") for name in store.names(_TAKEN_OVER)}
    wanted = [batch for batch in new if batch.origin != "command" and batch.key not in left]
    wanted += [batch for batch in batches if batch.key in left]
    unworked = [batch for batch in wanted if not is_worked(store, batch)]
    for key in left - {batch.key for batch in unworked}:
        store.delete(f"{_TAKEN_OVER}/{key}.json")
    return new, unworked


def left_behind(store: Store, catalog: str) -> list[Batch]:
    """The catalog's batches since the last that is worked, by sequence: what a killed command or a failed run left."""
    mine = [batch for batch in list_batches(store) if batch.catalog == catalog]
    return list(itertools.takewhile(lambda batch: not is_worked(store, batch), reversed(mine)))[::-1]


def take_over(store: Store, batch: Batch, origin: Origin) -> bool:
    """Have the sensor launch the run of a batch that a command left and `origin` came upon; whether it is one."""
    if origin == "command" or batch.origin != "command" or is_worked(store, batch):
        return False
    store.write_json(f"{_TAKEN_OVER}/{batch.key}.json", {"by": origin})
    return True


_TAKEN_OVER = "intake/taken_over"


def is_worked(store: Store, batch: Batch) -> bool:
    """Whether a run has brought the batch to its embeddings, under whatever models."""
    return bool(store.names(batch.path("embeddings")))


def find_batch(store: Store, key: str) -> Batch:
    """The batch called `key`. Raises NotFound."""
    for batch in reversed(list_batches(store)):
        if batch.key == key:
            return batch
    raise NotFound(f"There is no batch {key!r} in {store.root}; `vetrina status` lists the batches")


def catalog_file(store: Store, batch: Batch) -> Path:
    """A local copy of the batch's catalog, as it was registered."""
    return store.local_file(batch.path(f"source/{_safe_file_name(batch.file)}"), batch.sha256)


# Store → stamp of its first record, and its batches.
_LISTED: dict[str, tuple[str | None, list[Batch]]] = {}


def _read_record(store: Store, path: str) -> Batch:
    values = store.read_json(path)
    for name in ("id_columns", "picture_columns"):
        values[name] = tuple(values[name])
    return Batch(**values)


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


def catalogs(batches: list[Batch]) -> Iterator[Batch]:
    """The newest batch of each catalog."""
    yield from {batch.catalog: batch for batch in batches}.values()

"""Sync: one source taken as the whole of its catalog, so that a batch holds only what changed since the last time.

The difference to the shop is known before anything is registered: nothing new makes no batch, and an export that
would remove too much is refused until a person confirms it. What was last taken is remembered in the store, so that
a source which did not change is not even fetched.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vetrina.catalog.batches import Batch, Origin, left_behind, list_batches, newest_of, register_file, take_over
from vetrina.catalog.difference import Difference, check_removals, snapshot_difference
from vetrina.catalog.downloading import Download, download
from vetrina.catalog.problems import mended, mended_but, set_aside
from vetrina.catalog.source_files import ReadOptions, SourceFile, catalog_name, check_name, content_of
from vetrina.errors import CatalogError
from vetrina.pictures.addresses import redact
from vetrina.pictures.fetching import Validators
from vetrina.store import Store
from vetrina.web_files import DownloadLimits


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """What is to be synced, and how.

    Attributes:
        source: a path, s3:// or http(s) address of the whole catalog.
        name: the catalog's name; empty: its file's.
        max_removed: share (0 to 1) of the catalog's products that may be removed unless `confirmed`.
        dry_run: only say what would change.
        origin: "command" when the caller works the batch itself.
    """

    source: str
    options: ReadOptions
    name: str = ""
    max_removed: float = 0.2
    confirmed: bool = False
    dry_run: bool = False
    origin: Origin = "sync"
    limits: DownloadLimits = field(default_factory=DownloadLimits)

    @property
    def shown(self) -> str:
        """The source without secrets."""
        if self._is_web:
            return redact(self.source)
        return self.source if "://" in self.source else str(Path(self.source).expanduser().absolute())

    @property
    def catalog(self) -> str:
        """The catalog's name."""
        path = unquote(urlsplit(self.source).path) if self._is_web else self.source
        return self.name or catalog_name(PurePosixPath(path).name) or "catalog"

    @property
    def _is_web(self) -> bool:
        return self.source.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync came to.

    Attributes:
        source: where the catalog was fetched, without secrets.
        skipped: why there is no batch; empty when there is one.
        difference: to the shop; None when the source did not change since the last time.
        batch: the new batch.
        left: earlier batches of the catalog that nobody has worked: the caller's to work if it is a command, else
            those that a command left and the sensor launches now.
    """

    catalog: str
    source: str
    skipped: str
    difference: Difference | None
    batch: Batch | None
    left: tuple[Batch, ...] = ()


def sync_catalog(store: Store, order: SyncOrder) -> SyncResult:
    """Fetch the catalog if it changed, and register what differs from the shop as a batch.

    Raises:
        RemovalsRefused: too much would be removed. Nothing is registered.
        SourceUnreachable: the source cannot be fetched now.
        CatalogError: the source is no whole catalog, or may not be fetched. Nothing is registered.
    """
    if order.origin == "sync":
        # The schedule has one source: what an earlier one had wrong can never be mended.
        mended_but(store, "sync", lambda source: source == order.shown)
    left = () if order.dry_run else _left(store, order)
    try:
        check_name(order.catalog, "catalog")
        memory = _recall(store, order)
        with download(store, order.source, order.limits, memory.validators if memory else None) as got:
            sha256 = None if got is None else content_of(got.found)
            if memory is not None and sha256 in (None, memory.sha256):
                skipped = f"{order.shown} has not changed since {memory.at}"
                result = SyncResult(order.catalog, order.shown, skipped, None, None)
            else:
                assert got is not None and sha256 is not None  # only by a memory can it be unchanged
                result = _take(store, order, got, sha256)
    except CatalogError as error:
        if not order.dry_run:
            set_aside(store, order.shown, "sync", str(error))
        raise
    if not order.dry_run:
        mended(store, order.shown)
    return replace(result, left=left)


def _left(store: Store, order: SyncOrder) -> tuple[Batch, ...]:
    left = left_behind(store, order.catalog)
    return tuple(batch for batch in left if order.origin == "command" or take_over(store, batch, order.origin))


def check_snapshot(
    store: Store,
    found: SourceFile,
    options: ReadOptions,
    *,
    catalog: str,
    max_removed: float,
    confirmed: bool,
    confirm: str,
) -> Difference:
    """What a snapshot would change, once it is known to be whole and not to remove too much.

    Args:
        max_removed: share (0 to 1) of the catalog's products that may be removed unless `confirmed`.
        confirm: how a person says that a large removal is meant, as an imperative.

    Raises:
        RemovalsRefused: too much would be removed.
        CatalogError: the file is no whole catalog.
    """
    difference = snapshot_difference(store, found, options, catalog)
    if not confirmed:
        check_removals(difference, found, max_removed, confirm)
    return difference


def _take(store: Store, order: SyncOrder, got: Download, sha256: str) -> SyncResult:
    difference = check_snapshot(
        store,
        got.found,
        order.options,
        catalog=order.catalog,
        max_removed=order.max_removed,
        confirmed=order.confirmed,
        confirm="run the same command again with --confirm-removals"
        if order.origin == "command"
        else "run `vetrina sync --confirm-removals`, or the job sync with confirm_removals",
    )
    batch: Batch | None = None
    skipped = ""
    if order.dry_run:
        skipped = "nothing is registered by a dry run"
    elif difference.is_empty:
        skipped = f"{order.shown} says nothing new: the shop has all {difference.unchanged} products as they are there"
    else:
        registered, new = register_file(
            store,
            got.found,
            order.options,
            name=order.catalog,
            mode="snapshot",
            origin=order.origin,
            checked=sha256,
        )
        batch = registered if new else None
        if not new:
            skipped = f"{order.shown} is the newest batch of its catalog already; what differs came by other catalogs"
    if not order.dry_run:
        _remember(store, order, got, sha256)
    return SyncResult(order.catalog, order.shown, skipped, difference, batch)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the last sync of a catalog took.

    `order` is a digest of how it was read; `newest` the catalog's newest batch then, 0 for none; `at` is ISO 8601.
    """

    order: str
    newest: int
    etag: str | None
    last_modified: str | None
    sha256: str
    at: str

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, self.last_modified)


def _recall(store: Store, order: SyncOrder) -> _Memory | None:
    """What was taken last, if it is still what the shop has of this catalog."""
    try:
        memory = _Memory(**store.read_json(_path(order)))
    except FileNotFoundError:
        return None
    return memory if (memory.order, memory.newest) == (_digest_of(order), _newest(store, order)) else None


def _remember(store: Store, order: SyncOrder, got: Download, sha256: str) -> None:
    memory = _Memory(
        order=_digest_of(order),
        newest=_newest(store, order),
        etag=got.validators.etag,
        last_modified=got.validators.last_modified,
        sha256=sha256,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write_json(_path(order), asdict(memory))


def _newest(store: Store, order: SyncOrder) -> int:
    newest = newest_of(list_batches(store), order.catalog)
    return newest.sequence if newest is not None else 0


def _digest_of(order: SyncOrder) -> str:
    # An address may hold secrets: only its digest is kept.
    return hashlib.sha256(repr((order.source, order.options)).encode()).hexdigest()


def _path(order: SyncOrder) -> str:
    return f"intake/synced/{hashlib.sha256(order.catalog.encode()).hexdigest()[:24]}.json"

"""Sweeping: walking the store, and deleting what nothing needs.

Runs may be at work meanwhile. Nothing that was written within the grace period goes, and whatever a run makes or
fetches is written anew. Index versions go first, so that a rollback meanwhile finds all that its version needs, or no
such version. What else stays is worked out from finished batches only; while one waits, and as soon as a new one is
registered, pictures and all that is remembered of them stay. The last look at a file's age is a few
milliseconds before it goes. A picture lost in that moment is asked for again by `vetrina retry`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from vetrina.catalog.batches import list_batches
from vetrina.embedding.trials import trials_since
from vetrina.embedding.tuned import MANIFEST as TUNED_MANIFEST
from vetrina.embedding.tuned import tuned_folder, tuned_models
from vetrina.errors import SettingError, StoreError
from vetrina.garbage.needed import Fingerprints, Needed, Pictures, find_needed, needed_tables, needed_versions
from vetrina.index.manifest import MANIFEST
from vetrina.index.versions import RECORDS, ROLLBACK, history, version_folder
from vetrina.models.handles import TUNED
from vetrina.store import FileInfo, Store

_AT_ONCE = 64
"""Files deleted between two looks at whether a batch has arrived."""
_SHOWN = 3
_TRIAL_KEPT = timedelta(days=30)
"""Beyond the grace period; after that what a model on trial made is garbage like any other's."""
_VERSION = re.compile(r"[0-9a-f]{16}")
_PARTS = "interrupted writes"
_OF_PICTURES = "pictures, crops and what is remembered of them"


@dataclass(slots=True)
class Amount:
    """Files of one kind, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Swept:
    """What was deleted, or would be.

    Attributes:
        kinds: kind → how much.
        left: what was not looked at, and why, in words.
        versions: index versions that stay; None: none was looked at.
        models: fine-tuned models that nothing here uses, in words.
    """

    dry_run: bool
    kinds: dict[str, Amount] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    versions: list[str] | None = None
    models: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As plain values, with the total."""
        total = {name: sum(getattr(amount, name) for amount in self.kinds.values()) for name in ("files", "bytes")}
        return asdict(self) | {"total": total}


def sweep(
    store: Store,
    now: Fingerprints,
    *,
    keep_versions: int,
    grace: timedelta,
    models: bool = False,
    dry_run: bool = False,
    clock: datetime | None = None,
) -> Swept:
    """Delete what nothing needs and nobody wrote lately.

    Args:
        now: the models and settings of the shop; what only others made is garbage.
        keep_versions: how many of the newest index versions stay besides what a rollback needs.
        grace: nothing younger goes; longer than the longest run.
        models: fine-tuned models go that neither the shop nor an index version that stays uses; else they are listed.
        clock: the time to count from; by default the present.

    Raises:
        SettingError: no index version would stay, or the grace period is negative.
    """
    if keep_versions < 1:
        raise SettingError(f"The number of index versions to keep is {keep_versions}; it must be at least 1")
    if grace < timedelta(0):
        raise SettingError("The grace period must not be negative")
    before = (clock or datetime.now(UTC)) - grace
    return _Sweep(store, now, keep_versions, before, models, dry_run).run()


class _Sweep:
    """One pass over the store."""

    def __init__(
        self, store: Store, now: Fingerprints, keep_versions: int, before: datetime, models: bool, dry_run: bool
    ) -> None:
        self._store = store
        self._now = now
        self._keep_versions = keep_versions
        self._before = before
        self._models = models
        self.swept = Swept(dry_run)

    def run(self) -> Swept:
        """Everything, from whole index versions to what is remembered of pictures."""
        versions = self._sweep_index()
        # Without a version that can be used, every one may be what a person restores.
        published = {record.version for record in history(self._store)}
        trials = trials_since(self._store, self._before - _TRIAL_KEPT)
        needed = find_needed(self._store, self._now, published if versions is None else versions, trials)
        if needed.waiting:
            more = len(needed.waiting) - _SHOWN
            waiting = "; ".join(needed.waiting[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            self.swept.left.append(f"{_OF_PICTURES}: {waiting}")
        self._sweep_batches(needed)
        self._sweep_pictures(needed)
        if versions is None and published:
            self.swept.left.append("index versions and their tables: no version can be used, see `vetrina status`")
        if versions is not None:
            self._sweep_tables()
            self._sweep_reports(versions)
        self._sweep_models(needed)
        self._sweep_scratch()
        return self.swept

    def _versions(self) -> frozenset[str] | None:
        return needed_versions(self._store, self._keep_versions, self._before)

    def _sweep_batches(self, needed: Needed) -> None:
        """Labels and embeddings that models out of use made."""
        gone = []
        for file in self._store.walk("batches"):
            parts = file.path.split("/")
            if _is_part(file):
                gone.append((_PARTS, file))
            elif len(parts) == 4 and parts[2] in ("labels", "embeddings"):
                used = needed.labels if parts[2] == "labels" else needed.embeddings
                if parts[3].removesuffix(".parquet") not in used:
                    gone.append((parts[2], file))
        self._delete(gone)

    def _sweep_pictures(self, needed: Needed) -> None:
        """Pictures, crops and memos, a few thousand at a time."""
        pictures = needed.pictures
        for folder in self._shards():
            files = list(self._store.walk(folder))
            plain = [(kind, file) for file in files if (kind := _unused(file, needed)) is not None]
            self._delete(plain)
            if pictures is None:
                continue
            gone = [(kind, file) for file in files if (kind := _of_no_product(file, needed, pictures)) is not None]
            for start in range(0, len(gone), _AT_ONCE):
                if {batch.key for batch in list_batches(self._store)} != needed.batches:
                    self.swept.left.append(f"{_OF_PICTURES}: a batch arrived meanwhile")
                    pictures = None
                    break
                self._delete(gone[start : start + _AT_ONCE])

    def _shards(self) -> Iterator[str]:
        for kind in ("blobs", "crops", "fetches"):
            yield from (f"{kind}/{shard}" for shard in self._store.names(kind))
        for kind in ("detections", "vectors", "prints"):
            for fingerprint in self._store.names(kind):
                folder = f"{kind}/{fingerprint}"
                yield from (f"{folder}/{shard}" for shard in self._store.names(folder))

    def _sweep_index(self) -> frozenset[str] | None:
        """Versions that are not kept: their records first, so that no new reader comes, then the files.

        Gives those that stay; None when no version can be used, and none is touched then.
        """
        with self._alone("index"):  # nobody publishes meanwhile
            with self._alone(ROLLBACK):
                kept = self._versions()
                if kept is None:
                    return None
                folders = {name: list(self._store.walk(version_folder(name))) for name in self._store.names("index")}
                going = {
                    name: files
                    for name, files in folders.items()
                    if version_folder(name) != RECORDS and name not in kept and all(map(self._old, files))
                }
                records = [file for file in self._store.walk(RECORDS) if self._version_of(file) in going]
                self._delete([("index", file) for file in records])
            for name, files in going.items():
                files.sort(key=lambda file: not file.path.endswith(f"/{MANIFEST}"))
                self._delete([("index", file) for file in files])
                self._remove_folder(version_folder(name))
        stays = kept | {name for name in folders if _VERSION.fullmatch(name) and name not in going}
        self.swept.versions = sorted(stays)
        return stays

    def _version_of(self, file: FileInfo) -> str | None:
        """The version that a record names; an unreadable one names none."""
        try:
            return str(self._store.read_json(file.path)["version"])
        except (FileNotFoundError, StoreError, KeyError, TypeError):
            return None

    def _sweep_tables(self) -> None:
        with self._alone("similar-products"), self._alone(ROLLBACK):
            versions = self._versions()
            if versions is None:
                return
            kept = needed_tables(self._store, versions, self._now)
            for name in self._store.names("similar_products"):
                folder = f"similar_products/{name}"
                files = list(self._store.walk(folder))
                if folder in kept or any(not self._old(file) for file in files):
                    continue
                # The listing of a table comes last when it is made and goes first.
                files.sort(key=lambda file: not file.path.endswith("/table.json"))
                self._delete([("similar_products", file) for file in files])
                self._remove_folder(folder)

    def _sweep_reports(self, versions: frozenset[str]) -> None:
        """Evaluations of index versions that are not kept."""
        for name in self._store.names("reports"):
            if name not in versions and _VERSION.fullmatch(name):
                gone = list(self._store.walk(f"reports/{name}"))
                self._delete([("reports", file) for file in gone])
                self._remove_folder(f"reports/{name}")

    def _sweep_models(self, needed: Needed) -> None:
        """Fine-tuned models that nothing uses, as far as they are to go, and folders that never became models."""
        finished = {model.fingerprint: model for model in tuned_models(self._store)}
        for name in self._store.names(TUNED):
            folder = tuned_folder(name)
            files = list(self._store.walk(folder))
            if name in needed.extractors or any(not self._old(file) for file in files):
                continue
            described = any(file.path == f"{folder}/{TUNED_MANIFEST}" for file in files)
            model = finished.get(name)
            if model is not None and not self._models:
                size = sum(file.bytes for file in files) / 1e6
                self.swept.models.append(
                    f"{model.handle}, taught {model.plan.get('label')} on {model.trained_at[:10]}, {size:.0f} MB"
                )
            elif model is not None or not described:  # a damaged one is left for a person to look into
                files.sort(key=lambda file: not file.path.endswith(f"/{TUNED_MANIFEST}"))
                self._delete([("models" if described else _PARTS, file) for file in files])
                self._remove_folder(folder)

    def _sweep_scratch(self) -> None:
        """Work in progress of processes that were killed, and writes of theirs that came to nothing."""
        for folder in ("sequence", "shop", "index", "similar_products"):
            self._delete([(_PARTS, file) for file in self._store.walk(folder) if _is_part(file)])
        for name in self._store.names("scratch"):
            folder = f"scratch/{name}"
            files = list(self._store.walk(folder))
            if all(self._old(file) for file in files):
                self._delete([("scratch", file) for file in files])
                self._remove_folder(folder)

    def _alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.swept.dry_run else self._store.exclusive(name)

    def _old(self, file: FileInfo) -> bool:
        return file.modified < self._before

    def _delete(self, files: Iterable[tuple[str, FileInfo]]) -> None:
        """Count and delete those that are old enough."""
        for kind, file in files:
            if not self._old(file):
                continue
            amount = self.swept.kinds.setdefault(kind, Amount())
            amount.files += 1
            amount.bytes += file.bytes
            if not self.swept.dry_run:
                self._store.delete(file.path)

    def _remove_folder(self, folder: str) -> None:
        """Remove what is left of a folder on a local disk, which is empty now; object stores have no folders."""
        if self.swept.dry_run or not self._store.is_local:
            return
        top = self._store.local_file(folder, "")
        for inner in sorted(top.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()
        with contextlib.suppress(OSError):
            top.rmdir()


def _is_part(file: FileInfo) -> bool:
    name = file.path.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(".part")


def _unused(file: FileInfo, needed: Needed) -> str | None:
    """The kind of a file that is garbage whatever the products are."""
    parts = file.path.split("/")
    if _is_part(file):
        return _PARTS
    used = {"detections": needed.detectors, "vectors": needed.extractors}.get(parts[0])
    return parts[0] if used is not None and parts[1] not in used else None


def _of_no_product(file: FileInfo, needed: Needed, pictures: Pictures) -> str | None:
    """The kind of a file that no product needs; names that Vetrina does not give are none of its."""
    if _unused(file, needed) is not None:
        return None  # it is gone already
    kind, *_, name = file.path.split("/")
    known = {"crops": pictures.crops, "fetches": pictures.addresses}.get(kind, pictures.pictures)
    try:
        return None if bytes.fromhex(name.removesuffix(".jpg")) in known else kind
    except ValueError:
        return None

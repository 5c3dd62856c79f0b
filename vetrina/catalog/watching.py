"""The watched folder: which of its files are new and whole, and how they become batches.

`look` is the judgement, on a listing and on what was known before, and touches nothing. `watch` applies it to a
folder or an s3:// prefix and a store. What is known lies in the store and is written only when it changes; all of
it could be lost at any moment without a batch being lost or doubled, because registering asks for the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vetrina.catalog.batches import Batch, list_batches, register_file
from vetrina.catalog.buckets import list_bucket
from vetrina.catalog.checking import TooLong
from vetrina.catalog.problems import mended, mended_but, set_aside
from vetrina.catalog.source_files import ReadOptions, check_name, content_of, open_source
from vetrina.errors import CatalogError, SourceUnreachable, StoreError
from vetrina.store import Store

Stage = Literal["waiting", "large", "taken", "aside"]

_UNFINISHED = re.compile(r"^\.|^~|~$|\.(part|partial|tmp|temp|filepart|crdownload|download|swp|lock|writing)$", re.I)
"""Names under which programs write what is not whole yet."""
_BESIDE = re.compile(
    r"\.(jpe?g|png|gif|webp|bmp|tiff?|avif|heic|svg|ico|pdf|md|md5|sha1|sha256|log|done|ok|ini|db|DS_Store)$", re.I
)
"""Names of what lies beside catalogs and is none: pictures first of all."""
_CATALOG = re.compile(r"\.(csv|tsv|tab|txt|json|ndjson|jsonl|parquet)(\.gz)?$", re.I)


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of the watched folder.

    Attributes:
        mark: changes whenever the content may have changed.
        modified: seconds since the epoch, for the order only.
    """

    name: str
    mark: str
    modified: float
    bytes: int
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What was made of a file as it was when it had `mark`.

    Attributes:
        since: when that mark was first seen, in seconds since the epoch.
        read: digest of the options that it was read with; empty in what former versions remembered.
    """

    mark: str
    since: float
    stage: Stage
    read: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the folder says.

    Attributes:
        ready: whole as far as one can see and not dealt with yet; the earliest first.
        waiting: names of files that may still be written.
        gone: names that were known and are not there any more.
        known: what is known now, by name.
    """

    ready: list[Listed]
    waiting: list[str]
    gone: list[str]
    known: dict[str, Known]


def look(listing: Iterable[Listed], before: Mapping[str, Known], now: float, settle: float, read: str = "") -> Look:
    """Judge a listing.

    A file is ready when its mark has stayed the same for `settle` seconds by the looker's own clock, so neither a
    writer that pauses less nor a server whose clock is wrong brings half a file. One that was set aside is ready again
    once it would be read otherwise: to name its columns may be just what it wanted.

    Args:
        now: seconds since the epoch.
        read: digest of the options that a file would be read with.
    """
    ready: list[Listed] = []
    waiting: list[str] = []
    known: dict[str, Known] = {}
    for entry in listing:
        if not _is_candidate(entry):
            continue
        former = before.get(entry.name)
        if former is None or former.mark != entry.mark or former.since > now:
            former = Known(entry.mark, now, "waiting")
        elif former.stage == "aside" and former.read != read:
            former = Known(entry.mark, former.since, "waiting")
        known[entry.name] = former
        if former.stage == "waiting":
            if now - former.since >= settle:
                ready.append(entry)
            else:
                waiting.append(entry.name)
    ready.sort(key=lambda entry: (entry.modified, entry.name))
    return Look(ready, waiting, [name for name in before if name not in known], known)


def _is_candidate(entry: Listed) -> bool:
    """Whether an entry can be meant as a catalog; a folder is when it is named like one."""
    if _UNFINISHED.search(entry.name) or _BESIDE.search(entry.name):
        return False
    return not entry.is_folder or _CATALOG.search(entry.name) is not None


@dataclass(slots=True)
class WatchReport:
    """What one visit to the watched folder did.

    Attributes:
        registered: new batches.
        repeated: files whose content was registered already.
        aside: source and reason of what was set aside in this visit.
        waiting: files that may still be written, or could not be fetched and are tried again.
        left: ready files that the visit had no time for.
        large: files that no visit has time for; `take_large` takes them.
    """

    registered: list[Batch] = field(default_factory=list)
    repeated: int = 0
    aside: list[tuple[str, str]] = field(default_factory=list)
    waiting: int = 0
    left: int = 0
    large: list[Listed] = field(default_factory=list)


def watch(
    store: Store,
    root: str,
    options: ReadOptions,
    *,
    settle: float,
    budget: float,
    large_bytes: int,
    clock: Callable[[], float] = time.time,
) -> WatchReport:
    """Visit the watched folder: register what is new and whole, set aside what cannot be read.

    Args:
        root: a local folder or s3:// prefix.
        settle: seconds for which a file must have stayed the same.
        budget: seconds after which no further file is begun; one that takes longer by itself is large.
        large_bytes: files above this are large without a try.

    Raises:
        CatalogError: the folder cannot be listed.
        StoreError: the store cannot be used.
    """
    listing = list_folder(root)
    state = f"intake/watched/{_digest(root)}.json.z"
    before = _read_known(store, state)
    if not before:
        # Of a folder that was watched before nobody would notice that something is mended.
        mended_but(store, "watch", lambda source: source.startswith(source_of(root, "")))
    read = _digest(repr(options))
    seen = look(listing, before, clock(), settle, read)
    report = WatchReport(waiting=len(seen.waiting))
    for name in seen.gone:
        if before[name].stage != "taken":
            mended(store, source_of(root, name))
    began = time.monotonic()
    try:
        for position, entry in enumerate(seen.ready):
            if time.monotonic() - began > budget:
                report.left = len(seen.ready) - position
                break
            stage: Stage = "large"
            if entry.bytes <= large_bytes or not entry.name.isprintable():
                stage = _take(store, root, entry, options, report, time.monotonic() + budget)
            seen.known[entry.name] = Known(entry.mark, seen.known[entry.name].since, stage, read)
        for entry in listing:
            known = seen.known.get(entry.name)
            if known is not None and known.stage == "large":
                stage = _large_outcome(store, root, entry, read)
                seen.known[entry.name] = Known(entry.mark, known.since, stage, read)
                if stage == "large":
                    report.large.append(entry)
    finally:
        if seen.known != before:
            _write_known(store, state, seen.known)
    return report


def take_large(store: Store, root: str, name: str, options: ReadOptions) -> WatchReport:
    """Take one file of the watched folder, however long it takes, and leave word for the next visit.

    Raises:
        CatalogError: the folder cannot be listed, or the file is not there any more.
        SourceUnreachable: the file cannot be fetched now.
    """
    entry = next((entry for entry in list_folder(root) if entry.name == name), None)
    if entry is None:
        raise CatalogError(f"{source_of(root, name)} is not there any more; nothing is left to do")
    report = WatchReport()
    stage = _take(store, root, entry, options, report, None)
    if stage == "waiting":
        raise SourceUnreachable(f"{source_of(root, name)} cannot be fetched now; `vetrina status` says why")
    left = {"mark": entry.mark, "stage": stage, "read": _digest(repr(options))}
    store.write_json(_large_path(source_of(root, name)), left)
    return report


def _large_outcome(store: Store, root: str, entry: Listed, read: str) -> Stage:
    try:
        left = store.read_json(_large_path(source_of(root, entry.name)))
    except FileNotFoundError:
        return "large"
    if left["mark"] != entry.mark:
        return "large"
    if left["stage"] == "aside":
        return "aside" if left.get("read", "") == read else "large"
    return "taken"


def _take(
    store: Store, root: str, entry: Listed, options: ReadOptions, report: WatchReport, until: float | None
) -> Stage:
    source = source_of(root, entry.name)
    try:
        check_name(entry.name)
        if entry.is_folder:
            raise CatalogError(f"{entry.name}: is a folder named like a catalog; put the catalog file itself here")
        batch, new = _register(store, source, options, until)
    except TooLong:
        return "large"
    except CatalogError as error:
        problem = set_aside(store, source, "watch", str(error))
        report.aside.append((problem.source, problem.reason))
        if isinstance(error, SourceUnreachable):
            report.waiting += 1
            return "waiting"
        return "aside"
    mended(store, source)
    if new:
        report.registered.append(batch)
    else:
        report.repeated += 1
    return "taken"


def _register(store: Store, source: str, options: ReadOptions, until: float | None) -> tuple[Batch, bool]:
    with open_source(source) as found:
        # Two files may share a catalog's name: neither is taken again because the other came last.
        same = (batch for batch in reversed(list_batches(store)) if batch.source == found.source)
        newest = next(same, None)
        known = newest is not None and (newest.origin, newest.options) == ("watch", options)
        if newest is not None and known and newest.sha256 == content_of(found):
            return newest, False
        return register_file(store, found, options, origin="watch", until=until)


def list_folder(root: str) -> list[Listed]:
    """What lies directly in a local folder or s3:// prefix. Raises CatalogError when it cannot be listed."""
    if "://" not in root:
        return _list_local(root)
    if not root.startswith("s3://"):
        raise CatalogError(f"{root}: only a local folder or an s3:// prefix can be watched; correct VETRINA_WATCH")
    return _list_bucket(root)


def _list_local(root: str) -> list[Listed]:
    listed: list[Listed] = []
    try:
        with os.scandir(Path(root).expanduser()) as entries:
            for entry in entries:
                listed.append(_listed_file(entry))
    except FileNotFoundError as error:
        raise CatalogError(f"The watched folder {root} is not there; make it, or correct VETRINA_WATCH") from error
    except OSError as error:
        raise CatalogError(
            f"The watched folder {root} cannot be read: {error.strerror}; check VETRINA_WATCH and its permissions"
        ) from error
    return listed


def _listed_file(entry: os.DirEntry[str]) -> Listed:
    try:
        found = entry.stat()
        is_folder = entry.is_dir()
    except OSError as error:
        # Gone just now, or a link to nowhere: if it stays, taking it says what is wrong.
        return Listed(entry.name, f"error-{error.errno}", 0.0, 0)
    if is_folder:
        return Listed(entry.name, "folder", found.st_mtime, 0, True)
    # The time of change tells also of a file that was replaced by one of the same size and age.
    mark = f"{found.st_size:x}.{found.st_mtime_ns:x}.{found.st_ctime_ns:x}"
    return Listed(entry.name, mark, found.st_mtime, found.st_size)


def _list_bucket(root: str) -> list[Listed]:
    listed: list[Listed] = []
    for entry in list_bucket(root):
        if entry.modified is None:
            listed.append(Listed(entry.name, "folder", 0.0, 0, True))
            continue
        modified = entry.modified.timestamp()
        listed.append(Listed(entry.name, f"{entry.bytes:x}.{entry.etag}.{modified:.0f}", modified, entry.bytes))
    return listed


def source_of(root: str, name: str) -> str:
    """Where a file of the watched folder lies, as its batch names it."""
    if "://" in root:
        return f"{root.rstrip('/')}/{name}"
    return f"{Path(root).expanduser().absolute()}/{name}"


def _large_path(source: str) -> str:
    return f"intake/large/{_digest(source)}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def _read_known(store: Store, path: str) -> dict[str, Known]:
    try:
        values = json.loads(zlib.decompress(store.read(path)))
        return {name: Known(*value) for name, value in values.items()}
    except FileNotFoundError:
        return {}
    except (zlib.error, ValueError, TypeError) as error:
        raise StoreError(
            f"{path} in {store.root} is damaged; delete it, no batch is lost or doubled by that"
        ) from error


def _write_known(store: Store, path: str, known: Mapping[str, Known]) -> None:
    values = {name: [entry.mark, round(entry.since, 3), entry.stage, entry.read] for name, entry in known.items()}
    store.write(path, zlib.compress(json.dumps(values).encode(), 1))

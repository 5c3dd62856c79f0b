"""Versions of the index in the store: published whole or not at all, never changed, rolled back by a new record.

``index/<version>/…`` holds the files, ``index/published/<number>.json`` says which version is current: the newest
record whose version verifies. A version without a record is invisible.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import threading
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vetrina.errors import FileDamaged, IndexDamaged, NotFound, StoreError, StoreUnavailable
from vetrina.index.manifest import MANIFEST, FileCheck, Manifest, version_of
from vetrina.index.reader import Index, check_file, open_files
from vetrina.store import Store

_log = logging.getLogger(__name__)
RECORDS = "index/published"
"""Where the records lie."""
ROLLBACK = "rollback"
"""What is held alone (`Store.exclusive`) while a rollback chooses a version and records it, while a table becomes the
shop's, and while records and tables that nothing needs go. For moments only: a rollback does not wait for the build of
an index or of a table, which hold "index" and "similar-products" (taken before this one where both are needed).
"""
_NAME = re.compile(r"(\d{9})\.json")
_verified: set[tuple[str, str, str]] = set()
_verified_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Published:
    """One record.

    Attributes:
        number: 1, 2, …; the highest that verifies is current.
        restores: the number of the record this one rolls back to; `None` for a first publication.
    """

    number: int
    version: str
    manifest_sha256: str
    published_at: str
    note: str
    restores: int | None = None


def version_folder(version: str) -> str:
    """Where a version's files lie in the store."""
    return f"index/{version}"


def publish(store: Store, folder: Path, manifest: Manifest, note: str = "") -> Published:
    """Make a built folder the current version.

    Files first, then the record; interrupted in between, readers see nothing of it. Publishing what is current
    already adds no record. A damaged copy of the same version in the store is repaired.

    Raises:
        IndexDamaged: the folder is not what its manifest says.
        StoreError: the store cannot be written.
    """
    for name, check in manifest.files.items():
        check_file(folder / name, check)
    version = version_of(manifest)
    now = current(store)
    if now is not None and now.version == version:
        return now
    checksum = _put_version(store, folder, manifest, version)
    return _record(store, version, checksum, note, None)


def _put_version(store: Store, folder: Path, manifest: Manifest, version: str) -> str:
    """Put the files of a version, the manifest last; gives the checksum of the manifest that stands there."""
    base = version_folder(version)
    for name, check in manifest.files.items():
        try:
            _verified_file(store, f"{base}/{name}", check)
        except IndexDamaged:
            with store.writing(f"{base}/{name}") as target:
                shutil.copyfile(folder / name, target)
    data = manifest.to_bytes()
    if not store.create(f"{base}/{MANIFEST}", data):
        # Two builds of one version differ in times only; records must agree on one manifest.
        standing = store.read(f"{base}/{MANIFEST}")
        try:
            if version_of(Manifest.from_bytes(standing)) == version:
                return _digest(standing)
        except IndexDamaged as error:
            _log.warning("The manifest of index version %s is replaced: %s", version, error)
        store.write(f"{base}/{MANIFEST}", data)
    return _digest(data)


def _record(store: Store, version: str, checksum: str, note: str, restores: int | None) -> Published:
    while True:
        number = max(_numbers(store), default=0) + 1
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        record = Published(number, version, checksum, at, note, restores)
        # The writer's mark tells this record from another with the same content.
        data = json.dumps({**asdict(record), "writer": uuid.uuid4().hex}, indent=1).encode()
        if store.create(_path(number), data):
            return record
        now = current(store)
        if now is not None and now.version == version:
            return now


def current(store: Store, problems: list[str] | None = None) -> Published | None:
    """The newest record whose version verifies; `None` when there is none.

    Sizes are checked every time, checksums once per version in this process.

    Args:
        problems: gets a line for every newer record that had to be skipped; without it they are logged.
    """
    for number in reversed(_numbers(store)):
        try:
            record = _read(store, number)
            verify(store, record)
            return record
        except StoreUnavailable:
            raise
        except StoreError as error:
            problem = f"Published index number {number} is skipped: {error}"
            if problems is None:
                _log.warning("%s", problem)
            else:
                problems.append(problem)
    return None


def history(store: Store) -> list[Published]:
    """All readable records, newest first, verified or not; unreadable ones are logged."""
    records = []
    for number in reversed(_numbers(store)):
        try:
            records.append(_read(store, number))
        except StoreUnavailable:
            raise
        except StoreError as error:
            _log.warning("Published index number %d cannot be read: %s", number, error)
    return records


def rollback(store: Store, to: str | None = None) -> Published:
    """Make an older version current again, by a new record.

    Args:
        to: the version; `None` takes the one published before the current one. Rolling back twice goes back two
            versions, it does not return to the first.

    Raises:
        NotFound: nothing is published, no such version, or nothing before the current one.
        IndexDamaged: the named version does not verify.
    """
    with store.exclusive(ROLLBACK):
        now = current(store)
        if now is None:
            raise NotFound("No index is published, so there is nothing to roll back")
        records = history(store)
        if to is None:
            target = _before(store, now, records)
        else:
            if to == now.version:
                return now
            named = [record for record in records if record.version == to]
            if not named:
                known = ", ".join(dict.fromkeys(record.version for record in records))
                raise NotFound(f"There is no published index version {to!r}; there are {known}")
            target = _first_verified(store, named)
        number = target.restores or target.number
        return _record(
            store, target.version, target.manifest_sha256, f"rollback from {now.version} to number {number}", number
        )


def rollback_target(store: Store, now: Published) -> Published:
    """What a rollback from the current record `now` would serve. Raises NotFound when there is nothing before it."""
    return _before(store, now, history(store))


def _before(store: Store, now: Published, records: list[Published]) -> Published:
    """The newest sound publication before the one that the current record stands for."""
    start = now.restores or now.number
    older = [
        record
        for record in records
        if record.number < start and record.restores is None and record.version != now.version
    ]
    for record in older:
        try:
            verify(store, record)
            return record
        except StoreUnavailable:
            raise
        except StoreError as error:
            _log.warning("Index version %s is passed over: %s", record.version, error)
    raise NotFound(f"There is no sound index version before the current one, {now.version}")


def _first_verified(store: Store, records: list[Published]) -> Published:
    """The first of some records of one version that verifies (a repaired version has records with old checksums)."""
    failure: StoreError | None = None
    for record in records:
        try:
            verify(store, record)
            return record
        except StoreUnavailable:
            raise
        except StoreError as error:
            failure = failure or error
    raise IndexDamaged(f"Index version {records[0].version} cannot be restored: {failure}")


def verify(store: Store, published: Published) -> Manifest:
    """Check that a version's manifest and files are what was published; gives the manifest.

    Raises:
        IndexDamaged: something is missing or altered.
    """
    manifest = verify_sizes(store, published)
    base = version_folder(published.version)
    key = (store.identity, published.version, published.manifest_sha256)
    with _verified_lock:
        known = key in _verified
    if not known:
        for name, check in manifest.files.items():
            _verified_file(store, f"{base}/{name}", check)
        with _verified_lock:
            _verified.add(key)
    return manifest


def verify_sizes(store: Store, published: Published) -> Manifest:
    """Check that a version's manifest is what was published, and that its files are there in their sizes.

    Reads no file but the manifest, so it may be asked of many versions. Raises IndexDamaged.
    """
    manifest = read_manifest(store, published)
    base = version_folder(published.version)
    sizes = {info.path: info.bytes for info in store.walk(base)}
    for name, check in manifest.files.items():
        size = sizes.get(f"{base}/{name}")
        if size != check.bytes:
            found = "is missing" if size is None else f"has {size} bytes where {check.bytes} were published"
            raise IndexDamaged(f"The file {base}/{name} {found}")
    return manifest


def open_index(store: Store, published: Published) -> Index:
    """Open a published version; every checksum is compared before anything is mapped.

    Raises:
        IndexDamaged: a file is missing, altered, or contradicts the manifest.
    """
    manifest = read_manifest(store, published)
    base = version_folder(published.version)

    def locate(name: str, check: FileCheck) -> Path:
        return _verified_file(store, f"{base}/{name}", check)

    return open_files(manifest, locate)


def read_manifest(store: Store, published: Published) -> Manifest:
    """The manifest of a published version, checked against its record; the other files are not looked at.

    Raises:
        IndexDamaged: it is missing or altered.
    """
    path = f"{version_folder(published.version)}/{MANIFEST}"
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        raise IndexDamaged(f"The file {path} is missing") from error
    if _digest(data) != published.manifest_sha256:
        raise IndexDamaged(f"The file {path} is altered: its checksum is not the published one")
    manifest = Manifest.from_bytes(data)
    if version_of(manifest) != published.version:
        raise IndexDamaged(f"The file {path} describes version {version_of(manifest)}")
    return manifest


def _verified_file(store: Store, path: str, check: FileCheck) -> Path:
    """A local file with the verified content of a store path."""
    try:
        file = store.local_file(path, check.sha256)
        try:
            check_file(file, check)
        except IndexDamaged:
            if store.is_local:
                raise
            # The copy may have gone bad in the cache; the store decides.
            file.unlink(missing_ok=True)
            file = store.local_file(path, check.sha256)
            check_file(file, check)
    except FileNotFoundError as error:
        raise IndexDamaged(f"The file {path} is missing") from error
    except FileDamaged as error:
        raise IndexDamaged(f"The index file {path} is altered: its checksum is not the published one") from error
    return file


def _path(number: int) -> str:
    return f"{RECORDS}/{number:09d}.json"


def _numbers(store: Store) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in store.names(RECORDS))
    return sorted(int(match[1]) for match in matches if match)


def _read(store: Store, number: int) -> Published:
    try:
        value: Any = store.read_json(_path(number))
        record = Published(**{entry.name: value[entry.name] for entry in fields(Published)})
    except (FileNotFoundError, KeyError, TypeError) as error:
        raise IndexDamaged(f"The record {_path(number)} is incomplete") from error
    if record.number != number or not re.fullmatch(r"[0-9a-f]{16}", str(record.version)):
        raise IndexDamaged(f"The record {_path(number)} contradicts its name or names no version")
    return record


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

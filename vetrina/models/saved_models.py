"""SavedModels in the models folder: brought there once, named by their content, checked before they are opened.

    saved_models/<digest>/             a SavedModel; the digest is of its files' paths and bytes
    saved_models/sources/<key>.json    which of them came from which place
    saved_models/detectors/<key>.json  what was found out about it in a role (written by the roles)

What is here stays right without a network. A folder or an archive on this machine is copied when it is prepared; a
later change to it is noticed when it is prepared again, not before.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vetrina.errors import ModelError
from vetrina.models.families import Report
from vetrina.models.files import check_online, models_folder, sha256_hex, write_atomically
from vetrina.models.handles import Handle
from vetrina.models.saved_model_sources import is_local, is_saved_model, megabytes, obtain, shown_place
from vetrina.store import sha256_of

_FOLDER = "saved_models"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Kept:
    """A SavedModel that was brought here.

    Attributes:
        place: where it came from, fit to be shown.
        digest: names its content, and its folder.
        checksum: hex sha256 of the archive it came in; for one that came as files, the digest.
        bytes: of its files together.
    """

    place: str
    digest: str
    checksum: str
    bytes: int

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return _root() / self.digest

    def is_right(self) -> bool:
        """Whether it is there, and as it came."""
        return self.folder.is_dir() and digest_of(self.folder)[0] == self.digest

    def verified(self) -> Path:
        """Its folder, after a look at every byte. Raises ModelError when it is altered, cut or missing."""
        if not self.is_right():
            raise ModelError(
                f"The model {self.place} in {self.folder} is altered, cut or missing: "
                "run `vetrina models` to bring it here again"
            )
        return self.folder


def place_of(handle: Handle) -> str:
    """The address of a SavedModel, or its absolute path."""
    return handle.name if not is_local(handle.name) else str(Path(handle.name).expanduser().absolute())


def kept(handle: Handle) -> Kept | None:
    """What was brought here for a handle; None when nothing was, or with another checksum. Reads one small file."""
    found = read_record(_source_record(place_of(handle)))
    try:
        known = Kept(str(found["place"]), str(found["digest"]), str(found["checksum"]), int(found["bytes"]))
    except (KeyError, ValueError):
        return None
    if len(known.digest) != 64 or not _HEX.issuperset(known.digest):
        return None
    return known if _wanted(handle) in (None, known.checksum) else None


def bring(handle: Handle, report: Report) -> Kept:
    """Bring a SavedModel onto this machine; one that is here and right stays, and costs no request.

    Nothing is visible before all of it is here and checked.

    Raises:
        ModelError: it cannot be had, is no SavedModel, or has another checksum than the handle says.
    """
    place, before = place_of(handle), kept(handle)
    shown = shown_place(place)
    if before is not None and not (is_local(place) and _changed(Path(place), before)):
        if before.is_right():
            report(f"Model {shown} is in place: {before.folder}")
            return before
        report(f"Model {shown}: what is in {before.folder} is altered or cut")
    if not is_local(place):
        check_online(shown)
    with _aside() as work:
        got = work / "got"
        got.mkdir()
        archive = obtain(place, got, work, report)
        root = _root_of(got, shown)
        digest, size = digest_of(root)
        found = Kept(shown, digest, archive or digest, size)
        if (wanted := _wanted(handle)) not in (None, found.checksum):
            raise ModelError(
                f"The model {shown} has the sha256 {found.checksum}, not {wanted} as its handle says: "
                "do not use it, or correct the handle"
            )
        _publish(root, found, work)
    write_record(_source_record(place), {name: getattr(found, name) for name in Kept.__slots__})
    report(f"Model {shown} is in place: {found.folder} ({megabytes(size)})")
    return found


def digest_of(folder: Path) -> tuple[str, int]:
    """Hex sha256 over the paths and bytes of all files of a folder, in the order of their paths; and their size.

    Raises:
        ModelError: one cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_of(file)}\n".encode())
            size += file.stat().st_size
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}") from None
    return digest.hexdigest(), size


def role_record(role: str, handle: Handle) -> Path:
    """Where is kept what was found out about a model in a role, under its handle's options."""
    options = sorted(option for option in handle.options if option[0] != "sha256")
    return _root() / f"{role}s" / f"{_key(place_of(handle), *map('='.join, options))}.json"


def read_record(path: Path) -> dict[str, Any]:
    """A record; an empty one where there is none that can be read: it is then made anew."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(path: Path, values: dict[str, Any]) -> None:
    """Write a record, atomically. Raises ModelError."""
    write_atomically(path, json.dumps(values, ensure_ascii=False, indent=1).encode())


def _root() -> Path:
    return models_folder() / _FOLDER


def _key(*parts: str) -> str:
    return sha256_hex("\0".join(parts).encode())[:32]


def _source_record(place: str) -> Path:
    return _root() / "sources" / f"{_key(place)}.json"


def _wanted(handle: Handle) -> str | None:
    """The checksum that the handle asks for. Raises ModelError when it is none."""
    wanted = dict(handle.options).get("sha256")
    if wanted is not None and (len(wanted) != 64 or not _HEX.issuperset(wanted.lower())):
        raise ModelError(f"In the model handle {handle.text!r}, sha256 must be 64 hexadecimal digits")
    return wanted and wanted.lower()


def _changed(path: Path, before: Kept) -> bool:
    """Whether what lies at the path now is not what was copied; one that has gone since has not changed."""
    if path.is_dir():
        return not is_saved_model(path) or digest_of(path)[0] != before.digest
    return path.is_file() and sha256_of(path) != before.checksum


def _root_of(got: Path, shown: str) -> Path:
    """The SavedModel in what came: at its root, where it belongs, or in the only folder there."""
    inside = sorted(got.iterdir())
    for folder in (got, *(inside if len(inside) == 1 else ())):
        if is_saved_model(folder):
            return folder
    names = ", ".join(path.name for path in inside[:5]) or "nothing"
    raise ModelError(f"{shown} holds no SavedModel: no saved_model.pb at its root, but {names}; check the handle")


@contextmanager
def _aside() -> Iterator[Path]:
    """A folder for work in progress on the models' own disk, gone when the block ends."""
    try:
        _root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".work-", dir=_root()) as folder:
            yield Path(folder)
    except OSError as error:
        raise ModelError(f"{_root()} cannot be written: {error.strerror or error}; make room there") from error


def _publish(root: Path, found: Kept, work: Path) -> None:
    """Rename a checked folder to its name; what is there already, of another process perhaps, stays if it is right."""
    if found.is_right():
        return
    if found.folder.exists():
        found.folder.rename(work / "damaged")
    try:
        root.rename(found.folder)
    except OSError:
        if not found.is_right():
            raise

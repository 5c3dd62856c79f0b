"""The models folder: where weights lie, that they are right, and what names them."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vetrina.errors import ModelError
from vetrina.settings import offline

FOLDER_VARIABLE = "VETRINA_MODELS"


@dataclass(frozen=True, slots=True)
class BundledFile:
    """One file of the models folder whose content is pinned.

    `path` is relative to the models folder; `sha256` is of the whole file, in lower-case hexadecimal.
    """

    path: str
    sha256: str

    def location(self) -> Path:
        """Where the file lies (or will lie) on this machine."""
        return models_folder() / self.path

    def is_right(self) -> bool:
        """Whether the file is there and has the pinned content."""
        try:
            return sha256_hex(self.location().read_bytes()) == self.sha256
        except FileNotFoundError:
            return False

    def read(self) -> bytes:
        """The content, checked; ModelError when it is missing or altered."""
        return read_pinned(self.location(), self.sha256)


def models_folder() -> Path:
    """The folder of all weights: $VETRINA_MODELS, else `.models` beside the `vetrina` package."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(__file__).resolve().parent.parent.parent / ".models"


def check_online(model: str) -> None:
    """Raise ModelError when VETRINA_OFFLINE forbids to fetch `model` (its handle, fit to be shown)."""
    if offline():
        raise ModelError(
            f"The model {model} is not on this machine, and VETRINA_OFFLINE forbids to fetch it: run `vetrina models` "
            "where there is a network, or copy the models folder from such a machine"
        )


def sha256_hex(data: bytes) -> str:
    """sha256 of the bytes in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """16 hexadecimal digits that change whenever one of the parts does.

    The parts are everything an output depends on: hash of the weights, preprocessing, decoding, code version.
    """
    return sha256_hex(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())[:16]


def read_pinned(path: Path, sha256: str) -> bytes:
    """The bytes of a weights file, read once and checked, so that what was checked is what is used."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"The weights {path} are missing: get them with `vetrina models`") from None
    except OSError as error:
        raise ModelError(f"The weights {path} cannot be read: {error.strerror or error}") from error
    found = sha256_hex(data)
    if found != sha256:
        raise ModelError(
            f"The weights {path} are altered or cut (sha256 {found[:12]}…, expected {sha256[:12]}…): "
            "delete the file and get it again with `vetrina models`"
        )
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """Write aside in the same folder, flush, rename: a reader sees the old file or the whole new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files private to the user; weights are as readable as any other file.
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ModelError(f"Cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[None]:
    """Hold other processes and threads off while a file of the models folder is made, which takes its time.

    Whoever waited must look whether the file is there now. The lock (`.lock` beside `path`) ends with its process,
    however that ends. Raises ModelError where the folder cannot be written to.
    """
    lock = path.with_suffix(".lock")
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = lock.open("w")
        except OSError as error:
            raise ModelError(f"Cannot write {lock}: {error.strerror or error}") from error
        with held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not _is_file(held.fileno(), lock):
                continue  # the one before took it away
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

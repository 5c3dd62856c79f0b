"""The store: every file Vetrina keeps, behind paths relative to one root (a folder or ``s3://bucket/prefix``).

Belongs here: how bytes are written, read, listed and locked. Does not belong here: what the bytes mean.

Writes are atomic: a reader sees the old file or the new one, never a part. On a local disk a write goes aside,
is flushed to the disk and renamed; on object stores one PUT is atomic by itself. `create` is the one commit that
every kind of store can do: it succeeds for exactly one writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import fsspec

from vetrina.errors import StoreError

_CHUNK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the store: its path relative to the root, its size in bytes and when it was last written (UTC)."""

    path: str
    bytes: int
    modified: datetime


class Store:
    """Files under one root, through fsspec.

    Args:
        root: a local folder (made when missing) or an fsspec URL such as ``s3://bucket/prefix``.

    Raises:
        StoreError: the root names an unknown protocol or cannot be made.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        try:
            fs, path = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise StoreError(f"The store {self.root!r} cannot be opened: {error}") from error
        self._fs = fs
        self._base: str = path.rstrip("/")
        self.is_local: bool = fs.protocol == "file" or "file" in fs.protocol
        if self.is_local:
            try:
                Path(self._base).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"The store folder {self._base} cannot be made: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def _full(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return f"{self._base}/{path}" if path else self._base

    def read(self, path: str) -> bytes:
        """The whole file. Raises FileNotFoundError when there is none."""
        full = self._full(path)
        if self.is_local:
            return _read_file(full)
        return cast(bytes, self._fs.cat_file(full))

    def read_json(self, path: str) -> Any:
        """The file parsed as JSON. Raises FileNotFoundError; StoreError when it is not JSON."""
        try:
            return json.loads(self.read(path))
        except ValueError as error:
            raise StoreError(f"{path} in {self.root} is not valid JSON; restore or delete it") from error

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        full = self._full(path)
        return os.path.exists(full) if self.is_local else bool(self._fs.exists(full))  # noqa: PTH110

    def open(self, path: str) -> IO[bytes]:
        """The file opened for reading at any position. Raises FileNotFoundError."""
        return cast(IO[bytes], self._fs.open(self._full(path), "rb"))

    def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Put `data` at `path`, replacing what was there, atomically.

        Args:
            durable: flush to the disk before renaming. Leave it out only for what can be made again and is
                checked when read.
        """
        if not self.is_local:
            self._fs.pipe_file(self._full(path), data)
            return
        if not durable:
            self._write_quickly(path, data)
            return
        with self._aside(path) as temporary:
            temporary.write_bytes(data)

    def write_json(self, path: str, value: Any, *, durable: bool = True) -> None:
        """Put `value` at `path` as JSON, atomically."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable=durable)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A local file to fill; it is published at `path` when the block ends without an error."""
        if self.is_local:
            with self._aside(path) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="vetrina-") as folder:
            temporary = Path(folder) / "file"
            yield temporary
            self._fs.put_file(str(temporary), self._full(path))

    def _write_quickly(self, path: str, data: bytes) -> None:
        """As `_aside`, unflushed and in as few system calls as it takes: memos are many and small."""
        target = self._full(path)
        temporary = f"{os.path.dirname(target)}/.{uuid.uuid4().hex}.part"  # noqa: PTH120
        try:
            try:
                handle = os.open(temporary, _CREATE, 0o666)
            except FileNotFoundError:
                Path(temporary).parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(temporary, _CREATE, 0o666)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(handle, left) :]
            finally:
                os.close(handle)
            os.rename(temporary, target)  # noqa: PTH104
        except OSError as error:
            Path(temporary).unlink(missing_ok=True)
            raise StoreError(f"{path} cannot be written in {self.root}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _aside(self, path: str) -> Iterator[Path]:
        target = Path(self._full(path))
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        published = False
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(target)
            published = True
            _flush(target.parent)
        except OSError as error:
            raise StoreError(f"{path} cannot be written in {self.root}: {error.strerror or error}") from error
        finally:
            if not published:
                temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        """Put `data` at `path` only if nothing is there; False when someone else was first."""
        if not self.is_local:
            try:
                self._fs.pipe_file(self._full(path), data, mode="create")
            except FileExistsError:
                # An automatic retry after a lost answer also lands here: ours if the content is ours.
                return self.read(path) == data
            return True
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            temporary.write_bytes(data)
            _flush(temporary)
            os.link(temporary, target)  # fails when the name is taken, whole or not at all
            _flush(target.parent)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly in `folder`, sorted; empty when there is no such folder."""
        full = self._full(folder)
        self._fs.invalidate_cache(full)
        try:
            entries = self._fs.ls(full, detail=False)
        except FileNotFoundError:
            return []
        names = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return sorted(name for name in names if not name.endswith(".part"))

    def walk(self, folder: str) -> Iterator[FileInfo]:
        """Every file under `folder`, however deep, in no order; nothing when there is no such folder.

        Found as it goes, so a store of any size takes the same memory. Files that come or go meanwhile may be
        missed. On a local disk what an interrupted write left (``.<name>.part``) is a file too.
        """
        full = self._full(folder)
        if self.is_local:
            for path, size, modified in _local_files(full):
                yield FileInfo(path[len(self._base) + 1 :], size, datetime.fromtimestamp(modified, UTC))
            return
        for name, found in self._fs.find(full, detail=True).items():
            yield FileInfo(name[len(self._base) + 1 :], found["size"], found["LastModified"].astimezone(UTC))

    def delete(self, path: str) -> None:
        """Remove the file at `path`, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._full(path))

    def put_folder(self, folder: Path, path: str) -> None:
        """Copy the files of a finished local folder to `path`; readers come once something names it."""
        for file in sorted(folder.iterdir()):
            with self.writing(f"{path}/{file.name}") as target:
                shutil.copyfile(file, target)

    def local_file(self, path: str, sha256: str) -> Path:
        """A local file with the content of `path`, fit for memory mapping.

        A local store gives the file itself; another is downloaded once to a cache named by checksum.
        The content is not verified here.
        """
        if self.is_local:
            return Path(self._full(path))
        cached = Path(tempfile.gettempdir()) / f"vetrina-cache-{os.getuid()}" / sha256
        if not cached.exists():
            cached.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = cached.with_name(f".{uuid.uuid4().hex}.part")
            self._fs.get_file(self._full(path), str(temporary))
            temporary.replace(cached)
        return cached

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local folder for work in progress, gone when the block ends; on the store's own disk if it has one."""
        parent = None
        if self.is_local:
            parent = Path(self._full("scratch"))
            parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="work-", dir=parent) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def exclusive(self, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """One process at a time works on `name`; others wait. The lock goes with its process, however it ends.

        Only a local store can lock; on others two workers may do the same work twice, which is safe
        (every write is atomic and has the same content) but not free.
        """
        if not self.is_local:
            yield
            return
        lock = Path(self._full(f"locks/{name}.lock"))
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait is not None:
                    on_wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def sha256_of(file: Path) -> str:
    """Hex sha256 of a local file, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def blob_path(sha256: str) -> str:
    """Where a picture's bytes lie."""
    return f"blobs/{sha256[:2]}/{sha256}"


def _read_file(path: str) -> bytes:
    """A whole file; `open` and its buffers ask the system twice as often, which is what small files cost."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        size = os.fstat(handle).st_size
        while part := os.read(handle, max(size, 1)):
            parts.append(part)
            size -= len(part)
            if size <= 0:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(handle)


def _local_files(folder: str) -> Iterator[tuple[str, int, float]]:
    """Path, bytes and modification time (seconds) of each file under a folder; links are not followed."""
    folders = [folder]
    while folders:
        try:
            entries = os.scandir(folders.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield entry.path, found.st_size, found.st_mtime


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

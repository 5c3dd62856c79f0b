"""The store on a local disk: atomic by writing aside and renaming, locked by the system's file locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from vetrina.errors import StoreError
from vetrina.store.files import FileInfo, flush_to_disk

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class LocalFiles:
    """Files in a folder, which is made when missing. Raises StoreError when it cannot be."""

    concurrency = 1

    def __init__(self, folder: str) -> None:
        self._base = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111
        self.identity = self._base
        try:
            Path(self._base).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The store folder {self._base} cannot be made: {error.strerror}") from error

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def read(self, path: str, *, unchanging: bool) -> bytes:
        """See `Store.read`."""
        return _read_file(self._full(path))

    def size(self, path: str) -> int | None:
        """See `Store.size`."""
        try:
            return os.stat(self._full(path)).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str, *, unchanging: bool) -> IO[bytes]:
        """See `Store.open`."""
        return open(self._full(path), "rb")  # noqa: PTH123

    def write(self, path: str, data: bytes, *, durable: bool, unchanging: bool = False) -> None:
        """See `Store.write`."""
        if not durable:
            self._write_quickly(path, data)
            return
        with self.writing(path) as temporary:
            temporary.write_bytes(data)

    def _write_quickly(self, path: str, data: bytes) -> None:
        """As `writing`, unflushed and in as few system calls as it takes: memos are many and small."""
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
            raise self._unwritable(path, error) from error

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """See `Store.writing`."""
        target = Path(self._full(path))
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        published = False
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            flush_to_disk(temporary)
            temporary.replace(target)
            published = True
            flush_to_disk(target.parent)
        except OSError as error:
            raise self._unwritable(path, error) from error
        finally:
            if not published:
                temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        """See `Store.create`."""
        target = Path(self._full(path))
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            flush_to_disk(temporary)
            os.link(temporary, target)  # fails when the name is taken, whole or not at all
            flush_to_disk(target.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._unwritable(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _unwritable(self, path: str, error: OSError) -> StoreError:
        return StoreError(f"{path} cannot be written in {self._base}: {error.strerror or error}")

    def names(self, folder: str) -> list[str]:
        """See `Store.names`."""
        try:
            return os.listdir(self._full(folder))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def walk(self, folder: str) -> Iterator[FileInfo]:
        """See `Store.walk`; links are not followed."""
        folders = [self._full(folder)]
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
                        modified = datetime.fromtimestamp(found.st_mtime, UTC)
                        yield FileInfo(entry.path[len(self._base) + 1 :], found.st_size, modified)

    def stamps(self, folder: str, paths: Sequence[str]) -> list[str | None]:
        """See `Store.stamps`."""
        return [_stamp(self._full(path)) for path in paths]

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._full(path))  # noqa: PTH108

    def local_file(self, path: str, sha256: str) -> Path:
        """See `Store.local_file`."""
        return Path(self._full(path))

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """See `Store.scratch`."""
        parent = Path(self._full("scratch"))
        parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="work-", dir=parent) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def exclusive(self, name: str, on_wait: Callable[[], None] | None) -> Iterator[None]:
        """See `Store.exclusive`."""
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


def _stamp(path: str) -> str | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return f"{found.st_mtime_ns}:{found.st_size}:{found.st_ino}"


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

"""What every kind of store can do, and the names and checksums that all agree on.

Belongs here: the contract that the local disk (`vetrina.store.local`) and S3 (`vetrina.store.s3`) keep. Does not
belong here: how either keeps it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the store: its path relative to the root, its size in bytes and when it was last written (UTC)."""

    path: str
    bytes: int
    modified: datetime


class Files(Protocol):
    """One kind of store. `Store` says what each method promises; paths were checked to lie inside it."""

    identity: str
    """Equal for two stores only if they are the same place."""

    concurrency: int
    """How many requests are worth having under way at once; 1 where asking costs no waiting."""

    def read(self, path: str, *, unchanging: bool) -> bytes:
        """See `Store.read`."""

    def size(self, path: str) -> int | None:
        """See `Store.size`."""

    def open(self, path: str, *, unchanging: bool) -> IO[bytes]:
        """See `Store.open`."""

    def write(self, path: str, data: bytes, *, durable: bool, unchanging: bool = False) -> None:
        """See `Store.write`."""

    def writing(self, path: str) -> AbstractContextManager[Path]:
        """See `Store.writing`."""

    def create(self, path: str, data: bytes) -> bool:
        """See `Store.create`."""

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, in any order."""

    def walk(self, folder: str) -> Iterator[FileInfo]:
        """See `Store.walk`."""

    def stamps(self, folder: str, paths: Sequence[str]) -> list[str | None]:
        """See `Store.stamps`."""

    def delete(self, path: str) -> None:
        """See `Store.delete`."""

    def local_file(self, path: str, sha256: str) -> Path:
        """See `Store.local_file`."""

    def scratch(self) -> AbstractContextManager[Path]:
        """See `Store.scratch`."""

    def exclusive(self, name: str, on_wait: Callable[[], None] | None) -> AbstractContextManager[None]:
        """See `Store.exclusive`."""


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


def flush_to_disk(path: Path) -> None:
    """Return when a file, or what a folder lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

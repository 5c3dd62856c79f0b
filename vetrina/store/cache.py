"""Local copies of files that must be mapped, named by checksum; bounded, what was not used for longest goes first.

A copy is replaced or unlinked, never changed in place: who has mapped it keeps what they see.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vetrina.errors import StoreError

IN_USE = 600.0
"""Seconds after its last use for which a copy stays even if there are too many: its user may be about to map it."""

_PART_LIVES = 86_400.0


@dataclass(frozen=True, slots=True)
class FileCache:
    """Copies in one folder, which only its user can enter.

    Args:
        folder: None for ``vetrina`` in the user's cache (``$XDG_CACHE_HOME``, by default ``~/.cache``).
        most_bytes: how much to keep; exceeded only by what is in use.
    """

    folder: Path | None = None
    most_bytes: int = 10 << 30

    def get(self, sha256: str, download: Callable[[Path], None]) -> Path:
        """The copy named `sha256`; `download` fills a file with it when there is none.

        Raises:
            StoreError: the folder cannot be used.
        """
        folder = self._made()
        cached = folder / sha256
        try:
            os.utime(cached)
            return cached
        except FileNotFoundError:
            pass
        temporary = folder / f".{uuid.uuid4().hex}.part"
        try:
            download(temporary)
            temporary.replace(cached)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and error.filename != str(temporary):
                raise  # the store has no such file
            raise StoreError(
                f"{cached} cannot be written: {error.strerror or error}; free some room or set VETRINA_CACHE"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        self._evict(folder)
        return cached

    def _made(self) -> Path:
        folder = self.folder or _user_cache()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.stat()
        except OSError as error:
            raise StoreError(
                f"The cache folder {folder} cannot be made: {error.strerror}; set VETRINA_CACHE to one that can"
            ) from error
        # Who can put a file here decides what is mapped.
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise StoreError(f"Others can write into the cache folder {folder}; set VETRINA_CACHE to one of your own")
        return folder

    def _evict(self, folder: Path) -> None:
        now = time.time()
        copies: list[tuple[float, int, Path]] = []
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process evicts as well
                found = file.stat()
                if file.name.endswith(".part"):
                    if now - found.st_mtime > _PART_LIVES:
                        file.unlink(missing_ok=True)
                else:
                    copies.append((found.st_mtime, found.st_size, file))
        total = sum(size for _, size, _ in copies)
        for used, size, file in sorted(copies):
            if total <= self.most_bytes or now - used < IN_USE:
                return
            file.unlink(missing_ok=True)
            total -= size


def file_cache(folder: str, most_gib: float) -> FileCache:
    """The cache that the settings describe; an empty `folder` stands for the user's own."""
    return FileCache(Path(folder).expanduser() if folder else None, int(most_gib * (1 << 30)))


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "vetrina"
    except RuntimeError as error:  # a container's user may have no home
        raise StoreError("There is no home folder for the cache; set VETRINA_CACHE to a folder") from error

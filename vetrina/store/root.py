"""`Store`: what the rest of Vetrina sees of the store, whichever kind it is."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from vetrina.errors import StoreError
from vetrina.parallel import Behind, ordered_map
from vetrina.store.cache import FileCache
from vetrina.store.files import FileInfo, Files
from vetrina.store.local import LocalFiles

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

T = TypeVar("T")
R = TypeVar("R")


class Store:
    """Files under one root.

    Args:
        root: a local folder (made when missing) or ``s3://bucket/prefix``. Endpoint and credentials of S3 come
            from the usual places (``AWS_…`` variables, profiles, the machine's role).
        cache: where files of an S3 store are kept to be mapped; by default the user's own cache, bounded.

    Raises:
        StoreError: the root is of an unknown kind or cannot be made. An S3 store is first asked when it is used;
            then each method may raise StoreUnavailable besides what it names itself.
    """

    def __init__(self, root: str | Path, *, cache: FileCache | None = None) -> None:
        self.root = str(root)
        scheme, has_scheme, rest = self.root.partition("://")
        self.is_local: bool = not has_scheme or scheme == "file"
        self._files: Files
        if self.is_local:
            self._files = LocalFiles(rest if has_scheme else self.root)
        elif scheme == "s3":
            from vetrina.store.s3 import S3Files  # s3fs takes a second to import, and most stores are folders

            self._files = S3Files(self.root, cache or FileCache())
        else:
            raise StoreError(f"The store {self.root!r} cannot be opened: name a folder or s3://bucket/prefix")
        self.identity = self._files.identity

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def read(self, path: str, *, unchanging: bool = False) -> bytes:
        """The whole file. Raises FileNotFoundError when there is none.

        Args:
            unchanging: the file never changes once it is there, so a store that is slow to ask may remember it.
        """
        return self._files.read(_inside(path), unchanging=unchanging)

    def read_json(self, path: str, *, unchanging: bool = False) -> Any:
        """The file parsed as JSON. Raises FileNotFoundError; StoreError when it is not JSON."""
        try:
            return json.loads(self.read(path, unchanging=unchanging))
        except ValueError as error:
            raise StoreError(f"{path} in {self.root} is not valid JSON; restore or delete it") from error

    def size(self, path: str) -> int | None:
        """The size of the file in bytes; None when there is none."""
        return self._files.size(_inside(path))

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return self._files.size(_inside(path)) is not None

    def open(self, path: str, *, unchanging: bool = False) -> IO[bytes]:
        """The file opened for reading at any position. Raises FileNotFoundError; `unchanging` as for `read`."""
        return self._files.open(_inside(path), unchanging=unchanging)

    def write(self, path: str, data: bytes, *, durable: bool = True, unchanging: bool = False) -> None:
        """Put `data` at `path`, replacing what was there, atomically.

        Args:
            durable: flush to the disk before renaming. Leave it out only for what can be made again and is
                checked when read.
            unchanging: nothing else will ever be there, as for `read`.
        """
        self._files.write(_inside(path), data, durable=durable, unchanging=unchanging)

    def write_json(self, path: str, value: Any, *, durable: bool = True) -> None:
        """Put `value` at `path` as JSON, atomically."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable=durable)

    def writing(self, path: str) -> AbstractContextManager[Path]:
        """A local file to fill; it is published at `path` when the block ends without an error."""
        return self._files.writing(_inside(path))

    def create(self, path: str, data: bytes) -> bool:
        """Put `data` at `path` only if nothing is there; False when someone else was first.

        An attempt whose answer was lost is looked up: what stands there with this very content counts as ours.
        """
        return self._files.create(_inside(path), data)

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly in `folder`, sorted; empty when there is no such folder."""
        return sorted(name for name in self._files.names(_inside(folder)) if not name.endswith(".part"))

    def walk(self, folder: str) -> Iterator[FileInfo]:
        """Every file under `folder`, however deep, in no order; nothing when there is no such folder.

        Found as it goes, so a store of any size takes the same memory. Files that come or go meanwhile may be
        missed. On a local disk what an interrupted write left (``.<name>.part``) is a file too.
        """
        return self._files.walk(_inside(folder))

    def stamps(self, folder: str, paths: Sequence[str]) -> list[str | None]:
        """For each of the files below `folder` a text that changes when it is replaced; None where there is none.

        Cheap for thousands of files: a local store asks for each, S3 lists the folder once.
        """
        return self._files.stamps(_inside(folder), [_inside(path) for path in paths])

    def delete(self, path: str) -> None:
        """Remove the file at `path`, if there is one."""
        self._files.delete(_inside(path))

    def put_folder(self, folder: Path, path: str) -> None:
        """Copy the files of a finished local folder to `path`; readers come once something names it."""
        for file in sorted(folder.iterdir()):
            with self.writing(f"{path}/{file.name}") as target:
                shutil.copyfile(file, target)

    def local_file(self, path: str, sha256: str) -> Path:
        """A local file with the content of `path`, fit for memory mapping.

        A local store gives the file itself, unverified; another is downloaded once, verified, to a cache named by
        checksum, of which what was not used for longest is dropped.

        Raises:
            FileNotFoundError: there is no such file (a local store says so when the file is read).
            FileDamaged: what was downloaded is not what the checksum says.
        """
        return self._files.local_file(_inside(path), sha256)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local folder for work in progress, gone when the block ends; on the store's own disk if it has one.

        Raises:
            StoreError: what is done in the block needs more room than there is.
        """
        try:
            with self._files.scratch() as folder:
                yield folder
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise StoreError(
                f"There is no room for work in progress ({self.root}): {os.strerror(error.errno)}; free some, then "
                "run the same again"
            ) from error

    def exclusive(self, name: str, on_wait: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """One process at a time works on `name`; others wait. The lock goes with its process, however it ends.

        It saves work and is not what keeps the store sound: on S3 a holder that was stopped for longer than its
        lease may find that another took over. So what is done under it must be safe to do twice.
        """
        return self._files.exclusive(name, on_wait)

    def map(self, work: Callable[[T], R], things: Iterable[T]) -> Iterator[R]:
        """`work` of each thing, in order; many at once where each has to wait for the store, else one by one.

        `work` must be safe to run in threads. The first error ends it and is raised here.
        """
        if self._files.concurrency == 1:
            return map(work, things)
        return ordered_map(work, things, self._files.concurrency)

    def behind(self) -> Behind:
        """A block in which things are written behind one's back where writing means waiting, else at once."""
        return Behind(self._files.concurrency)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise StoreError(f"{path!r} is not a path inside the store")
    return path

"""The store on S3, or on a server that speaks its protocol and honours create-only (``If-None-Match: *``).

Belongs here: what each operation of a store means in requests. Does not belong here: how a request is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

from vetrina.bounded_cache import BoundedCache
from vetrina.errors import FileDamaged, StoreError, StoreUnavailable
from vetrina.parallel import ordered_map
from vetrina.store.cache import FileCache
from vetrina.store.files import FileInfo
from vetrina.store.lease import hold
from vetrina.store.s3_connection import Connection, RequestFailed, connection, settings_digest
from vetrina.store.s3_reading import reader

TAIL = 1 << 20
"""Bytes that opening a file reads; a file up to this size takes one request."""
PART = 16 << 20
"""Bytes of a large file that one request moves."""
_MOST_PARTS = 9_000
_PARTS_AT_ONCE = 4
_PROBE = "locks/create-only"
_REMEMBERED = 64 << 20  # bytes

_memories: dict[str, BoundedCache[bytes]] = {}
"""What is remembered of each store's small files that never change, by path."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some bytes of an object, the object's size, and its version."""

    data: bytes
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class S3Entry:
    """An object directly under a prefix, or, with `modified` None, what S3 has for a folder."""

    name: str
    bytes: int
    etag: str
    modified: datetime | None


class S3Files:
    """Objects whose keys begin with the root's prefix.

    Args:
        root: ``s3://bucket/prefix``.
        cache: for files that must be mapped.

    Raises:
        StoreError: the root names no bucket, or the environment's settings for S3 cannot be used.
    """

    concurrency = 16

    def __init__(self, root: str, cache: FileCache) -> None:
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not bucket:
            raise StoreError(f"The store {root!r} names no bucket; write s3://bucket/prefix")
        self._root = root
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._cache = cache
        self.identity = f"s3://{bucket}/{self._prefix}#{settings_digest()}"
        self._memory = _memories.setdefault(self.identity, BoundedCache(_REMEMBERED, len, largest=1 << 20))
        self._connection()

    def _connection(self) -> Connection:
        return connection(self._bucket)

    def _ask(self, method: str, doing: str, path: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request for the object at `path`.

        Raises:
            FileNotFoundError: there is none.
            StoreUnavailable: anything else is wrong.
        """
        try:
            return self._connection().ask(method, f"{doing} {path}", Key=self._prefix + path, **arguments)
        except RequestFailed as failed:
            if failed.found.missing:
                raise FileNotFoundError(2, "No such file in the store", f"{self._root}/{path}") from None
            raise failed.error from None

    def read(self, path: str, *, unchanging: bool) -> bytes:
        """See `Store.read`."""
        known = self._memory.get(path) if unchanging else None
        if known is None:
            known = bytes(self._ask("get_object", "read", path)["Body"])
            if unchanging:
                self._memory.put(path, known)
        return known

    def size(self, path: str) -> int | None:
        """See `Store.size`."""
        try:
            return int(self._ask("head_object", "look for", path)["ContentLength"])
        except FileNotFoundError:
            self._check_bucket()
            return None

    def _check_bucket(self) -> None:
        """A HEAD request answers the same for a bucket that is missing as for an object; asked once."""
        here = self._connection()
        if not here.bucket_seen:
            self._page("", "find the bucket", MaxKeys=1)
            here.bucket_seen = True

    def open(self, path: str, *, unchanging: bool) -> IO[bytes]:
        """See `Store.open`."""
        known = self._memory.get(path) if unchanging else None
        if known is not None:
            return reader(_nothing, len(known), known)
        end = self._piece(path, f"-{TAIL}")
        if unchanging and len(end.data) == end.size:
            self._memory.put(path, end.data)

        def fetch(first: int, last: int) -> bytes:
            return self._same_version(path, first, last, end.etag).data

        return reader(fetch, end.size, end.data)

    def _piece(self, path: str, span: str) -> _Piece:
        """The bytes of an object that `span` names as HTTP does."""
        here = self._connection()
        try:
            answer = here.ask("get_object", f"read {path}", Key=self._prefix + path, Range=f"bytes={span}")
        except RequestFailed as failed:
            if failed.found.missing:
                raise FileNotFoundError(2, "No such file in the store", f"{self._root}/{path}") from None
            if failed.found.status != 416:
                raise failed.error from None
            return _Piece(b"", 0, "")  # an empty object has no bytes to name
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        data = bytes(answer["Body"])
        return _Piece(data, int(total) if total.isdigit() else len(data), str(answer.get("ETag", "")))

    def _same_version(self, path: str, first: int, last: int, etag: str) -> _Piece:
        piece = self._piece(path, f"{first}-{last - 1}")
        if piece.etag != etag or len(piece.data) != last - first:
            raise StoreError(f"{path} in {self._root} was replaced while it was read; run again")
        return piece

    def write(self, path: str, data: bytes, *, durable: bool, unchanging: bool = False) -> None:
        """See `Store.write`."""
        self._memory.forget(path)
        self._ask("put_object", "write", path, Body=data)
        if unchanging:
            self._memory.put(path, data)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """See `Store.writing`."""
        with tempfile.TemporaryDirectory(prefix="vetrina-") as folder:
            temporary = Path(folder) / "file"
            yield temporary
            self._upload(temporary, path)

    def _upload(self, file: Path, path: str) -> None:
        size = file.stat().st_size
        if size <= PART:
            self.write(path, file.read_bytes(), durable=True)
            return
        self._memory.forget(path)
        part = max(PART, -(-size // _MOST_PARTS))
        mark = uuid.uuid4().hex
        upload = self._ask("create_multipart_upload", "write", path, Metadata={"upload": mark})["UploadId"]

        def send(number: int) -> dict[str, Any]:
            with file.open("rb") as handle:
                handle.seek((number - 1) * part)
                data = handle.read(part)
            answer = self._ask("upload_part", "write", path, UploadId=upload, PartNumber=number, Body=data)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        try:
            parts = list(ordered_map(send, range(1, -(-size // part) + 1), _PARTS_AT_ONCE))
            try:
                self._ask("complete_multipart_upload", "write", path, UploadId=upload, MultipartUpload={"Parts": parts})
            except StoreUnavailable:
                # Asked again after a lost answer, the server knows the upload no more: it is done.
                if not self._carries(path, mark):
                    raise
        except BaseException:
            with contextlib.suppress(StoreError, FileNotFoundError):
                self._ask("abort_multipart_upload", "give up writing", path, UploadId=upload)
            raise

    def _carries(self, path: str, mark: str) -> bool:
        """Whether what stands at `path` came by the upload of this mark."""
        try:
            return bool(self._ask("head_object", "look for", path)["Metadata"].get("upload") == mark)
        except FileNotFoundError:
            return False

    def create(self, path: str, data: bytes) -> bool:
        """See `Store.create`. Raises StoreError when the server does not honour create-only."""
        self._check_create()
        self._memory.forget(path)
        return self._create(path, data)

    def _create(self, path: str, data: bytes) -> bool:
        try:
            self._connection().ask("put_object", f"create {path}", Key=self._prefix + path, Body=data, IfNoneMatch="*")
        except RequestFailed as failed:
            if not failed.found.taken:
                raise failed.error from None
            # An attempt after a lost answer also lands here: ours if the content is ours.
            return self._stands(path, data)
        except StoreUnavailable:
            with contextlib.suppress(StoreUnavailable):
                if self._stands(path, data):
                    return True
            raise
        return True

    def _stands(self, path: str, data: bytes) -> bool:
        try:
            return self.read(path, unchanging=False) == data
        except FileNotFoundError:
            return False

    def _check_create(self) -> None:
        """Once per process: create what may be there already, and see that a second time is refused."""
        here = self._connection()
        with here.once:
            if here.create_is_kept:
                return
            for _ in range(2):
                try:
                    here.ask("put_object", "try create-only", Key=self._prefix + _PROBE, Body=b"", IfNoneMatch="*")
                except RequestFailed as failed:
                    if failed.found.taken:
                        here.create_is_kept = True
                        return
                    if failed.found.code not in {"NotImplemented", "InvalidArgument", "InvalidRequest"}:
                        raise failed.error from None
                    break
            raise StoreError(
                f"The server of {self._root} does not honour create-only writes (If-None-Match: *), so two writers "
                "could overwrite each other; use one that does (docs/s3.md) or keep the store in a folder"
            )

    def names(self, folder: str) -> list[str]:
        """See `Store.names`."""
        start = f"{folder}/" if folder else ""
        found: list[str] = []
        for page in self._pages(start, Delimiter="/"):
            keys = [entry["Key"] for entry in page.get("Contents", ())]
            keys += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
            found += [key[len(self._prefix) + len(start) :].rstrip("/") for key in keys]
        return [name for name in found if name]  # a console's "folder" is an object with an empty name

    def listing(self) -> Iterator[S3Entry]:
        """What lies directly under the root's prefix; nothing when there is no such prefix. Its bucket must exist."""
        for page in self._pages("", Delimiter="/"):
            for entry in page.get("Contents", ()):
                if name := entry["Key"][len(self._prefix) :]:  # a console's "folder" is an object with an empty name
                    yield S3Entry(name, int(entry["Size"]), str(entry["ETag"]), entry["LastModified"])
            for entry in page.get("CommonPrefixes", ()):
                yield S3Entry(entry["Prefix"][len(self._prefix) :].rstrip("/"), 0, "", None)

    def etag(self, path: str) -> str:
        """What changes when the object does. Raises FileNotFoundError."""
        return str(self._ask("head_object", "look for", path)["ETag"])

    def walk(self, folder: str) -> Iterator[FileInfo]:
        """See `Store.walk`."""
        for page in self._pages(f"{folder}/" if folder else ""):
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    path = entry["Key"][len(self._prefix) :]
                    yield FileInfo(path, int(entry["Size"]), entry["LastModified"].astimezone(UTC))

    def stamps(self, folder: str, paths: Sequence[str]) -> list[str | None]:
        """See `Store.stamps`."""
        found = {
            entry["Key"]: f"{entry['ETag']}:{entry['LastModified'].timestamp():.0f}"
            for page in self._pages(f"{folder}/" if folder else "")
            for entry in page.get("Contents", ())
        }
        return [found.get(self._prefix + path) for path in paths]

    def _pages(self, start: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        page = self._page(start, f"list {start or 'the store'}", **arguments)
        yield page
        while page.get("IsTruncated"):
            arguments["ContinuationToken"] = page["NextContinuationToken"]
            page = self._page(start, f"list {start or 'the store'}", **arguments)
            yield page

    def _page(self, start: str, doing: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._connection().ask("list_objects_v2", doing, Prefix=self._prefix + start, **arguments)
        except RequestFailed as failed:
            raise failed.error from None

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        self._memory.forget(path)
        with contextlib.suppress(FileNotFoundError):
            self._ask("delete_object", "delete", path)

    def local_file(self, path: str, sha256: str) -> Path:
        """See `Store.local_file`."""
        return self._cache.get(sha256, lambda target: self._download(path, sha256, target))

    def _download(self, path: str, sha256: str, target: Path) -> None:
        if self.download(path, target) != sha256:
            raise FileDamaged(f"{path} in {self._root} is altered: its checksum is not {sha256}")

    def download(self, path: str, target: Path) -> str:
        """Copy a file of any size into a local one; gives its hex sha256. Raises FileNotFoundError."""
        digest = hashlib.sha256()
        first = self._piece(path, f"0-{PART - 1}")
        with target.open("wb") as handle:
            digest.update(first.data)
            handle.write(first.data)
            spans = [(at, min(at + PART, first.size)) for at in range(len(first.data), first.size, PART)]
            for piece in ordered_map(lambda span: self._same_version(path, *span, first.etag), spans, _PARTS_AT_ONCE):
                digest.update(piece.data)
                handle.write(piece.data)
        return digest.hexdigest()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """See `Store.scratch`."""
        with tempfile.TemporaryDirectory(prefix="vetrina-work-") as folder:
            yield Path(folder)

    def exclusive(self, name: str, on_wait: Callable[[], None] | None) -> contextlib.AbstractContextManager[None]:
        """See `Store.exclusive`; a lease, see `vetrina.store.lease`."""
        return hold(self, name, on_wait)

    def write_anyway(self, path: str, data: bytes) -> None:
        """Replace a file, also while the store is judged down."""
        self._ask("put_object", "write", path, Body=data, insist=True)

    def read_aged(self, path: str) -> tuple[bytes, float]:
        """A file and its age in seconds by the server's own clock. Raises FileNotFoundError."""
        answer = self._ask("get_object", "read", path)
        modified: datetime = answer["LastModified"]
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return bytes(answer["Body"]), (now - modified).total_seconds()


def _nothing(first: int, last: int) -> bytes:
    raise AssertionError("there is nothing to fetch")

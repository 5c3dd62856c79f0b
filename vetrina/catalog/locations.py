"""Where things lie: the bytes of a catalog's file, and the absolute reference of every picture that it names."""

import os
import posixpath
import re
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin, urlsplit

from vetrina.catalog.columns import shown
from vetrina.errors import CatalogError, PictureError

CHUNK = 1 << 18
MAX_UNPACKED = 64 << 30
"""Bytes that one catalog may unpack to; guards against decompression bombs."""
GZIP_MAGIC = b"\x1f\x8b"
MAX_REFERENCE = 4096

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def byte_chunks(file: Path, name: str) -> Iterator[bytes]:
    """The bytes of a file, unpacked when they are gzip, as non-empty pieces of at most `CHUNK`.

    Whether the file is gzip is told by its first bytes, not by its name.
    Raises CatalogError when the file cannot be read, is cut or damaged, or unpacks to over `MAX_UNPACKED` bytes.
    """
    try:
        with file.open("rb") as stream:
            packed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            pieces = iter(lambda: stream.read(CHUNK), b"")
            yield from _unpacked(pieces, name) if packed else pieces
    except OSError as error:
        raise CatalogError(f"{name}: cannot be read ({error.strerror or error}); check the file") from error


def _unpacked(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    member = zlib.decompressobj(31)
    total, step = 0, CHUNK
    for piece in pieces:
        waiting, full = piece, False
        while waiting or full:
            if member.eof:
                # Another member may follow; zero bytes after one are padding.
                waiting = waiting.lstrip(b"\0")
                if not waiting:
                    break
                member = zlib.decompressobj(31)
            before = member.copy()
            try:
                out = member.decompress(waiting, step)
            except zlib.error as error:
                if step == 1:
                    raise CatalogError(
                        f"{name}: the gzip data is damaged after {total} unpacked bytes ({error}); "
                        "the rows before it were read; fetch or export the file again"
                    ) from error
                # A failed call throws away what it had unpacked: go again in smaller steps up to the damage.
                member, step = before, max(1, step // 8)
                continue
            waiting = member.unused_data if member.eof else member.unconsumed_tail
            full = len(out) == step and not member.eof
            total += len(out)
            if total > MAX_UNPACKED:
                raise CatalogError(
                    f"{name}: unpacks to more than {MAX_UNPACKED} bytes; split the catalog into smaller files"
                )
            if out:
                yield out
    if not member.eof:
        raise CatalogError(
            f"{name}: the gzip file is cut: it ends after {total} unpacked bytes without its closing mark; "
            "the rows before the cut were read; fetch or export the file again"
        )


def head_of(file: Path, name: str, size: int = CHUNK) -> bytes:
    """The first bytes of a file, unpacked.

    Raises CatalogError when the file cannot be read, or is damaged so that not even one byte unpacks.
    """
    head = b""
    try:
        for chunk in byte_chunks(file, name):
            head += chunk
            if len(head) >= size:
                break
    except CatalogError:
        # Damage further on is told where the rows are read, after the good ones.
        if not head:
            raise
    return head[:size]


def resolve_picture(value: str, base: str, allow_outside: bool = False) -> str:
    """The absolute reference (`https:`, `http:`, `s3:` or `file:`) of a picture that a catalog names.

    `base` is the catalog's folder, a local path or an s3 or http(s) prefix: what is relative is relative to it, and
    a path that leaves it, by `..` or by a symbolic link, is refused unless `allow_outside`. Full http(s) and s3
    addresses name another place openly and are kept.
    Raises PictureError: `missing-picture`, `bad-picture` or `picture-outside`.
    """
    value = value.strip()
    if not value:
        raise PictureError("missing-picture", "the row names no picture")
    if len(value) > MAX_REFERENCE:
        raise _bad(f"the picture's address has {len(value)} characters; {MAX_REFERENCE} are allowed")
    if not value.isprintable() and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise _bad(f"the picture {shown(value)} holds control characters or damaged text")
    if value.startswith("//"):
        value = "https:" + value
    found = _SCHEME.match(value)
    scheme = found.group(1).lower() if found else ""
    if scheme in ("http", "https"):
        return _web_address(scheme, value)
    if scheme == "s3":
        return _bucket_address(value)
    if scheme == "file":
        return _local(_path_of_file_url(value), base, allow_outside)
    if scheme:
        raise _bad(
            f"the picture {shown(value)} begins with {scheme}:, which is not read; "
            "http, https, s3 and file are (write ./ before a file name with a colon)"
        )
    if base.startswith("s3://"):
        return _in_bucket(value, base, allow_outside)
    if base.startswith(("http://", "https://")):
        return _on_web(value, base, allow_outside)
    return _local(value, base, allow_outside)


def local_path(reference: str) -> Path:
    """The path that a `file:` reference of `resolve_picture` stands for.

    Raises ValueError for any other reference.
    """
    if not reference.startswith("file:///"):
        raise ValueError(f"not a reference to a local file: {shown(reference)}")
    return Path(os.fsdecode(unquote_to_bytes(reference.removeprefix("file://"))))


def _bad(detail: str) -> PictureError:
    return PictureError("bad-picture", detail)


def _outside(value: str) -> PictureError:
    return PictureError(
        "picture-outside",
        f"the picture {shown(value)} lies outside the catalog's folder; move it there or allow pictures outside",
    )


def _web_address(scheme: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _bad("the picture's address has a host or port that cannot be read") from error
    if "@" in parts.netloc:
        # The address is not shown: it holds a password.
        raise _bad("the picture's address holds a user name or password; use one without")
    if not value.startswith("//", len(scheme) + 1) or not host:
        raise _bad(f"the picture's address {shown(value)} names no host")
    if "\\" in value:
        raise _bad(f"the picture's address {shown(value)} holds a backslash; write /")
    return scheme + value[len(scheme) :]


def _bucket_address(value: str) -> str:
    bucket, _, key = value[len("s3:") :].removeprefix("//").partition("/")
    if "@" in bucket or ":" in bucket:
        raise _bad("the picture's address holds a user name or password; use one without")
    if not value.startswith("//", len("s3:")) or not bucket or not key or key.endswith("/"):
        raise _bad(f"the picture's address {shown(value)} is not s3://bucket/key")
    return f"s3://{bucket}/{key}"


def _path_of_file_url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise _bad(f"the picture's address {shown(value)} cannot be read") from error
    if parts.netloc not in ("", "localhost"):
        raise _bad(f"the picture {shown(value)} lies on another machine; file: addresses must be local")
    if parts.query or parts.fragment:
        raise _bad(f"the picture {shown(value)} holds ? or #; write %3F or %23 in a file: address")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if any(unicodedata.category(c) == "Cc" for c in path):
        raise _bad(f"the picture {shown(value)} holds control characters")
    return path


def _local(path: str, base: str, allow_outside: bool) -> str:
    remote = base.startswith(("s3://", "http://", "https://"))
    if remote and not allow_outside:
        raise _outside(path)
    if remote and not path.startswith("/"):
        raise _bad(f"the picture {shown(path)} is a local path without its folder")
    if not path or path.endswith(("/", "/.", "/..")) or path in (".", ".."):
        raise _bad(f"the picture {shown(path)} names a folder, not a file")
    folder = "/" if remote else str(local_path(base)) if base.startswith("file://") else base
    folder = os.path.abspath(folder)  # noqa: PTH100  # pathlib takes most of a row's time, and keeps ".."
    full = os.path.normpath(os.path.join(folder, path))  # noqa: PTH118
    if not allow_outside and not _inside(full, folder):
        raise _outside(path)
    # normpath keeps a leading double slash, which would read as a host.
    return "file://" + quote(os.fsencode("/" + full.lstrip("/")))


def _inside(full: str, folder: str) -> bool:
    below = full.removeprefix(folder.rstrip("/") + "/")
    if below != full:
        # Without ".." and without links on the way down there is no way out: far cheaper than two real paths.
        step = folder
        for part in below.split("/"):
            step = f"{step}/{part}"
            if os.path.islink(step):  # noqa: PTH114
                break
        else:
            return True
    return Path(os.path.realpath(full)).is_relative_to(os.path.realpath(folder))


def _in_bucket(value: str, base: str, allow_outside: bool) -> str:
    bucket, _, prefix = base.removeprefix("s3://").partition("/")
    folder = posixpath.normpath("/" + prefix)
    full = posixpath.normpath(posixpath.join(folder, value))
    if value.endswith(("/", "/.", "/..")) or full == folder:
        raise _bad(f"the picture {shown(value)} names a folder, not a file")
    if not allow_outside and not _under(full, folder):
        raise _outside(value)
    return f"s3://{bucket}/{full.lstrip('/')}"


def _on_web(value: str, base: str, allow_outside: bool) -> str:
    if "\\" in value:
        raise _bad(f"the picture {shown(value)} holds a backslash; write /")
    base = base.rstrip("/") + "/"
    joined = urljoin(base, value)
    folder = posixpath.normpath(unquote(urlsplit(base).path))
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    # Percent-encoded dots and slashes climb too, once a client or a server decodes them.
    full = posixpath.normpath(posixpath.join(folder, unquote(path)))
    if not path or full == folder or path.endswith("/"):
        raise _bad(f"the picture {shown(value)} names a folder, not a file")
    if not allow_outside and not _under(full, folder):
        raise _outside(value)
    return joined


def _under(path: str, folder: str) -> bool:
    return path.lstrip("/").startswith(folder.strip("/") + "/" if folder.strip("/") else "")

"""Archives of models, unpacked with care: only files and folders, only inside, and no more than agreed."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from vetrina.errors import ModelError

ARCHIVES = (".tar.gz", ".tgz")
_GZIP = b"\x1f\x8b"
MOST_FILES = 10_000
MOST_BYTES = 16 << 30
"""Of all files of a model together."""


def unpack(archive: Path, folder: Path, shown: str) -> None:
    """Unpack a tar archive, compressed or not, into an empty folder.

    Args:
        shown: where the archive came from, for messages.

    Raises:
        ModelError: it is no archive, is cut, holds anything but files and folders that stay inside, or is too large.
    """
    try:
        with _opened(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in _bounded(tar, shown):
                tar.extract(member, folder, filter="data")
            _read_to_end(stream, shown)
    except tarfile.FilterError as error:
        raise ModelError(f"{shown}: its archive is refused, for it would write outside its folder ({error})") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ModelError(
            f"{shown} is no whole tar.gz archive ({_why(archive, error)}); fetch or pack it again"
        ) from None
    except OSError as error:
        # A gzip whose checksum is wrong is an OSError without a number.
        if error.errno is None:
            raise ModelError(f"{shown} is no whole tar.gz archive ({error}); fetch or pack it again") from None
        raise ModelError(f"{shown} cannot be unpacked into {folder}: {error.strerror}; make room there") from None


def _opened(archive: Path) -> IO[bytes]:
    """The archive's tar, compressed by gzip or not."""
    with archive.open("rb") as file:
        begins = file.read(2)
    return cast(IO[bytes], gzip.open(archive)) if begins == _GZIP else archive.open("rb")


def _read_to_end(stream: IO[bytes], shown: str) -> None:
    """A tar ends before its file does; gzip compares its checksum at the file's end only."""
    surplus = 0
    while part := stream.read(1 << 20):
        surplus += len(part)
        check_size(0, surplus, shown)


def _bounded(tar: tarfile.TarFile, shown: str) -> Iterator[tarfile.TarInfo]:
    total = 0
    for number, member in enumerate(tar, 1):
        if not member.isfile() and not member.isdir():
            raise ModelError(f"{shown}: its archive is refused, for {member.name!r} in it is a link or a device")
        total += member.size
        check_size(number, total, shown)
        yield member


def check_size(files: int, total: int, shown: str) -> None:
    """Raise ModelError for a model of too many files or too many bytes."""
    if files > MOST_FILES or total > MOST_BYTES:
        raise ModelError(f"{shown} is too large for a model: more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB")


def _why(archive: Path, error: Exception) -> str:
    with archive.open("rb") as file:
        begins = file.read(15)
    return str(error) if begins[:2] == _GZIP else f"it begins with {begins!r}"

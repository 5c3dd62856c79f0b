"""Catalog files at hand: a local copy of what a path or an s3:// address names, and how it is to be read.

What makes a file a batch belongs in `batches`.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vetrina.catalog.buckets import fetch
from vetrina.catalog.columns import ColumnMap, shown
from vetrina.errors import CatalogError
from vetrina.store import sha256_of


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A catalog at hand: its local file, and where it came from.

    Attributes:
        source: where the file was, as given, without secrets.
        base: the folder (a local path, or an s3 or http prefix) that relative pictures are relative to.
        name: the file's own name; its suffixes tell the format.
    """

    file: Path
    source: str
    base: str
    name: str

    @property
    def catalog(self) -> str:
        """The catalog's name unless another is given: the file's without suffixes."""
        return catalog_name(self.name)


def catalog_name(file_name: str) -> str:
    """The name that a catalog has by its file's name: without suffixes."""
    return re.sub(r"(\.[A-Za-z]+)?(\.gz)?$", "", file_name, count=1) or file_name


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a catalog is read; empty columns stand for the usual ones."""

    id_columns: tuple[str, ...] = ()
    picture_columns: tuple[str, ...] = ()
    allow_outside: bool = False

    @property
    def columns(self) -> ColumnMap:
        """Which columns of the file hold what."""
        usual = ColumnMap()
        return ColumnMap(id=self.id_columns or usual.id, picture=self.picture_columns or usual.picture)


def check_name(name: str, of: str = "file") -> None:
    """Raise CatalogError for a name, `of` a file or a catalog, that is not UTF-8 or has control characters."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise CatalogError(f"{shown(name)}: the {of}'s name has damaged or control characters; rename it")


def content_of(found: SourceFile) -> str:
    """Hex sha256 of a catalog. Raises CatalogError when it cannot be read, or its name or place cannot be kept."""
    check_name(found.name)
    if any(unicodedata.category(letter) == "Cs" for letter in found.base + found.source):
        raise CatalogError(
            f"{found.name}: its folder {shown(found.base, 500)} has a name that is no UTF-8; rename the folder, or "
            "move the catalog"
        )
    try:
        return sha256_of(found.file)
    except OSError as error:
        raise CatalogError(f"{found.name}: cannot be read ({error.strerror}); check its permissions") from error


def _check_file(file: Path) -> None:
    try:
        if not file.exists():
            raise CatalogError(f"There is no catalog at {file}; check the path")
        if file.is_dir():
            raise CatalogError(f"{file} is a folder; name the catalog file inside it")
        if not file.is_file():
            raise CatalogError(f"{file} is not an ordinary file; give one catalog file")
    except OSError as error:
        raise CatalogError(f"{file} cannot be looked at ({error.strerror}); check the path") from error


@contextlib.contextmanager
def open_source(source: str) -> Iterator[SourceFile]:
    """A catalog at a local path or s3:// URL as a local file. Raises CatalogError."""
    if "://" not in source:
        file = Path(source).expanduser().absolute()
        _check_file(file)
        yield SourceFile(file, source, str(file.parent), file.name)
        return
    if not source.startswith("s3://"):
        raise CatalogError(f"{source}: a catalog is a local path or an s3:// URL")
    base, _, name = source.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="vetrina-") as folder:
        file = Path(folder) / "catalog"
        fetch(source, file)
        yield SourceFile(file, source, base, name)

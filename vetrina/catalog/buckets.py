"""Catalogs in S3 buckets: listed, told apart and fetched, with errors for people.

Requests, with their retries and bounds, are those of `vetrina.store.s3`; endpoint and credentials come from the
ordinary environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_PROFILE, …).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vetrina.errors import CatalogError, SourceUnreachable, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from vetrina.store.s3 import S3Entry, S3Files

T = TypeVar("T")


def list_bucket(prefix: str) -> list[S3Entry]:
    """What lies directly under an s3:// prefix; empty when nothing does.

    Raises:
        SourceUnreachable: it cannot be listed now, whatever the reason.
        CatalogError: the prefix names no bucket.
    """
    return _asked(prefix, prefix.rstrip("/"), lambda files: list(files.listing()))


def etag_of(source: str) -> str:
    """What changes when the object at an s3:// address does. Raises CatalogError, SourceUnreachable."""
    folder, name = _parts(source)
    return _asked(source, folder, lambda files: files.etag(name))


def fetch(source: str, file: Path) -> None:
    """Copy the object at an s3:// address to a local file. Raises CatalogError, SourceUnreachable."""
    folder, name = _parts(source)
    _asked(source, folder, lambda files: files.download(name, file))


def _parts(source: str) -> tuple[str, str]:
    folder, _, name = source.rpartition("/")
    if not name or folder in ("s3:/", "s3:"):
        raise CatalogError(f"{source} names no file; write s3://bucket/file")
    return folder, name


def _asked(place: str, folder: str, ask: Callable[[S3Files], T]) -> T:
    # s3fs takes a second to import, and most shops have no bucket.
    from vetrina.store.cache import FileCache
    from vetrina.store.s3 import S3Files

    try:
        return ask(S3Files(folder, FileCache()))
    except FileNotFoundError:
        raise CatalogError(f"There is no catalog at {place}; check the address") from None
    except StoreUnavailable as error:
        raise SourceUnreachable(f"{place} cannot be read: {error}") from None
    except StoreError as error:
        raise CatalogError(f"{place} cannot be read: {error}") from None

"""A catalog from the web, an s3:// address or a path as a local file, fetched only if it changed.

A catalog's address is guarded like a picture's (`vetrina.web_files`). What the file holds belongs in `reading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vetrina.catalog.buckets import etag_of
from vetrina.catalog.source_files import SourceFile, open_source
from vetrina.errors import CatalogError, SourceUnreachable
from vetrina.pictures.addresses import redact
from vetrina.pictures.fetching import Validators
from vetrina.store import Store
from vetrina.web_files import DownloadFailed, DownloadLimits, fetch_file

_ADVICE = {
    "private-address": "set VETRINA_ALLOW_PRIVATE=yes if that is meant",
    "deadline": "try again later, or raise VETRINA_SYNC_DEADLINE",
    "too-large": "raise VETRINA_SYNC_MAX_BYTES if that is meant",
}


@dataclass(frozen=True, slots=True)
class Download:
    """A catalog at hand, and what to ask by the next time."""

    found: SourceFile
    validators: Validators


@contextmanager
def download(
    store: Store, source: str, limits: DownloadLimits, validators: Validators | None = None
) -> Iterator[Download | None]:
    """The catalog at `source` for as long as the block lasts; None when it is the one that `validators` came from.

    Raises:
        CatalogError: there is no such catalog, or it may not be fetched.
        SourceUnreachable: it cannot be fetched now.
    """
    if not source.lower().startswith(("http://", "https://")):
        stamp = _stamp(source)
        if stamp is not None and validators is not None and validators.etag == stamp:
            yield None
            return
        with open_source(source) as found:
            yield Download(found, Validators(stamp, None))
        return
    with store.scratch() as folder:
        file = folder / "catalog"
        got = _fetched(source, file, limits, validators)
        if got is None:
            yield None
            return
        shown = redact(source)
        parts = urlsplit(source)
        name = unquote(PurePosixPath(parts.path).name) or "catalog"
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}"
        yield Download(SourceFile(file, shown, base, name), got)


def _stamp(source: str) -> str | None:
    """What changes when a path's or an s3:// address's content does; None where that cannot be told."""
    if source.startswith("s3://"):
        return etag_of(source)
    try:
        found = Path(source).expanduser().stat()
    except OSError:
        return None  # reading it right after this says what is wrong, for people
    return f"{found.st_size:x}.{found.st_mtime_ns:x}.{found.st_ctime_ns:x}"


def _fetched(source: str, file: Path, limits: DownloadLimits, validators: Validators | None) -> Validators | None:
    try:
        return fetch_file(source, file, limits, validators)
    except DownloadFailed as failed:
        advice = _ADVICE.get(failed.reason) or (
            "it may pass, try again later" if failed.transient else "check the address"
        )
        raise (SourceUnreachable if failed.transient else CatalogError)(f"{failed}; {advice}") from None

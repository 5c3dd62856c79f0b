"""Catalogs in S3 buckets: listed, told apart and fetched, in bounded time and with errors for people.

Endpoint and credentials come from the ordinary environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_PROFILE, …).
The store's own files are the business of `vetrina.store`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vetrina.errors import CatalogError, SourceUnreachable

T = TypeVar("T")

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_DENIED = frozenset({"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})


def list_bucket(prefix: str) -> list[dict[str, Any]]:
    """What lies directly under an s3:// prefix, as s3fs tells it; empty when nothing does.

    Raises:
        SourceUnreachable: it cannot be listed now, whatever the reason.
    """

    def ask(files: Any) -> list[dict[str, Any]]:
        try:
            return list(files.ls(prefix, detail=True))
        except FileNotFoundError:
            if "/" not in prefix.removeprefix("s3://").strip("/"):
                raise
            # A prefix without files is no prefix at all, but its bucket must be there.
            files.ls("s3://" + prefix.removeprefix("s3://").partition("/")[0], detail=False)
            return []

    return _asked(prefix, "listed", ask)


def etag_of(source: str) -> str | None:
    """What changes when the object at an s3:// address does. Raises CatalogError, SourceUnreachable."""
    return _asked(source, "read", lambda files: files.info(source).get("ETag"))


def fetch(source: str, file: Path) -> None:
    """Copy the object at an s3:// address to a local file. Raises CatalogError, SourceUnreachable."""

    def ask(files: Any) -> None:
        announced = files.info(source)
        if announced["type"] != "file":
            raise CatalogError(f"{source} is a folder; name the catalog file inside it")
        files.get_file(source, str(file))
        if file.stat().st_size != announced["size"]:
            raise SourceUnreachable(f"{source} changes while it is fetched; try again once it is whole")

    _asked(source, "read", ask)


def _asked(place: str, what: str, ask: Callable[[Any], T]) -> T:
    """The answer of a file system made for this one question: a kept one gives stale listings, and credentials."""
    import s3fs  # slow to import, and most shops have no bucket

    try:
        # s3fs and botocore would each try again: 25 requests, most of a minute.
        patience = {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}}
        files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=patience)
        files.retries = 1
        return ask(files)
    except CatalogError:
        raise
    except Exception as error:
        # s3fs, botocore and aiohttp raise errors without a common base; none may bring down what else goes on.
        raise _in_words(place, what, error) from None


def _in_words(place: str, what: str, error: Exception) -> CatalogError:
    cause = error if hasattr(error, "response") else error.__cause__
    response = getattr(cause, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    name = type(error).__name__
    if code in _EXPIRED:
        return SourceUnreachable(f"{place} cannot be {what}: the credentials have expired ({code}); renew them")
    if code in _DENIED or isinstance(error, PermissionError):
        return SourceUnreachable(
            f"{place} cannot be {what}: access was denied ({code or name}); check the credentials, "
            "which need s3:ListBucket and s3:GetObject"
        )
    if name in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"):
        return SourceUnreachable(
            f"{place} cannot be {what}: there are no credentials ({name}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, FileNotFoundError):
        return CatalogError(f"There is nothing at {place}; check the address")
    return SourceUnreachable(
        f"{place} cannot be {what} ({code or name}); check the network and AWS_ENDPOINT_URL, or try later"
    )

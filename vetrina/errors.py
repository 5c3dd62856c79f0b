"""Errors whose message a person can act on: what is wrong, where, and what to do.

The command line prints the message of a `VetrinaError` and exits non-zero; any other exception is a defect.
"""

from typing import Any


class VetrinaError(Exception):
    """Base of every expected error."""


class SettingError(VetrinaError):
    """A setting has a value that cannot be used."""


class CatalogError(VetrinaError):
    """A catalog as a whole cannot be read (missing, unknown format, no id column, empty)."""


class SourceUnreachable(CatalogError):
    """A catalog cannot be fetched now (network, credentials, a server in trouble); it may work later."""


class StoreError(VetrinaError):
    """The store cannot be read or written, or holds something that fails its check."""


class StoreUnavailable(StoreError):
    """The store as a whole cannot be used now: not reached, failing, missing, or refusing the credentials.

    It says nothing of what the store holds, so whoever passes over damaged files must let this one through.
    """


class FileDamaged(StoreError):
    """A file of the store is not what its checksum says."""


class ModelError(VetrinaError):
    """A model cannot be opened: unknown handle, missing or altered weights, wrong signature."""


class UnfitModel(ModelError):
    """There is such a model, but it is not what its role needs, or the role knows no such name."""


class IndexDamaged(StoreError):
    """An index version is missing files or fails its checksums."""


class BrokenLibrary(VetrinaError):
    """An installed library gives wrong results on this machine."""


class RecallTooLow(VetrinaError):
    """A built index finds too few of the true neighbours to be published.

    Attributes:
        recall: what was measured, as in an index manifest.
    """

    def __init__(self, message: str, recall: dict[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.recall = recall

    def __reduce__(self) -> tuple[type["RecallTooLow"], tuple[str, dict[str, Any]]]:
        return (RecallTooLow, (self.message, self.recall))


class NotFound(VetrinaError):
    """What was asked for (a product, a class, a batch, an index) does not exist."""


class AlreadyRunning(VetrinaError):
    """What was to be started runs already, and may not run twice at a time."""


class PictureError(VetrinaError):
    """One picture cannot be used; costs one product, never the run.

    `reason` is a short stable code (kebab-case, e.g. "truncated", "too-many-pixels"); the message is for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["PictureError"], tuple[str, str]]:
        return (PictureError, (self.reason, self.detail))

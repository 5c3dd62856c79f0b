"""Catalogs set aside: what intake could not take, why and since when, kept until it is mended.

One small file for each in the store, so that the command line, the sensors and a page all show the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from vetrina.store import Store
from vetrina.words import in_utf8

FoundBy = Literal["watch", "sync"]

_FOLDER = "intake/problems"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A catalog that intake could not take.

    Attributes:
        source: the file or address, without secrets.
        found_by: what looks after it, and will notice when it is mended: "watch" or "sync".
        reason: what is wrong, where, and what to do.
        since: when it was first found so, ISO 8601 in UTC.
    """

    source: str
    found_by: FoundBy
    reason: str
    since: str


def set_aside(store: Store, source: str, found_by: FoundBy, reason: str) -> SetAside:
    """Remember that `source` cannot be taken; the time stays when the reason does."""
    known = _read(store, _path(source))
    shown, reason = in_utf8(source), in_utf8(reason)
    if known is not None and known.reason == reason:
        return known
    problem = SetAside(shown, found_by, reason, datetime.now(UTC).isoformat(timespec="seconds"))
    store.write_json(_path(source), asdict(problem))
    return problem


def mended(store: Store, source: str) -> None:
    """Forget what was wrong with `source`, if anything was."""
    store.delete(_path(source))


def is_set_aside(store: Store, source: str) -> bool:
    """Whether something is known to be wrong with `source`."""
    return _read(store, _path(source)) is not None


def list_set_aside(store: Store) -> list[SetAside]:
    """Everything that is set aside, the oldest first."""
    found = (_read(store, f"{_FOLDER}/{name}") for name in store.names(_FOLDER))
    return sorted((problem for problem in found if problem is not None), key=lambda problem: problem.since)


def count_set_aside(store: Store) -> int:
    """How many are set aside."""
    return len(store.names(_FOLDER))


def mended_but(store: Store, found_by: FoundBy, keep: Callable[[str], bool]) -> None:
    """Forget what `found_by` set aside in places that it looks after no more; `keep` is asked for each source."""
    for name in store.names(_FOLDER):
        problem = _read(store, f"{_FOLDER}/{name}")
        if problem is not None and problem.found_by == found_by and not keep(problem.source):
            store.delete(f"{_FOLDER}/{name}")


def _read(store: Store, path: str) -> SetAside | None:
    try:
        return SetAside(**store.read_json(path))
    except FileNotFoundError:  # mended meanwhile
        return None


def _path(source: str) -> str:
    return f"{_FOLDER}/{hashlib.sha256(source.encode(errors='surrogateescape')).hexdigest()[:24]}.json"

"""Exports of the table of similar products for the command line, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from orchestration import printing
from orchestration.deployment import Deployment
from orchestration.named_files import check_place
from vetrina.errors import NotFound, SettingError
from vetrina.exporting.changes import Change, between, current_table, has_table, whole
from vetrina.exporting.database import is_database, write_database
from vetrina.exporting.files import write_file
from vetrina.store import Store

_SHOWN_EVERY = 500  # products


def export_table(
    deployment: Deployment, target: str, *, since: str | None, afresh: bool, progress: printing.Steps
) -> dict[str, Any]:
    """Hand the current table over, to a file or a database.

    Args:
        since: for a file: only what changed since the table of this name. A database knows what it holds.
        afresh: for a database: write everything.

    Raises:
        NotFound: there is no table, or none of the name `since`.
        SettingError, StoreError: the target cannot be used.
    """
    store = deployment.store
    progress.begin("Export of the similar products")
    try:
        if is_database(target):
            if since is not None:
                raise SettingError("A database knows what it holds, so --since is for files; --afresh writes it whole")
            # Without the address, which may hold a password.
            return asdict(write_database(store, target, afresh=afresh, progress=partial(progress.count, "products")))
        if "://" in target:
            raise SettingError(
                f"{target.partition('://')[0]}:// is no target; name a file, sqlite:/// or postgresql://"
            )
        return _into_file(store, Path(target), since, progress)
    finally:
        progress.end()


def _into_file(store: Store, file: Path, since: str | None, progress: printing.Steps) -> dict[str, Any]:
    check_place(file)
    table = current_table(store)
    if since is not None and not has_table(store, since):
        raise NotFound(f"There is no table {since!r} in {store.root} (any more); export the whole without --since")
    counts = {"products": 0, "removed": 0}

    def counted() -> Iterator[Change]:
        lists = whole(store, table.name)
        for change in lists if since is None else between(whole(store, since), lists):
            counts["products" if change.similar else "removed"] += 1
            if sum(counts.values()) % _SHOWN_EVERY == 0:
                progress.count("products", sum(counts.values()))
            yield change

    write_file(counted(), file)
    return {"table": table.name, "since": since, **counts}

"""Taking catalogs in: batches, their runs, one publication, and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from dagster import DagsterInstance

from assets.progress import Listener, listeners
from orchestration.deployment import Deployment
from orchestration.home import open_instance
from orchestration.runs import RunFailed, RunReport, run_batch, run_publish
from resources.configured import read_options_of, sync_order_of
from vetrina.catalog.batches import Batch, left_behind, list_batches, register_file
from vetrina.catalog.source_files import content_of, open_source
from vetrina.catalog.syncing import check_snapshot, sync_catalog
from vetrina.errors import CatalogError, NotFound
from vetrina.states import FAILED
from vetrina.store import Store

Report = dict[str, Any]


class Progress(Protocol):
    """Who is told what goes on."""

    def begin(self, title: str) -> None:
        """A run begins."""

    def step(self, step: str, done: int, total: int) -> None:
        """A step of it has come so far."""

    def end(self) -> None:
        """It is over."""


def add_catalogs(
    deployment: Deployment,
    sources: Sequence[str],
    *,
    name: str | None,
    snapshot: bool,
    progress: Progress,
    confirmed: bool = False,
) -> Report:
    """Register each source as a batch, work it and what was left of its catalog, and publish once for all of them.

    A catalog that cannot be used is reported under "failed"; the others go on.

    Args:
        confirmed: a snapshot may remove however much it lacks.

    Raises:
        CatalogError: none of the catalogs can be used.
        RunFailed: the index could not be published.
    """
    batches: list[tuple[Batch, bool]] = []
    failed: list[Report] = []
    for source in sources:
        try:
            batches.append(_register(deployment, source, name, snapshot, confirmed))
        except CatalogError as error:
            failed.append({"catalog": source, "error": str(error)})
    if not batches:
        raise CatalogError("\n".join(failure["error"] for failure in failed))
    return _work(deployment, _with_those_left(deployment.store, batches), failed, retry=False, progress=progress)


def _with_those_left(store: Store, batches: list[tuple[Batch, bool]]) -> list[tuple[Batch, bool]]:
    """The batches, each after those of its catalog that a killed command or a failed run left."""
    is_new = {batch.key: new for batch, new in batches}
    all_of_them = {one.key: one for batch, _ in batches for one in (*left_behind(store, batch.catalog), batch)}
    return [(batch, is_new.get(key, False)) for key, batch in all_of_them.items()]


def _register(
    deployment: Deployment, source: str, name: str | None, snapshot: bool, confirmed: bool
) -> tuple[Batch, bool]:
    options = read_options_of(deployment.settings)
    with open_source(source) as found:
        checked: str | None = None
        if snapshot:
            checked = content_of(found)
            check_snapshot(
                deployment.store,
                found,
                options,
                catalog=name or found.catalog,
                max_removed=deployment.settings.max_removed,
                confirmed=confirmed,
                confirm="run the same command again with --confirm-removals",
            )
        return register_file(
            deployment.store, found, options, name=name, mode="snapshot" if snapshot else "delta", checked=checked
        )


def sync_source(
    deployment: Deployment,
    *,
    source: str | None,
    name: str | None,
    dry_run: bool,
    confirmed: bool,
    progress: Progress,
) -> Report:
    """Sync a whole catalog, work what changed and what an earlier sync left undone, and publish.

    Args:
        source: a path, s3:// or http(s) address; None: VETRINA_SYNC_SOURCE, under its name.
        dry_run: only say what would change.

    Raises:
        NotFound: nothing says what to sync.
        CatalogError: the source cannot be used, or would remove too much. Nothing is registered.
        RunFailed: the index could not be published.
    """
    order = sync_order_of(deployment.settings)
    if source is not None and source != order.source:
        order = dataclasses.replace(order, source=source, name="")
    if not order.source:
        raise NotFound("There is nothing to sync: name a source, or set VETRINA_SYNC_SOURCE")
    order = dataclasses.replace(order, name=name or order.name, dry_run=dry_run, confirmed=confirmed, origin="command")
    result = sync_catalog(deployment.store, order)
    report: Report = {"batches": [], "failed": [], "published": None}
    batches = [(batch, False) for batch in result.left]
    if result.batch is not None:
        batches.append((result.batch, True))
    if batches:
        report = _work(deployment, batches, [], retry=False, progress=progress)
    report["sync"] = {
        "catalog": result.catalog,
        "source": result.source,
        "skipped": result.skipped or None,
        "difference": None if result.difference is None else dataclasses.asdict(result.difference),
    }
    return report


def retry_failed(deployment: Deployment, *, progress: Progress) -> Report:
    """Work those batches again in which a current product's picture failed. Raises NotFound when there are none."""
    coverage = deployment.coverage()
    batches = [
        batch
        for batch in list_batches(deployment.store)
        if any(state in coverage.batch(batch).states for state in FAILED)
    ]
    if not batches:
        raise NotFound("Nothing to retry: no current product has a failed picture")
    return _work(deployment, [(batch, False) for batch in batches], [], retry=True, progress=progress)


def _work(
    deployment: Deployment, batches: list[tuple[Batch, bool]], failed: list[Report], *, retry: bool, progress: Progress
) -> Report:
    instance = open_instance()
    known = {batch.key for batch, _ in batches}
    batches = [*batches, *((batch, False) for batch in deployment.outdated() if batch.key not in known)]
    done: list[tuple[Batch, Report]] = []
    with listening(progress.step):
        for batch, new in batches:
            progress.begin(f"Batch {batch.key}")
            try:
                run = run_batch(instance, batch.key, retry_failed=retry)
            except RunFailed as error:
                failed.append({"catalog": batch.source, "batch": batch.key, "error": str(error)})
                continue
            finally:
                progress.end()
            done.append((batch, _batch_report(batch, new, run)))
        report: Report = {"batches": [], "failed": failed, "published": None}
        if done:
            report["published"] = publish_all(instance, progress, failed)
    coverage = deployment.coverage()
    for batch, entry in done:
        found = coverage.batch(batch)
        entry |= {"rows": found.rows, "states": dict(found.states), "reasons": dict(found.reasons)}
        entry["problems"] = [problem.as_json() for problem in found.problems]
        report["batches"].append(entry)
    names = ("fetched", "detected", "embedded", "reused", "kept")
    report["total"] = {name: sum(entry["cost"][name] for _, entry in done) for name in names}
    return report


def publish_all(instance: DagsterInstance, progress: Progress, failed: list[Report]) -> Report | None:
    """Publish index and table; what came of it, or None with the reason among `failed`."""
    progress.begin("Index and similar products")
    try:
        run = run_publish(instance)
    except RunFailed as error:
        failed.append({"catalog": "index", "error": str(error)})
        return None
    finally:
        progress.end()
    index, table = run.metadata["similarity_index"], run.metadata["similar_products"]
    names = ("version", "built", "products", "items", "serve_with", "recall", "recall_lower_95")
    return {name: index[name] for name in names} | {
        "similar_products": table["path"],
        "run_id": run.run_id,
        "seconds": round(run.seconds, 2),
    }


def _batch_report(batch: Batch, new: bool, run: RunReport) -> Report:
    images, crops = run.metadata["raw_images"], run.metadata["crops"]
    vectors = run.metadata["embeddings"]
    return {
        "batch": batch.key,
        "catalog": batch.source,
        "new": new,
        "removed_by_snapshot": run.metadata["catalog"]["removed_by_snapshot"],
        "cost": {
            "fetched": images["fetched"],
            "detected": crops["detected"],
            "embedded": vectors["embedded"],
            "reused": images["reused"] + images["unchanged"],
            "kept": images["kept"],
        },
        "run_id": run.run_id,
        "seconds": round(run.seconds, 2),
    }


class listening:
    """While in the block, `listener` is told of the progress of runs in this process."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        listeners.append(self._listener)

    def __exit__(self, *_: object) -> None:
        listeners.remove(self._listener)

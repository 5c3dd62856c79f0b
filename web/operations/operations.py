"""What goes on in the shop, as plain values: where rows ended, batches, index versions, reports, retries.

Reading costs much in a large shop. So it is done in a few threads of its own, and an answer is good for some seconds:
neither the event loop nor a search waits for it, however many ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from vetrina.catalog.batches import Batch, find_batch
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.shop import read_report
from vetrina.coverage import Coverage, CoverageReader, Excerpt
from vetrina.errors import IndexDamaged
from vetrina.states import FAILED, State
from vetrina.store import Store
from web.operations.recent import Recent
from web.operations.reports import report_page, report_values, reports_as_json
from web.operations.versions import version_as_json, versions_as_json
from web.problems import NothingToShow, Problem
from web.shop import Options, Retries, Shop
from web.shown.showing import Showcase
from web.turns import Turns

T = TypeVar("T")

_GOOD_FOR = 5.0  # seconds
_LISTED = 1000  # rows with problems; more are not asked for at once
_NOTHING_SHOWN = {"version": None, "for_seconds": 0.0, "products": 0, "newer_than_index": 0}
_NO_RETRY = {"state": "none", "since": None, "ended": None, "report": None, "error": None}
_SEARCHABLE = (State.INDEXED, State.INDEXED_WHOLE)


class Operations(AbstractContextManager["Operations"]):
    """Answers on what goes on, and what may be done about it; a context manager."""

    def __init__(self, shop: Shop, showcase: Showcase, options: Options) -> None:
        self._shop = shop
        self._showcase = showcase
        self._dagster_url = options.dagster_url.rstrip("/")
        self._recent = Recent(_GOOD_FOR)
        # A stranger says from where to where, and one answer may take megabytes.
        self._listed = Recent(_GOOD_FOR, most=32)
        self._pages = Recent(_GOOD_FOR, most=8)
        self._stack = ExitStack()
        self._turns = self._stack.enter_context(Turns(2, options.most_waiting))
        self._retries: Retries = self._stack.enter_context(shop.retries(self._changed))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def coverage(self) -> dict[str, Any]:
        """Where the rows of the shop ended, and the catalogs that were set aside."""
        return await self._turns.run(self._coverage)

    async def problems(self, batch: str | None, reason: str | None, start: int, count: int) -> dict[str, Any]:
        """Rows that are not searchable, of the shop or of one batch. Raises NotFound."""
        return await self._turns.run(self._problems, batch, reason, start, count)

    async def batches(self, start: int, count: int) -> dict[str, Any]:
        """Batches, the newest first."""
        return await self._turns.run(self._batches, start, count)

    async def batch(self, key: str) -> dict[str, Any]:
        """One batch. Raises NotFound."""
        return await self._turns.run(self._recent.get, ("batch", key), lambda: self._batch(key))

    async def versions(self, start: int, count: int) -> dict[str, Any]:
        """Index versions that were published, the newest first."""
        found = await self._page(versions_as_json, start, count)
        return found | {"shown": self.shown}

    async def version(self, version: str) -> dict[str, Any]:
        """A published index version beside the current one. Raises NotFound."""
        return await self._turns.run(
            self._recent.get, ("version", version), lambda: version_as_json(self._store, version)
        )

    async def reports(self, start: int, count: int) -> dict[str, Any]:
        """Evaluation reports, the newest first."""
        return await self._page(reports_as_json, start, count)

    async def report(self, version: str, name: str) -> dict[str, Any]:
        """All figures of an evaluation report. Raises NotFound."""
        return await self._turns.run(report_values, self._store, version, name)

    async def report_page(self, version: str, name: str) -> bytes:
        """An evaluation report as HTML. Raises NotFound."""
        return await self._turns.run(report_page, self._store, version, name)

    @property
    def retry(self) -> dict[str, Any]:
        """The retry that runs, or the last one."""
        last = self._retries.last
        return dict(_NO_RETRY) if last is None else asdict(last)

    async def start_retry(self) -> dict[str, Any]:
        """Ask again for failed pictures. Raises AlreadyRunning."""
        return asdict(await self._turns.run(self._retries.start))

    async def roll_back(self, to: str | None) -> dict[str, Any]:
        """Serve an earlier index version, at once. Raises NotFound, and Problem (409) when it is damaged."""
        return await self._turns.run(self._roll_back, to)

    @property
    def shown(self) -> dict[str, Any]:
        """What this server answers from: it may be behind the store for some seconds, or longer while that is ill."""
        try:
            showing = self._showcase.now
        except NothingToShow:
            return {**_NOTHING_SHOWN, "problem": self._showcase.problem}
        engine = showing.window.engine
        return {
            "version": showing.window.index.version,
            "for_seconds": round(time.time() - showing.since, 1),
            "products": engine.products,
            "newer_than_index": engine.newer,
            "problem": self._showcase.problem,
        }

    def dagster(self, path: str = "") -> str | None:
        """A page of Dagster's UI; None where nobody said where it is."""
        return f"{self._dagster_url}/{path}" if self._dagster_url else None

    @property
    def _store(self) -> Store:
        return self._shop.store

    async def _page(self, listed: Callable[[Store, int, int], T], start: int, count: int) -> T:
        return await self._turns.run(self._pages.get, (listed, start, count), lambda: listed(self._store, start, count))

    def _changed(self) -> None:
        """Show what has changed at once."""
        self._recent.forget()
        self._listed.forget()
        self._pages.forget()
        self._showcase.look()

    def _reader(self) -> CoverageReader:
        return self._recent.get(("reader",), self._shop.coverage)

    def _counted(self, batch: Batch | None) -> Coverage:
        """Where the rows of a batch, or of the shop, ended; no row is listed."""
        return self._recent.get(("counted", batch and batch.key), lambda: self._read(batch, Excerpt(0)))

    def _read(self, batch: Batch | None, listed: Excerpt) -> Coverage:
        reader = self._reader()
        return reader.shop(listed) if batch is None else reader.batch(batch, listed)

    def _coverage(self) -> dict[str, Any]:
        found = self._counted(None)
        return {
            **_counts(found),
            "searchable": sum(found.states[state] for state in _SEARCHABLE),
            "failed": sum(found.states[state] for state in FAILED),
            "set_aside": [asdict(problem) for problem in list_set_aside(self._store)],
        }

    def _problems(self, key: str | None, reason: str | None, start: int, count: int) -> dict[str, Any]:
        batch = None if key is None else find_batch(self._store, key)
        reasons = self._counted(batch).reasons
        total = reasons.total() if reason is None else reasons[reason]
        if start >= total:
            return {"problems": [], "total": total}
        # Every row is read to list some, so more are kept than are asked for: those that are asked for next.
        first = start - start % _LISTED
        excerpt = Excerpt(2 * _LISTED, first, reason)
        found = self._listed.get((key, excerpt), lambda: self._read(batch, excerpt).problems)
        return {"problems": [row.as_json() for row in found[start - first :][:count]], "total": total}

    def _batches(self, start: int, count: int) -> dict[str, Any]:
        newest = self._reader().batches[::-1]
        part = newest[start : start + count]
        return {"batches": list(self._store.map(self._described, part)), "total": len(newest)}

    def _described(self, batch: Batch) -> dict[str, Any]:
        report, found = read_report(self._store, batch), self._counted(batch)
        error = None if report is None else report.error
        return {
            "batch": batch.key,
            "catalog": batch.catalog,
            "file": batch.file,
            "mode": batch.mode,
            "origin": batch.origin,
            "registered_at": batch.registered_at,
            "state": "waiting" if report is None else "unusable" if error else _state(found),
            "error": error,
            **_counts(found),
            "dagster": {
                "partition": self.dagster(f"assets/embeddings?view=partitions&partition={quote(batch.key)}"),
                "runs": self.dagster(f"runs?{urlencode({'q[]': f'tag:dagster/partition={batch.key}'})}"),
            },
        }

    def _batch(self, key: str) -> dict[str, Any]:
        batch = find_batch(self._store, key)
        verdicts = [asdict(verdict) for verdict in self._shop.verdicts(batch)]
        return {**self._described(batch), "sha256": batch.sha256, "verdicts": verdicts}

    def _roll_back(self, to: str | None) -> dict[str, Any]:
        try:
            done = self._shop.roll_back(to)
        except IndexDamaged as error:
            raise Problem(409, "damaged", "The index version cannot be served", str(error)) from error
        self._changed()
        return done | {"shown": self.shown}


def _counts(found: Coverage) -> dict[str, Any]:
    states = {state.value: found.states[state.value] for state in State if found.states[state.value]}
    return {"rows": found.rows, "states": states, "reasons": dict(found.reasons.most_common())}


def _state(found: Coverage) -> str:
    """Of a batch that was read: pending while something of it is still to come, then done."""
    return "pending" if found.states[State.PENDING] else "done"

"""Coverage: where every catalog row ended. Each is in exactly one state, and the states add up to the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vetrina.catalog.batches import Batch, catalogs, list_batches
from vetrina.catalog.shop import DUPLICATE, CatalogReport, Holding, changes, read_report, refused_rows, shop_after
from vetrina.detection.labelling import labels_path
from vetrina.embedding.vectors import embeddings_path
from vetrina.states import FAILED, State
from vetrina.store import Store
from vetrina.tables import IMAGES, LABELS, read_metadata, read_rows

_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that is not searchable, and why. `line` is null for a product known from an earlier file."""

    batch: str
    line: int | None
    product_id: str | None
    state: str
    reason: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Which problems are listed one by one: `count` of them from `start` on.

    Attributes:
        reason: "state: reason" as it is counted; None: of any.
    """

    count: int
    start: int = 0
    reason: str | None = None


@dataclass(slots=True)
class Coverage:
    """Rows and the states that they ended in."""

    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    """Those that were to be listed; all are counted."""

    def add(self, state: State, count: int = 1) -> None:
        """Count rows that ended in `state`."""
        self.rows += count
        self.states[state.value] += count

    def add_problem(self, problem: Problem, listed: Excerpt) -> None:
        """Count the reason of a row that failed, and keep the problem where it is to be listed."""
        reason = f"{problem.state}: {problem.reason}"
        self.reasons[reason] += 1
        if listed.reason not in (None, reason):
            return
        place = self.reasons.total() if listed.reason is None else self.reasons[reason]
        if listed.start < place <= listed.start + listed.count:
            self.problems.append(problem)


class CoverageReader:
    """Reads where rows ended.

    Args:
        labels: fingerprint of the labels in use.
        embeddings: fingerprint of the embeddings in use.
        indexed: keys of the batches whose embeddings are in the published index.
        most_problems: how many problems to list one by one, where nothing else is said.
    """

    def __init__(
        self, store: Store, *, labels: str, embeddings: str, indexed: Collection[str], most_problems: int = 20
    ) -> None:
        self._store = store
        self._labels = labels
        self._embeddings = embeddings
        self._indexed = set(indexed)
        self._first = Excerpt(most_problems)
        self._batches = list_batches(store)
        self._shop = shop_after(store, _ALL)

    @property
    def batches(self) -> list[Batch]:
        """All batches by sequence."""
        return list(self._batches)

    def every_batch(self) -> Iterator[tuple[Batch, Coverage]]:
        """Each batch by sequence, and where each row of its file ended."""
        return zip(self._batches, self._store.map(self.batch, self._batches), strict=True)

    def batch(self, batch: Batch, listed: Excerpt | None = None) -> Coverage:
        """Where each row of the batch's file ended."""
        listed = listed or self._first
        coverage = Coverage()
        report = read_report(self._store, batch)
        if report is None or report.error is not None:
            return coverage
        self._add_refused(coverage, batch, report, listed)
        coverage.add(State.UNCHANGED, report.unchanged)
        coverage.add(State.REMOVED, report.removed)
        for product_id, line, state, reason, detail in self._ends(batch):
            held = self._shop.get(product_id)
            if held is None:
                coverage.add(State.REMOVED)
            elif held.sequence != batch.sequence:
                coverage.add(State.SUPERSEDED)
            else:
                coverage.add(state)
                if state in FAILED:
                    coverage.add_problem(Problem(batch.key, line, product_id, state, reason, detail), listed)
        coverage.states = +coverage.states  # drops the zeros
        return coverage

    def shop(self, listed: Excerpt | None = None) -> Coverage:
        """Where each current product ended, and the rejected and repeated rows of each catalog's newest file."""
        listed = listed or self._first
        coverage = Coverage()
        held_by: Counter[int] = Counter(holding.sequence for holding in self._shop.values())
        held = [batch for batch in self._batches if held_by[batch.sequence]]
        for batch, ends in zip(held, self._store.map(lambda batch: list(self._ends(batch)), held), strict=True):
            for product_id, line, state, reason, detail in ends:
                if self._shop.get(product_id, Holding(0, "")).sequence == batch.sequence:
                    coverage.add(state)
                    if state in FAILED:
                        problem = Problem(batch.key, line, product_id, state, reason, detail)
                        coverage.add_problem(problem, listed)
        for batch in catalogs(self._batches):
            report = read_report(self._store, batch)
            if report is not None and report.error is None:
                self._add_refused(coverage, batch, report, listed)
        coverage.states = +coverage.states
        return coverage

    def _add_refused(self, coverage: Coverage, batch: Batch, report: CatalogReport, listed: Excerpt) -> None:
        coverage.add(State.REJECTED, report.rejected)
        coverage.add(State.SUPERSEDED, report.superseded)
        for row in refused_rows(self._store, batch):
            state = State.SUPERSEDED if row.reason == DUPLICATE else State.REJECTED
            problem = Problem(batch.key, row.line, row.product_id, state, row.reason, row.detail)
            coverage.add_problem(problem, listed)

    def _ends(self, batch: Batch) -> Iterator[tuple[str, int | None, State, str, str]]:
        """Product, line, state, reason and detail of each row that the batch accepted."""
        images = self._images(batch)
        crops, unreadable, labelled = self._crops(batch)
        for row in changes(self._store, batch):
            if row["removed"]:
                continue
            product_id = str(row["product_id"])
            line = row["line"] if isinstance(row["line"], int) else None
            image = images.get(product_id)
            reason = detail = ""
            if image is None:
                state = State.PENDING
            elif image[0] != "ok":
                state, reason, detail = State(image[0]), image[1], image[2]
            elif image[3] in unreadable:
                state, reason, detail = State.NOT_A_PICTURE, "unreadable", unreadable[image[3]]
            elif not labelled or batch.key not in self._indexed:
                state = State.PENDING
            else:
                state = State.INDEXED if product_id in crops else State.INDEXED_WHOLE
            yield product_id, line, state, reason, detail

    def _images(self, batch: Batch) -> dict[str, tuple[str, str, str, str]]:
        columns = ["product_id", "state", "reason", "detail", "sha256"]
        try:
            rows = read_rows(self._store, batch.path("images.parquet"), IMAGES, columns)
            return {
                row["product_id"]: (row["state"], row["reason"] or "", row["detail"] or "", row["sha256"] or "")
                for row in rows
            }
        except FileNotFoundError:
            return {}

    def _crops(self, batch: Batch) -> tuple[set[str], dict[str, str], bool]:
        """Products with a crop, pictures that could not be read, and whether the batch was labelled at all."""
        path = labels_path(batch, self._labels)
        notes = read_metadata(self._store, path)
        if notes is None:
            return set(), {}, False
        rows = read_rows(self._store, path, LABELS, ["product_id", "kind"])
        later = read_metadata(self._store, embeddings_path(batch, self._embeddings)) or {"unreadable": {}}
        with_crops = {row["product_id"] for row in rows if row["kind"] == "crop"}
        return with_crops, notes["unreadable"] | later["unreadable"], True

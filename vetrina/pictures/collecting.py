"""Collecting: the pictures of a batch's products into the store, each once, and a record of every outcome.

What is fetched is decoded once here, so that everything downstream meets only pictures that can be used. Beside
each blob lies what its server said of it; an interrupted or repeated run asks for nothing that it has.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.shop import changes, shop_after
from vetrina.errors import PictureError
from vetrina.memos import read_json_memo, write_json_memo
from vetrina.parallel import Behind
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import Picture
from vetrina.pictures.fetching import Fetched, Fetcher, FetchFailed, FetchOutcome, Unchanged, Validators
from vetrina.states import State
from vetrina.store import Store, blob_path
from vetrina.tables import IMAGES, TableWriter, read_metadata, read_rows

Progress = Callable[[int, int], None]
"""Told how many are done, of how many."""


@dataclass(slots=True)
class ImagesReport:
    """What collecting a batch's pictures cost. Counts are pictures; `products` counts products.

    fetched: bytes moved; unchanged: the server said so (304); reused: neither, what was known stands;
    kept: those of the reused that were asked for in vain, since their server fails for now.
    """

    products: int = 0
    pictures: int = 0
    fetched: int = 0
    unchanged: int = 0
    reused: int = 0
    kept: int = 0
    failed: int = 0
    bytes: int = 0


def collect_pictures(
    store: Store,
    batch: Batch,
    fetcher: Fetcher,
    decoders: DecoderPool,
    *,
    retry_failed: bool = False,
    progress: Progress = lambda done, total: None,
) -> ImagesReport:
    """Fetch the pictures of `batch` that the store lacks and write `images.parquet`.

    Args:
        retry_failed: ask again for pictures that failed for good (404, not a picture), not only for those whose
            failure may have passed; but only for those that a current product shows.
    """
    with store.exclusive(f"images-{batch.key}"):
        work = _Collection(store, batch, retry_failed)
        total = len(work.outcomes) + len(work.wanted)
        progress(len(work.outcomes), total)
        with store.behind() as behind:
            for picture, outcome in work.checked(fetcher, decoders, behind):
                work.outcomes[picture] = outcome
                progress(len(work.outcomes), total)
        work.write()
    return work.report


class _Collection:
    """One batch's pictures: which are settled, which are wanted, and what came of those."""

    def __init__(self, store: Store, batch: Batch, retry_failed: bool) -> None:
        self._store = store
        self._batch = batch
        self.report = ImagesReport()
        self.products = [
            (str(row["product_id"]), str(row["picture"])) for row in changes(store, batch) if not row["removed"]
        ]
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.wanted: dict[str, Validators | None] = {}
        self._records: dict[str, dict[str, Any]] = {}
        before = self._former_outcomes()
        due = self._due(before, retry_failed)
        unsettled: list[str] = []
        for picture in dict.fromkeys(picture for _, picture in self.products):
            former = before.get(picture)
            if former is None or picture in due:
                unsettled.append(picture)
            else:
                self.outcomes[picture] = former
                self.report.reused += 1
        for picture, record in zip(unsettled, store.map(self._read_record, unsettled), strict=True):
            usable = record is not None and record["outcome"]["state"] == "ok"
            # Of this batch, which was interrupted after it; a failure that is asked about again does not stand.
            if record is not None and record["batch"] == batch.key and (usable or picture not in before):
                self.outcomes[picture] = record["outcome"]
                self.report.reused += 1
            elif record is not None and usable:
                self._records[picture] = record
                self.wanted[picture] = Validators(**record["validators"])
            else:
                self.wanted[picture] = None
        self.report.products = len(self.products)
        self.report.pictures = len(self.outcomes) + len(self.wanted)

    def _due(self, before: dict[str, dict[str, Any]], retry_failed: bool) -> set[str]:
        """Those of the pictures with an outcome that are asked for again."""
        failed = {picture for picture, former in before.items() if former["state"] != "ok"}
        if not retry_failed:
            return {picture for picture in failed if before[picture]["transient"]}
        lost = self._lost()
        return self._shown() & (failed | {picture for picture in before if before[picture]["sha256"] in lost})

    def _shown(self) -> set[str]:
        """The pictures of those products that no later batch has replaced or removed."""
        shop = shop_after(self._store, list_batches(self._store)[-1].sequence)
        own = {product_id for product_id, held in shop.items() if held.sequence == self._batch.sequence}
        return {picture for product_id, picture in self.products if product_id in own}

    def _lost(self) -> set[str]:
        """Pictures (sha256) that later steps could not read since the store has lost them."""
        tables = [
            self._batch.path(f"{kind}/{name}")
            for kind in ("labels", "embeddings")
            for name in self._store.names(self._batch.path(kind))
        ]
        unreadable = {
            sha256 for path in tables for sha256 in (read_metadata(self._store, path) or {}).get("unreadable", {})
        }
        return {sha256 for sha256 in unreadable if not self._store.exists(blob_path(sha256))}

    def _former_outcomes(self) -> dict[str, dict[str, Any]]:
        try:
            rows = list(read_rows(self._store, self._batch.path("images.parquet"), IMAGES))
        except FileNotFoundError:
            return {}
        return {row["picture"]: {key: row[key] for key in row if key != "product_id"} for row in rows}

    def checked(self, fetcher: Fetcher, decoders: DecoderPool, behind: Behind) -> Iterator[tuple[str, dict[str, Any]]]:
        """Fetch what is wanted, decode it once, and settle each picture; it is kept `behind`."""
        for (picture, outcome), decoded in decoders.decode_all(self._to_decode(fetcher)):
            settled, validators = self._settle(picture, outcome, decoded)
            data = outcome.data if isinstance(outcome, Fetched) and settled["sha256"] else None
            behind.do(partial(self._save, picture, settled, validators, data))
            yield picture, settled

    def _to_decode(self, fetcher: Fetcher) -> Iterator[tuple[tuple[str, FetchOutcome], Callable[[], bytes]]]:
        jobs = ((picture, picture, validators) for picture, validators in self.wanted.items())
        for picture, outcome in fetcher.fetch_all(jobs):
            yield (picture, outcome), _bytes_of(outcome)

    def _settle(
        self, picture: str, outcome: FetchOutcome, decoded: Picture | PictureError
    ) -> tuple[dict[str, Any], Validators]:
        settled: dict[str, Any] = {
            **dict.fromkeys(name for name in IMAGES.names if name != "product_id"),
            "picture": picture,
            "state": "ok",
            "transient": False,
            "attempts": outcome.attempts,
            "seconds": outcome.seconds,
        }
        validators = Validators(None, None)
        if isinstance(outcome, Unchanged):
            self.report.unchanged += 1
            settled, validators = self._known(picture)
        elif isinstance(outcome, FetchFailed) and outcome.transient and picture in self._records:
            # A server that is down for now says nothing of a picture that is here.
            self.report.reused += 1
            self.report.kept += 1
            settled, validators = self._known(picture)
        elif isinstance(outcome, FetchFailed):
            settled.update(
                state=outcome.state, reason=outcome.reason, detail=outcome.detail, transient=outcome.transient
            )
        elif isinstance(decoded, PictureError):
            state = State.TOO_SMALL if decoded.reason == "too-small" else State.NOT_A_PICTURE
            settled.update(state=state.value, reason=decoded.reason, detail=decoded.detail)
        else:
            sha256 = hashlib.sha256(outcome.data).hexdigest()
            validators = outcome.validators
            self.report.fetched += 1
            self.report.bytes += len(outcome.data)
            settled.update(
                sha256=sha256,
                media=decoded.media,
                bytes=len(outcome.data),
                width=decoded.width,
                height=decoded.height,
            )
        return settled, validators

    def _known(self, picture: str) -> tuple[dict[str, Any], Validators]:
        """What another batch got for a picture."""
        record = self._records[picture]
        return record["outcome"], Validators(**record["validators"])

    def _save(self, picture: str, outcome: dict[str, Any], validators: Validators, data: bytes | None) -> None:
        """Keep a picture's bytes, and then the record that stands for having them."""
        if data is not None:
            # Also where it lies already: garbage collection spares what was written lately.
            self._store.write(blob_path(outcome["sha256"]), data)
        if not outcome["transient"]:
            record = {"batch": self._batch.key, "outcome": outcome, "validators": asdict(validators)}
            write_json_memo(self._store, "fetches", _record_key(picture), record)

    def _read_record(self, picture: str) -> dict[str, Any] | None:
        record: dict[str, Any] | None = read_json_memo(self._store, "fetches", _record_key(picture))
        if record is None:
            return None
        sha256 = record["outcome"]["sha256"]
        return record if sha256 is None or self._store.exists(blob_path(sha256)) else None

    def write(self) -> None:
        """Publish the batch's table of outcomes."""
        self.report.failed = sum(outcome["state"] != "ok" for outcome in self.outcomes.values())
        with TableWriter(self._store, self._batch.path("images.parquet"), IMAGES) as writer:
            for product_id, picture in self.products:
                writer.add({"product_id": product_id, **self.outcomes[picture]})


def failures(store: Store, batch: Batch) -> Counter[tuple[str, str]]:
    """How many products of the batch failed, by (state, reason)."""
    rows = read_rows(store, batch.path("images.parquet"), IMAGES, ["state", "reason"])
    return Counter((row["state"], row["reason"]) for row in rows if row["state"] != "ok")


def _bytes_of(outcome: FetchOutcome) -> Callable[[], bytes]:
    def load() -> bytes:
        if isinstance(outcome, Fetched):
            return outcome.data
        raise PictureError("not-fetched", "There is nothing to decode")

    return load


def _record_key(picture: str) -> str:
    return hashlib.sha256(picture.encode()).hexdigest()

"""Answers for the command line: similar products, and the state of the shop, as plain values."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.named_files import check_place, write_whole
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.shop import read_report
from vetrina.errors import NotFound, PictureError
from vetrina.index.publishing import standing_table
from vetrina.index.settings import TableSettings
from vetrina.index.versions import Published, current, verify
from vetrina.search.answers import Answer
from vetrina.search.attributes import attributes_of, names_in
from vetrina.search.collage import Tile, draw_collage
from vetrina.search.conditions import ANY, Conditions
from vetrina.search.describing import answer_as_json, detections_as_json, explanation_as_json
from vetrina.search.explaining import explain, item_as_json, origin_of
from vetrina.search.window import PhotoQuery, ShopWindow
from vetrina.store import Store

_MOST_DRAWN = 100
"""Results on one picture, which then has 10 million pixels."""


def similar_to_product(
    deployment: Deployment, product_id: str, k: int, conditions: Conditions = ANY, picture: Path | None = None
) -> dict[str, Any]:
    """What looks like a product. Raises NotFound, SettingError."""
    check_place(picture)
    window = deployment.window()
    found = window.similar(product_id, k, conditions)
    served = window.similar(product_id, k, replace(conditions, exact=False)) if conditions.exact else None
    names = _names(window, [product_id, *(other.product_id for other in found.answer.neighbours)])
    drawn = None
    if picture is not None:
        item = window.engine.items_of(product_id)[0]
        query = Tile(window.picture(item.sha256), names.get(product_id, product_id), "", None)
        drawn = _draw(window, query, found.answer, names, picture)
    return {
        "query": {"product_id": product_id, "name": names.get(product_id)},
        **answer_as_json(window, found, names, served=served),
        "picture": None if picture is None else str(picture),
        "drawn": drawn,
    }


def similar_to_photo(
    deployment: Deployment, photo: Path, k: int, conditions: Conditions = ANY, picture: Path | None = None
) -> dict[str, Any]:
    """What looks like the things on a photo. Raises NotFound, PictureError, FileNotFoundError, SettingError."""
    check_place(picture)
    data = _photo(photo)
    window = deployment.window()
    seen = _seen(window, photo, data)
    found = window.search(seen, k, conditions)
    served = window.search(seen, k, replace(conditions, exact=False)) if conditions.exact else None
    names = _names(window, [other.product_id for other in found.answer.neighbours])
    drawn = None
    if picture is not None:
        drawn = _draw(window, Tile(seen.pixels, photo.name, "", None), found.answer, names, picture)
    return {
        "query": {"photo": str(photo), "detections": detections_as_json(seen)},
        **answer_as_json(window, found, names, served=served, photo=seen),
        "picture": None if picture is None else str(picture),
        "drawn": drawn,
    }


def explain_result(deployment: Deployment, asked: str, result: str) -> dict[str, Any]:
    """Why a product is a result of a product or, where there is no such product, of the photo file of that name.

    Raises NotFound, PictureError.
    """
    window = deployment.window()
    photo: PhotoQuery | None = None
    try:
        query, own = window.engine.product_query(asked), asked
        sides = [item_as_json(window.store, item) for item in window.engine.items_of(asked)]
        origin = origin_of(window.store, asked, sides[0]["batch"])
    except NotFound:
        if not _may_be_file(Path(asked)):
            raise
        file = Path(asked)
        photo, own, origin = _seen(window, file, _photo(file)), None, None
        query = photo.query
        sides = [
            {"kind": kind, "label": crop and crop.label, "score": crop and crop.score, "box": list(box)}
            for kind, (box, crop) in zip(query.kinds, photo.parts, strict=True)
        ]
    found = explain(window, query, result, own=own)
    names = _names(window, [result] if own is None else [own, result])
    described: dict[str, Any] = {("photo" if own is None else "product_id"): asked, "name": names.get(asked)}
    return explanation_as_json(window, described, sides, origin, result, found, names)


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return True  # reading it says what is in the way
    except OSError:
        return False  # longer than a name can be


def _photo(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise NotFound(f"{file} is a folder; name a picture file")
        return file.read_bytes()
    except FileNotFoundError:
        raise  # told for all commands in one place
    except OSError as error:
        raise PictureError("unreadable", f"{file} cannot be read: {error.strerror}; check the path") from error


def _seen(window: ShopWindow, file: Path, data: bytes) -> PhotoQuery:
    try:
        return window.photo(data)
    except PictureError as error:
        raise PictureError(error.reason, f"{file} cannot be used as a photo: {error.detail}") from error


def shop_status(deployment: Deployment, most_problems: int) -> dict[str, Any]:
    """Where rows ended, the batches, the index."""
    store = deployment.store
    reader = deployment.coverage(most_problems)
    coverage = reader.shop()
    damaged: list[str] = []
    published = current(store, damaged)
    index = None
    if published is not None:
        manifest = verify(store, published)
        index = {
            "version": published.version,
            "number": published.number,
            "published_at": published.published_at,
            "products": manifest.products,
            "items": manifest.items,
            "dims": manifest.dims,
            "serve_with": manifest.serve_with,
            "recall": manifest.recall["recall"],
            "recall_lower_95": manifest.recall["lower_95"],
            "worst_class": worst_class(manifest.recall),
            "exact_classes": manifest.exact_classes,
            "fingerprints": manifest.fingerprints,
            "table": _table(store, published, deployment.index.table()),
        }
    batches = []
    for batch, found in reader.every_batch():
        report = read_report(store, batch)
        batches.append(
            {
                "batch": batch.key,
                "catalog": batch.catalog,
                "mode": batch.mode,
                "registered_at": batch.registered_at,
                "rows": found.rows,
                "states": dict(found.states),
                "error": report.error if report is not None else None,
            }
        )
    return {
        "store": store.root,
        "rows": coverage.rows,
        "states": dict(coverage.states),
        "reasons": dict(coverage.reasons),
        "problems": [problem.as_json() for problem in coverage.problems],
        "batches": batches,
        "set_aside": [asdict(problem) for problem in list_set_aside(store)],
        "index": index,
        "damaged": damaged,
        "undetectable_classes": list(deployment.detector.undetectable()),
    }


def _table(store: Store, published: Published, settings: TableSettings) -> dict[str, Any] | None:
    """The table of similar products of an index; None when it is not there."""
    table = standing_table(store, published, settings)
    if table is None:
        return None
    values = {"rows": table.rows, "products": table.products, "made_by": table.made_by, "why": table.why}
    return {**values, "recall": table.recall.get("recall"), "recall_lower_95": table.recall.get("lower_95")}


def worst_class(recall: dict[str, Any]) -> dict[str, Any] | None:
    """The class whose products' neighbours Annoy finds fewest of, as a manifest has it; None without classes."""
    classes = [entry for entry in recall["by_label"] if entry["label"] is not None]
    return min(classes, key=lambda entry: float(entry["recall"]), default=None)


def _names(window: ShopWindow, product_ids: list[str]) -> dict[str, str]:
    return names_in(attributes_of(window.store, product_ids))


def _draw(window: ShopWindow, query: Tile, answer: Answer, names: dict[str, str], file: Path) -> int:
    """Draw the best results into a file; gives how many."""
    tiles = [
        Tile(
            window.picture(found.item.sha256),
            names.get(found.product_id, found.product_id),
            f"{found.score:.2f}",
            found.item.box if found.item.kind == "crop" else None,
        )
        for found in answer.neighbours[:_MOST_DRAWN]
    ]
    write_whole(file, draw_collage(query, tiles))
    return len(tiles)

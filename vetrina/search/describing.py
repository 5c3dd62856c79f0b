"""Answers and explanations as plain values: what the command line, the API and the page show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vetrina.detection.crops import WHOLE
from vetrina.search.answers import Answer, Neighbour
from vetrina.search.explaining import Explanation, Origin, item_as_json
from vetrina.search.window import Familiarity, Found, PhotoQuery, ShopWindow

Names = Mapping[str, str]
"""Product id → name, of those that have one."""


def answer_as_json(
    window: ShopWindow, found: Found, names: Names, *, served: Found | None = None, photo: PhotoQuery | None = None
) -> dict[str, Any]:
    """An answer.

    Args:
        served: what the index alone gives, where everything was compared.
        photo: what was searched with, if it was a photo.
    """
    return {
        "similar": [_neighbour(other, names, photo) for other in found.answer.neighbours],
        "left_out": [asdict(other) for other in found.left_out],
        "available": found.answer.available,
        **_familiarity(found.familiarity),
        "exact": found.answer.exact,
        "missed": None if served is None else missed(found.answer, served.answer),
        "index_version": found.answer.index_version,
        "problems": [*window.problems, *found.problems],
    }


def detections_as_json(photo: PhotoQuery) -> list[dict[str, Any]]:
    """What was detected on a photo, best first, with the numbers by which a search chooses one."""
    return [
        {"object": number, "class": crop.label, "score": round(crop.score, 3), "box": list(crop.box)}
        for number, crop in enumerate(photo.detected)
    ]


def explanation_as_json(
    window: ShopWindow,
    asked: dict[str, Any],
    sides: list[dict[str, Any]],
    origin: Origin | None,
    result: str,
    found: Explanation,
    names: Names,
) -> dict[str, Any]:
    """Why a product is a result.

    Args:
        asked: what was searched with, as one entry: the product's id, or the photo's name.
        sides: the picture and crops of each query row.
        origin: of the product that asks.
    """
    manifest = window.index.manifest
    return {
        "query": {**asked, "origin": None if origin is None else asdict(origin)},
        "result": {"product_id": result, "name": names.get(result), "origin": asdict(found.origin)},
        "score": round(found.pairs[0].cosine - found.pairs[0].penalty, 6),
        "rank": found.rank,
        "of": found.of,
        "found": found.found,
        "newer_than_index": found.newer,
        "pairs": [
            {
                "cosine": round(pair.cosine, 6),
                "distance": round(math.sqrt(max(0.0, 2 - 2 * pair.cosine)), 6),
                "penalty": pair.penalty,
                "query": sides[pair.query_row],
                "result": item_as_json(window.store, pair.item),
            }
            for pair in found.pairs
        ],
        "index": {
            "version": window.index.version,
            "built_at": manifest.created_at,
            "serve_with": manifest.serve_with,
            "dims": manifest.dims,
            "raw_dims": manifest.raw_dims,
            "projection": manifest.projection,
        },
        "models": manifest.fingerprints,
        "problems": window.problems,
    }


def _familiarity(judged: Familiarity | None) -> dict[str, Any]:
    """Whether nothing is similar; null of a product, and where the index has no floor."""
    if judged is None:
        return {"nothing_similar": None, "likeness": None, "min_similarity": None}
    return {
        "nothing_similar": judged.nothing_similar,
        "likeness": round(judged.likeness, 4),
        "min_similarity": round(judged.least, 4),
    }


def missed(answer: Answer, served: Answer) -> list[str]:
    """Products of an exact answer that the served one lacks; one that ties with the last served was not missed."""
    got = {found.product_id for found in served.neighbours}
    last = min((found.score for found in served.neighbours), default=-math.inf)
    full = len(served.neighbours) >= len(answer.neighbours)
    return [f.product_id for f in answer.neighbours if f.product_id not in got and not (full and f.score <= last)]


def _neighbour(found: Neighbour, names: Names, photo: PhotoQuery | None) -> dict[str, Any]:
    item = found.item
    described: dict[str, Any] = {
        "product_id": found.product_id,
        "name": names.get(found.product_id),
        "score": round(found.score, 4),
        "class": item.label,
        "matched": item.kind,
        "box": [round(side, 5) for side in item.box],
        "sha256": item.sha256,
        "batch": item.batch,
    }
    if photo is not None:
        box, crop = photo.parts[found.query_row]
        described["because_of"] = crop.label if crop is not None else "whole photo" if box == WHOLE else "chosen part"
    return described

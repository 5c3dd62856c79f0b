"""Examples for the API's document: answers of the sample shop, shortened."""

from __future__ import annotations

from typing import Any

from web.api.operation_examples import OPERATION_EXAMPLES

_IBOOK = "1865cea3bc68b16855ac7d5a1758fa95051954ce90e88a6a22903e83146233ef"
_LAPTOP = "4b9fe78e24e9f9e4b2b50c9a1de128f19043cfed1d9a1d81763b6a0ede6c827d"
_INDEX = "553df97522dce9c0"
_WHOLE = [0.0, 0.0, 1.0, 1.0]

_PRODUCT: dict[str, Any] = {
    "product_id": "Kator Legaz#apple-ibook-2001",
    "name": "Apple iBook",
    "sha256": _IBOOK,
    "attributes": {"name": "Apple iBook", "category": "Office", "width_cm": "28.5"},
    "items": [
        {
            "crop_id": "adf9ef2b392c25490e8c83662c3fae9e",
            "sha256": _IBOOK,
            "kind": "whole",
            "label": None,
            "score": None,
            "box": _WHOLE,
            "batch": "katorlegaz-6af8132ab2",
        },
        {
            "crop_id": "319cdec93e1c4a995fe8a9e49448e5cb",
            "sha256": _IBOOK,
            "kind": "crop",
            "label": "Laptop",
            "score": 0.90079898,
            "box": [0.04523, 0.03835, 0.94027, 0.96356],
            "batch": "katorlegaz-6af8132ab2",
        },
    ],
    "newer_than_index": False,
}
_PRODUCTS: dict[str, Any] = {
    "products": [
        {"product_id": _PRODUCT["product_id"], "name": "Apple iBook", "sha256": _IBOOK, "classes": ["Laptop"]},
    ],
    "total": 1,
    "classes": [{"class": "Laptop", "products": 1}],
    "facets": [{"attribute": "category", "values": [{"value": "Office", "products": 1}]}],
}
_NEIGHBOUR: dict[str, Any] = {
    "product_id": "Blend Swap CC-BY#laptop",
    "name": "Laptop",
    "score": 0.9272,
    "class": None,
    "matched": "whole",
    "box": _WHOLE,
    "sha256": _LAPTOP,
    "batch": "blendswap-cc-by-cff4c12be6",
}
_ANSWER: dict[str, Any] = {
    "left_out": [],
    "available": 819,
    "nothing_similar": None,
    "likeness": None,
    "min_similarity": None,
    "exact": True,
    "missed": None,
    "index_version": _INDEX,
    "problems": [],
}
_SIMILAR: dict[str, Any] = {"query": _PRODUCT, "similar": [_NEIGHBOUR], **_ANSWER}
_SEARCH: dict[str, Any] = {
    "query": {
        "width": 640,
        "height": 480,
        "detections": [{"object": 0, "class": "Laptop", "score": 0.874, "box": [0.12, 0.2, 0.71, 0.83]}],
    },
    "similar": [{**_NEIGHBOUR, "score": 0.8125, "because_of": "Laptop"}],
    **_ANSWER,
    "available": 820,
    "nothing_similar": False,
    "likeness": 0.8125,
    "min_similarity": 0.6173,
}


def _side(product_id: str, name: str, catalog: str, line: int, picture: str) -> dict[str, Any]:
    batch = f"{catalog}-6af8132ab2"
    origin = {
        "batch": batch,
        "catalog": catalog,
        "source": f"catalogs/{catalog}.csv",
        "registered_at": "2026-11-25T16:16:44+00:00",
        "line": line,
        "picture": f"https://shop.example/{picture}",
        "attributes": f'{{"name": "{name}", "category": "Office"}}',
    }
    return {"product_id": product_id, "name": name, "origin": origin}


_EXPLAIN: dict[str, Any] = {
    "query": _side(_PRODUCT["product_id"], "Apple iBook", "katorlegaz", 72, "apple-ibook-2001.png"),
    "result": _side(_NEIGHBOUR["product_id"], "Laptop", "blendswap-cc-by", 100, "laptop.png"),
    "score": 0.927204,
    "rank": 1,
    "of": 819,
    "found": True,
    "newer_than_index": False,
    "pairs": [
        {
            "cosine": 0.927204,
            "distance": 0.381566,
            "penalty": 0.0,
            "query": _PRODUCT["items"][0],
            "result": {
                "crop_id": "4b063d254a529e8dca3de3994d83fb22",
                "sha256": _LAPTOP,
                "kind": "whole",
                "label": None,
                "score": None,
                "box": _WHOLE,
                "batch": "blendswap-cc-by-cff4c12be6",
            },
        }
    ],
    "index": {
        "version": _INDEX,
        "built_at": "2026-11-25T16:18:18+00:00",
        "serve_with": "exact",
        "dims": 128,
        "raw_dims": 1280,
        "projection": {"dims": 128, "variance_kept": 0.7941},
    },
    "models": {"detector": "79490bbc5e1c6d30", "extractor": "eac8d766f0d7b3fb"},
    "problems": [],
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "Alive": {"status": "alive"},
    "ExplainAnswer": _EXPLAIN,
    "Product": _PRODUCT,
    "ProductList": _PRODUCTS,
    "Ready": {
        "status": "ready",
        "index_version": _INDEX,
        "products": 820,
        "last_look": "2026-11-25T19:36:04+00:00",
        "problem": None,
    },
    "SearchAnswer": _SEARCH,
    "SimilarAnswer": _SIMILAR,
    **OPERATION_EXAMPLES,
}
"""By the names of their models (`web.api.models`, `web.api.operation_models`)."""

METRICS_EXAMPLE = f"""\
vetrina_requests_total{{method="GET",route="/api/v1/similar",status="200"}} 1204.0
vetrina_requests_in_flight 1.0
vetrina_index_info{{extractor="bundled:efficientnet-lite0",serve_with="annoy",version="{_INDEX}"}} 1.0
vetrina_index_age_seconds 86400.0
vetrina_index_recall 0.9938
vetrina_products 3152.0
vetrina_tail_products 0.0
vetrina_last_look_success 1.0
"""
"""A part of the figures for Prometheus."""

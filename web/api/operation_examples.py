"""Examples of what the operations routes answer, for the API's document: a shop with a batch that failed in part."""

from __future__ import annotations

from typing import Any

_BATCH = "spring-cb93dedcce"
_INDEX = "de26d3731a0fdf20"
_BEFORE = "553df97522dce9c0"
_DAGSTER = "https://dagster.example"
_STATES = {"indexed": 7, "indexed_whole": 1, "fetch_failed": 2, "rejected": 3}
_REASONS = {"fetch_failed: http-404": 2, "rejected: missing-picture": 2, "rejected: missing-id": 1}
_BATCH_AS_LISTED: dict[str, Any] = {
    "batch": _BATCH,
    "catalog": "spring",
    "file": "spring.csv",
    "mode": "delta",
    "origin": "watch",
    "registered_at": "2026-11-25T19:53:22+00:00",
    "state": "done",
    "error": None,
    "rows": 13,
    "states": _STATES,
    "reasons": _REASONS,
    "dagster": {
        "partition": f"{_DAGSTER}/assets/embeddings?view=partitions&partition={_BATCH}",
        "runs": f"{_DAGSTER}/runs?q%5B%5D=tag%3Adagster%2Fpartition%3D{_BATCH}",
    },
}
_RECORD: dict[str, Any] = {
    "number": 2,
    "version": _INDEX,
    "published_at": "2026-11-25T19:53:26.347470+00:00",
    "note": "",
    "restores": None,
    "current": True,
    "usable": True,
    "problem": None,
    "can_be_restored": False,
    "index": {
        "products": 828,
        "items": 1441,
        "dims": 128,
        "created_at": "2026-11-25T19:53:25+00:00",
        "serve_with": "annoy",
        "serve_reason": "annoy is faster (exact 0.310 ms, annoy 0.114 ms a query)",
        "extractor": "bundled:efficientnet-lite0",
        "fingerprints": {"detector": "79490bbc5e1c6d30", "extractor": "eac8d766f0d7b3fb"},
        "recall": 0.9955,
        "recall_lower_95": 0.9912,
        "recall_target": 0.99,
        "recall_k": 10,
        "recall_met": True,
        "queries": 400,
        "exact_classes": ["Bicycle"],
        "classes": [
            {"class": None, "recall": 0.99, "lower_95": 0.981, "queries": 20},
            {"class": "Bicycle", "recall": 0.95, "lower_95": 0.9, "queries": 2},
        ],
    },
}
_SHOWN: dict[str, Any] = {
    "version": _INDEX,
    "for_seconds": 3600.5,
    "products": 831,
    "newer_than_index": 3,
    "problem": None,
}

OPERATION_EXAMPLES: dict[str, dict[str, Any]] = {
    "Coverage": {
        "rows": 836,
        "states": {"indexed": 412, "indexed_whole": 419, "fetch_failed": 2, "rejected": 3},
        "reasons": _REASONS,
        "searchable": 831,
        "failed": 2,
        "set_aside": [
            {
                "source": "s3://shop/incoming/autumn.csv",
                "found_by": "watch",
                "reason": "autumn.csv: no column holds the id; name it with VETRINA_ID_COLUMNS",
                "since": "2026-11-25T19:53:37+00:00",
            }
        ],
    },
    "RowProblems": {
        "problems": [
            {
                "batch": _BATCH,
                "line": 3,
                "product_id": "umbrella",
                "state": "fetch_failed",
                "reason": "http-404",
                "detail": "https://shop.example/umbrella.png: answered 404",
            }
        ],
        "total": 5,
    },
    "BatchList": {"batches": [_BATCH_AS_LISTED], "total": 8},
    "BatchInFull": {
        **_BATCH_AS_LISTED,
        "sha256": "1865cea3bc68b16855ac7d5a1758fa95051954ce90e88a6a22903e83146233ef",
        "verdicts": [
            {
                "check": "coverage",
                "passed": False,
                "message": f"Only 8 of 13 new rows of batch {_BATCH} are searchable (62%, expected at least 80%)",
                "facts": {"rows": 13, "searchable": 8, "share": 0.6154},
            }
        ],
    },
    "VersionList": {"current": _RECORD, "versions": [_RECORD], "total": 2, "damaged": [], "shown": _SHOWN},
    "ReportList": {
        "reports": [
            {
                "version": _INDEX,
                "name": "evaluation-bff4943f06a96a4e",
                "made_at": "2026-11-25T19:56:47+00:00",
                "bytes": 866295,
                "label": "category",
                "queries": 820,
                "measures": {"map@10": {"value": 0.37, "low": 0.345, "high": 0.393}},
                "problem": None,
            }
        ],
        "total": 1,
    },
    "Retry": {
        "state": "running",
        "since": "2026-11-25T20:09:35+00:00",
        "ended": None,
        "report": None,
        "error": None,
    },
    "Rollback": {
        "number": 3,
        "version": _BEFORE,
        "manifest_sha256": "cf68dc60523edc8890535a93ac08acaebdcc3c1d7cd3824a58102a4a1aa77dd3",
        "published_at": "2026-11-25T20:10:11.113905+00:00",
        "note": f"rollback from {_INDEX} to number 1",
        "restores": 1,
        "table": True,
        "extractor": "bundled:efficientnet-lite0",
        "other_extractor": False,
        "shown": {**_SHOWN, "version": _BEFORE, "for_seconds": 0.1, "newer_than_index": 11},
    },
}
"""By the names of their models (`web.api.operation_models`)."""

REPORT_EXAMPLE: dict[str, Any] = {
    "label": "category",
    "by": "category",
    "k": 10,
    "map@10": {"value": 0.401, "low": 0.38, "high": 0.423},
    "macro": {"map@10": {"value": 0.37, "low": 0.345, "high": 0.393}},
    "classes": [{"class": "Office", "products": 212, "queries": 212, "map@10": 0.524}],
    "counts": {"products": 846, "labelled": 833, "classes": 21, "queries": 820, "searched": 846},
    "latency_ms": {"p50": 0.412, "p99": 1.07},
}
"""Figures of a report, shortened; they have no model, for the measures are named after k."""

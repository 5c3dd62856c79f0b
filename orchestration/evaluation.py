"""Evaluations and near-duplicates of the shop for the command line, as plain values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from orchestration import printing
from orchestration.deployment import Deployment
from orchestration.named_files import check_place, write_whole
from vetrina.evaluation.evaluation import Plan
from vetrina.evaluation.shop import Choice, assess
from vetrina.pictures.likeness import DEFAULT_LIMITS, show_the_same
from vetrina.pictures.prints import prints_of
from vetrina.search.attributes import attributes_of, names_in
from vetrina.search.duplicates import find_conflicts, find_groups
from vetrina.store import Store


def evaluate_shop(
    deployment: Deployment, plan: Plan, choice: Choice, *, report: Path | None = None, progress: printing.Steps
) -> dict[str, Any]:
    """How good the served answers are, by a label.

    Args:
        report: also write this HTML file.

    Raises:
        NotFound, SettingError: nothing can be measured so.
        StoreError: the report cannot be written.
    """
    check_place(report)
    window = deployment.window()
    with showing(progress, f"Evaluation by {plan.label}"):
        found = assess(window, plan, choice, workers=deployment.settings.worker_count, step=progress.step)
    values = {**found.values, "report": None if report is None else str(report)}
    if report is not None:
        from vetrina.evaluation.report import html_report

        page = html_report(found.evaluation, values, found.products, found.names, window.picture)
        write_whole(report, page.encode("utf-8", "replace"))
    return values


def duplicates_in_shop(deployment: Deployment, *, progress: printing.Steps) -> dict[str, Any]:
    """Products that show one picture, with evidence, and products whose picture changed. Raises NotFound."""
    window = deployment.window()
    products = window.engine.everything()
    with showing(progress, "Near-duplicates"):
        prints, unreadable = prints_of(
            window.store,
            products.sha256,
            workers=deployment.settings.worker_count,
            progress=partial(progress.step, "prints"),
        )
        groups = find_groups(products, prints)
    picture_of = dict(zip(products.product_ids, products.sha256, strict=True))
    names = names_in(attributes_of(window.store, [name for group in groups for name in group.product_ids]))
    return {
        "products": len(products.product_ids),
        "groups": [
            {
                "products": [
                    {"product_id": name, "name": names.get(name), "sha256": picture_of[name]}
                    for name in group.product_ids
                ],
                "evidence": [link.as_json() for link in group.links],
            }
            for group in groups
        ],
        "conflicts": _conflicts(window.store),
        "unreadable": unreadable,
        "limits": {
            "cosine": DEFAULT_LIMITS.cosine,
            "bits": DEFAULT_LIMITS.bits,
            "cell": DEFAULT_LIMITS.cell,
            "spread": DEFAULT_LIMITS.spread,
        },
        "index_version": window.index.version,
        "problems": window.problems,
    }


def _conflicts(store: Store) -> list[dict[str, Any]]:
    """Products whose picture changed; `same_picture` says whether only its bytes did (null: not known any more)."""
    found = []
    for conflict in find_conflicts(store):
        pictures = [sha256 for _, sha256 in conflict.pictures]
        prints, _ = prints_of(store, pictures)
        alike = [show_the_same(prints, place, place + 1) for place in range(len(pictures) - 1)]
        same = False if False in alike else None if None in alike else True
        entries = [{"batch": batch, "sha256": sha256} for batch, sha256 in conflict.pictures]
        found.append({"product_id": conflict.product_id, "pictures": entries, "same_picture": same})
    return found


@contextlib.contextmanager
def showing(progress: printing.Steps, title: str) -> Iterator[None]:
    """Progress of what is done in the block."""
    progress.begin(title)
    try:
        yield
    finally:
        progress.end()

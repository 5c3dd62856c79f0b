"""Evaluations and near-duplicates of the shop for the command line, as plain values."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestration import printing
from orchestration.answers import names_in
from orchestration.deployment import Deployment
from vetrina.errors import SettingError, StoreError
from vetrina.evaluation.evaluation import Plan, as_json, assign_roles, evaluate
from vetrina.evaluation.labels import (
    DETECTED,
    Attributes,
    labels_of,
    last_words,
    matching,
    parse_condition,
)
from vetrina.pictures.likeness import DEFAULT_LIMITS, show_the_same
from vetrina.pictures.prints import prints_of
from vetrina.search.attributes import attributes_of, parse_attributes
from vetrina.search.duplicates import duplicates_of, find_conflicts, find_groups
from vetrina.search.engine import Products
from vetrina.store import Store


def evaluate_shop(
    deployment: Deployment,
    plan: Plan,
    *,
    last_word: bool = False,
    queries: str | None = None,
    split: str | None = None,
    distractors: str | None = None,
    report: Path | None = None,
    progress: printing.Steps,
) -> dict[str, Any]:
    """How good the served answers are, by a label.

    Args:
        last_word: of the label only its last word counts.
        queries: ATTRIBUTE=VALUE of the products that ask. split: the same, and those are not to be found.
        distractors: which products without a label may be found too: a number, drawn at random, or ATTRIBUTE=VALUE.
        report: also write this HTML file.

    Raises:
        NotFound, SettingError: nothing can be measured so.
        StoreError: the report cannot be written.
    """
    if queries is not None and split is not None:
        raise SettingError("Give --queries or --split, not both")
    check_place(report)
    window = deployment.window()
    products = window.engine.everything()
    texts = attributes_of(window.store, products.product_ids)
    attributes = parse_attributes(texts)
    labels = labels_of(products, attributes, plan.label)
    if last_word:
        labels = last_words(labels)
    asking = None
    if queries is not None or split is not None:
        option = "--queries" if queries is not None else "--split"
        asking = matching(products, attributes, parse_condition(queries or split or "", option))
    roles = assign_roles(
        products.product_ids,
        labels,
        plan,
        asking=asking,
        apart=split is not None,
        distractors=_distractors(distractors, products, attributes, labels, plan),
    )
    with showing(progress, f"Evaluation by {plan.label}"):
        prints, unreadable = prints_of(
            window.store,
            products.sha256,
            workers=deployment.settings.worker_count,
            progress=partial(progress.step, "prints"),
        )
        groups = find_groups(products, prints, around=set(roles.queries))
        found = evaluate(
            window.engine,
            labels,
            roles,
            plan,
            duplicates=duplicates_of(groups),
            progress=partial(progress.step, "queries"),
        )
    found.notes.extend(window.problems)
    if not found.answers.exact.all() and len(roles.searched) + len(roles.distractors) < len(products.product_ids):
        found.notes.append("Only a part of the index is searched here, so approximate searches take longer than served")
    if unreadable:
        found.notes.append(f"{len(unreadable)} pictures cannot be read any more, so they have no known duplicates")
    if plan.label == DETECTED and any(DETECTED in values for values in attributes.values()):
        found.notes.append(f"The catalogs have an attribute {DETECTED!r}; what the detector saw was taken instead")
    manifest = window.index.manifest
    values = as_json(found)
    if last_word:
        values["by"] = f"the last word of {plan.label}"
    values["settings"] |= {"last_word": last_word, "queries": queries, "split": split, "distractors": distractors}
    values["duplicates"] = {
        "groups": len(groups),
        "products": sum(len(group.product_ids) for group in groups),
        "first": [link.as_json() for group in groups[:20] for link in group.links][:20],
    }
    values["index"] = {
        "version": window.index.version,
        "products": manifest.products,
        "items": manifest.items,
        "dims": manifest.dims,
        "serve_with": manifest.serve_with,
        "serve_reason": manifest.serve_reason,
        "recall_at_build": manifest.recall["recall"],
        "settings": manifest.settings,
        "fingerprints": manifest.fingerprints,
    }
    values["report"] = None if report is None else str(report)
    if report is not None:
        from vetrina.evaluation.report import html_report

        page = html_report(found, values, products, names_in(texts), window.picture)
        write_report(report, page.encode("utf-8", "replace"))
    return values


def check_place(report: Path | None) -> None:
    """Raise SettingError when a report cannot be written there, before hours are spent on it."""
    if report is not None and not report.parent.is_dir():
        raise SettingError(f"There is no folder for the report {report}; choose another place")


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


def _distractors(
    asked: str | None, products: Products, attributes: Attributes, labels: Mapping[str, str], plan: Plan
) -> list[str]:
    """The products without a label that were asked for. Raises SettingError, NotFound."""
    if asked is None:
        return []
    unlabelled = [name for name in products.product_ids if name not in labels]
    if asked.isdecimal():
        count = int(asked)
        if count > len(unlabelled):
            raise SettingError(
                f"There are {len(unlabelled)} products without {plan.label!r}, so {count} distractors are too many"
            )
        drawn = np.random.default_rng(plan.seed).choice(len(unlabelled), count, replace=False)
        return [unlabelled[place] for place in drawn]
    if "=" not in asked:
        raise SettingError(f"--distractors is {asked!r}; give a number or ATTRIBUTE=VALUE")
    chosen = matching(products, attributes, parse_condition(asked, "--distractors"))
    found = [name for name in unlabelled if name in chosen]
    if not found:
        raise SettingError(f"All {len(chosen)} products with {asked} have {plan.label!r}; distractors must have none")
    return found


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


def write_report(file: Path, data: bytes) -> None:
    """Put a file in a person's folder, whole or not at all. Raises StoreError."""
    aside = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        aside.write_bytes(data)
        aside.replace(file)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"The report cannot be written to {file}: {error.strerror}; choose another place") from error

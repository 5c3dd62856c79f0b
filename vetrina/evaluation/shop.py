"""The evaluation of a whole shop: its labels, its near-duplicates, the search as it is served, and what comes of it.

Belongs here: bringing the parts together for whoever asks (the command line, the Dagster asset). Does not belong here:
measuring (`evaluation`, `sweep`) and how results look (`report`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vetrina.errors import NotFound, SettingError
from vetrina.evaluation.evaluation import Evaluation, Plan, Roles, as_json, assign_roles, evaluate
from vetrina.evaluation.labels import DETECTED, labels_of, last_words, matching, parse_condition
from vetrina.evaluation.sweep import sweep
from vetrina.index.sources import IndexItems
from vetrina.pictures.prints import prints_of
from vetrina.search.answers import Products
from vetrina.search.attributes import Attributes, attributes_of, names_in, parse_attributes
from vetrina.search.duplicates import duplicates_of, find_groups
from vetrina.search.window import ShopWindow

Step = Callable[[str, int, int], None]
"""Told what is worked on, how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who asks, what may be found, and what else is measured.

    Attributes:
        last_word: of the label only its last word counts.
        queries: ATTRIBUTE=VALUE of the products that ask. split: the same, and those are not to be found.
        distractors: which products without a label may be found too: a number, drawn at random, or ATTRIBUTE=VALUE.
        sweep: also measure how many dimensions it takes.

    Raises:
        SettingError: both queries and a split.
    """

    last_word: bool = False
    queries: str | None = None
    split: str | None = None
    distractors: str | None = None
    sweep: bool = False

    def __post_init__(self) -> None:
        if self.queries is not None and self.split is not None:
            raise SettingError("Give --queries or --split, not both")


@dataclass(frozen=True, slots=True)
class Assessment:
    """An evaluation of the shop.

    Attributes:
        values: the results as plain values.
        products: all products that can be found; names: of those that have one.
    """

    evaluation: Evaluation
    values: dict[str, Any]
    products: Products
    names: dict[str, str]


def assess(window: ShopWindow, plan: Plan, choice: Choice, *, workers: int, step: Step) -> Assessment:
    """Evaluate what the shop window serves.

    Args:
        workers: pictures read at the same time, for near-duplicates.

    Raises:
        NotFound, SettingError: nothing can be measured so.
    """
    products = window.engine.everything()
    texts = attributes_of(window.store, products.product_ids)
    attributes = parse_attributes(texts)
    labels = labels_of(products, attributes, plan.label)
    if choice.last_word:
        labels = last_words(labels)
    roles = _roles(products, attributes, labels, plan, choice)
    prints, unreadable = prints_of(window.store, products.sha256, workers=workers, progress=partial(step, "prints"))
    groups = find_groups(products, prints, around=set(roles.queries))
    found = evaluate(
        window.engine, labels, roles, plan, duplicates=duplicates_of(groups), progress=partial(step, "queries")
    )
    found.notes.extend(window.problems)
    if not found.answers.exact.all() and len(roles.searched) + len(roles.distractors) < len(products.product_ids):
        found.notes.append("Only a part of the index is searched here, so approximate searches take longer than served")
    if unreadable:
        found.notes.append(f"{len(unreadable)} pictures cannot be read any more, so they have no known duplicates")
    if plan.label == DETECTED and any(DETECTED in values for values in attributes.values()):
        found.notes.append(f"The catalogs have an attribute {DETECTED!r}; what the detector saw was taken instead")
    values = as_json(found)
    if choice.last_word:
        values["by"] = f"the last word of {plan.label}"
    values["settings"] |= {
        "last_word": choice.last_word,
        "queries": choice.queries,
        "split": choice.split,
        "distractors": choice.distractors,
    }
    values["duplicates"] = {
        "groups": len(groups),
        "products": sum(len(group.product_ids) for group in groups),
        "first": [link.as_json() for group in groups[:20] for link in group.links][:20],
    }
    values["index"] = _index(window)
    values["sweep"] = _sweep(window, labels, roles, plan, partial(step, "dimensions")) if choice.sweep else None
    return Assessment(found, values, products, names_in(texts))


def _roles(products: Products, attributes: Attributes, labels: Mapping[str, str], plan: Plan, choice: Choice) -> Roles:
    asking = None
    if choice.queries is not None or choice.split is not None:
        option = "--queries" if choice.queries is not None else "--split"
        asking = matching(products, attributes, parse_condition(choice.queries or choice.split or "", option))
    return assign_roles(
        products.product_ids,
        labels,
        plan,
        asking=asking,
        apart=choice.split is not None,
        distractors=_distractors(choice.distractors, products, attributes, labels, plan),
    )


def _index(window: ShopWindow) -> dict[str, Any]:
    manifest = window.index.manifest
    return {
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


def _sweep(
    window: ShopWindow, labels: Mapping[str, str], roles: Roles, plan: Plan, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    made_with = window.index.manifest.fingerprints.get("embeddings")
    if made_with is None:
        raise NotFound("The index does not say which embeddings it was made of; rebuild it before a sweep")
    return sweep(IndexItems(window.store, made_with)(), labels, roles, plan, progress=progress).as_json()


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

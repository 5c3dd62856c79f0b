"""A comparison of two extractors on the shop's own products for the command line, as plain values."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestration.deployment import Deployment
from orchestration.evaluation import showing
from orchestration.home import open_instance
from orchestration.named_files import check_place, write_whole
from orchestration.printing import Steps
from orchestration.trials import embed_on_trial, identified
from vetrina.embedding.trials import sample_crops
from vetrina.errors import NotFound, SettingError
from vetrina.evaluation.comparison import Comparison, as_json, compare_answers, compare_by_label
from vetrina.evaluation.evaluation import Plan, assign_roles
from vetrina.evaluation.labels import labels_of, last_words, matching, parse_condition
from vetrina.evaluation.speed import measure_speed
from vetrina.index.reader import Index
from vetrina.index.sources import CATALOGUED, index_sources
from vetrina.pictures.decoding import decode_picture
from vetrina.search.answers import Products
from vetrina.search.attributes import attributes_of, names_in, parse_attributes
from vetrina.search.engine import SearchEngine
from vetrina.store import Store, blob_path
from vetrina.words import counted

_CROPS = 64  # that speed is measured on
_SHOWN = 8  # disagreements of each kind


def compare_models(
    deployment: Deployment,
    models: tuple[str, str],
    plan: Plan,
    *,
    last_word: bool = False,
    split: str | None = None,
    report: Path | None = None,
    progress: Steps,
) -> dict[str, Any]:
    """Which of two extractors finds better on this shop, and what each costs; what is served is not touched.

    Args:
        plan: its label may be empty: then only what needs no labels is compared.
        last_word: of the label only its last word counts.
        split: ATTRIBUTE=VALUE of the products that ask, which are then not to be found; needs a label.
        report: also write this HTML file.

    Raises:
        ModelError: a model is unknown or cannot be used.
        NotFound, SettingError: nothing can be compared so.
        RunFailed: the shop could not be embedded.
    """
    if not plan.label and (last_word or split is not None):
        raise SettingError("--last-word and --split say how a label counts; give the label with --label")
    check_place(report)
    sides = [deployment.with_extractor(handle) for handle in models]
    identities = [identified(side, progress) for side in sides]
    if identities[0].fingerprint == identities[1].fingerprint:
        raise SettingError(f"{models[0]!r} and {models[1]!r} are the same model; compare two different ones")
    store = deployment.store
    instance = open_instance()
    runs = [embed_on_trial(side, instance, progress) for side in sides]
    with ExitStack() as opened:
        with showing(progress, "Indexes of both models"):
            indexes = [opened.enter_context(side.rehearsed_index()) for side in sides]
        engines, products, alone = _same_products(indexes)
        texts = attributes_of(store, products.product_ids)
        with showing(progress, "The same queries to both"):
            found = _asked(engines, products, texts, plan, last_word, split, progress)
        speeds = []
        labels = deployment.detector.labels_fingerprint()
        with deployment.decoder.open() as decoders:
            crops = sample_crops(store, labels, _CROPS, decoders)
        for handle in models:
            with showing(progress, f"Speed of {handle}"):
                speeds.append(measure_speed(handle, store, crops))
        values = as_json(found, _SHOWN)
        values["by"] = f"the last word of {plan.label}" if last_word else values["label"]
        values["products"] = len(products.product_ids)
        values["models"] = {
            name: _described(index, identity.fingerprint, handle, speed.as_json(), run)
            for name, index, identity, handle, speed, run in zip(
                "ab", indexes, identities, models, speeds, runs, strict=True
            )
        }
        values["settings"] |= {"last_word": last_word, "split": split, "crops_timed": len(crops)}
        values["notes"] = _notes(store, deployment, sides, runs, alone)
        values["report"] = None if report is None else str(report)
        if report is not None:
            from vetrina.evaluation.comparison_report import html_report

            page = html_report(found, values, products, names_in(texts), partial(_picture, store))
            write_whole(report, page.encode("utf-8", "replace"))
    return values


def _same_products(indexes: list[Index]) -> tuple[tuple[SearchEngine, SearchEngine], Products, int]:
    """The search over each index, narrowed to the products that both have, and how many only one has."""
    first, second = (SearchEngine(index) for index in indexes)
    ids = [set(engine.everything().product_ids) for engine in (first, second)]
    both, alone = ids[0] & ids[1], len(ids[0] ^ ids[1])
    if len(both) < 2:
        raise NotFound(
            f"{counted(len(both), 'product is', 'products are')} embedded by both models, so nothing can be like "
            "another; add more of the catalog: vetrina add CATALOG"
        )
    engines = (first.only(both), second.only(both))
    return engines, engines[0].everything(), alone


def _asked(
    engines: tuple[SearchEngine, SearchEngine],
    products: Products,
    texts: dict[str, str],
    plan: Plan,
    last_word: bool,
    split: str | None,
    progress: Steps,
) -> Comparison:
    def step(model: int, done: int, total: int) -> None:
        progress.step(f"queries to {'AB'[model]}", done, total)

    if not plan.label:
        return compare_answers(engines, _drawn(products.product_ids, plan), plan, step)
    attributes = parse_attributes(texts)
    labels = labels_of(products, attributes, plan.label)
    if last_word:
        labels = last_words(labels)
    asking = None if split is None else matching(products, attributes, parse_condition(split, "--split"))
    roles = assign_roles(products.product_ids, labels, plan, asking=asking, apart=split is not None)
    return compare_by_label(engines, labels, roles, plan, step)


def _drawn(product_ids: list[str], plan: Plan) -> list[str]:
    """The products that ask where no label says which can. Raises SettingError when k is more than others there are."""
    if plan.k > len(product_ids) - 1:
        raise SettingError(
            f"k is {plan.k}, but only {len(product_ids) - 1} products can be found by a query; choose k up to that"
        )
    if plan.sample is None or len(product_ids) <= plan.sample:
        return product_ids
    drawn = np.random.default_rng(plan.seed).choice(len(product_ids), plan.sample, replace=False)
    return [product_ids[place] for place in np.sort(drawn)]


def _described(
    index: Index, fingerprint: str, handle: str, speed: dict[str, Any], run: dict[str, Any] | None
) -> dict[str, Any]:
    manifest = index.manifest
    return {
        "handle": handle,
        "fingerprint": fingerprint,
        "dims": manifest.raw_dims,
        "vector_bytes": 4 * manifest.raw_dims,
        "index_dims": manifest.dims,
        "index_bytes": sum(check.bytes for check in manifest.files.values()),
        "variance_kept": None if manifest.projection is None else round(manifest.projection["variance_kept"], 4),
        "items": manifest.items,
        "serve_with": manifest.serve_with,
        "recall_at_build": manifest.recall["recall"],
        "speed": speed,
        "embedding": run,
    }


def _notes(
    store: Store, deployment: Deployment, sides: list[Deployment], runs: list[dict[str, Any] | None], alone: int
) -> list[str]:
    notes = []
    for run in runs:
        if run is not None:
            notes += [f"{run['extractor']} could not embed batch {key}: {why}" for key, why in run["failed"].items()]
            if run["unreadable"]:
                notes.append(f"{counted(run['unreadable'], 'picture', 'pictures')} cannot be read any more")
    if alone:
        notes.append(f"{counted(alone, 'product', 'products')} that only one of the models embedded are left out")
    sources = index_sources(store, sides[0].extractor.embeddings_fingerprint(deployment.detector))
    waiting = sum(source == CATALOGUED for source in sources.values())
    if waiting:
        notes.append(
            f"{counted(waiting, 'batch is', 'batches are')} not worked with the detector and classes in use, so their "
            "products are left out"
        )
    return notes


def _picture(store: Store, sha256: str) -> np.ndarray:
    return decode_picture(store.read(blob_path(sha256))).pixels

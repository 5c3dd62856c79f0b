"""A fine-tuning from training set to published model: done once, gone on with when it was killed.

Belongs here: what follows what, and what makes two fine-tunings the same. Does not belong here: any of the steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vetrina.embedding.backbone import check_trainable
from vetrina.embedding.extractor import identify_extractor, open_extractor, prepare_extractor
from vetrina.embedding.on_litert import LiteRTExtractor, converted_anew
from vetrina.embedding.tuned import KERAS_FILE, LITERT_FILE, TunedModel, tuned_model
from vetrina.errors import ModelError, StoreError, StoreUnavailable
from vetrina.finetuning import training
from vetrina.finetuning.folder import keras_file, publish_model, weights_digest
from vetrina.finetuning.outcome import Outcome, measure_outcome
from vetrina.finetuning.plan import Example, Plan, Trained
from vetrina.finetuning.training_set import HELD_OUT, LEARN, LEFT_OUT, TrainingSet, examples
from vetrina.models import fingerprint_of, models_folder
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store

_ABANDONED_AFTER = 7 * 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A fine-tuned model, and whether this call trained it; else it was there already."""

    model: TunedModel
    trained: bool


def finetune(
    store: Store,
    plan: Plan,
    chosen: TrainingSet,
    decoders: DecoderPool,
    *,
    workers: int,
    report: Callable[[str], None],
) -> Finetuned:
    """Train as planned on the training set and publish the model, unless just that was done before.

    Checkpoints lie in the models folder of this machine until the model is published; those of a training that was
    killed, and that nobody went on with for a week, go when another begins.

    Args:
        report: gets a line for each thing that was done.

    Raises:
        ModelError: the base cannot be trained, there is nothing to learn, or training came to no numbers.
        StoreError: the model cannot be written.
    """
    if chosen.request.split:
        plan = dataclasses.replace(plan, test_share=0.0)  # what is held out was named
    check_trainable(plan.base)
    prepare_extractor(plan.base, store, report)
    key = training_key(plan, chosen)
    with store.exclusive(f"finetuning-{key}", lambda: report("Waiting for another run of the same training")):
        found = _made_before(store, key)
        if found is not None:
            report(f"Trained before: {found.handle}")
            return Finetuned(found, trained=False)
        _forget_abandoned(_work_folder(key))
        learnt, held_out = (list(examples(store, chosen, part, decoders)) for part in (LEARN, HELD_OUT))
        trained = training.train(plan, learnt, _work_folder(key), report)
        model = _published(store, trained, chosen, key, learnt, held_out, workers, report)
        store.write_json(_record(key), {"model": model.fingerprint})
        shutil.rmtree(_work_folder(key), ignore_errors=True)
        return Finetuned(model, trained=True)


def training_key(plan: Plan, chosen: TrainingSet) -> str:
    """Names a fine-tuning: equal for the same plan, base model and training set. Raises ModelError."""
    base = identify_extractor(plan.base).fingerprint
    return fingerprint_of({"plan": plan.as_json(), "base": base, "set": chosen.digest})


def _work_folder(key: str) -> Path:
    return models_folder() / "training" / key


def _forget_abandoned(work: Path) -> None:
    """Remove the other work folders that nothing was written to lately: each may hold a cache of some GB."""
    for other in work.parent.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # its own run has ended and removes it
            newest = max(file.lstat().st_mtime for file in (other, *other.rglob("*")))
            if other != work and time.time() - newest > _ABANDONED_AFTER:
                shutil.rmtree(other, ignore_errors=True)


def _record(key: str) -> str:
    return f"trainings/{key}.json"


def _made_before(store: Store, key: str) -> TunedModel | None:
    """The model that just this fine-tuning gave; None when there is none, or it was deleted or damaged."""
    try:
        return tuned_model(store, str(store.read_json(_record(key))["model"]))
    except StoreUnavailable:
        raise
    except (FileNotFoundError, ModelError, StoreError, KeyError, TypeError):
        return None


def _published(
    store: Store,
    trained: Trained,
    chosen: TrainingSet,
    key: str,
    learnt: list[Example],
    held_out: list[Example],
    workers: int,
    report: Callable[[str], None],
) -> TunedModel:
    """Convert, measure and write what training gave."""
    report("Converting the network to LiteRT")
    litert = converted_anew(trained.model, trained.preprocessing, "the tuned network")
    tuned = LiteRTExtractor("the tuned extractor", "", trained.dims, trained.preprocessing, litert)
    report("Measuring it on the held-out products, beside its base")
    base = open_extractor(trained.plan.base, store)
    outcome = measure_outcome(trained, learnt, held_out, base, tuned, workers=workers)
    model = TunedModel(
        weights=weights_digest(trained.model),
        preprocessing=trained.preprocessing,
        dims=trained.dims,
        base={"handle": trained.plan.base, "fingerprint": trained.base_fingerprint},
        classes=trained.classes,
        plan=trained.plan.as_json(),
        training=key,
        summary=_summary(store, trained, chosen, outcome),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )
    networks = {LITERT_FILE: litert, KERAS_FILE: keras_file(trained.model)}
    published = publish_model(store, model, networks, outcome, _work_folder(key) / training.LOGS)
    report(f"Published {published.handle}")
    return published


def _summary(store: Store, trained: Trained, chosen: TrainingSet, outcome: Outcome) -> dict[str, Any]:
    """What the card tells, as plain values."""
    label_of = {one.product_id: one.label for one in chosen.members}
    classes: dict[str, Counter[str]] = {name: Counter() for name in trained.classes}
    for product_id, part in outcome.split.items():
        classes[str(label_of[product_id])][part] += 1
    groups, products = chosen.duplicates()
    return {
        "shop": store.root,
        "index": chosen.index,
        "split": chosen.request.split,
        "classes": {name: dict(parts) for name, parts in classes.items()},
        "left_out": dict(Counter(one.reason for one in chosen.members if one.part == LEFT_OUT)),
        "classes_left_out": trained.left_out,
        "unreadable": len(trained.unreadable),
        "duplicates": {"groups": groups, "products": products},
        "history": trained.history,
        "best_epoch": trained.best_epoch,
        "data_digest": trained.data_digest,
        "outcome": outcome.as_json(),
    }

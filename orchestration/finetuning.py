"""Teaching an extractor the shop's own goods, for the command line, as plain values."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from assets.progress import line_listeners
from orchestration import intake
from orchestration.deployment import Deployment
from orchestration.home import open_instance
from orchestration.runs import run_finetune
from vetrina.embedding.backbone import check_trainable
from vetrina.embedding.tuned import CARD_FILE, tuned_folder, tuned_model
from vetrina.evaluation.labels import parse_condition
from vetrina.finetuning.plan import Plan
from vetrina.models.handles import TUNED, parse_handle


class Progress(intake.Progress, Protocol):
    """Who is told what goes on, in words too."""

    def note(self, line: str) -> None:
        """A step says what it does."""


def finetune_shop(deployment: Deployment, plan: Mapping[str, Any], *, split: str, progress: Progress) -> dict[str, Any]:
    """Choose a training set, teach an extractor with it and publish the model, as one Dagster run.

    Args:
        plan: fields of `vetrina.finetuning.plan.Plan`, `label` at least. Without a `base` it starts from the shop's
            extractor, or from what that was once taught from.
        split: ATTRIBUTE=VALUE of the products that are held out, or empty.

    Raises:
        SettingError: a value cannot be used.
        ModelError: the base cannot be trained.
        RunFailed: nothing can be learnt so; says why.
    """
    # Whatever is wrong with the command itself is said before a run begins.
    chosen = Plan(**{**plan, "base": plan.get("base") or _base_of(deployment)})
    check_trainable(chosen.base)
    if split:
        parse_condition(split, "--split")
    progress.begin(f"Fine-tuning by {chosen.label}, from {chosen.base}")
    with intake.listening(progress.step), _hearing(progress.note):
        try:
            run = run_finetune(open_instance(), {**plan, "base": chosen.base}, split)
        finally:
            progress.end()
    said = run.metadata["tuned_extractor"]
    model = tuned_model(deployment.store, said["fingerprint"])
    summary, folder = model.summary, tuned_folder(model.fingerprint)
    card = f"{folder}/{CARD_FILE}"
    return {
        "handle": model.handle,
        "fingerprint": model.fingerprint,
        "trained": said["trained"],
        "base": model.base,
        "label": chosen.label,
        "split": split or None,
        "classes": list(model.classes),
        "dims": model.dims,
        "data": {
            name: summary[name] for name in ("classes", "left_out", "classes_left_out", "unreadable", "duplicates")
        },
        "plan": model.plan,
        "epochs": len(summary["history"]),
        "best_epoch": summary["best_epoch"],
        **summary["outcome"],
        "card": str(deployment.store.local_file(card, "")) if deployment.store.is_local else card,
        "folder": folder,
        "trained_at": model.trained_at,
        "next": _next(deployment.settings.extractor, model.handle, chosen.label, split),
        "run_id": run.run_id,
        "seconds": round(run.seconds, 2),
    }


def _next(served: str, handle: str, label: str, split: str) -> list[str]:
    """The commands that compare the model with the one in use, and put it to use."""
    # By labels it is only compared on products that it has not learnt from: on the others it would shine.
    compare = ["vetrina", "compare", served, handle, *(["--label", label, "--split", split] if split else [])]
    return [shlex.join(compare), f"vetrina switch {handle}", f"export VETRINA_EXTRACTOR={handle}"]


@contextlib.contextmanager
def _hearing(listener: Callable[[str], None]) -> Iterator[None]:
    """While in the block, `listener` is told what runs in this process say in words."""
    line_listeners.append(listener)
    try:
        yield
    finally:
        line_listeners.remove(listener)


def _base_of(deployment: Deployment) -> str:
    """The shop's extractor; where that is fine-tuned, what it was taught from: products held out stay unseen so."""
    handle = parse_handle(deployment.settings.extractor)
    return tuned_model(deployment.store, handle.name).base["handle"] if handle.kind == TUNED else handle.text

"""Training: an extractor's last blocks and new heads learn a shop's labels, from cached outputs of the frozen rest.

The same plan, pictures and machine give the same weights, whether a run goes through or is killed and started again:
order, drawn copies and dropout are seeded by epoch, and everything else that an epoch starts from is in the
checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vetrina.accelerator import tensorflow
from vetrina.embedding.backbone import Backbone, backbone_of
from vetrina.finetuning.augmentation import AMOUNTS
from vetrina.finetuning.checkpoints import Checkpoints
from vetrina.finetuning.frozen import Views, freeze
from vetrina.finetuning.learning import Learner, Lesson
from vetrina.finetuning.network import build_network
from vetrina.finetuning.pictures import Pictures, read_pictures
from vetrina.finetuning.plan import PARTS, TEST, TRAIN, VALIDATION, Example, Plan, Trained
from vetrina.finetuning.splitting import Split, check_for_leaks, counts_of, join_alike, split_examples
from vetrina.models.files import fingerprint_of

_CODE_VERSION = 1  # changes with anything here that changes a result
CACHE, CHECKPOINTS, LOGS = "cache", "checkpoints", "tensorboard"


def train(plan: Plan, examples: Sequence[Example], folder: Path, report: Callable[[str], None]) -> Trained:
    """Train as planned; go on where an earlier run in the same folder stopped.

    Args:
        folder: of this run alone: checkpoints, TensorBoard logs, and until it has ended a cache of up to some GB.
        report: gets a line for each thing that was done.

    Raises:
        ModelError: the base cannot be trained, there is nothing to learn, no picture can be read, the loss is no
            number any more, or the disk is full.
    """
    return train_backbone(backbone_of(plan.base), plan, examples, folder, report)


def train_backbone(
    backbone: Backbone, plan: Plan, examples: Sequence[Example], folder: Path, report: Callable[[str], None]
) -> Trained:
    """As `train`, from this backbone whatever the plan's base says."""
    # Before hours are spent on pictures: labels that cannot be learnt whatever the pictures show.
    split_examples([example.label for example in examples], [example.group for example in examples], plan)
    pictures = read_pictures(examples, backbone.preprocessing.side, folder / CACHE / "squares", report)
    split = _split(pictures, plan, report)
    trained = _train(backbone, plan, pictures, split, folder, report)
    shutil.rmtree(folder / CACHE)
    return trained


def _split(pictures: Pictures, plan: Plan, report: Callable[[str], None]) -> Split:
    groups = join_alike([example.group for example in pictures.examples], pictures.prints)
    split = split_examples([example.label for example in pictures.examples], groups, plan)
    check_for_leaks(groups, split.parts)
    for label, count in split.left_out.items():
        report(f"The class {label!r} has {count} different products, fewer than {plan.min_per_class}: it is left out")
    report(f"{len(split.classes)} classes; pictures: {counts_of(split.parts)}")
    return split


def _train(
    backbone: Backbone, plan: Plan, pictures: Pictures, split: Split, folder: Path, report: Callable[[str], None]
) -> Trained:
    tf = tensorflow()
    # Costs a few per cent on a processor; without it two runs differ.
    tf.config.experimental.enable_op_determinism()
    source = {"base": backbone.fingerprint, "data": pictures.digest, "code": _CODE_VERSION}
    network = build_network(backbone.build(), plan, len(split.classes))
    parts = {part: np.flatnonzero([found == part for found in split.parts]) for part in PARTS}
    held_out = TEST if len(parts[TEST]) else VALIDATION
    tested = parts[held_out]
    index = {label: number for number, label in enumerate(split.classes)}
    classes = np.array([index.get(example.label, -1) for example in pictures.examples], np.int64)

    views = Views(
        squares=pictures.squares,
        copied=parts[TRAIN],
        variants=plan.variants if plan.augment else 0,
        amounts=AMOUNTS[plan.amounts],
        preprocessing=backbone.preprocessing,
        seed=plan.seed,
    )
    shown = {name: getattr(plan, name) for name in ("unfrozen", "augment", "amounts", "variants", "seed")}
    shown["parts"] = split.parts
    frozen = freeze(network.front, views, fingerprint_of(source | shown), folder / CACHE / "frozen", report)

    learner = Learner(network, plan, Lesson(frozen, classes, parts[TRAIN], parts[VALIDATION]))
    checkpoints = Checkpoints(folder / CHECKPOINTS, fingerprint_of(source | {"plan": plan.as_json()}), report)
    history, best_epoch = learner.learn(checkpoints, folder / LOGS, report)
    names = [example.product_id for example in pictures.examples]
    return Trained(
        plan=plan,
        classes=split.classes,
        model=network.extractor,
        classifier=network.classifier,
        dims=int(network.extractor.output.shape[-1]),
        preprocessing=backbone.preprocessing,
        base_fingerprint=backbone.fingerprint,
        data_digest=pictures.digest,
        history=history,
        best_epoch=best_epoch,
        split={name: part for name, part in zip(names, split.parts, strict=True) if part is not None},
        held_out=held_out,
        tested=tuple(names[place] for place in tested),
        truth=classes[tested],
        predicted=learner.logits(tested).argmax(axis=1),
        left_out=split.left_out,
        unreadable=pictures.unreadable,
    )

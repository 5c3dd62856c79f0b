"""A pretrained extractor against the one that it becomes by fine-tuning, on a labelled set with a split of its own.

    python bench/finetuning.py FOLDER [--base bundled:efficientnet-lite0] [--epochs 30] [--unfrozen N] [--seed 17]

FOLDER holds `catalog.csv` (id, path, category, split) and the pictures. Trained is on `train` only; when to stop is
decided on a share of it. The rows of `validation` are asked for once, at the end, and searched for in `train`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vetrina.embedding.extractor import open_extractor
from vetrina.embedding.preprocessing import letterbox, normalised
from vetrina.evaluation.intervals import Estimate, macro, micro
from vetrina.evaluation.measures import PRECISION_AT, measure
from vetrina.finetuning.plan import Example, Plan, Trained
from vetrina.finetuning.splitting import join_alike
from vetrina.finetuning.training import train
from vetrina.pictures.decoding import decode_picture
from vetrina.pictures.prints import Prints, print_of

K = 10
NAMES = (f"precision@{PRECISION_AT}", f"map@{K}")
RESAMPLES, SEED = 10_000, 1
_BATCH = 32


def square(file: Path, side: int) -> np.ndarray:
    return letterbox(decode_picture(file.read_bytes()).pixels, side)


def examples_of(folder: Path, split: str) -> list[Example]:
    with (folder / "catalog.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [Example(row["id"], row["category"], row["id"], partial(square, folder / row["path"])) for row in rows]


def tuned_outputs(trained: Trained, squares: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and predicted classes."""
    vectors, classes = [], []
    for start in range(0, len(squares), _BATCH):
        pictures = np.stack([trained.preprocessing.of_square(one) for one in squares[start : start + _BATCH]])
        vectors.append(trained.model.predict_on_batch(pictures))
        classes.append(trained.classifier.predict_on_batch(pictures).argmax(axis=1))
    return normalised(np.concatenate(vectors)), np.concatenate(classes)


def retrieval(asked: np.ndarray, found: np.ndarray, truth: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The measures of every query: float64 [q, m]."""
    nearest = np.argsort(-(asked @ found.T), axis=1, kind="stable")[:, :K]
    measured = measure(codes[nearest] == truth[:, None], np.bincount(codes, minlength=truth.max() + 1)[truth], K)
    return np.column_stack([measured.of(name) for name in NAMES])


def alike(asked: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> int:
    """Queries whose picture is among the searched ones too."""
    codes, cells = zip(*(print_of(one) for one in [*asked, *found]), strict=True)
    prints = Prints(np.ones(len(codes), bool), np.array(codes, np.uint64), np.array(cells))
    groups = join_alike([str(place) for place in range(len(codes))], prints)
    return len([group for group in groups[: len(asked)] if group in set(groups[len(asked) :])])


def said(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    defaults = Plan("bundled:efficientnet-lite0", "category", test_share=0.0)
    parser.add_argument("--base", default=defaults.base)
    for name in ("epochs", "unfrozen", "seed", "variants"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    for name in ("contrastive", "validation-share"):
        parser.add_argument(f"--{name}", type=float, default=getattr(defaults, name.replace("-", "_")))
    arguments = parser.parse_args()
    chosen = {name: value for name, value in vars(arguments).items() if name != "folder"}
    plan = Plan(label="category", test_share=0.0, **chosen)
    learnt, held_out = (examples_of(arguments.folder, split) for split in ("train", "validation"))

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vetrina-finetuning-") as folder:
        trained = train(plan, learnt, Path(folder), lambda line: print(line, flush=True))
    lasted = time.perf_counter() - began

    side = trained.preprocessing.side
    asked, found = ([one.square(side) for one in examples] for examples in (held_out, learnt))
    truth, codes = (np.array([trained.classes.index(one.label) for one in part]) for part in (held_out, learnt))
    base = open_extractor(plan.base)
    before = retrieval(base.embed(asked), base.embed(found), truth, codes)
    (queries, classes), (searched, _) = tuned_outputs(trained, asked), tuned_outputs(trained, found)
    after = retrieval(queries, searched, truth, codes)
    right = (classes == truth).astype(np.float64)[:, None]

    print(
        f"\n{plan.base}, {len(asked)} queries, {len(found)} searched; {alike(asked, found)} queries are also searched"
    )
    print(f"best epoch {trained.best_epoch} of {len(trained.history)}, {lasted:.0f} s in all, of which an epoch")
    print(f"{statistics.median(epoch['seconds'] for epoch in trained.history):.1f} s (median)")
    print("| | pretrained | fine-tuned |\n| --- | --- | --- |")
    for mean, name in ((lambda values: macro(values, truth, resamples=RESAMPLES, seed=SEED), "macro"),
                       (lambda values: micro(values, resamples=RESAMPLES, seed=SEED), "micro")):  # fmt: skip
        for measured, one, other in zip(NAMES, mean(before), mean(after), strict=True):
            print(f"| {name} {measured} | {said(one)} | {said(other)} |")
        print(f"| {name} accuracy of the classifier | | {said(mean(right)[0])} |")


if __name__ == "__main__":
    main()

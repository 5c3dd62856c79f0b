"""What fine-tuning by category does to finer likeness: the sample shop, products alike when their nouns are.

    python bench/finetuning_likeness.py .demo [--base bundled:efficientnet-lite0] [--epochs 10]

The products are halved by a hash of their ids. On one half the extractor learns categories; in the other, each product
asks for the others: by category, and by noun (the last word of the name; only nouns that another product has too).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from finetuning import K, said, square, tuned_outputs

from vetrina.embedding.extractor import open_extractor
from vetrina.embedding.preprocessing import normalised
from vetrina.evaluation.intervals import micro
from vetrina.evaluation.measures import measure
from vetrina.finetuning.plan import Example, Plan
from vetrina.finetuning.training import train

Row = dict[str, str]


def halves(folder: Path) -> tuple[list[Row], list[Row]]:
    rows = [row for file in sorted(folder.glob("*.csv")) for row in csv.DictReader(file.open(newline=""))]
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        if row.get("category") and row.get("name"):
            parts[hashlib.sha256(row["id"].encode()).digest()[0] % 2].append(row)
    return parts


def leave_one_out(vectors: np.ndarray, labels: list[str]) -> str:
    codes = np.unique(labels, return_inverse=True)[1]
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    relevant = np.bincount(codes)[codes] - 1
    able = relevant > 0
    measured = measure((codes[nearest] == codes[:, None])[able], relevant[able], K)
    return said(micro(measured.of(f"map@{K}")[:, None], resamples=10_000, seed=1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="bundled:efficientnet-lite0")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    learnt, asked = halves(arguments.folder)
    plan = Plan(arguments.base, "category", epochs=arguments.epochs, test_share=0.0)
    examples = [
        Example(row["id"], row["category"], row["id"], partial(square, arguments.folder / row["path"]))
        for row in learnt
    ]
    with tempfile.TemporaryDirectory(prefix="vetrina-finetuning-") as folder:
        trained = train(plan, examples, Path(folder), lambda line: print(line, flush=True))
    squares = [square(arguments.folder / row["path"], trained.preprocessing.side) for row in asked]
    both, _ = tuned_outputs(trained, squares)
    pooled, projection = both[:, : -plan.projection], both[:, -plan.projection :]
    spaces = {
        "pretrained": open_extractor(plan.base).embed(squares),
        "pooled": normalised(pooled),
        "projection": normalised(projection),
        "both": both,
    }
    print(f"\n{len(learnt)} learnt from, {len(asked)} asked\n| mAP@{K} | category | noun |\n| --- | --- | --- |")
    categories, nouns = [row["category"] for row in asked], [row["name"].split()[-1].lower() for row in asked]
    for name, vectors in spaces.items():
        print(f"| {name} | {leave_one_out(vectors, categories)} | {leave_one_out(vectors, nouns)} |")


if __name__ == "__main__":
    main()

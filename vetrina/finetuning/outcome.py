"""What a fine-tuning achieved, on products it has not learnt from: as a classifier, and as an extractor.

The classifier is asked for the class of each held-out product. The extractors, the base and the tuned one, are asked
for the products nearest to each held-out one among those that were learnt from, by whole pictures and exactly, so
that only the vectors differ; alike are products of the same label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.embedding.extractor import Extractor
from vetrina.errors import ModelError, PictureError
from vetrina.evaluation.classification import Classification, classification
from vetrina.evaluation.intervals import Estimate, macro, micro
from vetrina.evaluation.measures import PRECISION_AT, depth_for, measure
from vetrina.finetuning.plan import TEST, TRAIN, VALIDATION, Example, Trained
from vetrina.parallel import ordered_map

K = 10
MEASURES = (f"map@{K}", f"precision@{PRECISION_AT}")
RESAMPLES = 1000
_CHUNK = 32  # pictures
_BLOCK_CELLS = 1 << 24


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well held-out products find their like among those learnt from, with the base and with the tuned extractor.

    Attributes:
        queries, searched: products.
        base, tuned, difference: measure → estimate over queries; the difference is paired.
        base_macro, tuned_macro: the same over classes.
    """

    queries: int
    searched: int
    base: dict[str, Estimate]
    tuned: dict[str, Estimate]
    difference: dict[str, Estimate]
    base_macro: dict[str, Estimate]
    tuned_macro: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        means = ("base", "tuned", "difference", "base_macro", "tuned_macro")
        return {"queries": self.queries, "searched": self.searched} | {
            mean: {name: estimate.as_json() for name, estimate in getattr(self, mean).items()} for mean in means
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured.

    Attributes:
        part: which products were asked for: "test" or, where training held none out, "validation".
        split: product id → train, validation or test, for all that were learnt from or asked for.
        answers: product id → its true class and the one that the classifier gave.
        retrieval: None where no held-out product has its like among those learnt from.
        unasked: product id → why a held-out one was not asked for.
    """

    part: str
    split: dict[str, str]
    answers: dict[str, tuple[str, str]]
    classification: Classification
    retrieval: Retrieval | None
    unasked: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "part": self.part,
            "classification": self.classification.as_json(),
            "retrieval": None if self.retrieval is None else self.retrieval.as_json(),
            "unasked": len(self.unasked),
        }


def measure_outcome(
    trained: Trained,
    learnt: Sequence[Example],
    held_out: Sequence[Example],
    base: Extractor,
    tuned: Extractor,
    *,
    workers: int,
) -> Outcome:
    """Measure what training gave.

    Args:
        learnt: the examples that training was given.
        held_out: those that it was not; empty: training held some out itself.
        base, tuned: the extractor that training started from, and what it became.

    Raises:
        ModelError: there is no held-out product that could be asked for, or the classifier gives no numbers.
    """
    part = TEST if held_out else trained.held_out
    asking = held_out or [one for one in learnt if trained.split.get(one.product_id) == part]
    searched = [one for one in learnt if trained.split.get(one.product_id) in {TRAIN, VALIDATION} - {part}]
    known = set(trained.classes)
    look = _Looking(trained, base, tuned, workers)
    asked = look.at([one for one in asking if one.label in known], classify=True)
    if not asked.examples:
        raise ModelError("No held-out product can be asked for, so what was learnt cannot be judged; hold others out")
    found = look.at(searched)
    code_of = {name: code for code, name in enumerate(trained.classes)}
    truth, codes = (np.array([code_of[one.label] for one in seen.examples], np.int64) for seen in (asked, found))
    return Outcome(
        part=part,
        split={**trained.split, **{one.product_id: part for one in asked.examples}},
        answers={
            one.product_id: (one.label, trained.classes[code])
            for one, code in zip(asked.examples, asked.classes, strict=True)
        },
        classification=classification(
            trained.classes, truth, np.array(asked.classes, np.int64), resamples=RESAMPLES, seed=trained.plan.seed
        ),
        retrieval=_retrieval(asked, truth, found, codes, trained.plan.seed),
        unasked={one.product_id: f"{one.label} was not learnt" for one in asking if one.label not in known}
        | asked.unreadable,
    )


@dataclass(slots=True)
class _Seen:
    """What models make of the readable ones of some examples: vectors float32 [n, d] and, if asked for, classes."""

    examples: list[Example]
    base: np.ndarray
    tuned: np.ndarray
    classes: list[int]
    unreadable: dict[str, str]


class _Looking:
    """Shows pictures to the two extractors and the classifier, a few at a time."""

    def __init__(self, trained: Trained, base: Extractor, tuned: Extractor, workers: int) -> None:
        self._trained = trained
        self._base = base
        self._tuned = tuned
        self._workers = workers

    def at(self, examples: Sequence[Example], *, classify: bool = False) -> _Seen:
        """Look at all of them. Raises ModelError when the classifier's numbers are not finite."""
        base, tuned = [np.zeros((0, model.dims), np.float32) for model in (self._base, self._tuned)]
        seen = _Seen([], base, tuned, [], {})
        vectors = [(base, tuned)]
        chunks = [examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK)]
        for kept, squares, unreadable, made in ordered_map(self._vectors, chunks, self._workers):
            seen.examples += kept
            seen.unreadable |= unreadable
            vectors.append(made)
            if classify and kept:
                seen.classes += self._classes(squares)
        seen.base, seen.tuned = (np.concatenate(one) for one in zip(*vectors, strict=True))
        return seen

    def _vectors(
        self, chunk: Sequence[Example]
    ) -> tuple[list[Example], list[np.ndarray], dict[str, str], tuple[np.ndarray, np.ndarray]]:
        kept, squares, unreadable = [], [], {}
        for one in chunk:
            try:
                squares.append(one.square(self._trained.preprocessing.side))
                kept.append(one)
            except PictureError as error:
                unreadable[one.product_id] = error.detail
        return kept, squares, unreadable, (self._base.embed(squares), self._tuned.embed(squares))

    def _classes(self, squares: Sequence[np.ndarray]) -> list[int]:
        pictures = np.concatenate([self._trained.preprocessing(square) for square in squares])
        probabilities = np.asarray(self._trained.classifier(pictures, training=False))
        if not np.isfinite(probabilities).all():
            raise ModelError("The classifier gives numbers that are not finite; train again with a lower learning rate")
        return [int(code) for code in probabilities.argmax(axis=1)]


def _retrieval(asked: _Seen, truth: np.ndarray, found: _Seen, codes: np.ndarray, seed: int) -> Retrieval | None:
    """Both extractors over the queries that have their like among the searched; None without such queries."""
    relevant = np.bincount(codes, minlength=int(truth.max()) + 1)[truth]
    able = relevant > 0
    if not able.any():
        return None

    def measured(queries: np.ndarray, searched: np.ndarray) -> np.ndarray:
        hits = codes[_nearest(queries[able], searched, depth_for(K))] == truth[able][:, None]
        values = measure(hits, relevant[able], K)
        return np.column_stack([values.of(name) for name in MEASURES])

    base, tuned = measured(asked.base, found.base), measured(asked.tuned, found.tuned)

    def named(estimates: Sequence[Estimate]) -> dict[str, Estimate]:
        return dict(zip(MEASURES, estimates, strict=True))

    return Retrieval(
        queries=int(able.sum()),
        searched=len(codes),
        base=named(micro(base, resamples=RESAMPLES, seed=seed)),
        tuned=named(micro(tuned, resamples=RESAMPLES, seed=seed)),
        difference=named(micro(tuned - base, resamples=RESAMPLES, seed=seed)),
        base_macro=named(macro(base, truth[able], resamples=RESAMPLES, seed=seed)),
        tuned_macro=named(macro(tuned, truth[able], resamples=RESAMPLES, seed=seed)),
    )


def _nearest(queries: np.ndarray, searched: np.ndarray, depth: int) -> np.ndarray:
    """Places of the nearest of the searched for each query, best first: int [q, min(depth, searched)]."""
    rows = max(1, _BLOCK_CELLS // max(1, len(searched)))
    blocks = [queries[start : start + rows] @ searched.T for start in range(0, len(queries), rows)]
    return np.concatenate([np.argsort(-block, axis=1, kind="stable")[:, :depth] for block in blocks])

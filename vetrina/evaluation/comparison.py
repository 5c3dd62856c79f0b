"""A comparison of two extractors on one shop: the same products ask both, each searched as it would be served.

Belongs here: what differs between two sets of answers, with intervals, and the verdict. Does not belong here: making
the two indexes, measuring speed (`speed`), and how results are shown (`comparison_report`).

Differences are second less first, query by query, so their intervals are paired: both models are judged by the same
resampled queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vetrina.evaluation.asking import Answers, ask
from vetrina.evaluation.evaluation import Evaluation, Plan, Roles, evaluate
from vetrina.evaluation.intervals import Estimate, macro, micro
from vetrina.search.engine import SearchEngine

Word = Literal["better", "worse", "mixed", "no difference", "not measured"]
QueryProgress = Callable[[int, int, int], None]
"""Told which model it is (0 or 1), how many queries are done, of how many."""
_PER_CLASS = 2  # disagreements shown of a class, so that one does not fill them


@dataclass(frozen=True, slots=True)
class Judged:
    """What labels say of both models.

    Attributes:
        evaluations: of the first and of the second.
        micro, macro: measure → difference, second less first, over queries and over classes.
    """

    evaluations: tuple[Evaluation, Evaluation]
    micro: dict[str, Estimate]
    macro: dict[str, Estimate]

    @property
    def measure(self) -> str:
        """The measure that the verdict is by."""
        return f"map@{self.evaluations[0].plan.k}"

    @property
    def gains(self) -> np.ndarray:
        """Average precision of the second less the first, of each query: float64 [q]."""
        first, second = (found.measured.of(self.measure) for found in self.evaluations)
        return second - first


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found; arrays are in the order of the queries.

    Attributes:
        plan: its label is empty where nothing was judged by labels.
        answers: of the first and of the second model.
        overlap: share of the k nearest that both have in common, 0 to 1, float64 [q].
        mean_overlap: its mean over queries.
        judged: None without labels.
    """

    plan: Plan
    queries: list[str]
    answers: tuple[Answers, Answers]
    overlap: np.ndarray
    mean_overlap: Estimate
    judged: Judged | None

    def overlap_counts(self) -> list[int]:
        """How many queries have 0, 1, … k of k neighbours in common (a shorter answer counts by its share)."""
        places = np.rint(self.overlap * self.plan.k).astype(np.int64)
        return [int(count) for count in np.bincount(places, minlength=self.plan.k + 1)]

    def most_apart(self, most: int) -> list[int]:
        """Places of the queries whose neighbours have least in common."""
        return self._first(np.argsort(self.overlap, kind="stable"), most)

    def largest_changes(self, most: int, *, gains: bool) -> list[int]:
        """Places of the queries that gain (or lose) most average precision with the second model; none that do not."""
        if self.judged is None:
            return []
        change = self.judged.gains if gains else -self.judged.gains
        order = np.argsort(-change, kind="stable")
        return self._first(order[change[order] > 0], most)

    def _first(self, order: np.ndarray, most: int) -> list[int]:
        """The first of some places, a few of each class at most."""
        if self.judged is None:
            return [int(place) for place in order[:most]]
        taken: Counter[int] = Counter()
        found: list[int] = []
        for place in order.tolist():
            code = int(self.judged.evaluations[0].codes[place])
            if taken[code] < _PER_CLASS and len(found) < most:
                taken[code] += 1
                found.append(place)
        return found

    def by_class(self) -> list[dict[str, Any]]:
        """One entry for each class that asks: products, queries, overlap, both means and the paired difference."""
        if self.judged is None:
            return []
        first, second = self.judged.evaluations
        values = [found.measured.of(self.judged.measure) for found in (first, second)]
        sizes = Counter(first.labels.values())
        table = []
        for code, name in enumerate(first.classes):
            own = first.codes == code
            if own.any():
                (difference,) = micro(
                    (values[1] - values[0])[own][:, None], resamples=self.plan.resamples, seed=self.plan.seed
                )
                table.append(
                    {
                        "class": name,
                        "products": sizes[name],
                        "queries": int(own.sum()),
                        "overlap": round(float(self.overlap[own].mean()), 6),
                        "a": round(float(values[0][own].mean()), 6),
                        "b": round(float(values[1][own].mean()), 6),
                        "difference": difference.as_json(),
                    }
                )
        return sorted(table, key=lambda entry: (-entry["products"], entry["class"]))


def compare_by_label(
    engines: tuple[SearchEngine, SearchEngine],
    labels: Mapping[str, str],
    roles: Roles,
    plan: Plan,
    progress: QueryProgress = lambda model, done, total: None,
) -> Comparison:
    """Let the same queries ask both models, and judge the answers by labels."""

    def of(number: int) -> Evaluation:
        return evaluate(
            engines[number], labels, roles, plan, progress=lambda done, total: progress(number, done, total)
        )

    first, second = of(0), of(1)
    change = second.measured.values - first.measured.values
    names = first.measured.names
    over_queries = micro(change, resamples=plan.resamples, seed=plan.seed)
    over_classes = macro(change, first.codes, resamples=plan.resamples, seed=plan.seed)
    judged = Judged(
        (first, second),
        dict(zip(names, over_queries, strict=True)),
        dict(zip(names, over_classes, strict=True)),
    )
    return _compared(plan, roles.queries, (first.answers, second.answers), judged)


def compare_answers(
    engines: tuple[SearchEngine, SearchEngine],
    queries: list[str],
    plan: Plan,
    progress: QueryProgress = lambda model, done, total: None,
) -> Comparison:
    """Let the same queries ask both models, without knowing what would be right."""

    def of(number: int) -> Answers:
        engine = engines[number]
        return ask(
            engine, engine, queries, k=plan.k, depth=plan.k, progress=lambda done, total: progress(number, done, total)
        )

    return _compared(plan, queries, (of(0), of(1)), None)


def _compared(plan: Plan, queries: list[str], answers: tuple[Answers, Answers], judged: Judged | None) -> Comparison:
    overlap = overlap_of(answers[0].served, answers[1].served, plan.k)
    (mean,) = micro(overlap[:, None], resamples=plan.resamples, seed=plan.seed)
    return Comparison(plan, queries, answers, overlap, mean, judged)


def overlap_of(first: Sequence[Sequence[str]], second: Sequence[Sequence[str]], k: int) -> np.ndarray:
    """Share of the k nearest that two answers have in common, whatever their order: float64 [q].

    Of answers with fewer than k neighbours, the share of the longer one; of two empty ones, 1.
    """
    shares = np.ones(len(first))
    for place, (one, other) in enumerate(zip(first, second, strict=True)):
        longest = max(len(one[:k]), len(other[:k]))
        if longest:
            shares[place] = len(set(one[:k]) & set(other[:k])) / longest
    return shares


def verdict(judged: Judged | None) -> tuple[Word, str]:
    """Whether the second model finds better than the first: a word, and a sentence."""
    if judged is None:
        return "not measured", "Which one finds better cannot be said without a label (--label)"
    name = judged.measure
    over_queries, over_classes = judged.micro[name], judged.macro[name]
    signs = {_sign(over_queries), _sign(over_classes)}
    said = f"it changes by {_words(over_queries)} over queries and by {_words(over_classes)} over classes"
    if signs == {1, -1}:
        return "mixed", f"By {name} B is better by one count and worse by the other: {said}"
    if 1 in signs:
        return "better", f"By {name} B finds better than A: {said}"
    if -1 in signs:
        return "worse", f"By {name} B finds worse than A: {said}"
    return "no difference", f"By {name} the data shows no difference: {said}"


def _sign(estimate: Estimate) -> int:
    """1 or −1 when the interval lies above or below zero, else 0."""
    return int(estimate.low > 0) - int(estimate.high < 0)


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def as_json(found: Comparison, most: int) -> dict[str, Any]:
    """The results as plain values.

    Args:
        most: disagreements of each kind.
    """
    word, text = verdict(found.judged)
    values: dict[str, Any] = {
        "k": found.plan.k,
        "label": found.plan.label or None,
        "queries": len(found.queries),
        "verdict": {"word": word, "text": text},
        "overlap": {
            **found.mean_overlap.as_json(),
            "counts": found.overlap_counts(),
            "same_set": int((found.overlap == 1).sum()),
        },
        "classes": found.by_class(),
        "disagreements": {
            "overlap": [_disagreement(found, place) for place in found.most_apart(most)],
            "gains": [_disagreement(found, place) for place in found.largest_changes(most, gains=True)],
            "losses": [_disagreement(found, place) for place in found.largest_changes(most, gains=False)],
        },
        "settings": {
            "sample": found.plan.sample,
            "resamples": found.plan.resamples,
            "seed": found.plan.seed,
            "interval": 0.95,
        },
    }
    if found.judged is not None:
        first, second = found.judged.evaluations
        roles = first.roles
        values |= {
            "a": first.scores.as_json(),
            "b": second.scores.as_json(),
            "difference": {
                **{name: estimate.as_json() for name, estimate in found.judged.micro.items()},
                "macro": {name: estimate.as_json() for name, estimate in found.judged.macro.items()},
            },
            "left_out": roles.left_out,
        }
    return values


def _disagreement(found: Comparison, place: int) -> dict[str, Any]:
    k = found.plan.k
    entry: dict[str, Any] = {
        "product_id": found.queries[place],
        "overlap": round(float(found.overlap[place]), 6),
        "a": found.answers[0].served[place][:k],
        "b": found.answers[1].served[place][:k],
    }
    if found.judged is not None:
        entry["difference"] = round(float(found.judged.gains[place]), 6)
    return entry

"""An evaluation of the search: which products ask, which may be found, and how good the answers are.

Belongs here: the choice of queries and of the searched set, and the results as values. Does not belong here: the
definitions of the measures (`metrics`, `measures`, `intervals`), where labels come from (`labels`), and how results
are shown (`report`).

Two products are alike when their labels are equal. Leave one out is the rule: each labelled product asks, and all
other labelled products may be found. A product without a label neither asks nor is found, unless it is a distractor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vetrina.errors import SettingError
from vetrina.evaluation.asking import Answers, ask
from vetrina.evaluation.intervals import Estimate, macro, micro
from vetrina.evaluation.measures import Measured, depth_for, measure
from vetrina.pictures.collecting import Progress
from vetrina.search.engine import SearchEngine

NO_LABEL, ALONE, NOTHING_TO_FIND = "no label", "the only one of its class", "none of its class may be found"
NOT_A_QUERY, NOT_DRAWN = "not among the chosen queries", "not drawn"
_EMPTY, _DISTRACTOR = -2, -1  # codes of places that hold no product, and of products without a class


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate.

    Attributes:
        label: what makes products alike, as it was asked for.
        k: how many results count.
        sample: queries at most; more are drawn at random. None: all.
        resamples: of the bootstrap. seed: of the draws and the bootstrap.

    Raises:
        SettingError: a value that cannot be used.
    """

    label: str
    k: int = 10
    sample: int | None = 2000
    resamples: int = 1000
    seed: int = 17

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SettingError(f"k is {self.k}; it must be at least 1")
        if self.sample is not None and self.sample < 1:
            raise SettingError(f"The sample is {self.sample} queries; it must be at least 1")
        if self.resamples < 1:
            raise SettingError(f"There are {self.resamples} resamples; there must be at least 1")


@dataclass(frozen=True, slots=True)
class Roles:
    """Who asks and who may be found; all are product ids.

    Attributes:
        queries: in the order of ids.
        searched: labelled products that may be found; distractors: products without a label that may be found too.
        left_out: reason → how many products do not ask; with the queries they add up to all products.
    """

    queries: list[str]
    searched: set[str]
    distractors: set[str]
    left_out: dict[str, int]


def assign_roles(
    products: Sequence[str],
    labels: Mapping[str, str],
    plan: Plan,
    *,
    asking: Collection[str] | None = None,
    apart: bool = False,
    distractors: Collection[str] = (),
) -> Roles:
    """Decide who asks and who may be found.

    Args:
        products: all ids that can be found, sorted.
        asking: the only products that ask; None: all.
        apart: those that ask are not to be found themselves (a split).
        distractors: products without a label that may be found.

    Raises:
        SettingError: nothing could be measured (no labels, one class only, no query left, k beyond the searched set).
    """
    classes = Counter(labels.values())
    if len(classes) < 2:
        what = (
            f"all {len(labels)} labelled products are {next(iter(classes))!r}" if classes else "no product has a label"
        )
        raise SettingError(
            f"By {plan.label!r} {what}, so there is nothing to measure; choose a label with two values or more"
        )
    searched = {name for name in labels if not (apart and asking is not None and name in asking)}
    to_find = Counter(labels[name] for name in searched)
    left_out: Counter[str] = Counter()
    queries = []
    for name in products:
        if name not in labels:
            left_out[NO_LABEL] += 1
        elif asking is not None and name not in asking:
            left_out[NOT_A_QUERY] += 1
        elif classes[labels[name]] == 1:
            left_out[ALONE] += 1
        elif to_find[labels[name]] - (name in searched) < 1:
            left_out[NOTHING_TO_FIND] += 1
        else:
            queries.append(name)
    if not queries:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise SettingError(f"No product can ask by {plan.label!r}: {reasons}; choose other queries or another label")
    if plan.sample is not None and len(queries) > plan.sample:
        left_out[NOT_DRAWN] = len(queries) - plan.sample
        drawn = np.random.default_rng(plan.seed).choice(len(queries), plan.sample, replace=False)
        queries = [queries[place] for place in np.sort(drawn)]
    unlabelled = {name for name in distractors if name not in labels}
    others = len(searched) + len(unlabelled) - any(name in searched for name in queries)
    if plan.k > others:
        raise SettingError(f"k is {plan.k}, but only {others} products can be found by a query; choose k up to that")
    return Roles(queries, searched, unlabelled, dict(left_out))


@dataclass(frozen=True, slots=True)
class Scores:
    """The measures of some queries, over queries (micro) and over classes (macro): name → estimate."""

    queries: int
    micro: dict[str, Estimate]
    macro: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """As plain values: the micro means by name, the macro means under "macro"."""
        means = {name: estimate.as_json() for name, estimate in self.micro.items()}
        return {**means, "macro": {name: estimate.as_json() for name, estimate in self.macro.items()}}


@dataclass(frozen=True, slots=True)
class WithoutDuplicates:
    """The same evaluation when near-duplicates of a query are neither found nor counted.

    Attributes:
        queries_with: queries that have a near-duplicate among what they may find.
        answers_with: of those, queries whose first k results showed one.
        dropped: queries with nothing else of their class to find.
        scores: of the others.
        difference: scores less those with duplicates, paired, over the same queries: name → estimate.
    """

    queries_with: int
    answers_with: int
    dropped: int
    scores: Scores | None
    difference: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured; arrays are in the order of `roles.queries`.

    Attributes:
        labels: of all labelled products.
        classes: names of the classes; codes: which class each query has, int [q].
        hits: bool [q, depth]; relevant: int [q].
        measured: of each query, "recall@k" against exact search the last.
        scores: their means.
    """

    plan: Plan
    roles: Roles
    labels: dict[str, str]
    classes: list[str]
    codes: np.ndarray
    answers: Answers
    hits: np.ndarray
    relevant: np.ndarray
    measured: Measured
    scores: Scores
    without_duplicates: WithoutDuplicates
    notes: list[str] = field(default_factory=list)

    def by_class(self) -> list[dict[str, Any]]:
        """One entry for each class, the largest first: products, queries, and the means of the queries' measures."""
        sizes = Counter(self.labels.values())
        places = {name: place for place, name in enumerate(self.classes)}
        table = []
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            own = self.codes == places[name]
            entry: dict[str, Any] = {"class": name, "products": sizes[name], "queries": int(own.sum())}
            if own.any():
                means = self.measured.values[own].mean(axis=0)
                entry |= {key: round(float(mean), 6) for key, mean in zip(self.measured.names, means, strict=True)}
            table.append(entry)
        return table


def evaluate(
    engine: SearchEngine,
    labels: Mapping[str, str],
    roles: Roles,
    plan: Plan,
    *,
    duplicates: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Let the queries ask, and measure the answers.

    Args:
        engine: the search as it is served.
        duplicates: near-duplicates of each product that has some.
    """
    classes = sorted(set(labels.values()))
    places = {name: place for place, name in enumerate(classes)}
    code_of = {name: places[label] for name, label in labels.items()}
    codes = np.array([code_of[name] for name in roles.queries], np.int64)
    searched = engine.only(roles.searched | roles.distractors)
    to_find = np.bincount([code_of[name] for name in roles.searched], minlength=len(classes))
    own = np.array([name in roles.searched for name in roles.queries], np.int64)
    relevant = to_find[codes] - own
    depth = depth_for(plan.k)
    answers = ask(engine, searched, roles.queries, k=plan.k, depth=depth, progress=progress)
    hits = _hits(answers.served, codes, code_of, depth)
    measured = _with_recall(measure(hits, relevant, plan.k), answers.recall, plan.k)
    without = _without_duplicates(
        engine, searched, roles, plan, codes, code_of, relevant, answers, measured, duplicates or {}
    )
    return Evaluation(
        plan=plan,
        roles=roles,
        labels=dict(labels),
        classes=classes,
        codes=codes,
        answers=answers,
        hits=hits,
        relevant=relevant,
        measured=measured,
        scores=_scores(measured, codes, plan),
        without_duplicates=without,
    )


def _hits(served: Sequence[Sequence[str]], codes: np.ndarray, code_of: Mapping[str, int], depth: int) -> np.ndarray:
    """Which results have the class of their query: bool [q, depth]."""
    found = np.full((len(served), depth), _EMPTY, np.int64)
    for place, names in enumerate(served):
        found[place, : len(names)] = [code_of.get(name, _DISTRACTOR) for name in names]
    return np.asarray(found == codes[:, None])


def _with_recall(measured: Measured, recall: np.ndarray, k: int) -> Measured:
    return Measured((*measured.names, f"recall@{k}"), np.column_stack([measured.values, recall]))


def _scores(measured: Measured, codes: np.ndarray, plan: Plan) -> Scores:
    over_queries = micro(measured.values, resamples=plan.resamples, seed=plan.seed)
    over_classes = macro(measured.values, codes, resamples=plan.resamples, seed=plan.seed)
    names = measured.names
    return Scores(len(codes), dict(zip(names, over_queries, strict=True)), dict(zip(names, over_classes, strict=True)))


def _without_duplicates(
    engine: SearchEngine,
    searched: SearchEngine,
    roles: Roles,
    plan: Plan,
    codes: np.ndarray,
    code_of: Mapping[str, int],
    relevant: np.ndarray,
    answers: Answers,
    measured: Measured,
    duplicates: Mapping[str, Sequence[str]],
) -> WithoutDuplicates:
    """Ask again where a near-duplicate could be found; the other answers stay as they are."""
    findable = roles.searched | roles.distractors
    hidden = {
        name: shown
        for name in roles.queries
        if (shown := [other for other in duplicates.get(name, ()) if other in findable])
    }
    if not hidden:
        return WithoutDuplicates(0, 0, 0, _scores(measured, codes, plan), {})
    again = [place for place, name in enumerate(roles.queries) if name in hidden]
    leaked = sum(bool(set(answers.served[place][: plan.k]) & set(hidden[roles.queries[place]])) for place in again)
    left = relevant.copy()
    for place in again:
        left[place] -= sum(code_of.get(other) == codes[place] for other in hidden[roles.queries[place]])
    kept = left > 0
    asked = [place for place in again if kept[place]]
    values = measured.values.copy()
    if asked:
        names = [roles.queries[place] for place in asked]
        found = ask(engine, searched, names, k=plan.k, depth=depth_for(plan.k), hidden=hidden)
        hits = _hits(found.served, codes[asked], code_of, depth_for(plan.k))
        values[asked] = _with_recall(measure(hits, left[asked], plan.k), found.recall, plan.k).values
    dropped = int((~kept).sum())
    if not kept.any():
        return WithoutDuplicates(len(again), leaked, dropped, None, {})
    difference = micro((values - measured.values)[kept], resamples=plan.resamples, seed=plan.seed)
    return WithoutDuplicates(
        queries_with=len(again),
        answers_with=leaked,
        dropped=dropped,
        scores=_scores(Measured(measured.names, values[kept]), codes[kept], plan),
        difference=dict(zip(measured.names, difference, strict=True)),
    )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The results as plain values: "map@10" and the like with intervals, "macro", "classes", "counts" and the rest."""
    answers, roles, plan = evaluation.answers, evaluation.roles, evaluation.plan
    milliseconds = np.percentile(answers.seconds * 1000, [50, 99])
    without = evaluation.without_duplicates
    return {
        "label": plan.label,
        "by": plan.label,
        "k": plan.k,
        **evaluation.scores.as_json(),
        "classes": evaluation.by_class(),
        "counts": {
            "products": len(roles.queries) + sum(roles.left_out.values()),
            "labelled": len(evaluation.labels),
            "classes": len(evaluation.classes),
            "queries": len(roles.queries),
            "left_out": roles.left_out,
            "searched": len(roles.searched) + len(roles.distractors),
            "distractors": len(roles.distractors),
        },
        "served": {"exact": int(answers.exact.sum()), "approximate": int((~answers.exact).sum())},
        "visited": {"mean": round(float(answers.visited.mean()), 1), "most": int(answers.visited.max())},
        "latency_ms": {"p50": round(float(milliseconds[0]), 3), "p99": round(float(milliseconds[1]), 3)},
        "cpu_ms": {"mean": round(float(answers.cpu_seconds.mean()) * 1000, 4)},
        "without_duplicates": {
            "queries_with": without.queries_with,
            "answers_with": without.answers_with,
            "dropped": without.dropped,
            **(without.scores.as_json() if without.scores is not None else {}),
            "difference": {name: estimate.as_json() for name, estimate in without.difference.items()},
        },
        "settings": {"sample": plan.sample, "resamples": plan.resamples, "seed": plan.seed, "interval": 0.95},
        "notes": evaluation.notes,
    }

"""The report of an evaluation: one HTML file with everything in it, which opens without a network.

Belongs here: how results look. Does not belong here: measuring. Whatever comes from a catalog is escaped, and the
page forbids itself to load anything: no scripts, no fonts, no pictures but its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vetrina.evaluation.evaluation import Evaluation
from vetrina.evaluation.maps import maps
from vetrina.evaluation.page import Faces, Pixels, as_bars, as_interval, as_table, as_text, document
from vetrina.evaluation.sweep_chart import sweep_section
from vetrina.search.answers import Products

_SHOWN = 8  # queries among the best, and among the worst
_PER_CLASS = 2  # of these, so that one class does not fill them
_ANSWERS = 6
_BARS = 40
_MOST_CLASSES = 200


def html_report(
    evaluation: Evaluation, values: Mapping[str, Any], products: Products, names: Mapping[str, str], pixels: Pixels
) -> str:
    """The page.

    Args:
        values: the results as plain values, with "index" and "duplicates".
        products: all products; names: of those that have one, by id.
    """
    faces = Faces(products, names, pixels)
    title = f"Evaluation by {values['by']}"
    parts = [
        f"<h1>{as_text(title)}</h1>",
        f'<p class="soft">{_summary(values)}</p>',
        "<h2>Measures</h2>",
        _measures(values),
        "<h2>Near-duplicates</h2>",
        _duplicates(values),
        "<h2>Classes</h2>",
        _bars(values["classes"]),
        _classes(values),
        "<h2>Best queries</h2>",
        _queries(evaluation, faces, best=True),
        "<h2>Worst queries</h2>",
        _queries(evaluation, faces, best=False),
        "<h2>Maps of the products</h2>",
        maps(evaluation, products, faces),
        *(("<h2>Dimensions</h2>", sweep_section(values["sweep"])) if values["sweep"] is not None else ()),
        "<h2>How it was measured</h2>",
        _settings(values),
    ]
    return document(title, parts)


def _summary(values: Mapping[str, Any]) -> str:
    counts, index = values["counts"], values["index"]
    return as_text(
        f"{counts['queries']} queries over {counts['searched']} products in {counts['classes']} classes; "
        f"index {index['version']}"
    )


def _measures(values: Mapping[str, Any]) -> str:
    rows = [[as_text(name), as_interval(values[name]), as_interval(values["macro"][name])] for name in values["macro"]]
    note = (
        f"The small figures are 95 % bootstrap intervals. recall@{values['k']} is the share of the true nearest that "
        "the served answers have; the others say how often the answers have the class of the query."
    )
    return as_table(("measure", "over queries", "over classes"), rows) + f'<p class="soft">{note}</p>'


def _duplicates(values: Mapping[str, Any]) -> str:
    found, without = values["duplicates"], values["without_duplicates"]
    text = (
        f"<p>{found['products']} products in {found['groups']} groups show the picture of a query. "
        f"{without['queries_with']} queries could find a near-duplicate of themselves, {without['answers_with']} did "
        f"among the first {values['k']}; {without['dropped']} have nothing else of their class to find.</p>"
    )
    if not without["difference"]:
        return text
    rows = [
        [as_text(name), as_interval(values[name]), as_interval(without[name]), as_interval(difference, "+.3f")]
        for name, difference in without["difference"].items()
    ]
    return text + as_table(("over queries", "with", "without", "difference (paired)"), rows)


def _bars(classes: Sequence[Mapping[str, Any]]) -> str:
    bars = as_bars([(entry["class"], entry["products"]) for entry in classes[:_BARS]])
    rest = classes[_BARS:]
    if rest:
        held = sum(entry["products"] for entry in rest)
        bars += f'<p class="soft">and {len(rest)} smaller classes with {held} products</p>'
    return bars


def _classes(values: Mapping[str, Any]) -> str:
    names = list(values["macro"])
    rows = [
        [
            f"<bdi>{as_text(entry['class'])}</bdi>",
            str(entry["products"]),
            str(entry["queries"]),
            *(f"{entry[name]:.3f}" if name in entry else "" for name in names),
        ]
        for entry in values["classes"][:_MOST_CLASSES]
    ]
    rest = len(values["classes"]) - len(rows)
    note = f'<p class="soft">and {rest} smaller classes</p>' if rest else ""
    return as_table(("class", "products", "queries", *names), rows) + note


def _queries(evaluation: Evaluation, faces: Faces, *, best: bool) -> str:
    """Some queries with their first answers; a few of each class at most."""
    values = evaluation.measured.of(f"map@{evaluation.plan.k}")
    order = np.argsort(-values if best else values, kind="stable")
    shown: list[str] = []
    taken: Counter[int] = Counter()
    for place in order.tolist():
        code = int(evaluation.codes[place])
        if taken[code] == _PER_CLASS:
            continue
        taken[code] += 1
        name = evaluation.roles.queries[place]
        caption = f"{as_text(evaluation.classes[code])}, {values[place]:.2f}"
        figures = [faces.figure(name, "asks", caption)]
        for found, hit in zip(evaluation.answers.served[place][:_ANSWERS], evaluation.hits[place], strict=False):
            label = evaluation.labels.get(found)
            kind = "right" if hit else "wrong"
            figures.append(faces.figure(found, kind, "no label" if label is None else as_text(label)))
        shown.append(f'<div class="query">{"".join(figures)}</div>')
        if len(shown) == _SHOWN:
            break
    note = (
        f"By average precision (the figure beside the class), at most {_PER_CLASS} of a class. Green: the class of the "
        "query; red: another."
    )
    return f'<p class="soft">{note}</p>' + "".join(shown)


def _settings(values: Mapping[str, Any]) -> str:
    index, counts, latency = values["index"], values["counts"], values["latency_ms"]
    entries: list[tuple[str, object]] = [
        ("k", values["k"]),
        ("products", counts["products"]),
        ("queries", counts["queries"]),
        *((f"left out: {reason}", count) for reason, count in counts["left_out"].items()),
        ("distractors", counts["distractors"]),
        ("index version", index["version"]),
        ("served by", f"{index['serve_with']} search: {index['serve_reason']}"),
        ("recall@10 of Annoy when built", f"{index['recall_at_build']:.3f}"),
        ("answers", f"{values['served']['exact']} exact, {values['served']['approximate']} approximate"),
        ("one search", f"{latency['p50']:.2f} ms (p50), {latency['p99']:.2f} ms (p99)"),
        ("processor time of one search", f"{values['cpu_ms']['mean']:.3f} ms"),
        ("vectors compared with a query", f"{values['visited']['mean']} (mean), {values['visited']['most']} (most)"),
        *((f"fingerprint: {role}", name) for role, name in index["fingerprints"].items()),
        *((f"index setting: {name}", value) for name, value in index["settings"].items()),
        *((f"setting: {name}", value) for name, value in values["settings"].items()),
        *(("note", note) for note in values["notes"]),
    ]
    rows = "".join(f"<dt>{as_text(name)}</dt><dd>{as_text(value)}</dd>" for name, value in entries)
    return f"<dl>{rows}</dl>"

"""The report of a comparison: one HTML file with everything in it, which opens without a network.

Belongs here: how a comparison looks. Does not belong here: comparing, and the parts that reports share (`page`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vetrina.evaluation.comparison import Comparison
from vetrina.evaluation.page import Faces, Pixels, as_bars, as_interval, as_table, as_text, document
from vetrina.evaluation.speed import BATCH
from vetrina.search.answers import Products

_ANSWERS = 7  # as many as stand in one row
_MOST_CLASSES = 40
_WIDE, _HIGH = 260, 18  # pixels of a drawn interval
_STYLE = """
.verdict{font-size:17px;padding:12px 16px;border-left:5px solid #787e88;background:#f4f5f7;margin:18px 0}
.verdict.better{border-color:#2f9e5b} .verdict.worse{border-color:#d1495b} .verdict.mixed{border-color:#edae49}
.pair{padding:14px 0;border-bottom:1px solid #eceef1;display:flex;gap:18px} .rows{min-width:0}
.row{display:flex;flex-wrap:wrap;gap:10px;margin-bottom:8px} .row>b{width:18px;padding-top:36px;color:#787e88}
td svg{background:none;border:0;vertical-align:middle}
figure.common img,figure.common .none{border-color:#9fb4d8}
"""


def html_report(
    found: Comparison, values: Mapping[str, Any], products: Products, names: Mapping[str, str], pixels: Pixels
) -> str:
    """The page.

    Args:
        values: the results as plain values, with "models", "products" and "notes".
        products: all products; names: of those that have one, by id.
    """
    faces = Faces(products, names, pixels)
    models = values["models"]
    labelled = found.judged is not None
    parts = [
        "<h1>Two models on one shop</h1>",
        f'<p class="soft">A: {as_text(models["a"]["handle"])}<br>B: {as_text(models["b"]["handle"])}<br>'
        f"{values['queries']} queries over {values['products']} products"
        f"{', by ' + as_text(values['by']) if labelled else ''}</p>",
        f'<p class="verdict {as_text(values["verdict"]["word"])}">{as_text(values["verdict"]["text"], 500)}</p>',
        *(["<h2>Measures</h2>", _measures(values)] if labelled else []),
        "<h2>What each costs</h2>",
        _costs(models),
        "<h2>Neighbours in common</h2>",
        _overlap(values),
        *(["<h2>Classes</h2>", _classes(values)] if labelled else []),
    ]
    if labelled:
        parts += ["<h2>Where B gains most</h2>", _gallery(found, faces, values["disagreements"]["gains"])]
        parts += ["<h2>Where B loses most</h2>", _gallery(found, faces, values["disagreements"]["losses"])]
    parts += ["<h2>Where the answers have least in common</h2>"]
    parts += [_gallery(found, faces, values["disagreements"]["overlap"])]
    parts += ["<h2>How it was compared</h2>", _settings(values)]
    return document("Comparison of two models", parts, _STYLE)


def _measures(values: Mapping[str, Any]) -> str:
    difference = values["difference"]
    rows = []
    for name in difference["macro"]:
        for where, a, b, change in (
            ("over queries", values["a"][name], values["b"][name], difference[name]),
            ("over classes", values["a"]["macro"][name], values["b"]["macro"][name], difference["macro"][name]),
        ):
            reach = _reach([difference[other] for other in difference["macro"]] + [*difference["macro"].values()])
            label = f'{as_text(name)} <span class="soft">{where}</span>'
            cells = [label, as_interval(a), as_interval(b), as_interval(change, "+.3f"), _drawn(change, reach)]
            rows.append(cells)
    note = (
        "Small figures are 95 % bootstrap intervals. The difference is B less A over the same resampled queries; where "
        f"its interval leaves out zero, the data shows a difference. recall@{values['k']} is against exact search."
    )
    return as_table(("measure", "A", "B", "B − A (paired)", ""), rows) + f'<p class="soft">{note}</p>'


def _reach(differences: Sequence[Mapping[str, float]]) -> float:
    """The largest end of some intervals, for a scale that all of them share."""
    return max((max(abs(entry["low"]), abs(entry["high"])) for entry in differences), default=0.0) or 1.0


def _drawn(entry: Mapping[str, float], reach: float) -> str:
    """An interval as a line with its value as a dot; zero is in the middle."""

    def at(value: float) -> float:
        return _WIDE / 2 * (1 + 0.94 * max(-1.0, min(1.0, value / reach)))

    colour = "#2f9e5b" if entry["low"] > 0 else "#d1495b" if entry["high"] < 0 else "#787e88"
    middle = _HIGH / 2
    return (
        f'<svg width="{_WIDE}" height="{_HIGH}" viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="interval">'
        f'<line x1="{_WIDE / 2}" y1="0" x2="{_WIDE / 2}" y2="{_HIGH}" stroke="#c8ccd2"/>'
        f'<line x1="{at(entry["low"]):.1f}" y1="{middle}" x2="{at(entry["high"]):.1f}" y2="{middle}" '
        f'stroke="{colour}" stroke-width="3" stroke-opacity=".55" stroke-linecap="round"/>'
        f'<circle cx="{at(entry["value"]):.1f}" cy="{middle}" r="4" fill="{colour}"/></svg>'
    )


def _costs(models: Mapping[str, Any]) -> str:
    def row(name: str, value: Callable[[Mapping[str, Any]], object]) -> list[str]:
        return [as_text(name), *(as_text(value(models[model])) for model in "ab")]

    def time(series: str, words: str, clock: str, share: str) -> list[str]:
        said = "processor" if clock == "cpu" else clock
        return row(
            f"{said} ms a crop, {words} ({share})", lambda model: f"{model['speed'][series][f'{clock}_{share}']:.1f}"
        )

    rows = [
        time(series, words, clock, share)
        for series, words in (("single", "one by one"), ("batch", f"in batches of {BATCH}"))
        for clock in ("cpu", "wall")
        for share in ("p50", "p99")
    ]
    rows += [
        row("memory at its most, MiB", lambda model: f"{model['speed']['peak_mib']:.0f}"),
        row("of that, by opening", lambda model: f"{model['speed']['loaded_mib']:.0f}"),
        row("opened in, s", lambda model: f"{model['speed']['opened_in']:.1f}"),
        row("numbers of a vector", lambda model: model["dims"]),
        row("bytes of a vector", lambda model: model["vector_bytes"]),
        row("numbers that the index keeps", lambda model: model["index_dims"]),
        row("index, MB", lambda model: f"{model['index_bytes'] / 1e6:.1f}"),
        row("served by", lambda model: f"{model['serve_with']} search"),
    ]
    note = "Measured in a fresh process each, on crops of this shop; a machine that is busy makes wall times longer."
    return as_table(("", "A", "B"), rows) + f'<p class="soft">{note}</p>'


def _overlap(values: Mapping[str, Any]) -> str:
    overlap, k = values["overlap"], values["k"]
    text = (
        f"<p>Of the {k} nearest, {as_interval(overlap, '.2f')} are the same in both answers on average; "
        f"{overlap['same_set']} of {values['queries']} queries have the same {k} in both. Queries by how many "
        "they have in common:</p>"
    )
    return text + as_bars([(f"{common} of {k}", count) for common, count in enumerate(overlap["counts"])])


def _classes(values: Mapping[str, Any]) -> str:
    shown = values["classes"][:_MOST_CLASSES]
    reach = _reach([entry["difference"] for entry in shown])
    rows = [
        [
            f"<bdi>{as_text(entry['class'])}</bdi>",
            str(entry["products"]),
            str(entry["queries"]),
            f"{entry['overlap']:.2f}",
            f"{entry['a']:.3f}",
            f"{entry['b']:.3f}",
            as_interval(entry["difference"], "+.3f"),
            _drawn(entry["difference"], reach),
        ]
        for entry in shown
    ]
    rest = len(values["classes"]) - len(shown)
    note = (
        f"map@{values['k']}. Of twenty classes without any difference one is expected to look as if it had one."
        f"{f' And {rest} smaller classes.' if rest else ''}"
    )
    heads = ("class", "products", "queries", "overlap", "A", "B", "B − A (paired)", "")
    return as_table(heads, rows) + f'<p class="soft">{note}</p>'


def _gallery(found: Comparison, faces: Faces, entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return '<p class="soft">No query.</p>'
    labels = found.judged.evaluations[0].labels if found.judged is not None else {}
    shown = []
    for entry in entries:
        name = entry["product_id"]
        said = f"{entry['overlap']:.0%} in common"
        if "difference" in entry:
            said = f"{as_text(labels[name])}<br>{entry['difference']:+.2f}, {said}"
        rows = "".join(
            f'<div class="row"><b>{model.upper()}</b>'
            + "".join(
                _result(faces, labels, name, other, entry["b" if model == "a" else "a"])
                for other in entry[model][:_ANSWERS]
            )
            + "</div>"
            for model in ("a", "b")
        )
        shown.append(f'<div class="pair">{faces.figure(name, "asks", said)}<div class="rows">{rows}</div></div>')
    note = (
        "Green: the class of the query; red: another. The figure is B less A in average precision."
        if labels
        else "Blue: in both answers."
    )
    return f'<p class="soft">{note}</p>' + "".join(shown)


def _result(faces: Faces, labels: Mapping[str, str], query: str, other: str, common: Sequence[str]) -> str:
    both = "in both" if other in common else ""
    if not labels:
        return faces.figure(other, "common" if both else "", both)
    label = labels.get(other)
    kind = "right" if label == labels[query] else "wrong"
    return faces.figure(other, kind, f"{'no label' if label is None else as_text(label)}{both and ', ' + both}")


def _settings(values: Mapping[str, Any]) -> str:
    entries: list[tuple[str, object]] = [("k", values["k"])]
    for name, model in values["models"].items():
        made = model["embedding"]
        spent = "embedded before" if made is None else f"{made['embedded']} embedded, {made['reused']} reused"
        kept = "" if model["variance_kept"] is None else f", which keep {model['variance_kept']:.0%} of the variance"
        entries += [
            (f"{name.upper()}: fingerprint", model["fingerprint"]),
            (f"{name.upper()}: crops", spent),
            (f"{name.upper()}: index", f"{model['items']} vectors of {model['index_dims']} numbers{kept}"),
        ]
    entries += [(f"left out: {reason}", count) for reason, count in values.get("left_out", {}).items()]
    entries += [(f"setting: {name}", value) for name, value in values["settings"].items()]
    entries += [("note", note) for note in values["notes"]]
    rows = "".join(f"<dt>{as_text(name)}</dt><dd>{as_text(value, 500)}</dd>" for name, value in entries)
    return f"<dl>{rows}</dl>"

"""The report of an evaluation: one HTML file with everything in it, which opens without a network.

Belongs here: how results look. Does not belong here: measuring. Whatever comes from a catalog is escaped, and the
page forbids itself to load anything: no scripts, no fonts, no pictures but its own.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from PIL import Image

from vetrina.errors import PictureError
from vetrina.evaluation.evaluation import Evaluation
from vetrina.evaluation.plane import spaced_out, to_plane
from vetrina.search.engine import Products

Pixels = Callable[[str], np.ndarray]
"""The picture of a sha256: uint8 [height, width, 3]; raises PictureError or FileNotFoundError."""

_SHOWN = 8  # queries among the best, and among the worst
_PER_CLASS = 2  # of these, so that one class does not fill them
_ANSWERS = 6
_SIDE, _SMALL = 96, 40  # pixels of thumbnails
_BARS = 40
_MOST_CLASSES = 200
_POINTS = 4000  # on the map
_MAP = (960, 600)
_LONGEST = 120  # characters of a name
_COLOURS = (
    "#0e6e5c", "#d1495b", "#3066be", "#edae49", "#7b4b94", "#5fad56", "#f26430",
    "#119da4", "#b388eb", "#8d6a4f", "#c81d77", "#4f5d75",
)  # fmt: skip
_OTHER = "#b9bec7"
_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1c1f24;background:#fff;margin:0 auto;max-width:1080px;padding:28px}
h1{font-size:26px;margin:0 0 4px} h2{font-size:19px;margin:36px 0 10px} .soft{color:#787e88}
table{border-collapse:collapse;font-variant-numeric:tabular-nums} .scroll{overflow-x:auto}
th,td{text-align:right;padding:4px 12px 4px 0;border-bottom:1px solid #eceef1;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal} th{color:#787e88;font-weight:600}
.bar{display:grid;grid-template-columns:220px 1fr 60px;gap:10px;align-items:center;margin:2px 0}
.bar i{display:block;height:14px;background:#0e6e5c;border-radius:2px} .bar span{overflow-wrap:anywhere}
.query{display:flex;flex-wrap:wrap;gap:10px;padding:12px 0;border-bottom:1px solid #eceef1}
figure{margin:0;width:112px;font-size:12px;line-height:1.35;overflow-wrap:anywhere}
figure img,figure .none{width:96px;height:96px;object-fit:contain;border:3px solid #dde0e5;border-radius:4px;
display:block;background:#fcfcfc} figure.asks{margin-right:18px} figure.asks img{border-color:#1c1f24}
figure.right img,figure.right .none{border-color:#2f9e5b} figure.wrong img,figure.wrong .none{border-color:#d1495b}
svg image{mix-blend-mode:multiply}
svg{max-width:100%;height:auto;background:#fcfcfc;border:1px solid #eceef1;border-radius:6px}
.key span{display:inline-block;margin:0 14px 4px 0} .key i{display:inline-block;width:10px;height:10px;
border-radius:5px;margin-right:5px} dl{display:grid;grid-template-columns:220px 1fr;gap:4px 12px;margin:0}
dt{color:#787e88} dd{margin:0;overflow-wrap:anywhere}
"""


def html_report(
    evaluation: Evaluation, values: Mapping[str, Any], products: Products, names: Mapping[str, str], pixels: Pixels
) -> str:
    """The page.

    Args:
        values: the results as plain values, with "index" and "duplicates".
        products: all products; names: of those that have one, by id.
    """
    faces = _Faces(products, names, pixels)
    title = f"Evaluation by {values['by']}"
    parts = [
        f"<h1>{_text(title)}</h1>",
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
        "<h2>Map of the products</h2>",
        _map(evaluation, products, faces),
        "<h2>How it was measured</h2>",
        _settings(values),
    ]
    body = "\n".join(parts)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _text(value: object) -> str:
    """Any text as HTML: cut, without control characters, escaped, its direction its own."""
    text = str(value)
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    visible = (c if unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else " " for c in shown)
    return escape("".join(visible))


class _Faces:
    """Products as they are shown: name and thumbnail."""

    def __init__(self, products: Products, names: Mapping[str, str], pixels: Pixels) -> None:
        self._sha256 = dict(zip(products.product_ids, products.sha256, strict=True))
        self._names = names
        self._pixels = pixels
        self._made: dict[tuple[str, int], str | None] = {}

    def name(self, product_id: str) -> str:
        """The name as HTML, or the id."""
        return _text(self._names.get(product_id) or product_id)

    def thumbnail(self, product_id: str, side: int) -> str | None:
        """The picture as a data URL of at most `side` pixels; None when it cannot be read."""
        key = (product_id, side)
        if key not in self._made:
            try:
                self._made[key] = _data_url(self._pixels(self._sha256[product_id]), side)
            except (PictureError, FileNotFoundError):
                self._made[key] = None
        return self._made[key]

    def figure(self, product_id: str, kind: str, caption: str) -> str:
        """A thumbnail with the product's name and a caption, which is HTML."""
        url = self.thumbnail(product_id, _SIDE)
        image = f'<img src="{url}" alt="">' if url is not None else '<span class="none"></span>'
        return (
            f'<figure class="{kind}" title="{_text(product_id)}">{image}<figcaption><bdi>{self.name(product_id)}</bdi>'
            f'<br><span class="soft"><bdi>{caption}</bdi></span></figcaption></figure>'
        )


def _data_url(pixels: np.ndarray, side: int) -> str:
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _summary(values: Mapping[str, Any]) -> str:
    counts, index = values["counts"], values["index"]
    return _text(
        f"{counts['queries']} queries over {counts['searched']} products in {counts['classes']} classes; "
        f"index {index['version']}"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; heads are text."""
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _interval(entry: Mapping[str, float] | None, form: str = ".3f") -> str:
    if entry is None:
        return ""
    return f'{entry["value"]:{form}} <span class="soft">{entry["low"]:{form}} to {entry["high"]:{form}}</span>'


def _measures(values: Mapping[str, Any]) -> str:
    rows = [[_text(name), _interval(values[name]), _interval(values["macro"][name])] for name in values["macro"]]
    note = (
        f"The small figures are 95 % bootstrap intervals. recall@{values['k']} is the share of the true nearest that "
        "the served answers have; the others say how often the answers have the class of the query."
    )
    return _table(("measure", "over queries", "over classes"), rows) + f'<p class="soft">{note}</p>'


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
        [_text(name), _interval(values[name]), _interval(without[name]), _interval(difference, "+.3f")]
        for name, difference in without["difference"].items()
    ]
    return text + _table(("over queries", "with", "without", "difference (paired)"), rows)


def _bars(classes: Sequence[Mapping[str, Any]]) -> str:
    largest = max(entry["products"] for entry in classes)
    bars = [
        f'<div class="bar"><span><bdi>{_text(entry["class"])}</bdi></span>'
        f'<i style="width:{100 * entry["products"] / largest:.1f}%"></i><span>{entry["products"]}</span></div>'
        for entry in classes[:_BARS]
    ]
    rest = classes[_BARS:]
    if rest:
        held = sum(entry["products"] for entry in rest)
        bars.append(f'<p class="soft">and {len(rest)} smaller classes with {held} products</p>')
    return f"<div>{''.join(bars)}</div>"


def _classes(values: Mapping[str, Any]) -> str:
    names = list(values["macro"])
    rows = [
        [
            f"<bdi>{_text(entry['class'])}</bdi>",
            str(entry["products"]),
            str(entry["queries"]),
            *(f"{entry[name]:.3f}" if name in entry else "" for name in names),
        ]
        for entry in values["classes"][:_MOST_CLASSES]
    ]
    rest = len(values["classes"]) - len(rows)
    note = f'<p class="soft">and {rest} smaller classes</p>' if rest else ""
    return _table(("class", "products", "queries", *names), rows) + note


def _queries(evaluation: Evaluation, faces: _Faces, *, best: bool) -> str:
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
        caption = f"{_text(evaluation.classes[code])}, {values[place]:.2f}"
        figures = [faces.figure(name, "asks", caption)]
        for found, hit in zip(evaluation.answers.served[place][:_ANSWERS], evaluation.hits[place], strict=False):
            label = evaluation.labels.get(found)
            kind = "right" if hit else "wrong"
            figures.append(faces.figure(found, kind, "no label" if label is None else _text(label)))
        shown.append(f'<div class="query">{"".join(figures)}</div>')
        if len(shown) == _SHOWN:
            break
    note = (
        f"By average precision (the figure beside the class), at most {_PER_CLASS} of a class. Green: the class of the "
        "query; red: another."
    )
    return f'<p class="soft">{note}</p>' + "".join(shown)


def _map(evaluation: Evaluation, products: Products, faces: _Faces) -> str:
    shown = evaluation.roles.searched | set(evaluation.roles.queries)
    places = np.array([place for place, name in enumerate(products.product_ids) if name in shown], np.int64)
    points, kept = to_plane(products.vectors[places])
    drawn = np.arange(len(places))
    if len(drawn) > _POINTS:
        drawn = np.sort(np.random.default_rng(evaluation.plan.seed).choice(len(drawn), _POINTS, replace=False))
    sizes = Counter(evaluation.labels.values())
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[: len(_COLOURS)]
    colour_of = dict(zip(largest, _COLOURS, strict=False))
    width, height = _MAP
    margin = 24
    at = points * [width - 2 * margin, height - 2 * margin] + margin
    marks = []
    for place in drawn.tolist():
        name = products.product_ids[places[place]]
        label = evaluation.labels[name]
        x, y = at[place]
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour_of.get(label, _OTHER)}" fill-opacity=".75">'
            f"<title>{faces.name(name)} ({_text(label)})</title></circle>"
        )
    for place in spaced_out(points, 16, 10):
        name = products.product_ids[places[place]]
        url = faces.thumbnail(name, _SMALL)
        if url is not None:
            x, y = np.clip(at[place] - _SMALL / 2, 0, [width - _SMALL, height - _SMALL])
            marks.append(
                f'<image href="{url}" x="{x:.1f}" y="{y:.1f}" width="{_SMALL}" height="{_SMALL}" opacity=".92">'
                f"<title>{faces.name(name)} ({_text(evaluation.labels[name])})</title></image>"
            )
    key = "".join(f'<span><i style="background:{colour_of[name]}"></i>{_text(name)}</span>' for name in largest)
    if len(sizes) > len(largest):
        key += f'<span><i style="background:{_OTHER}"></i>{len(sizes) - len(largest)} smaller classes</span>'
    note = (
        f"{len(drawn)} of {len(places)} products by their whole pictures, on the two principal axes (PCA), which keep "
        f"{100 * kept:.0f} % of the variance: far apart is unlike, close together need not be alike."
    )
    return (
        f'<p class="soft">{note}</p><p class="key">{key}</p>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Map of the products">{"".join(marks)}</svg>'
    )


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
        ("vectors compared by a query", values["visited"]["mean"] if values["visited"]["queries"] else "not known"),
        *((f"fingerprint: {role}", name) for role, name in index["fingerprints"].items()),
        *((f"index setting: {name}", value) for name, value in index["settings"].items()),
        *((f"setting: {name}", value) for name, value in values["settings"].items()),
        *(("note", note) for note in values["notes"]),
    ]
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in entries)
    return f"<dl>{rows}</dl>"

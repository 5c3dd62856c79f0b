"""Two maps of the products for a report, with thumbnails: by their principal axes and by their neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from vetrina.evaluation.evaluation import Evaluation
from vetrina.evaluation.page import Faces, as_text
from vetrina.evaluation.plane import FEWEST_FOR_NEIGHBOURS, by_neighbours, drawn_by_class, spaced_out, to_plane
from vetrina.search.answers import Products

MOST_POINTS = 2000
"""Products on a map; of a larger shop each class brings its share."""
_SMALL = 40  # pixels of thumbnails
_SIZE = (960, 600)
_COLOURS = (
    "#0e6e5c", "#d1495b", "#3066be", "#edae49", "#7b4b94", "#5fad56", "#f26430",
    "#119da4", "#b388eb", "#8d6a4f", "#c81d77", "#4f5d75",
)  # fmt: skip
_OTHER = "#b9bec7"


def maps(evaluation: Evaluation, products: Products, faces: Faces) -> str:
    """Both maps, as HTML."""
    shown = evaluation.roles.searched | set(evaluation.roles.queries)
    places = np.array([place for place, name in enumerate(products.product_ids) if name in shown], np.int64)
    code_of = {name: code for code, name in enumerate(evaluation.classes)}
    codes = np.array([code_of[evaluation.labels[products.product_ids[place]]] for place in places], np.int64)
    drawn = places[drawn_by_class(codes, MOST_POINTS, evaluation.plan.seed)]
    ids, vectors = [products.product_ids[place] for place in drawn], products.vectors[drawn]
    sizes = Counter(evaluation.labels.values())
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[: len(_COLOURS)]
    colour_of = dict(zip(largest, _COLOURS, strict=False))
    key = "".join(f'<span><i style="background:{colour_of[name]}"></i>{as_text(name)}</span>' for name in largest)
    if len(sizes) > len(largest):
        key += f'<span><i style="background:{_OTHER}"></i>{len(sizes) - len(largest)} smaller classes</span>'
    points, kept = to_plane(vectors)
    count = f"{len(drawn)} of {len(places)} products by their whole pictures"
    parts = [
        f'<p class="soft">{count}, on the two principal axes (PCA), which keep {100 * kept:.0f} % of the variance: '
        f'far apart is unlike, close together need not be alike.</p><p class="key">{key}</p>',
        _map(points, ids, evaluation.labels, colour_of, faces),
    ]
    if len(drawn) >= FEWEST_FOR_NEIGHBOURS:
        points = by_neighbours(vectors, evaluation.plan.seed)
        parts += [
            f'<p class="soft">{count}, by t-SNE: close together is alike; how far apart groups lie, and how large they '
            "are, says nothing.</p>",
            _map(points, ids, evaluation.labels, colour_of, faces),
        ]
    return "".join(parts)


def _map(
    points: np.ndarray, ids: list[str], labels: Mapping[str, str], colour_of: Mapping[str, str], faces: Faces
) -> str:
    """One map as SVG: a dot for each product, and a thumbnail in each part of the map that has one."""
    width, height = _SIZE
    margin = 24
    at = points * [width - 2 * margin, height - 2 * margin] + margin
    marks = []
    for (x, y), name in zip(at, ids, strict=True):
        label = labels[name]
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour_of.get(label, _OTHER)}" fill-opacity=".75">'
            f"<title>{faces.name(name)} ({as_text(label)})</title></circle>"
        )
    for place in spaced_out(points, 16, 10):
        url = faces.thumbnail(ids[place], _SMALL)
        if url is not None:
            x, y = np.clip(at[place] - _SMALL / 2, 0, [width - _SMALL, height - _SMALL])
            marks.append(
                f'<image href="{url}" x="{x:.1f}" y="{y:.1f}" width="{_SMALL}" height="{_SMALL}" opacity=".92">'
                f"<title>{faces.name(ids[place])} ({as_text(labels[ids[place]])})</title></image>"
            )
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Map of the products">{"".join(marks)}</svg>'

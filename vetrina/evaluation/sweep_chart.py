"""The sweep over dimensions for a report: a table, and a curve that needs nothing but the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vetrina.evaluation.page import as_interval, as_table, as_text

_SIZE, _MARGIN, _KEY_WIDTH = (760, 320), 44, 150
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5f6672")  # M. Okabe and K. Ito (2008)


def measures_of(sweep: Mapping[str, Any]) -> list[str]:
    """The names of what was measured with intervals."""
    return [name for name, value in sweep["spaces"][0].items() if isinstance(value, dict)]


def sweep_section(sweep: Mapping[str, Any]) -> str:
    """Table and curve as HTML."""
    spaces, names = sweep["spaces"], measures_of(sweep)
    rows = [
        [
            f"{space['dims']}{' (raw)' if space['raw'] else ''}",
            f"{space['variance_kept']:.3f}",
            *(as_interval(space[name]) for name in names),
            f"{space['cpu_ms']:.3f}",
        ]
        for space in spaces
    ]
    k = names[-1].partition("@")[2]
    note = (
        f"Whole pictures of {sweep['products']} products, {sweep['queries']} queries, exact search: PCA fitted on the "
        f"products, and the raw vectors. neighbours@{k} is the share of the {k} nearest of the raw vectors that are "
        "nearest still. Small figures are 95 % bootstrap intervals."
    )
    table = as_table(("dimensions", "variance kept", *names, "CPU ms a query"), rows)
    return f'<p class="soft">{note}</p>{table}{_curves(spaces, names)}'


def _curves(spaces: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Each measure over the dimensions, which are spread evenly by their logarithm."""
    width, height = _SIZE
    ends = np.log2([space["dims"] for space in spaces])
    across = (ends - ends[0]) / ((ends[-1] - ends[0]) or 1.0)
    x = _MARGIN + across * (width - 2 * _MARGIN - _KEY_WIDTH)
    lines = {"variance kept": [space["variance_kept"] for space in spaces]}
    lines |= {name: [space[name]["value"] for space in spaces] for name in names}
    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _down(share)
        marks.append(
            f'<line x1="{_MARGIN}" x2="{width - _MARGIN - _KEY_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eceef1"/>'
            f'<text x="{_MARGIN - 8}" y="{y + 4:.1f}" font-size="11" text-anchor="end" fill="#787e88">{share:g}</text>'
        )
    for at, space in zip(x, spaces, strict=True):
        marks.append(
            f'<text x="{at:.1f}" y="{height - _MARGIN + 18}" font-size="11" text-anchor="middle" fill="#787e88">'
            f"{space['dims']}</text>"
        )
    for number, ((name, values), colour) in enumerate(zip(lines.items(), _COLOURS, strict=True)):
        points = " ".join(f"{at:.1f},{_down(value):.1f}" for at, value in zip(x, values, strict=True))
        y = _MARGIN + 20 * number
        marks.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<rect x="{width - _KEY_WIDTH - 20}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{width - _KEY_WIDTH - 4}" y="{y}" font-size="12">{as_text(name)}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Quality over dimensions">{"".join(marks)}</svg>'


def _down(share: float) -> float:
    height = _SIZE[1]
    return height - _MARGIN - share * (height - 2 * _MARGIN)

"""Pictures of an evaluation as PNG files: the classes with how well each is found, and the sweep over dimensions.

Colours are those of M. Okabe and K. Ito (2008), which people with any colour vision can tell apart. Class names are
strangers' texts: nothing in them is taken for mathematics, and what no font has is drawn as a box.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5f6672"
_MOST_CLASSES = 30
_LONGEST = 22  # characters of a name
_DPI = 90


def classes_png(classes: Sequence[Mapping[str, Any]], measure: str) -> bytes:
    """How many products each class has, and how well its products find one another; the largest 30 classes.

    Args:
        classes: as `Evaluation.by_class`, at least one. measure: which mean is shown.
    """
    from matplotlib.figure import Figure

    shown = list(reversed(classes[:_MOST_CLASSES]))
    names = [_cut(str(entry["class"])) for entry in shown]
    figure = Figure((9.0, 1.2 + 0.26 * len(shown)), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(range(len(shown)), [entry["products"] for entry in shown], color=_BLUE)
    left.set_yticks(range(len(shown)), names, parse_math=False)
    left.set_xlabel("products")
    right.barh(range(len(shown)), [entry.get(measure, 0.0) for entry in shown], color=_ORANGE)
    right.set_xlim(0, 1)
    right.set_xlabel(measure)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.25)
    return as_png(figure)


def sweep_png(sweep: Mapping[str, Any], measures: Sequence[str]) -> bytes:
    """Quality, and processor time, over the number of dimensions.

    Args:
        sweep: as `Sweep.as_json`. measures: which of its estimates are shown, four at most.
    """
    from matplotlib.figure import Figure

    spaces = sweep["spaces"]
    dims = [space["dims"] for space in spaces]
    figure = Figure((9.0, 3.4), dpi=_DPI, layout="constrained")
    quality, cost = figure.subplots(1, 2)
    for name, colour in zip(measures, (_BLUE, _ORANGE, _GREEN, _PINK), strict=False):
        estimates = [space[name] for space in spaces]
        quality.plot(dims, [entry["value"] for entry in estimates], color=colour, marker="o", markersize=3, label=name)
        low, high = ([entry[end] for entry in estimates] for end in ("low", "high"))
        quality.fill_between(dims, low, high, color=colour, alpha=0.15, linewidth=0)
    quality.plot(dims, [space["variance_kept"] for space in spaces], color=_GREY, linestyle="--", label="variance kept")
    quality.legend(fontsize=8)
    cost.plot(dims, [space["cpu_ms"] for space in spaces], color=_BLUE, marker="o", markersize=3)
    cost.set_ylabel("CPU ms a query")
    for axes in (quality, cost):
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(size) for size in dims], rotation=60, fontsize=7)
        axes.minorticks_off()
        axes.set_xlabel("dimensions (the last: raw)")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    return as_png(figure)


def as_png(figure: Any) -> bytes:
    """A matplotlib figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(stream, format="png")
    return stream.getvalue()


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"

"""How good an index is, as a picture: what was measured of recall against time, and the recall of each class.

Colours are those of M. Okabe and K. Ito (2008), which people with any colour vision can tell apart. Class names are
strangers' texts: nothing in them is taken for mathematics.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

_TREE_COLOURS = ("#0072B2", "#D55E00", "#009E73")  # by number of trees, of which there are three at most
_GREY = "#5f6672"
_MOST_CLASSES = 20
_LONGEST = 22  # characters of a name
_DPI = 60


def recall_png(recall: Mapping[str, Any]) -> bytes:
    """The frontier and the classes with lowest recall: a PNG of 25 to 50 kB.

    Args:
        recall: of a manifest with a frontier (`vetrina.index.tuning.Tuned.as_json`).
    """
    from matplotlib.figure import Figure

    classes = sorted((entry for entry in recall["by_label"] if entry["label"] is not None), key=lambda e: e["recall"])
    figure = Figure((9.0, 4.0), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_frontier(left, recall)
    _draw_classes(right, classes[:_MOST_CLASSES], recall)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_frontier(axes: Any, recall: Mapping[str, Any]) -> None:
    points = recall["frontier"]
    for trees, colour in zip(sorted({point["trees"] for point in points}), _TREE_COLOURS, strict=False):
        line = sorted((point for point in points if point["trees"] == trees), key=lambda point: point["search_k"])
        times = [point["cpu_ms"] for point in line]
        for name, kind, marker in (("", "stored items", "o"), ("outside_", "from outside", "s")):
            lower = [point[f"{name}lower_95"] for point in line]
            mean = [point[f"{name}recall"] for point in line]
            style = "--" if name else "-"
            axes.plot(times, lower, style, color=colour, marker=marker, markersize=3.5, label=f"{trees} trees, {kind}")
            axes.fill_between(times, lower, mean, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(recall["target"], color=_GREY, linestyle=":", linewidth=1, label=f"target {recall['target']:g}")
    if recall["query_ms"]:
        axes.axvline(recall["query_ms"], color=_GREY, linestyle="-.", linewidth=1, label="budget")
    axes.set_xscale("log")
    axes.set_xlabel("processor time of a search, ms")
    axes.set_ylabel(f"recall@{recall['k']}: mean, and line at its lower 95 % bound", fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)


def _draw_classes(axes: Any, classes: list[Mapping[str, Any]], recall: Mapping[str, Any]) -> None:
    names = [str(entry["label"]) for entry in classes]
    shown = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    colours = ["#D55E00" if entry["below_target"] else "#0072B2" for entry in classes]
    axes.barh(range(len(classes)), [entry["recall"] for entry in classes], color=colours)
    axes.set_yticks(range(len(classes)), shown, fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.axvline(recall["target"], color=_GREY, linestyle=":", linewidth=1)
    least = min((entry["recall"] for entry in classes), default=0.9)
    axes.set_xlim(max(0.0, min(least, recall["target"]) - 0.05), 1.0)
    axes.set_xlabel(f"recall@{recall['k']} of a class; orange: searched exactly", fontsize=8)
    axes.grid(axis="x", alpha=0.25)

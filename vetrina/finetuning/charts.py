"""Pictures of a fine-tuning: the confusion matrix, and loss and accuracy over the epochs, as PNG files.

Colours are those of M. Okabe and K. Ito (2008), which people with any colour vision can tell apart. Class names are
strangers' texts: nothing in them is taken for mathematics, and what no font has is drawn as a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vetrina.evaluation.charts import as_png

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#5f6672"
_MOST_CLASSES = 40  # beyond, neither names nor counts can be read
_LONGEST = 22  # characters of a name
_DPI = 100


def confusion_png(names: Sequence[str], confusion: np.ndarray) -> bytes:
    """The confusion matrix: counts, coloured by their share of the true class's products.

    Args:
        names: of the c classes, c ≥ 1.
        confusion: int [c, c]; row: the true class, column: the given one.
    """
    from matplotlib.figure import Figure

    count = len(names)
    side = min(9.0, 2.6 + 0.46 * count)
    figure = Figure((side + 0.6, side), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("given class")
    axes.set_ylabel("true class")
    if count > _MOST_CLASSES:
        return as_png(figure)
    shown = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    axes.set_xticks(range(count), shown, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(count), shown, parse_math=False)
    size = 9 if count <= 20 else 6
    for row, column in np.argwhere(confusion > 0).tolist():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=size)
    return as_png(figure)


def curves_png(history: Sequence[Mapping[str, float]], best_epoch: int) -> bytes:
    """Loss and accuracy of training and validation over the epochs, the epoch that was kept marked.

    Args:
        history: one entry for each epoch, with loss, val_loss, accuracy and val_accuracy.
        best_epoch: from 1.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure((9.0, 3.4), dpi=_DPI, layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour, marker in ((name, "training", _BLUE, "o"), (f"val_{name}", "validation", _ORANGE, "s")):
            values = [entry[key] for entry in history]
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=label)
        axes.axvline(best_epoch, color=_GREY, linestyle="--", linewidth=1, label=f"kept (epoch {best_epoch})")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    return as_png(figure)

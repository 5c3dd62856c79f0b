"""What the frozen front makes of pictures and of their augmented copies: computed once, kept in a mapped file.

An epoch then costs the unfrozen blocks only. Of each picture there is one plain row, and for the training part
`variants` rows of augmented copies; which copy is learnt from in an epoch is drawn. The copies are seeded by picture
and number, so they are the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.preprocessing import Preprocessing
from vetrina.finetuning.augmentation import augmented
from vetrina.finetuning.pictures import mapped

_BATCH = 32
MOST_BYTES = 6 << 30
"""Of the file; a picture has fewer copies where they would take more."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Rows of the front's output, float32.

    Attributes:
        rows: [n + copies · variants, …]: the plain ones first, in the pictures' order; then those of the copied.
        copied: places of the pictures that have copies: int64 [m].
        variants: copies of each.
    """

    rows: np.ndarray
    copied: np.ndarray
    variants: int

    def plain(self, places: np.ndarray) -> np.ndarray:
        """The plain rows of pictures."""
        taken: np.ndarray = self.rows[places]
        return taken

    def drawn(self, members: np.ndarray, versions: np.ndarray) -> np.ndarray:
        """One row for each of `members` (places in `copied`): version 0 is the plain one, 1 to variants a copy."""
        plain = len(self.rows) - len(self.copied) * self.variants
        copies = plain + members * self.variants + versions - 1
        taken: np.ndarray = self.rows[np.where(versions > 0, copies, self.copied[members])]
        return taken


def freeze(
    front: Any,
    squares: np.ndarray,
    copied: np.ndarray,
    variants: int,
    preprocessing: Preprocessing,
    seed: int,
    file: Path,
    report: Callable[[str], None],
) -> Frozen:
    """Compute the rows of all pictures and copies. Memory is that of a batch. Raises ModelError for a full disk."""
    import tensorflow as tf

    shape = tuple(front.output.shape[1:])
    planned, variants = variants, _affordable(variants, len(squares), len(copied), int(np.prod(shape)) * 4)
    rows = mapped(file, (len(squares) + len(copied) * variants, *shape), np.float32)
    fewer = (
        f" ({planned} were planned, but would take more than {MOST_BYTES / 1e9:.1f} GB)" if variants < planned else ""
    )
    report(
        f"Frozen part: {len(squares)} pictures and {variants} augmented copies of each of {len(copied)}{fewer}, "
        f"{rows.nbytes / 1e6:.0f} MB"
    )
    run = tf.function(
        lambda pictures: front(pictures, training=False),
        input_signature=[tf.TensorSpec((None, *front.input.shape[1:]), tf.float32)],
    )
    done = 0
    for batch in _batches(_views(squares, copied, variants, preprocessing, seed)):
        rows[done : done + len(batch)] = run(batch).numpy()
        done += len(batch)
    return Frozen(rows, copied, variants)


def _affordable(variants: int, pictures: int, copied: int, row_bytes: int) -> int:
    """How many copies of each picture fit into the file; with augmentation at least one."""
    room = MOST_BYTES - pictures * row_bytes
    return max(min(variants, 1), min(variants, room // max(1, copied * row_bytes)))


def _views(
    squares: np.ndarray, copied: np.ndarray, variants: int, preprocessing: Preprocessing, seed: int
) -> Iterator[np.ndarray]:
    for square in squares:
        yield preprocessing.of_square(square)
    for place in copied.tolist():
        for variant in range(variants):
            rng = np.random.default_rng((seed, place, variant))
            yield preprocessing.of_square(augmented(squares[place], rng))


def _batches(views: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    for view in views:
        held.append(view)
        if len(held) == _BATCH:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)

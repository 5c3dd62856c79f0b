"""What the frozen front makes of pictures and of their augmented copies: computed once, kept in a mapped file.

An epoch then costs the unfrozen blocks only. Of each picture there is one plain row, and for the training part
`variants` rows of augmented copies; which copy is learnt from in an epoch is drawn. The copies are seeded by picture
and number, so they are the same in every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.preprocessing import Preprocessing
from vetrina.finetuning.augmentation import Amounts, augmented
from vetrina.finetuning.pictures import mapped
from vetrina.models.files import write_atomically

_BATCH = 32
_SAID_EVERY = 2000
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


@dataclass(frozen=True, slots=True)
class Views:
    """What the front is shown: pictures, then `variants` copies of each of the copied.

    Attributes:
        squares: uint8 [n, side, side, 3].
        copied: places of the pictures that have copies: int64 [m].
        amounts: how far the copies differ from their pictures.
        seed: of the copies.
    """

    squares: np.ndarray
    copied: np.ndarray
    variants: int
    amounts: Amounts
    preprocessing: Preprocessing
    seed: int

    def __len__(self) -> int:
        return len(self.squares) + len(self.copied) * self.variants

    def batches(self) -> Iterator[np.ndarray]:
        """All of them in order, preprocessed: float32 [≤ 32, side, side, 3]."""
        views = self._each()
        while held := list(islice(views, _BATCH)):
            yield np.stack(held)

    def _each(self) -> Iterator[np.ndarray]:
        for square in self.squares:
            yield self.preprocessing.of_square(square)
        for place in self.copied.tolist():
            for variant in range(self.variants):
                rng = np.random.default_rng((self.seed, place, variant))
                yield self.preprocessing.of_square(augmented(self.squares[place], rng, self.amounts))


def freeze(front: Any, views: Views, name: str, file: Path, report: Callable[[str], None]) -> Frozen:
    """The rows of all views; those in the file, where an earlier run finished it. Memory is that of a batch.

    Args:
        name: changes with the front's weights and with the views.

    Raises:
        ModelError: the disk is full.
    """
    shape = tuple(front.output.shape[1:])
    views = _affordable(views, int(np.prod(shape)) * 4, report)
    record = file.with_suffix(".json")
    size = f"{len(views) * int(np.prod(shape)) * 4 / 1e6:.0f} MB"
    if _is_finished(file, record, name):
        report(f"Frozen part: that of an earlier run, {size}")
        rows = np.memmap(file, np.float32, "r", shape=(len(views), *shape))
        return Frozen(rows, views.copied, views.variants)
    report(
        f"Frozen part: {len(views.squares)} pictures and {views.variants} augmented copies of each of "
        f"{len(views.copied)}, {size}"
    )
    record.unlink(missing_ok=True)
    made = mapped(file, (len(views), *shape), np.float32)
    _run(front, views, made, report)
    made.flush()
    write_atomically(record, json.dumps({"name": name, "sha256": _sha256(file)}).encode())
    return Frozen(made, views.copied, views.variants)


def _run(front: Any, views: Views, rows: np.memmap, report: Callable[[str], None]) -> None:
    import tensorflow as tf

    run = tf.function(
        lambda pictures: front(pictures, training=False),
        input_signature=[tf.TensorSpec((None, *front.input.shape[1:]), tf.float32)],
    )
    done = 0
    for batch in views.batches():
        rows[done : done + len(batch)] = run(batch).numpy()
        done += len(batch)
        if done % _SAID_EVERY < len(batch):
            report(f"Frozen part: {done} of {len(rows)}")


def _is_finished(file: Path, record: Path, name: str) -> bool:
    try:
        said = json.loads(record.read_text())
        return bool(said == {"name": name, "sha256": _sha256(file)})
    except (OSError, ValueError):
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _affordable(views: Views, row_bytes: int, report: Callable[[str], None]) -> Views:
    """As many copies of each picture as fit into the file; where there are to be copies, at least one."""
    room = MOST_BYTES - len(views.squares) * row_bytes
    fitting = max(1, room // max(1, len(views.copied) * row_bytes))
    if views.variants <= fitting:
        return views
    report(f"{views.variants} augmented copies of each picture would take too much room: there are {fitting}")
    return replace(views, variants=fitting)

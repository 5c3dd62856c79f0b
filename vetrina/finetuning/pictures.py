"""The pictures of a training run: read once, each a square, beside one another in a file that is mapped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.errors import ModelError, PictureError
from vetrina.finetuning.plan import Example
from vetrina.pictures.prints import GRID, Prints, print_of

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Pictures:
    """Examples whose pictures could be read, n of them.

    Attributes:
        examples: those, in the order given.
        squares: uint8 [n, side, side, 3] RGB, mapped from disk.
        prints: for finding pictures that show the same.
        unreadable: product id → why, for the others.
        digest: sha256 of product ids, labels, groups and pixels.
    """

    examples: tuple[Example, ...]
    squares: np.ndarray
    prints: Prints
    unreadable: dict[str, str]
    digest: str


def read_pictures(examples: Sequence[Example], side: int, file: Path, report: Callable[[str], None]) -> Pictures:
    """Read the pictures into a file, and say which could not be read.

    Raises:
        ModelError: none can be read, or the disk is full.
    """
    squares = mapped(file, (len(examples), side, side, 3), np.uint8)
    kept: list[Example] = []
    unreadable: dict[str, str] = {}
    digest = hashlib.sha256()
    prints = []
    for example in examples:
        try:
            square = example.square(side)
        except PictureError as error:
            unreadable[example.product_id] = error.detail
            continue
        squares[len(kept)] = square
        for text in (example.product_id, example.label, example.group):
            digest.update(f"{len(text)}:{text}".encode())
        digest.update(np.ascontiguousarray(square).data)
        prints.append(print_of(square))
        kept.append(example)
    _report_unreadable(unreadable, len(examples), report)
    return Pictures(tuple(kept), squares[: len(kept)], _together(prints), unreadable, digest.hexdigest())


def mapped(file: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    """A new array in a file, its room on the disk reserved. Raises ModelError when there is too little.

    Writing into a mapped file that the disk cannot hold would kill the process.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        with file.open("xb") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
        return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise ModelError(
            f"Training needs {size / 1e6:.0f} MB at {file}: {error.strerror or error}. "
            "Make room, or train with fewer variants"
        ) from error


def _together(prints: list[tuple[int, np.ndarray]]) -> Prints:
    cells = np.array([cells for _, cells in prints], np.uint8).reshape(-1, GRID, GRID, 3)
    return Prints(np.ones(len(prints), bool), np.array([code for code, _ in prints], np.uint64), cells)


def _report_unreadable(unreadable: dict[str, str], total: int, report: Callable[[str], None]) -> None:
    if not unreadable:
        return
    listed = "; ".join(f"{product}: {why}" for product, why in list(unreadable.items())[:_LISTED])
    more = f"; and {len(unreadable) - _LISTED} more" if len(unreadable) > _LISTED else ""
    said = f"{len(unreadable)} of {total} pictures cannot be read ({listed}{more})"
    if len(unreadable) == total:
        raise ModelError(f"Nothing can be learnt: {said}")
    report(f"{said}; they are left out")

"""Prints: a few hundred bytes of a picture that hardly change when it is encoded again or resized.

Belongs here: how a print is made, kept and compared. Does not belong here: which pictures to compare, and what to
do about two that are alike.

A print has two parts. The difference hash (dHash; N. Krawetz, "Kind of Like That", 2013) says of 64 places whether
the picture gets brighter to the right: cheap to compare, but blind to colour and to small details. The cells are
the picture's mean colours in a grid of 16 by 16, softened so that an edge between two cells does not jump when the
size changes; two pictures whose cells all agree show the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vetrina.bounded_cache import BoundedCache
from vetrina.errors import PictureError, StoreError
from vetrina.memos import read_memo, write_memo
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import MISSING, DecoderPool
from vetrina.store import Store, blob_path

GRID = 16
"""Cells of a print on each side."""
_ACROSS, _DOWN = 9, 8
_FINE, _SOFT = 64, 2.0  # pixels on each side before softening, and its standard deviation: half a cell
_HASH_BYTES = 8
_BYTES = _HASH_BYTES + GRID * GRID * 3
_MEMOS = "prints/2"  # another way to make prints is another number
_Print = tuple[bool, int, np.ndarray]
_IN_MEMORY = _BYTES + 400  # bytes, with what Python adds
_REST = 60.0  # seconds after which a store that failed is asked again: longer than one call may take
_UNKNOWN: _Print = (False, 0, np.zeros((GRID, GRID, 3), np.uint8))
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Prints:
    """Prints of n pictures.

    Attributes:
        known: bool [n]; False where the picture could not be read.
        hashes: uint64 [n].
        cells: uint8 [n, GRID, GRID, 3] RGB.
    """

    known: np.ndarray
    hashes: np.ndarray
    cells: np.ndarray


def print_of(pixels: np.ndarray) -> tuple[int, np.ndarray]:
    """The difference hash (64 bits) and the cells (uint8 [GRID, GRID, 3]) of uint8 [height, width, 3] RGB."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_ACROSS, _DOWN), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    how = cv2.INTER_AREA if min(grey.shape) >= _FINE else cv2.INTER_LINEAR
    fine = cv2.resize(np.ascontiguousarray(pixels), (_FINE, _FINE), interpolation=how).astype(np.float32)
    soft = cv2.GaussianBlur(fine, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE)
    cells = cv2.resize(soft, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return int.from_bytes(bits.tobytes(), "big"), np.rint(cells).clip(0, 255).astype(np.uint8)


def prints_of(
    store: Store,
    pictures: Sequence[str],
    *,
    workers: int = 1,
    must_keep: bool = True,
    progress: Progress = lambda done, total: None,
) -> tuple[Prints, dict[str, PictureError]]:
    """The prints of stored pictures (sha256 each), remembered from one time to the next.

    Args:
        must_keep: a store that takes no new prints is an error; otherwise they are made again the next time.

    Returns:
        The prints in the order given, and what is wrong with the pictures that could not be read.
    """
    prints = Prints(
        np.zeros(len(pictures), bool),
        np.zeros(len(pictures), np.uint64),
        np.zeros((len(pictures), GRID, GRID, 3), np.uint8),
    )
    places: dict[str, list[int]] = {}
    for place, sha256 in enumerate(pictures):
        places.setdefault(sha256, []).append(place)

    def put(sha256: str, code: int, cells: np.ndarray) -> None:
        for place in places[sha256]:
            prints.known[place], prints.hashes[place], prints.cells[place] = True, code, cells

    missing = []
    memos = store.map(lambda sha256: read_memo(store, _MEMOS, sha256), places)
    for sha256, memo in zip(places, memos, strict=True):
        if memo is None or len(memo) != _BYTES:
            missing.append(sha256)
        else:
            cells = np.frombuffer(memo, np.uint8, offset=_HASH_BYTES).reshape(GRID, GRID, 3)
            put(sha256, int.from_bytes(memo[:_HASH_BYTES], "big"), cells)
    unreadable: dict[str, PictureError] = {}
    if missing:
        with DecoderPool(workers) as decoders:
            jobs = ((sha256, _loader(store, sha256)) for sha256 in missing)
            for done, (sha256, found) in enumerate(decoders.decode_all(jobs), start=1):
                if isinstance(found, PictureError):
                    unreadable[sha256] = found
                else:
                    code, cells = print_of(found.pixels)
                    with contextlib.suppress(*(() if must_keep else (StoreError,))):
                        write_memo(store, _MEMOS, sha256, code.to_bytes(_HASH_BYTES, "big") + cells.tobytes())
                    put(sha256, code, cells)
                progress(done, len(missing))
    return prints, unreadable


class PrintsInMemory:
    """The prints of a store's pictures for whoever asks for a few of them again and again; thread-safe."""

    def __init__(self, store: Store, most_bytes: int = 64 << 20) -> None:
        """Remember at most `most_bytes` of prints."""
        self._store = store
        self._known: BoundedCache[_Print] = BoundedCache(most_bytes, lambda _: _IN_MEMORY)
        self._lock = threading.Lock()
        self._ask_again = 0.0  # when, after a failure; 0: it did not fail

    def __call__(self, pictures: Sequence[str]) -> tuple[Prints, bool]:
        """As `prints_of`, also of a store that can only be read, or not even that.

        Returns:
            The prints, and whether all were there to be read. Those that were not are unknown this time; they may be
            there again the next.
        """
        known = {sha256: self._known.get(sha256) for sha256 in pictures}
        missing = [sha256 for sha256, found in known.items() if found is None]
        away = self._read(missing, known)
        entries = [known[sha256] or _UNKNOWN for sha256 in pictures]
        prints = Prints(
            np.array([entry[0] for entry in entries], bool),
            np.array([entry[1] for entry in entries], np.uint64),
            np.array([entry[2] for entry in entries], np.uint8).reshape(len(entries), GRID, GRID, 3),
        )
        return prints, not away

    def _read(self, missing: Sequence[str], known: dict[str, _Print | None]) -> bool:
        """Add prints to those that are known. Returns whether some were not there to be read."""
        if not missing:
            return False
        if not self._may_ask():
            return True
        try:
            read, unreadable = prints_of(self._store, missing, must_keep=False)
        except StoreError:
            self._ask_again = time.monotonic() + _REST
            return True
        self._ask_again = 0.0
        away = {sha256 for sha256, error in unreadable.items() if error.reason == MISSING}
        for place, sha256 in enumerate(missing):
            if sha256 not in away:
                made = bool(read.known[place]), int(read.hashes[place]), read.cells[place].copy()
                known[sha256] = made
                self._known.put(sha256, made)
        return bool(away)

    def _may_ask(self) -> bool:
        """Whether the store may be asked. Of one that failed, one caller after a while finds out; none waits for it."""
        with self._lock:
            now = time.monotonic()
            if now < self._ask_again:
                return False
            if self._ask_again:
                self._ask_again = now + _REST
            return True


def _loader(store: Store, sha256: str) -> Callable[[], bytes]:
    return lambda: store.read(blob_path(sha256))


def differing_bits(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Bits in which difference hashes differ, 0 to 64: uint8 [n, m] of uint64 [n] and [m]."""
    return np.bitwise_count(hashes[:, None] ^ others[None, :])


def cell_differences(cells: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far pairs of pictures lie apart, in grey levels of 0 to 255.

    Args:
        cells, others: uint8 [n, GRID, GRID, 3], compared one to one.

    Returns:
        The largest difference in brightness of any cell, and the root mean square over cells and colours:
        float32 [n] each.
    """
    apart = cells.astype(np.float32) - others.astype(np.float32)
    largest = np.abs(apart @ _LUMA).reshape(len(apart), -1).max(axis=1)
    spread = np.sqrt((apart.reshape(len(apart), -1) ** 2).mean(axis=1))
    return largest, spread

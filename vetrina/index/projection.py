"""From the extractor's space to the index's: centre, rotate to the directions that vary most, cut, unit length.

Everything here gives the same bits for a vector whatever came before or beside it: an index built from the same
items in another order has the same bytes, and the tail's scores equal the rebuilt index's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vetrina.errors import IndexDamaged
from vetrina.index.device import choose_device

_SCALE = 1 << 15
_ROWS = 32
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear map to fewer dimensions.

    Attributes:
        mean: float64 [D].
        components: float64 [D, d], orthonormal columns.
        variance_kept: share of the variance that the d directions carry, 0..1.
    """

    mean: np.ndarray
    components: np.ndarray
    variance_kept: float

    def save(self, file: Path) -> None:
        """Write as .npz without pickle."""
        np.savez(file, mean=self.mean, components=self.components, variance_kept=np.float64(self.variance_kept))

    @staticmethod
    def load(file: Path) -> Projection:
        """Read what `save` wrote. Raises IndexDamaged."""
        try:
            with np.load(file, allow_pickle=False) as data:
                return Projection(data["mean"], data["components"], float(data["variance_kept"]))
        except (OSError, ValueError, KeyError) as error:
            raise IndexDamaged(f"The projection {file.name} cannot be read: {error}") from error


class Moments:
    """Mean and covariance of unit vectors, summed exactly.

    Rows are rounded to multiples of 2⁻¹⁵ (under a thousandth of a typical coordinate at 1280 dims): their
    products then add up without rounding, so the result does not depend on the order of the rows.
    """

    def __init__(self, dims: int, device: str = "cpu") -> None:
        self.count = 0
        self._device = device
        self._sum = np.zeros(dims, np.int64)
        self._products = np.zeros((dims, dims), np.int64)

    def add(self, units: np.ndarray) -> None:
        """Take in float [b, D] unit rows, b ≤ 2²⁰."""
        whole = np.rint(units * np.float64(_SCALE))
        self.count += len(whole)
        self._sum += whole.sum(axis=0).astype(np.int64)
        # As soon as there was enough to do for a card to pay; the sums are exact, so both may have a share in them.
        work = 2.0 * self.count * len(self._sum) ** 2
        self._products += choose_device(self._device, work).gram(whole).astype(np.int64)

    def projection(self, dims: int) -> Projection | None:
        """The `dims` directions of most variance; `None` when the vectors do not vary."""
        return next(iter(self.projections([dims])), None)

    def projections(self, sizes: Sequence[int]) -> list[Projection]:
        """The directions of most variance, so many for each size (ascending); none when the vectors do not vary."""
        mean = self._sum / self.count
        covariance = self._products / self.count - np.outer(mean, mean)
        total = float(np.trace(covariance))
        # The rounding of constant vectors leaves nothing; anything this small is noise.
        if total / _SCALE**2 < 1e-9:
            return []
        values, vectors = np.linalg.eigh(covariance)
        components = vectors[:, ::-1][:, : sizes[-1]].copy()
        largest = np.abs(components).argmax(axis=0)
        # An eigenvector is known up to its sign; fix it.
        components *= np.sign(components[largest, np.arange(components.shape[1])])
        kept = [float(np.clip(values[::-1][:size].sum() / total, 0.0, 1.0)) for size in sizes]
        return [
            Projection(mean / _SCALE, components[:, :size].copy(), share)
            for size, share in zip(sizes, kept, strict=True)
        ]


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1: float64 [n, d]. Rows must not be zero."""
    wide = vectors.astype(np.float64)
    return wide / np.sqrt((wide * wide).sum(axis=1))[:, None]


def to_index_space(vectors: np.ndarray, projection: Projection | None) -> np.ndarray:
    """Extractor vectors as rows of the index: float32 [n, d] of length 1.

    A vector that coincides with the mean has no direction; it gets the first axis.

    Args:
        vectors: float32 [n, D], finite, not zero; length does not matter.
    """
    units = unit_rows(vectors)
    if projection is None:
        return units.astype(np.float32)
    width = projection.components.shape[1]
    out = np.empty((len(units), width), np.float32)
    # Blocks of one fixed shape: BLAS rounds edge rows of other shapes differently.
    block = np.zeros((_ROWS, units.shape[1]))
    for start in range(0, len(units), _ROWS):
        part = units[start : start + _ROWS] - projection.mean
        block[: len(part)] = part
        moved = (block @ projection.components)[: len(part)]
        norms = np.sqrt((moved * moved).sum(axis=1))
        flat = norms < _TINY
        moved[flat] = 0.0
        moved[flat, 0] = 1.0
        norms[flat] = 1.0
        out[start : start + _ROWS] = moved / norms[:, None]
    return out

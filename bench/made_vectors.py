"""Vectors made around those of a shop, as many as a benchmark wants.

A vector starts at a real one, goes a random part of the way (up to half) towards two of its ten nearest, and 0.3 of the
difference of two real vectors drawn at random is added; so it varies in the directions in which real ones do.
"""

from __future__ import annotations

import numpy as np

from vetrina.index.projection import Moments, to_index_space, unit_rows
from vetrina.index.sources import IndexItems
from vetrina.index.versions import current, verify
from vetrina.store import Store

_BLOCK = 1 << 15


def real_vectors(root: str, dims: int) -> np.ndarray:
    """A shop's items in fewer dimensions, by the index's own projection: float32 [n, dims] unit rows."""
    store = Store(root)
    published = current(store)
    if published is None:
        raise SystemExit(f"{root} holds no index; run vetrina demo with VETRINA_STORE set to it first")
    items = IndexItems(store, verify(store, published).fingerprints["embeddings"])
    tables = [table["vector"].combine_chunks() for table in items()]
    raw = np.concatenate([column.flatten().to_numpy().reshape(len(column), -1) for column in tables])
    moments = Moments(raw.shape[1])
    moments.add(unit_rows(raw))
    return to_index_space(raw.astype(np.float32), moments.projection(dims))


def around(real: np.ndarray, own: np.ndarray, near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A vector for each place `own` of a real one: from there a part of the way towards two near ones, and noise.

    Args:
        real: float32 [n, d] unit rows. near: int64 [n, 10], the nearest others of each.

    Returns:
        float32 [len(own), d] unit rows.
    """
    count = len(own)
    two = near[own[:, None], rng.integers(near.shape[1], size=(count, 2))]
    way = rng.uniform(0, 0.5, (count, 2, 1))
    noise = real[rng.integers(len(real), size=count)] - real[rng.integers(len(real), size=count)]
    made = real[own] + ((real[two] - real[own][:, None]) * way).sum(axis=1) + 0.3 * noise
    return unit_rows(made).astype(np.float32)


def made_vectors(real: np.ndarray, rows: int, seed: int = 7) -> np.ndarray:
    """Vectors around some real ones (float32 [n, d] unit rows): float32 [rows, d] unit rows."""
    rng = np.random.default_rng(seed)
    near = np.argsort(-(real @ real.T), axis=1)[:, 1:11]
    made = np.empty((rows, real.shape[1]), np.float32)
    for at in range(0, rows, _BLOCK):
        out = made[at : at + _BLOCK]
        out[:] = around(real, rng.integers(len(real), size=len(out)), near, rng)
    return made

"""Made-up unit vectors in clusters, like those of real pictures."""

import numpy as np


def clustered(count: int, dims: int = 16, seed: int = 0) -> np.ndarray:
    """Vectors around twenty centres: float32 [count, dims] unit rows."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, dims))
    rows = centres[rng.integers(20, size=count)] + 0.6 * rng.standard_normal((count, dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vetrina.embedding.efficientnet_lite import fetch_extractor, keras_model
from vetrina.embedding.extractor import Extractor, open_extractor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PICTURES = Path(__file__).parent.parent / "data" / "pictures"


@pytest.fixture(scope="session")
def pictures() -> dict[str, np.ndarray]:
    return {file.stem: np.array(Image.open(file).convert("RGB")) for file in sorted(PICTURES.glob("*.png"))}


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    fetch_extractor(lambda line: None)
    return open_extractor()


@pytest.fixture(scope="session")
def classifier() -> Any:
    """The unfolded network with its ImageNet head."""
    return keras_model(folded=False, classifier=True)

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, Extractor, open_extractor, prepare_extractor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PICTURES = Path(__file__).parent.parent / "data" / "pictures"


@pytest.fixture(scope="session")
def pictures() -> dict[str, np.ndarray]:
    return {file.stem: np.array(Image.open(file).convert("RGB")) for file in sorted(PICTURES.glob("*.png"))}


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    prepare_extractor(DEFAULT_EXTRACTOR, None, lambda line: None)
    return open_extractor()

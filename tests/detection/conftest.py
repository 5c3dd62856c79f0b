from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vetrina.detection.detector import Detector, open_detector
from vetrina.models.bundled import fetch_detector

PICTURES = Path(__file__).parent.parent / "data" / "pictures"


@pytest.fixture(scope="session")
def pictures() -> dict[str, np.ndarray]:
    return {file.stem: np.array(Image.open(file).convert("RGB")) for file in sorted(PICTURES.glob("*.png"))}


@pytest.fixture(scope="session")
def detector() -> Detector:
    fetch_detector(lambda line: None)
    return open_detector()

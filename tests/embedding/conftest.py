import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.keras_networks import RANDOM, quiet

from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, Extractor, open_extractor, prepare_extractor
from vetrina.models import files

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PICTURES = Path(__file__).parent.parent / "data" / "pictures"


@pytest.fixture(scope="session")
def pictures() -> dict[str, np.ndarray]:
    return {file.stem: np.array(Image.open(file).convert("RGB")) for file in sorted(PICTURES.glob("*.png"))}


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    prepare_extractor(DEFAULT_EXTRACTOR, None, lambda line: None)
    return open_extractor()


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder in which a small network of keras.applications with random weights was converted."""
    folder = tmp_path_factory.mktemp("keras") / "weights"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(files.FOLDER_VARIABLE, str(folder))
        prepare_extractor(RANDOM, None, quiet)
    return folder


@pytest.fixture
def models(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own; what was converted is there, to save time."""
    folder = tmp_path / "weights"
    shutil.copytree(converted, folder)
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def small(models: Path) -> Extractor:
    """The small network as an extractor."""
    return open_extractor(RANDOM)

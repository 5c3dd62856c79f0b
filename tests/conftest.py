import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import logging as log_of_tensorflow
from hypothesis import settings

os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

from support.fault_server import FaultServer
from support.hub_server import HubServer, tiny_models
from support.s3_server import S3Server, s3_server
from support.shops import Shop, opened_shop

# Dagster closes all handlers of logs when it sets up its own, and TensorFlow's closes the stream that it was made with:
# pytest's capture, were it not the process's own, which it leaves open.
log_of_tensorflow.get_absl_handler().python_handler.setStream(sys.__stderr__)

# A machine that pauses is no fault of an example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

PICTURES = Path(__file__).parent / "data" / "pictures"


@pytest.fixture(scope="module", autouse=True)
def _networks_are_let_go() -> Iterator[None]:
    """What Keras remembers of the networks of a file's tests goes with them: some GB over all files otherwise."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        gc.collect()
        gc.freeze()  # what is left stays: looking through it again after each file would cost minutes


@pytest.fixture(scope="session")
def product_pictures() -> dict[str, bytes]:
    """The bytes of twelve product pictures, by name."""
    return {file.stem: file.read_bytes() for file in sorted(PICTURES.glob("*.png"))}


@pytest.fixture(scope="session")
def bundled_models() -> None:
    """The bundled models are there; `make models` has brought them already."""
    from vetrina.models.bundled import fetch_bundled

    fetch_bundled(lambda line: None)


@pytest.fixture
def server(product_pictures: dict[str, bytes]) -> Iterator[FaultServer]:
    """Serves /<name>.png for each product picture."""
    with FaultServer({f"/{name}.png": data for name, data in product_pictures.items()}) as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, bundled_models: None) -> Iterator[Shop]:
    """An empty shop of its own."""
    with opened_shop(tmp_path / "shop") as shop:
        yield shop


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server with the empty bucket "shop", named by the environment; local copies go into the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with s3_server() as server:
        yield server


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder for the test alone."""
    monkeypatch.setenv("VETRINA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="session")
def hub_archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archives of a tiny extractor and a tiny detector, by their paths on the hub (loads TensorFlow)."""
    return tiny_models(tmp_path_factory.mktemp("hub-models"))


@pytest.fixture
def hub(own_models: Path) -> Iterator[HubServer]:
    """A hub without a model yet, and an empty models folder."""
    with HubServer() as server:
        yield server

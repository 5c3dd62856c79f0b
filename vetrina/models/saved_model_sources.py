"""Where SavedModels come from: hubs on the web, S3, archives and folders at hand. Each fills a local folder.

A hub is asked as TensorFlow Hub asks: the handle is an address, and with `?tf-hub-format=compressed` behind it the
answer is a tar.gz of the SavedModel, perhaps after redirects (https://www.tensorflow.org/hub/hosting). Kaggle gives
the same archive under its API's address, to anybody, which is what its own client asks for.

A handle comes from whoever runs the shop, never from a stranger, so loopback and private addresses are allowed: a hub
inside the house is a usual thing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vetrina.errors import ModelError, StoreError
from vetrina.models.families import Report
from vetrina.models.unpacking import ARCHIVES, MOST_BYTES, MOST_FILES, check_size, unpack
from vetrina.pictures.addresses import redact
from vetrina.store import sha256_of
from vetrina.web_files import DownloadFailed, DownloadLimits, fetch_file

LIMITS = DownloadLimits(
    deadline=7200.0, max_bytes=MOST_BYTES, attempts=3, allow_private=True, user_agent="vetrina/0.1 (model)"
)
_KAGGLE = re.compile(
    r"https?://(?:www\.)?kaggle\.com/models/([^/]+)/([^/]+)(?:/frameworks)?/([^/]+)(?:/variations)?/([^/]+)"
    r"(?:/versions)?/(\d+)/?",
    re.IGNORECASE,
)
_KAGGLE_MODELS = re.compile(r"https?://(?:www\.)?kaggle\.com/models/", re.IGNORECASE)
_ADVICE = {
    "http-404": "check the handle",
    "http-403": "of a tfhub.dev handle try the model's Kaggle address, or download the archive and name its path",
    "too-large": "is it the right one?",
    "private-address": "check the handle",
}
_PROGRESS = 32 << 20


def is_local(place: str) -> bool:
    """Whether a place is a path on this machine."""
    return "://" not in place


def shown_place(place: str) -> str:
    """A place for messages, without its secrets."""
    return place if is_local(place) else redact(place)


def obtain(place: str, folder: Path, work: Path, report: Report) -> str | None:
    """Fill an empty folder with the SavedModel at a place, as it lies there.

    Args:
        place: an absolute path, or an http(s) or s3 address.
        work: another empty folder on the same disk, for archives.

    Returns:
        Hex sha256 of the archive it came in; None where it came as files.

    Raises:
        ModelError: it is not there, cannot be reached, or is no archive where there should be one.
    """
    scheme = "" if is_local(place) else urlsplit(place).scheme.lower()
    archive: Path | None
    try:
        if scheme in ("http", "https"):
            archive = _from_web(place, work / "archive", report)
        elif scheme == "s3":
            archive = _from_s3(place, folder, work / "archive", report)
        elif not scheme:
            archive = _from_disk(Path(place), folder)
        else:
            raise ModelError(
                f"{shown_place(place)} cannot be fetched: name an https://, http:// or s3:// address or a path"
            )
    except StoreError as error:
        raise ModelError(f"The model {shown_place(place)} cannot be brought here: {error}") from None
    if archive is None:
        return None
    report(f"Model {shown_place(place)}: unpacking {megabytes(archive.stat().st_size)}")
    unpack(archive, folder, shown_place(place))
    return sha256_of(archive)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB"


def download_address(place: str) -> str:
    """What a hub is asked for a handle. Raises ModelError for a Kaggle handle that names no version."""
    bare = urlunsplit(urlsplit(place)._replace(query="", fragment=""))
    if found := _KAGGLE.fullmatch(bare):
        return f"https://www.kaggle.com/api/v1/models/{'/'.join(found.groups())}/download"
    if _KAGGLE_MODELS.match(bare):
        raise ModelError(
            f"{bare} names no version of a model; a Kaggle handle is "
            "https://www.kaggle.com/models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION"
        )
    parts = urlsplit(place)
    if parts.path.endswith(ARCHIVES):
        return place
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"tf-hub-format": "compressed"}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _from_web(place: str, archive: Path, report: Report) -> Path:
    shown = redact(place)
    report(f"Model {shown}: fetching")
    said = 0

    def on_bytes(done: int, announced: int | None) -> None:
        nonlocal said
        if done - said >= max(_PROGRESS, (announced or 0) // 10):
            said = done
            report(f"Model {shown}: {megabytes(done)}" + (f" of {megabytes(announced)}" if announced else ""))

    try:
        fetch_file(download_address(place), archive, LIMITS, on_bytes=on_bytes)
    except DownloadFailed as failed:
        advice = _ADVICE.get(failed.reason, "check the handle and the network, or name a folder that holds the model")
        raise ModelError(f"The model {failed}; {advice}") from None
    return archive


def _from_s3(place: str, folder: Path, archive: Path, report: Report) -> Path | None:
    # s3fs takes a second to import, and most models come from elsewhere.
    from vetrina.store.cache import FileCache
    from vetrina.store.s3 import S3Files

    report(f"Model {place}: fetching")
    if place.endswith(ARCHIVES):
        base, _, name = place.rpartition("/")
        files = S3Files(base, FileCache())
        size = files.size(name)
        if size is None:
            raise ModelError(f"There is no model at {place}; check the address")
        check_size(1, size, place)
        files.download(name, archive)
        return archive
    files = S3Files(place, FileCache())
    found = sorted(islice(files.walk(""), MOST_FILES + 1), key=lambda one: one.path)
    if not found:
        raise ModelError(f"There is no model at {place}; check the address")
    check_size(len(found), sum(one.bytes for one in found), place)
    for one in found:
        if not {"", ".", ".."}.isdisjoint(one.path.split("/")):
            raise ModelError(f"{place}: the object {one.path!r} is refused, for its name leads outside a folder")
        target = folder / PurePosixPath(one.path)
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            files.download(one.path, target)
    return None


def _from_disk(path: Path, folder: Path) -> Path | None:
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError(f"There is no model at {path}; check the path")
    if not is_saved_model(path):
        raise ModelError(f"{path} holds no SavedModel: it has no saved_model.pb")
    found = [file.stat().st_size for file in islice(path.rglob("*"), MOST_FILES + 1) if file.is_file()]
    check_size(len(found), sum(found), str(path))
    with _writing(folder):
        shutil.copytree(path, folder, dirs_exist_ok=True)
    return None


def is_saved_model(folder: Path) -> bool:
    """Whether a folder looks like a SavedModel; whether it can be loaded is found out by loading it."""
    return (folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}; make room there") from None

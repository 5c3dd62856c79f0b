"""How SavedModels come into the models folder; what is in them does not matter here."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import fault_server as faults
from support.hub_models import packed
from support.hub_server import HubServer
from support.s3_server import S3Server

from vetrina.errors import ModelError, SettingError
from vetrina.models import saved_model_sources, unpacking
from vetrina.models.handles import Handle, parse_handle
from vetrina.models.saved_model_sources import download_address
from vetrina.models.saved_models import bring, digest_of, kept

PATH = "/google/imagenet/mobilenet_v2_140_224/feature_vector/4"
SILENT: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing large comes, and no test waits between two tries."""
    limits = replace(saved_model_sources.LIMITS, attempts=2, backoff=0.0, max_bytes=1 << 20)
    monkeypatch.setattr(saved_model_sources, "LIMITS", limits)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a SavedModel."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.data-00000-of-00001").write_bytes(b"weights" * 100)
    return folder


def tar(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def put(s3: S3Server, key: str, data: bytes) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=data)


def contents(models: Path) -> list[str]:
    """What a models folder holds, but for the folder of SavedModels itself."""
    return sorted(str(path.relative_to(models)) for path in models.rglob("*"))[1:]


def test_a_hub_is_asked_as_tensorflow_hub_asks_and_only_once(hub: HubServer, model: Path) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    found = bring(handle, SILENT)
    assert [(request.path, request.query) for request in hub.requests] == [
        (PATH, "tf-hub-format=compressed"),
        (hub.stored(PATH), ""),
    ]
    assert digest_of(found.folder) == digest_of(model)
    assert found.bytes == 705 and found.checksum == hashlib.sha256(packed(model)).hexdigest()
    assert bring(handle, SILENT) == found == kept(handle)
    assert len(hub.requests) == 2


def test_what_goes_on_is_told(hub: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_model_sources, "_PROGRESS", 100_000)
    (model / "random").write_bytes(os.urandom(400_000))
    handle = parse_handle(hub.publish(PATH, packed(model)))
    lines: list[str] = []
    bring(handle, lines.append)
    told = [line.removeprefix(f"Model {handle.text}") for line in lines]
    assert told[0] == ": fetching" and told[1] == ": 0.4 MB of 0.4 MB" and told[2] == ": unpacking 0.4 MB"
    assert told[3].startswith(" is in place: ")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.status(404), "answered 404.*check the handle"),
        (faults.status(403), "answered 403.*try the model's Kaggle address, or download the archive"),
        (faults.status(500), "after 2 tries: answered 500.*check the handle and the network"),
        (faults.html(), "no whole tar.gz archive .*it begins with b'<!DOCTYPE html>'"),
        (faults.empty(), "no whole tar.gz archive .*it begins with b''"),
        (faults.endless(), r"larger than 1048576 bytes \(too-large\)"),
        (faults.redirect(PATH), "too-many-redirects"),
        (faults.redirect("file:///etc/passwd"), "no http or https address"),
        (faults.answer(tar(member("README.txt"))), r"holds no SavedModel: .* but README\.txt"),
        (faults.answer(tar()), "holds no SavedModel: .* but nothing"),
        (faults.answer(tar(member("../saved_model.pb"))), "refused, for it would write outside"),
        (faults.answer(tar(member("saved_model.pb", tarfile.SYMTYPE, "/etc/passwd"))), "is a link or a device"),
        (faults.answer(tar(member("saved_model.pb", tarfile.LNKTYPE, "../x"))), "is a link or a device"),
        (faults.answer(tar(member("saved_model.pb", tarfile.CHRTYPE))), "is a link or a device"),
    ],
)
def test_an_answer_that_is_no_model_is_refused_and_leaves_nothing(
    hub: HubServer, own_models: Path, fault: faults.Fault, says: str
) -> None:
    hub.fail(PATH, fault)
    handle = parse_handle(hub.url(PATH))
    with pytest.raises(ModelError, match=says) as refused:
        bring(handle, SILENT)
    assert hub.url(PATH) in str(refused.value)
    assert contents(own_models) == [] and kept(handle) is None


def test_a_hub_that_drips_is_left_when_its_time_is_over(
    hub: HubServer, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail(PATH, faults.drip(announce=100_000, every=0.02))
    monkeypatch.setattr(saved_model_sources, "LIMITS", replace(saved_model_sources.LIMITS, deadline=0.5))
    with pytest.raises(ModelError, match=r"did not arrive within 0\.5 s \(deadline\)"):
        bring(parse_handle(hub.url(PATH)), SILENT)
    assert contents(own_models) == []


@pytest.mark.parametrize("share", [0.3, 0.98])
def test_an_archive_that_is_cut_is_refused_and_leaves_nothing(
    hub: HubServer, own_models: Path, model: Path, share: float
) -> None:
    whole = packed(model)
    handle = parse_handle(hub.publish(PATH, whole[: int(len(whole) * share)]))
    with pytest.raises(ModelError, match=r"no whole tar\.gz archive"):
        bring(handle, SILENT)
    assert contents(own_models) == []


def test_an_archive_that_is_altered_is_refused(hub: HubServer, own_models: Path, model: Path) -> None:
    whole = bytearray(packed(model))
    whole[-6] ^= 1  # in gzip's own checksum
    with pytest.raises(ModelError, match=r"no whole tar\.gz archive"):
        bring(parse_handle(hub.publish(PATH, bytes(whole))), SILENT)
    assert contents(own_models) == []


def test_an_archive_unpacks_to_so_much_and_no_more(
    hub: HubServer, own_models: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    monkeypatch.setattr(unpacking, "MOST_BYTES", 700)
    with pytest.raises(ModelError, match="too large for a model"):
        bring(handle, SILENT)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 800)
    monkeypatch.setattr(unpacking, "MOST_FILES", 3)
    with pytest.raises(ModelError, match="too large for a model"):
        bring(handle, SILENT)
    assert contents(own_models) == []


def test_a_hub_that_cannot_be_reached_is_said_to_be(own_models: Path) -> None:
    with HubServer() as gone:
        address = gone.url(PATH)
    with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1.*check the handle and the network"):
        bring(parse_handle(address), SILENT)


def test_trouble_that_passes_is_borne(hub: HubServer, model: Path) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    hub.fail(hub.stored(PATH), faults.status(503, times=1))
    assert bring(handle, SILENT).is_right()


def test_a_model_in_the_only_folder_of_its_archive_is_found(hub: HubServer, model: Path) -> None:
    found = bring(parse_handle(hub.publish(PATH, packed(model, under="mobilenet"))), SILENT)
    assert digest_of(found.folder) == digest_of(model)


def test_a_checksum_in_the_handle_is_kept_to(hub: HubServer, own_models: Path, model: Path) -> None:
    archive = packed(model)
    address, right = hub.publish(PATH, archive), hashlib.sha256(archive).hexdigest()
    for wrong in ("0" * 64, right[::-1]):
        with pytest.raises(ModelError, match=f"has the sha256 {right}, not {wrong} as its handle says"):
            bring(parse_handle(f"{address}#sha256={wrong}"), SILENT)
    assert contents(own_models) == []
    found = bring(parse_handle(f"{address}#sha256={right.upper()}"), SILENT)
    assert kept(parse_handle(address)) == found
    assert kept(parse_handle(f"{address}#sha256={'0' * 64}")) is None
    with pytest.raises(ModelError, match="sha256 must be 64 hexadecimal digits"):
        bring(parse_handle(f"{address}#sha256=12"), SILENT)


def test_a_folder_has_the_checksum_of_its_content(own_models: Path, model: Path) -> None:
    right = digest_of(model)[0]
    assert bring(parse_handle(f"{model}#sha256={right}"), SILENT).digest == right
    with pytest.raises(ModelError, match=f"has the sha256 {right}"):
        bring(parse_handle(f"{model}#sha256={'0' * 64}"), SILENT)


@pytest.mark.parametrize("harm", ["alter", "cut", "lose", "add"])
def test_a_model_that_was_harmed_is_not_opened_and_comes_again(hub: HubServer, model: Path, harm: str) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    found = bring(handle, SILENT)
    weights = found.folder / "variables/variables.data-00000-of-00001"
    if harm == "alter":
        weights.write_bytes(b"Weights" + weights.read_bytes()[7:])
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "lose":
        weights.unlink()
    else:
        (found.folder / "more").write_bytes(b"")
    with pytest.raises(ModelError, match="altered, cut or missing: run `vetrina models`"):
        found.verified()
    lines: list[str] = []
    assert bring(handle, lines.append).verified() == found.folder
    assert "is altered or cut" in lines[0]
    assert digest_of(found.folder) == digest_of(model)


def test_a_model_that_is_gone_is_not_opened(hub: HubServer, model: Path) -> None:
    found = bring(parse_handle(hub.publish(PATH, packed(model))), SILENT)
    found.folder.rename(found.folder.with_name("elsewhere"))
    with pytest.raises(ModelError, match="altered, cut or missing"):
        found.verified()


def test_a_record_that_is_damaged_counts_as_none(hub: HubServer, own_models: Path, model: Path) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    found = bring(handle, SILENT)
    record = next((own_models / "saved_models/sources").glob("*.json"))
    for text in ("{", "[]", "{}", record.read_text().replace(found.digest, "../../../etc")):
        record.write_text(text)
        assert kept(handle) is None
    assert bring(handle, SILENT) == found


def test_offline_what_is_here_is_used_and_the_rest_is_refused(
    hub: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handle = parse_handle(hub.publish(PATH, packed(model)))
    found = bring(handle, SILENT)
    asked = len(hub.requests)
    monkeypatch.setenv("VETRINA_OFFLINE", "yes")
    assert bring(handle, SILENT) == found
    assert bring(parse_handle(str(model)), SILENT).digest == found.digest
    for other in (hub.url("/other"), "s3://shop/model.tar.gz"):
        with pytest.raises(ModelError, match=f"{other} is not on this machine, and VETRINA_OFFLINE forbids"):
            bring(parse_handle(other), SILENT)
    assert len(hub.requests) == asked
    monkeypatch.setenv("VETRINA_OFFLINE", "perhaps")
    with pytest.raises(SettingError, match="VETRINA_OFFLINE is 'perhaps'; use yes or no"):
        bring(parse_handle(hub.url("/other")), SILENT)


@pytest.mark.parametrize("as_archive", [False, True])
def test_a_model_at_hand_is_copied_and_looked_at_again_when_it_is_prepared_again(
    own_models: Path, model: Path, tmp_path: Path, as_archive: bool
) -> None:
    archive = tmp_path / "model.tar.gz"

    def lay(weights: bytes) -> Handle:
        (model / "saved_model.pb").write_bytes(weights)
        archive.write_bytes(packed(model))
        return parse_handle(str(archive if as_archive else model))

    handle = lay(b"first")
    first = bring(handle, SILENT)
    assert bring(handle, SILENT) == first
    lay(b"second")
    assert kept(handle) == first
    second = bring(handle, SILENT)
    assert second.digest != first.digest and kept(handle) == second
    assert first.is_right() and second.is_right()
    for place in (model, archive):
        place.rename(place.with_name(f"{place.name}-gone"))
    assert bring(handle, SILENT) == second


def test_a_path_means_the_same_from_everywhere(
    own_models: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = bring(parse_handle("./model"), SILENT)
    monkeypatch.chdir("/")
    assert kept(parse_handle(str(model))) == found
    assert kept(parse_handle("./model")) is None


def test_a_path_without_a_model_is_refused(own_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model at /nowhere/at/all; check the path"):
        bring(parse_handle("/nowhere/at/all"), SILENT)
    with pytest.raises(ModelError, match="holds no SavedModel"):
        bring(parse_handle(str(tmp_path)), SILENT)
    assert contents(own_models) == []


def test_a_disk_that_is_full_or_closed_is_said_to_be(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("VETRINA_MODELS", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        bring(parse_handle(str(model)), SILENT)


def test_models_come_from_s3_as_archives_and_as_files(own_models: Path, model: Path, s3: S3Server) -> None:
    put(s3, "models/mobile.tar.gz", packed(model))
    for file in (path for path in model.rglob("*") if path.is_file()):
        put(s3, f"models/mobile/{file.relative_to(model)}", file.read_bytes())
    archive, files = parse_handle("s3://shop/models/mobile.tar.gz"), parse_handle("s3://shop/models/mobile")
    assert bring(archive, SILENT).digest == digest_of(model)[0] == bring(files, SILENT).digest
    asked = len(s3.requests)
    assert bring(archive, SILENT).is_right() and bring(files, SILENT).is_right()
    assert len(s3.requests) == asked


def test_models_that_s3_does_not_have_are_refused(own_models: Path, s3: S3Server) -> None:
    put(s3, "models/../etc/saved_model.pb", b"x")
    for handle, says in {
        "s3://shop/none.tar.gz": "There is no model at s3://shop/none.tar.gz",
        "s3://shop/none": "There is no model at s3://shop/none",
        "s3://shop/models": "its name leads outside a folder",
        "s3://no-such-bucket/model": "cannot be brought here: .*no-such-bucket",
    }.items():
        with pytest.raises(ModelError, match=says):
            bring(parse_handle(handle), SILENT)
    assert contents(own_models) == []


def test_other_addresses_are_refused(own_models: Path) -> None:
    with pytest.raises(ModelError, match=r"gs://bucket/model cannot be fetched: name an https://, http:// or s3://"):
        bring(parse_handle("gs://bucket/model"), SILENT)


@pytest.mark.parametrize(
    ("handle", "asked"),
    [
        (
            "https://tfhub.dev/google/faster_rcnn/openimages_v4/inception_resnet_v2/1",
            "https://tfhub.dev/google/faster_rcnn/openimages_v4/inception_resnet_v2/1?tf-hub-format=compressed",
        ),
        ("https://hub.example/m/1?key=a%20b", "https://hub.example/m/1?key=a+b&tf-hub-format=compressed"),
        ("https://hub.example/m.tar.gz?signature=x", "https://hub.example/m.tar.gz?signature=x"),
        (
            "https://www.kaggle.com/models/google/mobilenet-v2/TensorFlow2/140-224-feature-vector/2",
            "https://www.kaggle.com/api/v1/models/google/mobilenet-v2/TensorFlow2/140-224-feature-vector/2/download",
        ),
        (
            "https://www.kaggle.com/models/google/faster-rcnn/tensorFlow1/openimages/1?tfhub-redirect=true",
            "https://www.kaggle.com/api/v1/models/google/faster-rcnn/tensorFlow1/openimages/1/download",
        ),
        (
            "https://kaggle.com/models/google/faster-rcnn/frameworks/TensorFlow1/variations/openimages/versions/1",
            "https://www.kaggle.com/api/v1/models/google/faster-rcnn/TensorFlow1/openimages/1/download",
        ),
    ],
)
def test_what_is_asked_for_a_handle(handle: str, asked: str) -> None:
    assert download_address(handle) == asked


def test_a_kaggle_handle_without_a_version_is_refused(own_models: Path) -> None:
    with pytest.raises(ModelError, match="names no version of a model"):
        bring(parse_handle("https://www.kaggle.com/models/google/mobilenet-v2"), SILENT)


def test_the_secret_of_a_signed_address_is_never_shown(hub: HubServer, own_models: Path, model: Path) -> None:
    lines: list[str] = []
    handle = parse_handle(hub.publish("/m.tar.gz", packed(model)) + "?signature=hush")
    hub.heal("/m.tar.gz")
    with pytest.raises(ModelError) as refused:
        bring(handle, lines.append)
    assert hub.pictures is not None
    hub.pictures["/m.tar.gz"] = packed(model)
    bring(handle, lines.append)
    kept_texts = [file.read_text() for file in own_models.rglob("*.json")]
    assert kept_texts and not any("hush" in text for text in [str(refused.value), *lines, *kept_texts])

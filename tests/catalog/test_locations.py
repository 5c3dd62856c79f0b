import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.catalog.locations import local_path, resolve_picture
from vetrina.errors import PictureError


def reason_of(value: str, base: str, allow_outside: bool = False) -> str:
    with pytest.raises(PictureError) as caught:
        resolve_picture(value, base, allow_outside)
    return caught.value.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://cdn.example/a b.jpg?w=1", "https://cdn.example/a b.jpg?w=1"),
        ("  HTTP://cdn.example/a.jpg ", "http://cdn.example/a.jpg"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("s3://bucket/a/b.jpg", "s3://bucket/a/b.jpg"),
        ("a.jpg", "file:///shop/a.jpg"),
        ("./x:y.jpg", "file:///shop/x%3Ay.jpg"),
        ("sub/../a#1 é.jpg", "file:///shop/a%231%20%C3%A9.jpg"),
        ("/shop/a.jpg", "file:///shop/a.jpg"),
        ("file:///shop/a%20b.jpg", "file:///shop/a%20b.jpg"),
        ("file://localhost/shop/a.jpg", "file:///shop/a.jpg"),
    ],
)
def test_a_picture_becomes_an_absolute_reference(value: str, expected: str) -> None:
    assert resolve_picture(value, "/shop", False) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "missing-picture"),
        ("   ", "missing-picture"),
        ("ftp://host/a.jpg", "bad-picture"),
        ("data:image/png;base64,AAAA", "bad-picture"),
        ("javascript:alert(1)", "bad-picture"),
        ("C:\\pictures\\a.jpg", "bad-picture"),
        ("https:///a.jpg", "bad-picture"),
        ("https:a.jpg", "bad-picture"),
        ("https://[::1/a.jpg", "bad-picture"),
        ("https://host:99999/a.jpg", "bad-picture"),
        ("https://good.example\\@evil.example/a.jpg", "bad-picture"),
        ("a\x00.jpg", "bad-picture"),
        ("file:///shop/a%00.jpg", "bad-picture"),
        ("a\ud800.jpg", "bad-picture"),
        ("a\nb.jpg", "bad-picture"),
        ("s3://bucket", "bad-picture"),
        ("s3:///a.jpg", "bad-picture"),
        ("file://other/shop/a.jpg", "bad-picture"),
        (".", "bad-picture"),
        ("sub/", "bad-picture"),
        ("x" * 5000, "bad-picture"),
        ("../a.jpg", "picture-outside"),
        ("/etc/passwd", "picture-outside"),
        ("/shopping/a.jpg", "picture-outside"),
        ("file:///shop/%2e%2e/etc/passwd", "picture-outside"),
    ],
)
def test_a_picture_that_cannot_be_used_is_rejected_with_its_reason(value: str, reason: str) -> None:
    assert reason_of(value, "/shop") == reason


@pytest.mark.parametrize("value", ["https://me:hunter2@host/a.jpg", "s3://me:hunter2@bucket/a.jpg", "//u:hunter2@h/a"])
def test_credentials_in_an_address_are_rejected_and_never_shown(value: str) -> None:
    with pytest.raises(PictureError) as caught:
        resolve_picture(value, "/shop", True)
    assert caught.value.reason == "bad-picture"
    assert "hunter2" not in caught.value.detail


def test_a_symbolic_link_out_of_the_folder_is_rejected_unless_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "up").symlink_to(tmp_path)
    assert reason_of("link.jpg", str(folder)) == "picture-outside"
    assert reason_of("up/secret.jpg", str(folder)) == "picture-outside"
    assert local_path(resolve_picture("up/secret.jpg", str(folder), True)).read_bytes() == b"x"


def test_a_folder_reached_by_a_symbolic_link_holds_its_own_pictures(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert resolve_picture("a.jpg", str(tmp_path / "alias"), False) == (tmp_path / "alias" / "a.jpg").as_uri()


def test_a_file_name_that_is_not_utf8_survives_the_round_trip(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    path.write_bytes(b"x")
    reference = resolve_picture(f"file://{tmp_path}/%FF.jpg", str(tmp_path), False)
    assert local_path(reference) == path


def test_only_file_references_have_a_local_path() -> None:
    with pytest.raises(ValueError, match="not a reference"):
        local_path("https://host/a.jpg")


@pytest.mark.parametrize(
    ("value", "base", "expected"),
    [
        ("a.jpg", "https://host/shop", "https://host/shop/a.jpg"),
        ("sub/../a.jpg?w=2", "https://host/shop/", "https://host/shop/a.jpg?w=2"),
        ("/shop/a.jpg", "https://host/shop", "https://host/shop/a.jpg"),
        ("a b.jpg", "s3://bucket/shop/", "s3://bucket/shop/a b.jpg"),
        ("a.jpg", "s3://bucket", "s3://bucket/a.jpg"),
    ],
)
def test_relative_pictures_join_onto_a_remote_folder(value: str, base: str, expected: str) -> None:
    assert resolve_picture(value, base, False) == expected


@pytest.mark.parametrize("base", ["https://host/shop", "s3://bucket/shop"])
@pytest.mark.parametrize("value", ["../a.jpg", "/a.jpg", "x/../../a.jpg", "file:///etc/passwd", "/shop/../a.jpg"])
def test_relative_pictures_do_not_climb_out_of_a_remote_folder(value: str, base: str) -> None:
    assert reason_of(value, base) == "picture-outside"


@pytest.mark.parametrize("value", ["%2e%2e/a.jpg", "..%2fa.jpg", "x/%2E%2E/%2e%2e/a.jpg"])
def test_encoded_dots_do_not_climb_out_of_a_web_folder(value: str) -> None:
    assert reason_of(value, "https://host/shop") == "picture-outside"


PIECES = st.lists(
    st.one_of(st.sampled_from(["..", ".", "/", "//", "up", "file:", "%2e%2e", "%2f", "\\", "~", "?", "#"]), st.text()),
    max_size=8,
).flatmap(lambda parts: st.sampled_from(["/", ""]).map(lambda joint: joint.join(parts)))


@given(value=PIECES)
def test_no_local_picture_ever_lies_outside_the_folder(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "shop"
    folder.mkdir(exist_ok=True)
    if not (folder / "up").is_symlink():
        (folder / "up").symlink_to("..")
    try:
        reference = resolve_picture(value, str(folder), False)
    except PictureError:
        return
    if reference.startswith("file:"):
        path = local_path(reference)
        assert path.is_relative_to(folder)
        assert path.resolve().is_relative_to(folder.resolve())
    else:
        assert reference.startswith(("http://", "https://", "s3://"))


@given(value=PIECES)
def test_no_relative_picture_ever_leaves_its_bucket_folder(value: str) -> None:
    try:
        reference = resolve_picture("./" + value, "s3://bucket/shop", False)
    except PictureError:
        return
    assert reference.startswith("s3://bucket/shop/")
    assert ".." not in reference.split("/")

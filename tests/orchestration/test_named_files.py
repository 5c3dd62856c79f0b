"""Files that a person names: the place is checked before the work, and what was there stays until it is done."""

from pathlib import Path

import pytest

from orchestration.named_files import check_place, write_whole
from vetrina.errors import SettingError, StoreError


@pytest.mark.parametrize("name", [".", "..", "", "/", "/tmp"])
def test_a_folder_is_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(SettingError, match="is a folder; name a file in it"):
        check_place(Path(name))


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(SettingError, match="/dev/null is a device or a pipe"):
        check_place(Path("/dev/null"))


def test_a_file_in_no_folder_is_refused_and_an_older_file_is_not(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"There is no folder for {tmp_path}/no/r.html"):
        check_place(tmp_path / "no" / "r.html")
    (tmp_path / "r.html").write_text("older")
    check_place(tmp_path / "r.html")
    check_place(tmp_path / "new.html")
    check_place(None)


def test_a_name_that_no_file_can_have_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be written: File name too long; choose another place"):
        check_place(tmp_path / ("a" * 300))


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=r"folder cannot be written: Is a directory; choose another place"):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "folder"]

"""Answers that are drawn: bounded, whole or not at all, and a place that cannot be is told before the search."""

import errno
from pathlib import Path

import pytest
from PIL import Image
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from orchestration import answers, printing
from orchestration.answers import shop_status, similar_to_photo, similar_to_product
from vetrina.errors import SettingError, StoreError

NAMES = ["oak-chair", "white-chair", "coffee-cup", "box", "umbrella"]


def test_a_drawn_answer_is_bounded_and_replaces_the_picture_before_whole_or_not_at_all(
    shop: Shop,
    server: FaultServer,
    product_pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop.add(shop.catalog("spring", rows_of(server, NAMES)))
    picture, photo = shop.folder / "drawn.png", shop.folder / "photo.png"
    photo.write_bytes(product_pictures["oak-chair"])

    def size_of(most: int) -> tuple[int, int]:
        monkeypatch.setattr(answers, "_MOST_DRAWN", most)
        found = similar_to_product(shop.deployment, "oak-chair", 4, picture=picture)
        assert (len(found["similar"]), found["drawn"]) == (4, min(most, 4))
        printing.answer(found)
        with Image.open(picture) as drawn:
            return drawn.size

    whole = size_of(4)
    assert capsys.readouterr().out.splitlines()[-1] == f"Drawn in {picture}"
    assert size_of(2)[0] < whole[0]
    assert capsys.readouterr().out.splitlines()[-1] == f"Drawn in {picture}: the first 2 of 4"
    assert similar_to_photo(shop.deployment, photo, 4, picture=picture)["drawn"] == 2
    assert similar_to_photo(shop.deployment, photo, 4)["drawn"] is None

    before = picture.read_bytes()
    write = Path.write_bytes

    def full_disk(file: Path, data: bytes) -> int:
        write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(StoreError, match=r"drawn\.png cannot be written: No space left on device"):
        similar_to_product(shop.deployment, "oak-chair", 4, picture=picture)
    assert picture.read_bytes() == before
    assert not list(shop.folder.glob(".*.part"))


@pytest.mark.parametrize("name", [".", "no/drawn.png"])
def test_a_place_where_nothing_can_be_drawn_is_refused_before_the_search(shop: Shop, name: str) -> None:
    # There is no index to search in, which would be told next.
    with pytest.raises(SettingError, match="folder"):
        similar_to_product(shop.deployment, "oak-chair", 4, picture=shop.folder / name)
    with pytest.raises(SettingError, match="folder"):
        similar_to_photo(shop.deployment, shop.folder / "photo.png", 4, picture=shop.folder / name)


def test_a_row_without_an_id_is_told_by_its_line_alone(
    shop: Shop, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add(shop.catalog("spring", [{"id": "", "url": "x"}, {"id": "a [b]", "url": ""}, *rows_of(server, ["box"])]))
    capsys.readouterr()
    printing.status(shop_status(shop.deployment, 20))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(":")[0] for line in lines if line.startswith("line ")] == ["line 2", "line 3, id a [b]"]

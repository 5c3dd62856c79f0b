"""Near-duplicates: the same picture in other bytes is found, other pictures are not, however alike."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.fault_server import FaultServer
from support.hostile import jpeg
from support.shops import Shop, rows_of

from orchestration import printing
from orchestration.evaluation import duplicates_in_shop
from vetrina.pictures.decoding import decode_picture
from vetrina.pictures.likeness import DEFAULT_LIMITS, show_the_same
from vetrina.pictures.prints import Prints, cell_differences, differing_bits, print_of, prints_of
from vetrina.search import duplicates
from vetrina.search.answers import Products
from vetrina.search.duplicates import (
    SAME_BYTES,
    SAME_PICTURE,
    duplicates_of,
    find_conflicts,
    find_groups,
)
from vetrina.store import Store, blob_path


def again(picture: bytes, scale: float, form: str, quality: int) -> bytes:
    """A picture resized and encoded again."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    size = (round(flat.width * scale), round(flat.height * scale))
    stream = io.BytesIO()
    flat.resize(size, Image.Resampling.BICUBIC).save(stream, form, quality=quality)
    return stream.getvalue()


def repainted(picture: bytes) -> bytes:
    """The same shapes in other colours."""
    pixels = decode_picture(picture).pixels
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, [2, 0, 1]])).save(stream, "PNG")
    return stream.getvalue()


def products_of(vectors: np.ndarray, shas: list[str]) -> Products:
    return Products([f"p{place}" for place in range(len(shas))], shas, [None] * len(shas), vectors)


def prints_from(pictures: list[np.ndarray]) -> Prints:
    made = [print_of(pixels) for pixels in pictures]
    return Prints(
        np.ones(len(made), bool),
        np.array([code for code, _ in made], np.uint64),
        np.stack([cells for _, cells in made]),
    )


WAYS = [(1, "JPEG", 90), (1, "JPEG", 60), (1, "WEBP", 80), (0.5, "PNG", 0), (2, "JPEG", 85), (0.7, "WEBP", 90)]


@pytest.mark.parametrize(("scale", "form", "quality"), WAYS)
def test_the_print_of_a_picture_hardly_changes_when_it_is_encoded_again_or_resized(
    product_pictures: dict[str, bytes], scale: float, form: str, quality: int
) -> None:
    limits = DEFAULT_LIMITS
    for name, picture in product_pictures.items():
        one, other = (
            print_of(decode_picture(picture).pixels),
            print_of(decode_picture(again(picture, scale, form, quality)).pixels),
        )
        cell, spread = cell_differences(one[1][None], other[1][None])
        bits = differing_bits(np.array([one[0]], np.uint64), np.array([other[0]], np.uint64))
        assert bits.item() <= limits.bits, name
        assert cell.item() <= limits.cell, name
        assert spread.item() <= limits.spread, name


def test_the_differing_bits_are_counted() -> None:
    hashes = np.array([0, 0b1011, 2**64 - 1], np.uint64)
    assert differing_bits(hashes, hashes).tolist() == [[0, 3, 64], [3, 0, 61], [64, 61, 0]]


def test_shapes_in_other_colours_are_another_picture(product_pictures: dict[str, bytes]) -> None:
    pixels = decode_picture(product_pictures["slippers"]).pixels
    hue = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    assert (hue[..., 1] > 60).any(), "the picture must have colours to change"
    other = decode_picture(repainted(product_pictures["slippers"])).pixels
    vectors = np.ones((2, 3), np.float32) / np.sqrt(3)
    assert find_groups(products_of(vectors, ["a", "b"]), prints_from([pixels, other])) == []


def test_groups_are_chains_with_one_link_fewer_than_products() -> None:
    """0 = 1 by bytes, 1 ~ 2 and 2 ~ 3 by likeness; 4 is alone."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 255, (64, 64, 3), np.uint8)
    lighter = np.clip(base.astype(int) + 4, 0, 255).astype(np.uint8)
    lightest = np.clip(base.astype(int) + 8, 0, 255).astype(np.uint8)
    other = rng.integers(0, 255, (64, 64, 3), np.uint8)
    vectors = np.ones((5, 2), np.float32) / np.sqrt(2)
    found = find_groups(
        products_of(vectors, ["a", "a", "b", "c", "d"]), prints_from([base, base, lighter, lightest, other])
    )
    (group,) = found
    assert group.product_ids == ["p0", "p1", "p2", "p3"]
    assert [link.why for link in group.links].count(SAME_BYTES) == 1
    assert [link.why for link in group.links].count(SAME_PICTURE) == 2
    assert duplicates_of(found)["p2"] == ["p0", "p1", "p3"]
    assert "p4" not in duplicates_of(found)


def test_a_low_cosine_keeps_pictures_apart() -> None:
    base = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    assert find_groups(products_of(vectors, ["a", "b"]), prints_from([base, base])) == []


@pytest.mark.parametrize(
    ("cosine", "bits", "cell", "colour", "alike"),
    [
        (1.0, 0, 0, 0, True),
        (0.51, 12, 5, 4, True),
        (0.49, 0, 0, 0, False),
        (1.0, 13, 0, 0, False),
        (1.0, 0, 6, 0, False),
        (1.0, 0, 0, 16, False),
    ],
    ids=["equal", "within every limit", "cosine", "bits", "one cell", "colour"],
)
def test_each_limit_alone_keeps_two_pictures_apart(
    cosine: float, bits: int, cell: int, colour: int, alike: bool
) -> None:
    cells = np.full((2, 16, 16, 3), 100, np.uint8)
    cells[1, 3, 4] += np.uint8(cell)  # one cell brighter
    cells[1, :8, :, 2] += np.uint8(colour)  # half of the picture bluer, hardly brighter
    hashes = np.array([0, 2**bits - 1], np.uint64)
    vectors = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]], np.float32)
    products, prints = products_of(vectors, ["a", "b"]), Prints(np.ones(2, bool), hashes, cells)
    assert bool(find_groups(products, prints)) == alike
    assert bool(find_groups(products, prints, around={"p1"})) == alike
    assert show_the_same(prints, 0, 1) == (alike or cosine < 0.5)  # there it is the pictures alone


def test_small_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    bases = [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(6)]
    pictures = [bases[number % 6] for number in range(20)]
    vectors = np.ones((20, 2), np.float32) / np.sqrt(2)
    products = products_of(vectors, [str(number) for number in range(20)])
    whole = find_groups(products, prints_from(pictures))
    assert len(whole) == 6
    monkeypatch.setattr(duplicates, "_BLOCK_CELLS", 1)
    monkeypatch.setattr(duplicates, "_PAIRS", 2)
    small = find_groups(products, prints_from(pictures))
    assert [group.product_ids for group in small] == [group.product_ids for group in whole]


def test_around_some_products_the_same_groups_are_found_but_no_others() -> None:
    rng = np.random.default_rng(4)
    bases = [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(6)]
    pictures = [bases[number % 6] for number in range(20)]
    products = products_of(np.ones((20, 2), np.float32) / np.sqrt(2), [str(number // 2) for number in range(20)])
    prints = prints_from(pictures)
    whole = {tuple(group.product_ids) for group in find_groups(products, prints)}
    for around in ({"p0"}, {"p3", "p4"}, set(products.product_ids), set()):
        found = find_groups(products, prints, around=around)
        assert all(len(group.links) == len(group.product_ids) - 1 for group in found)
        for group in found:
            assert set(group.product_ids) & around
            assert any(set(group.product_ids) <= set(other) for other in whole)
        for name in around:
            near = duplicates_of(find_groups(products, prints)).get(name, [])
            direct = {other for other in near if products.sha256[int(other[1:])] == products.sha256[int(name[1:])]}
            assert direct <= set(duplicates_of(found)[name])


def test_a_thousand_products_with_one_picture_need_no_million_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = duplicates._same_pictures
    monkeypatch.setattr(duplicates, "_same_pictures", lambda *given: (compared.append(len(given[1])), real(*given))[1])
    count = 1000
    prints = Prints(np.ones(count, bool), np.zeros(count, np.uint64), np.zeros((count, 16, 16, 3), np.uint8))
    (group,) = find_groups(products_of(np.ones((count, 1), np.float32), ["a"] * count), prints)
    assert len(group.product_ids) == count
    assert compared == [1]


@pytest.mark.parametrize("kind", ["folder", "object store"])
def test_prints_are_remembered_and_unreadable_pictures_are_named(
    tmp_path: Path, product_pictures: dict[str, bytes], kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "object store":
        request.getfixturevalue("s3")
    store = Store(tmp_path if kind == "folder" else "s3://shop/prints")
    assert store.is_local == (kind == "folder")
    good = hashlib.sha256(product_pictures["box"]).hexdigest()
    bad, gone = "ab" * 32, "cd" * 32
    store.write(blob_path(good), product_pictures["box"])
    store.write(blob_path(bad), b"no picture at all")
    prints, unreadable = prints_of(store, [good, bad, good, gone])
    assert prints.known.tolist() == [True, False, True, False]
    assert prints.hashes[0] == prints.hashes[2] != 0
    assert set(unreadable) == {bad, gone}
    store.delete(blob_path(good))
    again, missing = prints_of(store, [good])
    assert missing == {}
    assert (again.cells[0] == prints.cells[0]).all()
    assert again.hashes[0] == prints.hashes[0]


def test_in_a_shop_copies_are_grouped_with_evidence_and_changed_pictures_are_named(
    shop: Shop, server: FaultServer, product_pictures: dict[str, bytes]
) -> None:
    server.pictures["/chair-again.jpg"] = jpeg(product_pictures["oak-chair"], quality=80)
    server.pictures["/box-again.png"] = product_pictures["box"]
    rows = rows_of(server, ["oak-chair", "white-chair", "box", "bootie", "coffee-cup"])
    rows += [{"id": "chair 2", "url": server.url("/chair-again.jpg"), "name": "A chair"}]
    rows += [{"id": "box 2", "url": server.url("/box-again.png")}]
    shop.add(shop.catalog("first", rows))
    server.pictures["/cup-again.jpg"] = jpeg(product_pictures["coffee-cup"], quality=80)
    later = [
        {"id": "bootie", "url": server.url("/umbrella.png")},
        {"id": "coffee-cup", "url": server.url("/cup-again.jpg")},
    ]
    shop.add(shop.catalog("second", later))
    report = duplicates_in_shop(shop.deployment, progress=printing.Steps(quiet=True))
    groups = {tuple(p["product_id"] for p in group["products"]): group["evidence"] for group in report["groups"]}
    assert set(groups) == {("box", "box 2"), ("chair 2", "oak-chair")}
    assert [link["why"] for link in groups["box", "box 2"]] == [SAME_BYTES]
    (link,) = groups["chair 2", "oak-chair"]
    assert link["why"] == SAME_PICTURE
    assert link["cosine"] > 0.5
    assert report["products"] == 7
    changed = {conflict["product_id"]: conflict["same_picture"] for conflict in report["conflicts"]}
    assert changed == {"bootie": False, "coffee-cup": True}
    conflict = next(conflict for conflict in report["conflicts"] if conflict["product_id"] == "bootie")
    digests = [hashlib.sha256(product_pictures[name]).hexdigest() for name in ("bootie", "umbrella")]
    assert [entry["sha256"] for entry in conflict["pictures"]] == digests


def test_the_same_file_in_a_second_batch_is_no_conflict(shop: Shop, server: FaultServer) -> None:
    shop.add(shop.catalog("first", rows_of(server, ["box"])))
    shop.add(shop.catalog("second", rows_of(server, ["box"], name="now with a name")))
    shop.register(shop.catalog("third", rows_of(server, ["bootie"])))  # not worked yet
    assert find_conflicts(shop.deployment.store) == []

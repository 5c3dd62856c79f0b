"""Who teaches and who is held out: labels from the catalog or the detector, no picture on two sides, a digest."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from vetrina.detection.crops import WHOLE, cut
from vetrina.embedding.preprocessing import letterbox
from vetrina.errors import NotFound, PictureError, SettingError
from vetrina.evaluation.evaluation import NO_LABEL
from vetrina.finetuning.training_set import (
    LEARN,
    LEFT_OUT,
    Request,
    choose,
    examples,
    read_training_set,
    write_training_set,
)
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import blob_path

SEATS, CUPS = ["oak-chair", "white-chair"], ["coffee-cup", "beer-glass", "yogurt-bottle"]


@pytest.fixture(scope="module")
def labelled(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Five products in two categories, one of them with a copy, and one without a category."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("labelled")) as shop:
        rows = rows_of(server, SEATS, category="seat") + rows_of(server, CUPS, category="cup")
        rows += [{"id": "oak copy", "url": server.url("/oak-chair.png"), "category": "seat", "part": "held"}]
        rows += rows_of(server, ["umbrella"])
        shop.add(shop.catalog("all", rows))
        yield shop


def parts_of(shop: Shop, request: Request) -> dict[str, tuple[str, str | None]]:
    chosen = choose(shop.deployment.window(), request, workers=1)
    return {one.product_id: (one.part, one.label) for one in chosen.members}


def test_without_a_split_all_labelled_products_are_learnt_from(labelled: Shop) -> None:
    parts = parts_of(labelled, Request("category"))
    assert {name for name, (part, _) in parts.items() if part == LEARN} == {*SEATS, *CUPS, "oak copy"}
    assert parts["umbrella"] == (LEFT_OUT, None)
    assert parts["coffee-cup"] == (LEARN, "cup")


def test_products_that_show_one_picture_are_one_group(labelled: Shop) -> None:
    chosen = choose(labelled.deployment.window(), Request("category"), workers=1)
    groups = {one.product_id: one.group for one in chosen.members}
    assert groups["oak copy"] == groups["oak-chair"] != groups["white-chair"]
    assert chosen.duplicates() == (1, 2)


def test_the_detectors_labels_come_with_its_boxes(labelled: Shop) -> None:
    chosen = choose(labelled.deployment.window(), Request("detected"), workers=1)
    chair = next(one for one in chosen.members if one.product_id == "oak-chair")
    assert chair.label == "Chair" and chair.box != WHOLE and chair.part == LEARN
    store = labelled.deployment.store
    with DecoderPool(1) as decoders:
        found = {one.product_id: one for one in examples(store, chosen, LEARN, decoders)}
        pixels = decoders.decode(store.read(blob_path(chair.sha256))).pixels
        assert np.array_equal(found["oak-chair"].square(40), letterbox(cut(pixels, chair.box), 40))


def test_the_table_gives_back_what_was_written(labelled: Shop) -> None:
    store = labelled.deployment.store
    for request in (Request("category", "part=held"), Request("detected")):
        chosen = choose(labelled.deployment.window(), request, workers=1)
        write_training_set(store, chosen)
        read = read_training_set(store, request)
        assert read.digest == chosen.digest and read.index == chosen.index
        assert [dataclasses.replace(one, box=WHOLE) for one in read.members] == [
            dataclasses.replace(one, box=WHOLE) for one in chosen.members
        ]


def test_the_digest_changes_with_what_training_sees_and_only_with_that(labelled: Shop) -> None:
    chosen = choose(labelled.deployment.window(), Request("category"), workers=1)

    def digest(**changes: object) -> str:
        members = [
            dataclasses.replace(one, **changes) if one.product_id == "coffee-cup" else one for one in chosen.members
        ]
        return dataclasses.replace(chosen, members=members).digest

    assert digest() == chosen.digest == dataclasses.replace(chosen, index="another").digest
    others = {digest(label="mug"), digest(sha256="0"), digest(group="x"), digest(part=LEFT_OUT, reason=NO_LABEL)}
    assert len(others - {chosen.digest}) == 4


def test_a_training_set_that_was_never_made_is_told(labelled: Shop) -> None:
    with pytest.raises(NotFound, match="no training set by 'colour' yet: materialize training_set"):
        read_training_set(labelled.deployment.store, Request("colour"))


def test_nothing_left_to_learn_from_is_refused(labelled: Shop) -> None:
    with pytest.raises(SettingError, match="By 'part' all 1 products to learn from are 'held'"):
        parts_of(labelled, Request("part"))
    with pytest.raises(SettingError, match="No product with 'part' is left to learn from: --split part=held holds all"):
        parts_of(labelled, Request("part", "part=held"))


def test_a_picture_that_went_from_the_store_is_one_pictures_error(labelled: Shop, tmp_path: Path) -> None:
    chosen = choose(labelled.deployment.window(), Request("category"), workers=1)
    gone = dataclasses.replace(chosen, members=[dataclasses.replace(one, sha256="ab" * 32) for one in chosen.members])
    with DecoderPool(1) as decoders, pytest.raises(PictureError, match="is not in the store any more"):
        next(examples(labelled.deployment.store, gone, LEARN, decoders)).square(32)

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from index_samples import ODD_IDS, Item, opened, shop, table, unit

from vetrina.errors import SettingError
from vetrina.index import candidates as module
from vetrina.index import table as table_module
from vetrina.index.settings import IndexSettings, Penalties
from vetrina.index.table import SIMILAR_SCHEMA, product_classes, similar_products, write_similar_json
from vetrina.search.engine import SearchEngine

PENALISED = IndexSettings(projection_dims=None, crop_penalty=0.1, crop_crop_penalty=0.03)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [*shop(90, 6, seed=4, crops=3), *((i, f"c{i}", "crop", "Chair", 0.5, unit(np.ones(6))) for i in ODD_IDS)]


def lines(tables: object) -> list[dict[str, object]]:
    return pa.concat_tables(tables).to_pylist()  # type: ignore[call-overload]


def test_the_table_has_for_every_product_what_an_exact_search_gives(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COLUMNS", 17)
    monkeypatch.setattr(module, "_CELLS", 600)
    monkeypatch.setattr(module, "OWN", 12)
    monkeypatch.setattr(module, "OTHERS", 30)
    monkeypatch.setattr(table_module, "_TABLE_PRODUCTS", 9)
    index = opened(items, tmp_path, PENALISED)
    tables = list(similar_products(index, 7, same_class=False, min_score=None))
    assert len(tables) > 5 and all(part.schema == SIMILAR_SCHEMA for part in tables)
    got = lines(tables)
    engine, at = SearchEngine(index), 0
    for product in sorted({item[0] for item in items}):
        query = engine.product_query(product)
        own = [item for item in items if item[0] == product]
        for rank, neighbour in enumerate(engine.search(query, 7, exclude={product}, exact=True).neighbours, 1):
            line = got[at]
            assert (line["product_id"], line["rank"], line["similar_id"]) == (product, rank, neighbour.product_id)
            assert line["score"] == pytest.approx(neighbour.score, abs=1e-7)
            assert line["similar_crop_id"] == neighbour.item.crop_id
            assert line["crop_id"] in {item[1] for item in own}
            at += 1
    assert at == len(got)


def test_products_of_the_same_class_come_first_and_others_fill_up(items: list[Item], tmp_path: Path) -> None:
    index = opened(items, tmp_path, PENALISED)
    rows = index.rows
    classes = {rows.product_id(p): int(code) for p, code in enumerate(product_classes(rows))}
    k = 30
    got = lines(similar_products(index, k, same_class=True, min_score=None))
    engine = SearchEngine(index)
    for product in classes:
        mine = [line for line in got if line["product_id"] == product]
        full = engine.search(engine.product_query(product), 1000, exclude={product}, exact=True).neighbours
        same = [n.product_id for n in full if classes[product] >= 0 and classes[n.product_id] == classes[product]]
        other = [n.product_id for n in full if n.product_id not in set(same)]
        assert [line["similar_id"] for line in mine] == [*same, *other][:k]
        assert [line["same_class"] for line in mine] == ([True] * len(same) + [False] * k)[:k]


def test_the_class_of_a_product_is_the_label_of_its_best_scoring_crop(tmp_path: Path) -> None:
    east = unit(np.array([1.0, 0.0]))
    index = opened(
        [
            ("a", "a0", "whole", None, None, east),
            ("a", "a1", "crop", "Chair", 0.2, east),
            ("a", "a2", "crop", "Dress", 0.9, east),
            ("b", "b0", "whole", None, None, east),
            ("c", "c1", "crop", "Dress", 0.1, east),
        ],
        tmp_path,
    )
    a, b, c = product_classes(index.rows).tolist()
    assert a == c and b == -1
    flags = [line["same_class"] for line in lines(similar_products(index, 5, same_class=True, min_score=None))]
    assert flags == [True, False, False, False, True, False]


def test_a_product_is_never_similar_to_itself_and_a_floor_cuts_the_table(items: list[Item], tmp_path: Path) -> None:
    index = opened(items, tmp_path)
    everything = lines(similar_products(index, 500, same_class=True, min_score=None))
    assert len(everything) == index.rows.products * (index.rows.products - 1)
    assert all(line["product_id"] != line["similar_id"] for line in everything)
    floored = lines(similar_products(index, 500, same_class=True, min_score=0.9))
    assert floored and min(line["score"] for line in floored) >= 0.9
    assert len(floored) == sum(line["score"] >= 0.9 for line in everything)


def test_one_product_has_an_empty_table_and_identical_ones_come_by_id(tmp_path: Path) -> None:
    same = unit(np.arange(1.0, 6.0))
    one = opened([("only", "c", "whole", None, None, same)], tmp_path / "one")
    assert list(similar_products(one, 3, same_class=True, min_score=None)) == []
    many = [(f"{n:03d}", f"c{n}", "whole", None, None, same) for n in range(150)]
    got = lines(similar_products(opened(many, tmp_path / "many"), 2, same_class=False, min_score=None))
    assert [line["similar_id"] for line in got if line["product_id"] == "001"] == ["000", "002"]


def test_penalties_can_be_given_instead_of_those_of_the_build(items: list[Item], tmp_path: Path) -> None:
    index = opened(items, tmp_path, PENALISED)
    free = lines(similar_products(index, 3, same_class=False, min_score=None, penalties=Penalties()))
    paid = lines(similar_products(index, 3, same_class=False, min_score=None))
    assert sum(line["score"] for line in free) > sum(line["score"] for line in paid)


def test_a_k_below_one_is_refused_at_once(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        similar_products(opened(items, tmp_path), 0, same_class=True, min_score=None)


def test_the_json_has_the_shape_of_the_source(items: list[Item], tmp_path: Path) -> None:
    index = opened(items, tmp_path / "index")
    tables = list(similar_products(index, 5, same_class=True, min_score=None))
    cut = [part.slice(at, 7) for part in tables for at in range(0, len(part), 7)]
    assert write_similar_json(cut, tmp_path / "similar.json") == index.rows.products
    value = json.loads((tmp_path / "similar.json").read_text())
    assert set(value) == {item[0] for item in items}
    for line in lines(tables):
        assert value[line["product_id"]][line["similar_id"]] == pytest.approx(line["score"], abs=1e-6)
    assert all(len(similar) == 5 for similar in value.values())
    assert write_similar_json([], tmp_path / "none.json") == 0
    assert json.loads((tmp_path / "none.json").read_text()) == {}


def test_an_interrupted_json_leaves_the_former_file(items: list[Item], tmp_path: Path) -> None:
    file = tmp_path / "similar.json"
    file.write_text("{}")

    def failing() -> object:
        yield SIMILAR_SCHEMA.empty_table()
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        write_similar_json(failing(), file)  # type: ignore[arg-type]
    assert file.read_text() == "{}" and [p.name for p in tmp_path.iterdir()] == ["similar.json"]


def test_products_of_many_items_are_scored_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COLUMNS", 4)
    monkeypatch.setattr(module, "_CELLS", 64)
    rng = np.random.default_rng(0)
    big = [(f"p{n % 3}", f"c{n}", "crop", "Chair", 0.5, unit(rng.standard_normal(4))) for n in range(60)]
    index = opened(table(big), tmp_path)
    engine = SearchEngine(index)
    for line in lines(similar_products(index, 1, same_class=False, min_score=None)):
        query = engine.product_query(str(line["product_id"]))
        (best,) = engine.search(query, 1, exclude={str(line["product_id"])}).neighbours
        assert (line["similar_id"], line["similar_crop_id"]) == (best.product_id, best.item.crop_id)


@pytest.mark.parametrize("k", [2, 40])
def test_thresholds_from_a_sample_lose_nothing_even_where_thousands_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    same = unit(np.arange(1.0, 7.0))
    alike = [(f"same{n:03d}", f"c{n}", "whole", None, None, same) for n in range(300)]
    rows = opened([*shop(900, 6, seed=8), *alike], tmp_path)
    split: list[bool] = []
    real = module._reaching
    monkeypatch.setattr(module, "_reaching", lambda *given: (split.append((found := real(*given)) is None), found)[1])
    for name, value in {"OWN": 200, "OTHERS": 256, "_KEPT": 20_000}.items():
        monkeypatch.setattr(module, name, value)
    got = pa.concat_tables(similar_products(rows, k, same_class=False, min_score=None))
    assert any(split) and not all(split)
    monkeypatch.setattr(module, "_by_thresholds", lambda rows, loss, k, part: module._by_lines(rows, loss, part))
    assert got.equals(pa.concat_tables(similar_products(rows, k, same_class=False, min_score=None)))


def test_a_part_of_the_table_is_those_lines_of_the_whole(items: list[Item], tmp_path: Path) -> None:
    index = opened(items, tmp_path)
    whole = lines(similar_products(index, 3, same_class=True, min_score=None))
    for part in (range(0, 40), range(40, index.rows.products), range(7, 7)):
        names = {index.rows.product_id(product) for product in part}
        got = list(similar_products(index, 3, same_class=True, min_score=None, part=part))
        found = lines(got) if got else []
        assert found == [line for line in whole if line["product_id"] in names]

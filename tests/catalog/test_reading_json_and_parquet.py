"""JSON in every shape, and Parquet."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from support.catalog_files import faults, good, ids, parquet, read, taken_until_error, written

from vetrina.catalog import locations, reading
from vetrina.catalog.reading import read_catalog
from vetrina.errors import CatalogError


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1, "path": "a.jpg"}, {"id": 2, "path": "b.jpg"}]',
        '{"1": {"path": "a.jpg"}, "2": {"path": "b.jpg"}}',
        '{"version": 3, "products": [{"id": 1, "path": "a.jpg"}, {"id": 2, "path": "b.jpg"}], "n": 2}',
        '{"meta": {"n": 2}, "items": [{"id": 1, "path": "a.jpg"}, {"id": 2, "path": "b.jpg"}]}',
        '{"data": {"products": {"1": {"path": "a.jpg"}, "2": {"path": "b.jpg"}}}}',
        '{"id": 1, "path": "a.jpg"}\n{"id": 2, "path": "b.jpg"}\n',
    ],
)
def test_json_rows_are_found_in_every_shape(tmp_path: Path, content: str) -> None:
    found = read(tmp_path, "c.json", content)
    assert [(r.line, r.product_id) for r in good(found)] == [(1, "1"), (2, "2")]
    assert len(found) == 2


def test_a_broken_json_row_costs_itself_only(tmp_path: Path) -> None:
    rows = ['{"id": 1, "path": "a"}', '{"id": , }', "null", "[" * 2000 + "]" * 2000, '{"id": 5, "path": "b"}']
    found = read(tmp_path, "c.json", "[" + ",".join(rows) + "]")
    assert ids(found) == ["1", "5"]
    assert faults(found) == [(2, "bad-json"), (3, "bad-json"), (4, "bad-json")]


def test_a_json_row_over_the_bound_costs_itself_only(tmp_path: Path) -> None:
    text = '[{"id": 1, "path": "a", "t": "' + "\\\\x" * 4_000_000 + '"}, {"id": 2, "path": "b"}]'
    found = read(tmp_path, "c.json", text)
    assert faults(found) == [(1, "row-too-long")]
    assert ids(found) == ["2"]


def test_cut_json_gives_its_whole_rows_and_then_says_that_it_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text('[{"id": 1, "path": "a"}, {"id": 2, "pa')
    rows, message = taken_until_error(read_catalog(file, name="c.json", base=str(tmp_path)))
    assert ids(rows) == ["1"]
    assert "cut" in message


@pytest.mark.parametrize("name", ["SKU1", "info", "meta", "links", "schema", "data", "products"])
@pytest.mark.parametrize("first", [False, True])
def test_an_id_in_an_object_of_products_may_be_any_name(tmp_path: Path, name: str, first: bool) -> None:
    rows = [f'"{name}": {{"path": "a.jpg"}}', '"SKU2": {"path": "b.jpg"}']
    found = read(tmp_path, "c.json", "{" + ",".join(rows if first else rows[::-1]) + "}")
    assert (sorted(ids(found)), faults(found)) == (sorted([name, "SKU2"]), [])


def test_what_is_no_row_among_rows_by_id_is_rejected_wherever_it_stands(tmp_path: Path) -> None:
    entries = ['"SKU1": null', '"SKU2": {"path": "a.jpg"}', '"meta": {"n": 3}', '"SKU3": 7', '"data": {}']
    for _ in entries:
        entries = [*entries[1:], entries[0]]
        found = read(tmp_path, "c.json", "{" + ",".join(entries) + "}")
        assert ids(found) == ["SKU2"]
        assert {row.product_id for row in found} == {"SKU1", "SKU2", "SKU3", "meta", "data"}, "each is told by its name"
        assert sorted(row.line for row in found) == [1, 2, 3, 4, 5]
        assert sorted(reason for _, reason in faults(found)) == [
            "bad-json",
            "bad-json",
            "missing-picture",
            "missing-picture",
        ]


def test_an_object_of_nothing_but_values_is_refused_however_many_they_are(tmp_path: Path) -> None:
    for count in (3, 3000):
        text = json.dumps({f"SKU{n}": None for n in range(count)})
        with pytest.raises(CatalogError, match=r"holds no rows|no picture column"):
            read(tmp_path, "c.json", text[:-1] + ', "x": []}')


@pytest.mark.parametrize("size", [1, 2, 7])
def test_json_is_the_same_however_it_arrives_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(locations, "CHUNK", size)
    rows = [{"id": 12345, "path": 'a "q" \\ é 😀.jpg', "n": [{"x": '}]"\\'}]}, {"id": "\\\\", "path": "b"}]
    found = read(tmp_path, "c.json", json.dumps(rows) + "\n")
    assert [(r.product_id, r.attributes) for r in good(found)] == [
        ("12345", {"n": '[{"x":"}]\\"\\\\"}]'}),
        ("\\\\", {}),
    ]


def test_json_values_keep_their_exact_text(tmp_path: Path) -> None:
    row = '{"id": 1%s, "path": "a", "n": 0.10, "b": true, "x": null, "e": "", "nan": NaN, "deep": {"k": [1.0]}}'
    (found,) = good(read(tmp_path, "c.json", f"[{row % ('0' * 400)}]"))
    assert found.product_id == "1" + "0" * 400
    assert found.attributes == {"n": "0.10", "b": "true", "deep": '{"k":[1.0]}'}


@pytest.mark.parametrize("value", ["true", "[1]", "{}", '"\\ud800"'])
def test_json_ids_that_are_no_text_are_rejected(tmp_path: Path, value: str) -> None:
    assert faults(read(tmp_path, "c.json", f'[{{"id": {value}, "path": "a"}}]')) == [(1, "bad-id")]


def test_values_nested_too_deep_cost_their_row(tmp_path: Path) -> None:
    deep = "[" * 100 + "]" * 100
    assert faults(read(tmp_path, "c.ndjson", f'{{"id": 1, "path": "a", "t": {deep}}}\n')) == [(1, "bad-json")]


def test_a_bad_line_of_ndjson_is_rejected_under_its_number(tmp_path: Path) -> None:
    long = '{"id": 3, "path": "' + "x" * 9_000_000 + '"}'
    found = read(tmp_path, "c.jsonl", f'oops\n{{"id": 1, "path": "a"}}\n\n[1]\n{long}\n{{"id": 6, "path": "b"}}')
    assert [(r.line, r.product_id) for r in good(found)] == [(2, "1"), (6, "6")]
    assert faults(found) == [(1, "bad-json"), (4, "bad-json"), (5, "row-too-long")]


def test_rows_that_lack_a_picture_are_rejected_when_others_have_one(tmp_path: Path) -> None:
    found = read(tmp_path, "c.json", '[{"id": 1}, {"path": "a"}, {"id": 3, "path": "b"}]')
    assert faults(found) == [(1, "missing-picture"), (2, "missing-id")]
    assert ids(found) == ["3"]


def test_parquet_values_become_text(tmp_path: Path) -> None:
    content = parquet(
        {
            "id": pa.array([1.0, 2.5]),
            "path": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
            "n": pa.array([{"k": [1, 2]}, None]),
            "raw": pa.array([b"\xff", b""]),
            "when": pa.array([0, None], pa.timestamp("ns")),
            "price": pa.array([9.99, float("nan")], pa.float32()),
        }
    )
    first, second = good(read(tmp_path, "c.parquet", content))
    assert (first.line, first.product_id) == (1, "1")
    assert first.attributes["n"] == '{"k":[1,2]}'
    assert first.attributes["price"] == "9.99"
    assert first.attributes["when"].startswith("1970-01-01")
    assert "raw" not in first.attributes
    assert (second.product_id, second.attributes) == ("2.5", {})
    assert good(read(tmp_path, "c.parquet.gz", gzip.compress(content))) == [first, second]


def test_columns_of_one_name_keep_their_own_values_in_parquet_as_in_csv(tmp_path: Path) -> None:
    columns = [("id", ["1"]), ("c", [b"raw"]), ("path", ["a.jpg"]), ("c", ["x"]), ("c.d", ["z"]), ("c", [{"d": 7}])]
    table = pa.Table.from_arrays([pa.array(values) for _, values in columns], names=[name for name, _ in columns])
    (row,) = good(read(tmp_path, "c.parquet", written(table)))
    assert row.attributes == {"c": "x", "c.d": "z", "c_2": '{"d":7}'}
    (same,) = good(read(tmp_path, "c.csv", "id,path,c,c.d,c\n1,a.jpg,x,z,y\n"))
    assert same.attributes == {"c": "x", "c.d": "z", "c_2": "y"}


def test_a_wanted_parquet_column_of_bytes_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no id column.*'path'.*'id' holds bytes.*text"):
        read(tmp_path, "c.parquet", parquet({"id": [b"SKU1"], "path": ["a.jpg"], "raw": [b"x"]}))
    with pytest.raises(CatalogError, match=r"no picture column.*'image' holds bytes"):
        read(tmp_path, "c.parquet", parquet({"id": ["SKU1"], "image": [b"x"]}))
    with pytest.raises(CatalogError, match="no picture column") as caught:
        read(tmp_path, "c.parquet", parquet({"id": ["SKU1"], "raw": [b"x"]}))
    assert "bytes" not in str(caught.value)


def test_text_in_parquet_that_is_not_utf8_costs_its_row_only(tmp_path: Path) -> None:
    bad = pa.array([b"1", b"\xff", None]).cast(pa.binary()).view(pa.string())
    found = read(tmp_path, "c.parquet", parquet({"id": bad, "path": ["a", "b", "c"]}))
    assert ids(found) == ["1"]
    assert faults(found) == [(2, "bad-id"), (3, "missing-id")]


def test_a_parquet_that_claims_too_many_rows_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PARQUET_ROWS", 2)
    with pytest.raises(CatalogError, match="has 3 rows"):
        read(tmp_path, "c.parquet", parquet({"id": [1, 2, 3], "path": ["a"] * 3}))


def test_a_parquet_damaged_inside_says_so(tmp_path: Path) -> None:
    content = bytearray(parquet({"id": [str(n) for n in range(9000)], "path": ["a"] * 9000}))
    content[4:400] = b"\xff" * 396
    with pytest.raises(CatalogError, match=r"Parquet|damaged"):
        read(tmp_path, "c.parquet", bytes(content))

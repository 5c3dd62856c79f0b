import csv
import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vetrina.catalog import formats, locations, reading
from vetrina.catalog.reading import CatalogRow, RejectedRow, read_catalog
from vetrina.errors import CatalogError

Rows = list[CatalogRow | RejectedRow]


def read(folder: Path, name: str, content: bytes | str) -> Rows:
    file = folder / "stored"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_catalog(file, name=name, base=str(folder)))


def good(rows: Rows) -> list[CatalogRow]:
    return [row for row in rows if isinstance(row, CatalogRow)]


def ids(rows: Rows) -> list[str]:
    return [row.product_id for row in good(rows)]


def faults(rows: Rows) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, RejectedRow)]


def parquet(columns: dict[str, pa.Array | list[object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def taken_until_error(rows: Iterator[CatalogRow | RejectedRow]) -> tuple[Rows, str]:
    found: Rows = []
    try:
        for row in rows:
            found.append(row)
    except CatalogError as error:
        return found, str(error)
    raise AssertionError("no CatalogError")


# --- CSV -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_csv_of_any_delimiter_ending_and_encoding_is_read(
    tmp_path: Path, delimiter: str, ending: str, encoding: str
) -> None:
    lines = ["Product Id;Image;colour", "é1;a.jpg;x", '2;b.jpg;"q ""w"""', ""]
    text = ending.join(lines).replace(";", delimiter)
    rows = read(tmp_path, "c.csv", text.encode(encoding))
    assert rows == [
        CatalogRow(2, "é1", (tmp_path / "a.jpg").as_uri(), False, {"colour": "x"}),
        CatalogRow(3, "2", (tmp_path / "b.jpg").as_uri(), False, {"colour": 'q "w"'}),
    ]


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be"])
def test_both_byte_orders_of_utf16_are_read(tmp_path: Path, mark: str) -> None:
    assert ids(read(tmp_path, "c.csv", "\ufeffid,path\nж,a.jpg\n".encode(mark))) == ["ж"]


def test_windows_text_is_recognised_however_late_its_first_accent_comes(tmp_path: Path) -> None:
    rows = "".join(f"{n},a.jpg\n" for n in range(35_000))
    found = read(tmp_path, "c.csv", b"id,path\n" + rows.encode() + b"caf\xe9,b.jpg\n")
    assert ids(found)[-1] == "café"


def test_one_damaged_byte_in_utf8_costs_one_row_only(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", "id,path\né,a.jpg\n".encode() + b"\xff,b.jpg\n" + "ü,c.jpg\n".encode())
    assert ids(found) == ["é", "ü"]
    assert faults(found) == [(3, "bad-id")]


def test_damaged_text_in_an_attribute_does_not_cost_the_row(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", "id,path,t\né,a.jpg,x".encode() + b"\xff\n")
    assert good(found)[0].attributes == {"t": "x\ufffd"}


def test_lines_are_counted_through_line_breaks_within_cells(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", 'id,path,t\n1,a.jpg,"x\ny"\n\n2,b.jpg,z\n')
    assert [(r.line, r.product_id) for r in good(found)] == [(2, "1"), (5, "2")]


def test_rows_with_too_few_or_too_many_cells_are_rejected(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", "id,path\n1\n2,a.jpg,x\n3,b.jpg\n")
    assert faults(found) == [(2, "wrong-cell-count"), (3, "wrong-cell-count")]
    assert ids(found) == ["3"]


def test_a_cell_over_the_bound_costs_its_row_only(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", f"id,path,t\n1,a.jpg,{'x' * 2_000_000}\n2,b.jpg,{'y' * 200_000}\n")
    assert faults(found) == [(2, "cell-too-long")]
    assert ids(found) == ["2"]


def test_a_line_over_the_bound_costs_its_row_only(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", f"id,path\n1,{'x' * 9_000_000}\n2,b.jpg\n")
    assert faults(found) == [(2, "row-too-long")]
    assert ids(found) == ["2"]


@pytest.mark.parametrize("rows", [10, 20_000])
def test_a_quote_that_is_never_closed_costs_its_own_row_only(tmp_path: Path, rows: int) -> None:
    text = 'id,path\n0,a.jpg\n"1,b.jpg\n' + "".join(f"{n},{'c' * 60}.jpg\n" for n in range(2, rows))
    found = read(tmp_path, "c.csv", text)
    assert [line for line, _ in faults(found)] == [3]
    assert ids(found) == ["0", *map(str, range(2, rows))]


def test_quotes_left_open_again_and_again_end_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_REPLAYS", 3)
    monkeypatch.setattr(formats, "MAX_RECORD", 100)
    text = "id,path\n" + ('"1,b.jpg\n' + "2,c.jpg\n" * 50) * 10
    with pytest.raises(CatalogError, match="quotes are never closed"):
        read(tmp_path, "c.csv", text)


def test_the_sep_line_of_spreadsheets_names_the_delimiter(tmp_path: Path) -> None:
    assert ids(read(tmp_path, "c.csv", "sep=;\nid;path\n1;a.jpg\n")) == ["1"]


def test_nul_bytes_in_an_id_reject_the_row(tmp_path: Path) -> None:
    assert faults(read(tmp_path, "c.csv", b"id,path\n1\x002,a.jpg\n")) == [(2, "bad-id")]


def test_removals_need_no_picture(tmp_path: Path) -> None:
    found = read(tmp_path, "c.csv", "id,path,deleted\n1,,YES\n2,a.jpg,0\n3,,f\n4,a.jpg,maybe\n")
    assert [(r.product_id, r.picture != "", r.removed) for r in good(found)] == [("1", False, True), ("2", True, False)]
    assert faults(found) == [(4, "missing-picture"), (5, "bad-deleted")]


def test_a_list_of_removals_needs_no_picture_column(tmp_path: Path) -> None:
    assert good(read(tmp_path, "c.csv", "id,deleted\n1,true\n"))[0].removed
    with pytest.raises(CatalogError, match="no picture column"):
        read(tmp_path, "c.csv", "id,deleted\n1,true\n2,false\n")


def test_a_rejected_row_tells_its_id_once_it_is_known(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "c.csv", "id,path\n7,../a.jpg\n")
    assert isinstance(row, RejectedRow)
    assert (row.product_id, row.reason) == ("7", "picture-outside")


# --- the catalog as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"", "is empty"),
        ("c.csv", b" \n\n", "is empty"),
        ("c.csv", b"\xef\xbb\xbf", "is empty"),
        ("c.csv", b"name,path\n1,2\n", "no id column.*'name', 'path'.*VETRINA_ID_COLUMNS"),
        ("c.csv", b"id,title\n1,2\n", "no picture column.*VETRINA_PICTURE_COLUMNS"),
        ("c.csv", b"id,ID,path\n1,2,3\n", "'id' more than once"),
        ("c.csv", b"PK\x03\x04....", "zip or Excel"),
        ("c.bin", b"\x00\x01\x02", "format is not known.*NDJSON"),
        ("c.json", b"null", "holds no rows"),
        ("c.json", b"12", "holds no rows"),
        ("c.json", b'{"count": 3,\n"page": 1}', "holds no rows"),
        ("c.json", b'[{"a": 1}]', "no id column"),
        ("c.ndjson", b'{"id": 1}\n{"id": 2}\n', "no picture column"),
        ("c.parquet", b"PAR1 nothing", "no sound Parquet"),
        ("c.parquet", b"id,path\n", "not Parquet"),
        ("c.csv", "id,path\n".encode("utf-16")[:-1], "utf-16"),
    ],
)
def test_a_catalog_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=f"(?s){name}: .*{message}"):
        read(tmp_path, name, content)


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such file"):
        list(read_catalog(tmp_path / "none", name="none.csv", base="/"))
    with pytest.raises(CatalogError, match="is a folder"):
        list(read_catalog(tmp_path, name="x.csv", base="/"))


@pytest.mark.parametrize(("name", "content"), [("c.csv", b"id,path\n"), ("c.json", b"[]"), ("c.json", b'{"items":[]}')])
def test_a_catalog_without_rows_gives_none(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(tmp_path, name, content) == []


@pytest.mark.parametrize(
    "content",
    [b"id\tpath\n1\ta.jpg\n", b'[{"id": 1, "path": "a.jpg"}]', b'{"id": 1, "path": "a.jpg"}\n'],
)
def test_the_content_tells_the_format_where_the_name_does_not(tmp_path: Path, content: bytes) -> None:
    assert ids(read(tmp_path, "download", content)) == ["1"]
    assert ids(read(tmp_path, "download.gz", gzip.compress(content))) == ["1"]


# --- gzip ------------------------------------------------------------------------------------------------

LONG = b"id,path,t\n" + b"".join(b"%d,%d.jpg,%x\n" % (n, n, random.Random(n).getrandbits(256)) for n in range(20_000))


def test_gzip_in_several_parts_and_with_padding_is_read(tmp_path: Path) -> None:
    packed = gzip.compress(LONG[:9999]) + gzip.compress(LONG[9999:]) + b"\0" * 512
    assert len(read(tmp_path, "c.csv.gz", packed)) == 20_000


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99999])
def test_a_cut_gzip_gives_its_whole_rows_and_then_says_that_it_is_cut(tmp_path: Path, share: float) -> None:
    file = tmp_path / "c"
    packed = gzip.compress(LONG)
    file.write_bytes(packed[: int(len(packed) * share)])
    rows, message = taken_until_error(read_catalog(file, name="c.csv.gz", base=str(tmp_path)))
    assert len(rows) > 20_000 * (share - 0.1)
    assert ids(rows) == [str(n) for n in range(len(rows))]
    assert "is cut" in message


def test_damaged_gzip_gives_the_rows_before_the_damage(tmp_path: Path) -> None:
    file = tmp_path / "c"
    packed = bytearray(gzip.compress(LONG[:50_000]))
    packed[-8] ^= 0xFF  # the checksum
    file.write_bytes(packed)
    rows, message = taken_until_error(read_catalog(file, name="c.csv.gz", base=str(tmp_path)))
    assert len(rows) >= LONG[:50_000].count(b"\n") - 2
    assert "damaged" in message


def test_a_decompression_bomb_ends_at_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "MAX_UNPACKED", 100_000)
    with pytest.raises(CatalogError, match="unpacks to more than 100000 bytes"):
        read(tmp_path, "c.csv.gz", gzip.compress(b"id,path\n" + b"1,a\n" * 1_000_000))


@pytest.mark.parametrize("kind", ["csv", "json", "ndjson"])
def test_memory_stays_small_however_long_the_catalog(tmp_path: Path, kind: str) -> None:
    pad = "x" * 8000
    row = json.dumps({"id": "1", "path": "a.jpg", "t": pad})
    text = {
        "csv": "id,path,t\n" + f"1,a.jpg,{pad}\n" * 4_000,
        "json": "[" + ",".join([row] * 4_000) + "]",
        "ndjson": f"{row}\n" * 4_000,
    }[kind]
    file = tmp_path / "c"
    file.write_bytes(gzip.compress(text.encode(), 1))
    del text
    tracemalloc.start()
    assert sum(1 for _ in read_catalog(file, name=f"c.{kind}.gz", base=str(tmp_path))) == 4_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000


# --- JSON ------------------------------------------------------------------------------------------------


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


# --- Parquet ---------------------------------------------------------------------------------------------


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


# --- properties ------------------------------------------------------------------------------------------

PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)
ID = PLAIN.filter(lambda t: t == t.strip() and t != "")
VALUE = st.text(st.characters(exclude_categories=("Cs",)), max_size=60).filter(lambda t: t.strip() != "")
TABLE = st.lists(st.tuples(ID, VALUE, VALUE), min_size=1, max_size=8)


@PROPERTY
@given(table=TABLE, kind=st.sampled_from(["csv", "tsv", "json", "keyed", "ndjson", "parquet"]), packed=st.booleans())
def test_ids_and_attributes_survive_every_format(
    tmp_path: Path, table: list[tuple[str, str, str]], kind: str, packed: bool
) -> None:
    names = ["id", "path", "first", "second"]
    rows = [dict(zip(names, (i, "a.jpg", a, b), strict=True)) for i, a, b in table]
    if kind in ("csv", "tsv"):
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="," if kind == "csv" else "\t", quoting=csv.QUOTE_ALL)
        writer.writerows([names, *([r[n] for n in names] for r in rows)])
        content = out.getvalue().encode()
    elif kind == "keyed":
        rows = list({r["id"]: r for r in rows}.values())
        content = json.dumps({"products": {r["id"]: r for r in rows}}, ensure_ascii=False).encode()
    elif kind == "parquet":
        content = parquet({n: pa.array([r[n] for r in rows]) for n in names})
    else:
        joint = "\n" if kind == "ndjson" else ","
        text = joint.join(json.dumps(r, ensure_ascii=False) for r in rows)
        content = (text if kind == "ndjson" else f"[{text}]").encode()
    name = "c." + {"keyed": "json"}.get(kind, kind)
    found = read(tmp_path, name + ".gz", gzip.compress(content)) if packed else read(tmp_path, name, content)
    assert [(r.product_id, r.attributes) for r in good(found)] == [
        (r["id"], {"first": r["first"], "second": r["second"]}) for r in rows
    ]
    assert not faults(found)


NAMES = ["c.csv", "c.tsv", "c.txt", "c.json", "c.ndjson", "c.parquet", "c", "c.csv.gz", "c.json.gz", "c.gz"]
SEEDS = [
    b'id,path\n1,a.jpg\n"2,b\n',
    b'[{"id":1,"path":"a"},{"id":"x\\ud800"}]',
    b'{"1":{"path":"a"},"products":[1]}',
    b'{"id":1,"path":"a"}\n{"id":2}\n',
    "\ufeffid,path\n1,a\n".encode("utf-16"),
    gzip.compress(b"id,path\n1,a.jpg\n2,b.jpg\n"),
    parquet({"id": ["1", "2"], "path": ["a", "b"]})[:60],
]


@PROPERTY
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_no_bytes_whatever_raise_anything_but_a_catalog_error(tmp_path: Path, data: st.DataObject, name: str) -> None:
    content = bytearray(data.draw(st.one_of(st.sampled_from(SEEDS), st.binary(max_size=200))))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        rows = read(tmp_path, name, bytes(content))
    except CatalogError as error:
        assert str(error).startswith(name + ": ")
        return
    for row in good(rows):
        assert row.product_id.encode()
        assert row.removed == (row.picture == "") or row.picture

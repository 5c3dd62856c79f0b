"""Reading catalogs as a whole: what cannot be read, compression, and what holds for every format."""

import csv
import gzip
import io
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalog_files import faults, good, ids, parquet, read, taken_until_error

from vetrina.catalog import locations
from vetrina.catalog.reading import read_catalog
from vetrina.errors import CatalogError


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

"""CSV and its kin."""

from pathlib import Path

import pytest
from support.catalog_files import faults, good, ids, read

from vetrina.catalog import formats
from vetrina.catalog.reading import CatalogRow, RejectedRow
from vetrina.errors import CatalogError


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


@pytest.mark.parametrize("sep", ["", "sep=,\n"])
@pytest.mark.parametrize("rows", ["X,x.jpg,hello\nY,y.jpg,hi\n", ""])
def test_a_quote_left_open_among_the_column_names_does_not_swallow_the_rows(
    tmp_path: Path, sep: str, rows: str
) -> None:
    with pytest.raises(CatalogError, match=r"line of column names.*quote.*closed"):
        read(tmp_path, "c.csv", f'{sep}id,image,"note\n{rows}')


def test_a_column_name_may_hold_a_line_break(tmp_path: Path) -> None:
    (row,) = good(read(tmp_path, "c.csv", 'id,image,"price\n(EUR)"\n1,a.jpg,9'))
    assert (row.line, row.attributes) == (3, {"price\n(EUR)": "9"})

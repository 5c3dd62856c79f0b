import pytest

from vetrina.catalog.columns import ColumnMap, Number, compact_json, decimal_text, find_columns, id_of


@pytest.mark.parametrize("name", ["Product ID", "product-id", "PRODUCT_ID", " productId "])
def test_column_names_match_whatever_their_case_and_joints(name: str) -> None:
    assert find_columns([name], ColumnMap()).id == 0


def test_specific_picture_names_win_over_general_ones() -> None:
    found = find_columns(["link", "url", "image link", "id"], ColumnMap())
    assert (found.picture, found.id) == (2, 3)
    assert found.attributes == ((0, "link"), (1, "url"))


def test_attributes_of_one_name_are_told_apart() -> None:
    found = find_columns(["id", "c", "c", "", "c_2"], ColumnMap())
    assert [name for _, name in found.attributes] == ["c", "c_2", "column_4", "c_2_2"]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("1.50", "1.5"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1e99999999", "1e99999999"),
        ("-7", "-7"),
    ],
)
def test_a_number_becomes_its_exact_decimal_text(written: str, text: str) -> None:
    assert decimal_text(Number(written)) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing-id"),
        ("  ", "missing-id"),
        (True, "bad-id"),
        ({"a": 1}, "bad-id"),
        ("a\x00b", "bad-id"),
        ("a\ud800", "bad-id"),
        ("é" * 257, "id-too-long"),
        (Number("9" * 600), "id-too-long"),
    ],
)
def test_an_unusable_id_is_told_with_its_reason(value: object, reason: str) -> None:
    fault = id_of(value)
    assert not isinstance(fault, str)
    assert fault.reason == reason


def test_nested_values_keep_their_numbers_as_written() -> None:
    assert compact_json({"a": [Number("1.10"), None, True, "é"]}) == '{"a":[1.10,null,true,"é"]}'

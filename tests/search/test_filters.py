import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.errors import NotFound, SettingError
from vetrina.search.filters import number_in, parse_filter

CHAIR = {"category": "Living room", "price": "1,299.00 EUR", "brand": "Ørsted & Søn", "in stock": "yes", "size": "10.0"}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('category = "Living room"', True),
        ("category = 'living ROOM'", True),
        ("category = Kitchen", False),
        ("category != Kitchen", True),
        ("colour != red", False),  # nothing is known of its colour
        ("price < 1300", True),
        ("price >= 1299 and price <= 1299", True),
        ("price > 1299", False),
        ("category < 5", False),
        ("size = 10", True),
        ("size in (9, 10)", True),
        ("category in (Kitchen, 'Bath')", False),
        ("brand contains ørsted", True),
        ('"in stock" = yes', True),
        ("brand", True),
        ("colour", False),
        ("not colour", True),
        ("not brand", False),
        ("not category = Kitchen", True),
        ("not colour = red", False),
        ("category = Kitchen or price < 2000 and size = 10", True),
        ("(category = Kitchen or price < 2000) and size = 11", False),
        ("CATEGORY = x OR brand", True),
        ("not (material or colour)", True),
        ("not (material or brand)", False),
        ("not material and not colour", True),
        ("not (material and category = Kitchen)", True),
        ("not (brand and colour = red)", False),  # nothing is known of its colour
        ("not (brand and category = Kitchen)", True),
        ("not (not material)", False),
        ("not (not brand)", True),
        ("not (not (material))", False),
        ("not (not colour = red)", False),
        ("not (colour != red or material)", False),
        ('brand contains ""', True),
        ('colour contains ""', False),
        ('not colour contains ""', False),
    ],
)
def test_a_filter_lets_the_right_products_pass(text: str, passes: bool) -> None:
    assert parse_filter(text).passes(CHAIR) is passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at its end"),
        ("category =", "lacks a value at its end"),
        ("category = Living room", r"goes on unexpectedly at 'room' \(character 19\)"),
        ("(price < 5", r"lacks a '\)'"),
        ("price < cheap", "needs a number at 'cheap'"),
        ('name = "unclosed', "cannot be read at"),
        ("a = 1 and", "lacks the name of an attribute"),
        ("size in 1, 2", r"lacks a '\('"),
        ("(" * 60 + "a" + ")" * 60, "nested more than 50 deep"),
        ("a" * 20_000, "at most 10000"),
        (" or ".join(["a = 1"] * 65), r"has more than 64 conditions; .* as one: colour in \(red, blue\)"),
        ("a" + " and (not (a < 3 or b))" * 32, "has more than 64 conditions"),
    ],
)
def test_what_is_no_filter_is_refused_where_it_stops_making_sense(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_filter(text)


def test_as_many_conditions_as_are_read_and_many_values_of_one_are_understood() -> None:
    assert parse_filter(" or ".join(["a = 1"] * 63) + " or size = 10").passes({"size": "10.0"})
    many = parse_filter(f"size in ({', '.join(str(number) for number in range(1800))}, Large)")
    assert [many.passes({"size": size}) for size in ("1799.0", " LARGE", "1800", "small", "nan")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_an_unknown_attribute_is_named_with_the_nearest() -> None:
    found = parse_filter("categry = x and not price")
    assert found.attributes == {"categry", "price"}
    with pytest.raises(NotFound, match=r"attribute 'categry'; did you mean 'category'\?"):
        found.check(CHAIR)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("19.90 EUR", 19.9),
        ("€ 19,90", 19.9),
        ("1.299,00", 1299.0),
        ("1,299", 1299.0),
        ("1'299'000", 1299000.0),
        ("1,299,000.5", 1299000.5),
        ("-3", -3.0),
        ("12 kg", 12.0),
        (".99", 0.99),
        ("$.99", 0.99),
        ("€ .99", 0.99),
        ("-.5", -0.5),
        ("Rs.500", 500.0),
        ("No. 5", 5.0),
        ("0,125 kg", 0.125),
        ("-0,125", -0.125),
        ("10,125", 10125.0),
        ("1\u00a0299,00 €", 1299.0),
        ("1\u202f299 €", 1299.0),
        ("1’299.00", 1299.0),
        ("1 299,500", 1299.5),
        ("12 345 678", 12345678.0),
        ("19.–", 19.0),
        ("€ 5,–", 5.0),
        ("", None),
        ("free", None),
        ("10 x 20", None),
        ("3 4", None),
        ("10, 20", None),
        ("0 125", None),
        ("2024 100", None),
        ("1 299.00 300", None),
        ("1 2345", None),
        ("1e5", None),
    ],
)
def test_numbers_are_read_with_a_currency_or_a_unit_beside_them(text: str, number: float | None) -> None:
    assert number_in(text) == number


@given(
    whole=st.integers(0, 10**9),
    cents=st.integers(0, 99),
    sign=st.sampled_from(["", "-", "+"]),
    marks=st.sampled_from([(",", "."), (".", ","), *((apart, mark) for apart in " \u00a0\u202f'’" for mark in ".,")]),
    around=st.sampled_from([("", ""), ("$", ""), ("EUR ", ""), ("", " €"), ("", "\u00a0kg"), ("from ", " USD")]),
)
def test_a_number_is_read_however_a_country_writes_it(
    whole: int, cents: int, sign: str, marks: tuple[str, str], around: tuple[str, str]
) -> None:
    apart, mark = marks
    written = sign + f"{whole:,}".replace(",", apart) + f"{mark}{cents:02}"
    assert number_in(around[0] + written + around[1]) == float(f"{sign}{whole}.{cents:02}")


def test_a_limit_may_begin_with_its_point() -> None:
    below = parse_filter("price < .5")
    assert below.passes({"price": "0.30"}) and not below.passes({"price": "3"})


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(SettingError):
        parse_filter(text).passes(CHAIR)


@given(st.text(min_size=1, max_size=20), st.dictionaries(st.sampled_from("abc"), st.text(max_size=5)))
def test_any_value_can_be_asked_for_in_quotes(value: str, product: dict[str, str]) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_filter(f'a = "{quoted}"').passes({**product, "a": value})

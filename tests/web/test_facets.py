import pytest

from vetrina.errors import NotFound
from vetrina.search.filters import parse_filter
from web.shown.facets import FEW, Columns

PRODUCTS = [
    {"name": f"Lamp {number}", "room": room, "price": price, "sku": f"{1000 + number}"}
    for number, (room, price) in enumerate(
        [
            ("Hall", "9.50 EUR"),
            ("Hall", "12"),
            ("Kitchen", "1,299.00"),
            ("Attic", "20"),
            ("Attic", "12"),
            ("Attic", "7"),
        ]
    )
] + [{"name": "Bare"}]


def test_an_attribute_that_products_share_is_a_facet_and_names_are_none() -> None:
    columns = Columns(PRODUCTS)
    assert columns.few == ("room",)
    everything = columns.passing("room", parse_filter("room or not room"))
    assert columns.facet("room", everything).values == [("Attic", 3), ("Hall", 2), ("Kitchen", 1)]


def test_an_attribute_of_numbers_is_a_span_whatever_stands_beside_them() -> None:
    spans = {span.attribute: (span.low, span.high) for span in Columns(PRODUCTS).spans}
    assert spans["price"] == (7.0, 1299.0)


def test_numbers_that_name_products_or_makers_are_no_span() -> None:
    products = [{"sku": str(number), "width": str(number % 50), "maker": f"m{number % 60}"} for number in range(200)]
    assert [span.attribute for span in Columns(products).spans] == ["width"]


def test_an_attribute_of_many_values_is_no_facet() -> None:
    products = [{"maker": f"Maker {number % (FEW + 1)}"} for number in range(1000)]
    assert Columns(products).few == ()


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        ('room in ("hall", "attic")', [0, 1, 3, 4, 5]),
        ("room != Hall", [2, 3, 4, 5]),
        ("not room", [6]),
        ("room", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_filter_on_one_attribute_lets_the_same_products_pass_as_asking_each(where: str, passing: list[int]) -> None:
    own = parse_filter(where)
    assert Columns(PRODUCTS).passing("room", own).nonzero()[0].tolist() == passing
    assert [place for place, product in enumerate(PRODUCTS) if own.passes(product)] == passing


def test_an_unknown_attribute_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"No product has the attribute 'rooms'.*room"):
        Columns(PRODUCTS).passing("rooms", parse_filter("rooms = Hall"))

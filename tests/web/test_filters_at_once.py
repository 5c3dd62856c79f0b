"""Filters that come at the same time do not get into one another's way where the last ones are remembered."""

import sys
from concurrent.futures import ThreadPoolExecutor

from support.shops import Shop

from vetrina.search.filters import parse_filter


def test_many_filters_can_be_asked_at_once(web_shop: Shop) -> None:
    window = web_shop.deployment.window()
    assert window.attributes  # read before they all want them
    filters = [parse_filter(f"category = {number}") for number in range(80)]  # more than are remembered
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(window.passing, filters * 50))
    finally:
        sys.setswitchinterval(usual)
    assert {engine.products for engine in found} == {0}
    assert window.passing(parse_filter("category = Hall")).products == 3

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.fault_server import FaultServer
from support.operated_shop import Operated, operated_shop
from support.shops import Shop, opened_shop
from support.web_browser import launched
from support.web_goods import GOODS, IDS
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options


@pytest.fixture(scope="package")
def web_shop(
    tmp_path_factory: pytest.TempPathFactory, bundled_models: None, product_pictures: dict[str, bytes]
) -> Iterator[Shop]:
    """A shop of eleven indexed products and one whose picture cannot be had; not to be changed."""
    pages = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pages) as server, opened_shop(tmp_path_factory.mktemp("web") / "shop") as shop:
        columns = ("id", "url", "name", "category", "price")
        named = [(IDS.get(picture, picture), server.url(f"/{picture}.png"), *said) for picture, said in GOODS.items()]
        named.append(("ghost", server.url("/nothing.png"), "Ghost", "Hall", "1"))
        rows = [dict(zip(columns, values, strict=True)) for values in named]
        shop.add(shop.catalog("goods", rows))
        yield shop


@pytest.fixture(scope="package")
def served(web_shop: Shop) -> Iterator[str]:
    """The address of the served shop, where nothing can be changed."""
    with running(build_app(ServedShop(web_shop.deployment), Options(refresh_seconds=0.2))) as address:
        yield address


@pytest.fixture(scope="package")
def operated(
    tmp_path_factory: pytest.TempPathFactory, bundled_models: None, product_pictures: dict[str, bytes]
) -> Iterator[Operated]:
    """A shop with a past; what is current of it is not to be changed."""
    with operated_shop(tmp_path_factory.mktemp("operated") / "shop", product_pictures) as operated:
        yield operated


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file; not longer, for no other event loop can run in this thread beside it."""
    with launched() as browser:
        yield browser

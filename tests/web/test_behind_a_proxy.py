from collections.abc import Iterator

import pytest
import requests
from fastapi import Request
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.errors import SettingError
from web.application import build_app
from web.shop import Options


@pytest.fixture(scope="module")
def prefixed(web_shop: Shop) -> Iterator[str]:
    """A server that a proxy serves under /shop/vetrina."""
    with running(build_app(ServedShop(web_shop.deployment), Options(prefix="/shop/vetrina/"))) as address:
        yield address


@pytest.mark.parametrize("kept", ["", "/shop/vetrina"], ids=["stripped", "kept"])
def test_a_prefix_works_whether_the_proxy_strips_it_or_not(prefixed: str, kept: str) -> None:
    answer = requests.get(f"{prefixed}{kept}/api/v1/similar?id=oak-chair", timeout=30)
    assert answer.json()["query"]["product_id"] == "oak-chair"
    document = requests.get(f"{prefixed}{kept}/api/v1/openapi.json", timeout=30).json()
    assert document["servers"] == [{"url": "/shop/vetrina"}]
    assert requests.get(f"{prefixed}{kept}/healthz", timeout=30).status_code == 200
    page = requests.get(f"{prefixed}{kept}/", timeout=30)
    links = [part.split('"')[0] for name in ('href="', 'src="', 'action="') for part in page.text.split(name)[1:]]
    assert page.status_code == 200
    assert len(links) > 10
    assert all(link.startswith(("/shop/vetrina/", "#")) for link in links)
    style = next(link for link in links if link.endswith(".css"))
    assert requests.get(prefixed + (style if kept else style.removeprefix("/shop/vetrina")), timeout=30).ok


def test_the_prefix_alone_is_the_first_page(prefixed: str) -> None:
    assert "text/html" in requests.get(f"{prefixed}/shop/vetrina", timeout=30).headers["content-type"]


def test_a_path_that_only_looks_like_the_prefix_is_none(prefixed: str) -> None:
    assert requests.get(f"{prefixed}/shop/vetrinas/healthz", timeout=30).status_code == 404


@pytest.mark.parametrize("prefix", ["vetrina", "/a b", "/../x", "//x", "/x?y", "/<b>", "http://shop/x"])
def test_a_prefix_that_is_no_path_is_an_error(web_shop: Shop, prefix: str) -> None:
    with pytest.raises(SettingError, match=r"is no path; write for example /vetrina"):
        build_app(ServedShop(web_shop.deployment), Options(prefix=prefix))


def test_a_prefix_that_could_be_a_path_of_the_server_is_an_error(web_shop: Shop) -> None:
    with pytest.raises(SettingError, match="begins with a path of Vetrina's own; choose another"):
        build_app(ServedShop(web_shop.deployment), Options(prefix="/api"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
@pytest.mark.parametrize(("trusted", "seen"), [("", ["http", "127.0.0.1"]), ("127.0.0.1", ["https", "192.0.2.7"])])
def test_only_a_trusted_proxy_is_believed(
    web_shop: Shop, monkeypatch: pytest.MonkeyPatch, host: str, trusted: str, seen: list[str]
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own variable does not count
    app = build_app(ServedShop(web_shop.deployment), Options())

    @app.get("/api/v1/seen")
    async def told(request: Request) -> list[str]:
        assert request.client is not None
        return [request.url.scheme, request.client.host]

    told_by_proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    with running(app, trusted_proxies=trusted, host=host) as address:
        assert requests.get(f"{address}/api/v1/seen", headers=told_by_proxy, timeout=30).json() == seen

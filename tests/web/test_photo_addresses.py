"""Photos by address: asked for once, judged as any other, and never from inside the network."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from support import fault_server as faults
from support.fault_server import FaultServer
from support.shops import Shop
from support.web_server import running

from orchestration.deployment import Deployment
from orchestration.serving import ServedShop, options_of
from vetrina.pictures.addresses import refusal
from vetrina.settings import Settings
from web.application import build_app

HOSTS = """
127.0.0.1 localhost LOCALHOST. 127.1 0x7f000001 2130706433 017700000001 0.0.0.0 0 [::1] [::] [::ffff:127.0.0.1]
[::ffff:7f00:1]
"""
OTHERS = ("http://169.254.169.254/latest/", "http://10.0.0.1/", "http://192.168.0.1/", "http://name.invalid/")


def ask(served: str, url: str) -> requests.Response:
    return requests.post(f"{served}/api/v1/search", json={"url": url}, timeout=60)


def told(answer: requests.Response) -> tuple[int, str]:
    """Status and reason."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json().get("reason", "")


@pytest.fixture
def public(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server at 127.0.0.1, as if that address were public; every other is judged as it is."""
    monkeypatch.setattr("vetrina.pictures.addresses.refusal", lambda one: None if one == "127.0.0.1" else refusal(one))
    yield server


def test_an_address_inside_the_network_is_refused_whatever_catalogs_may_do(
    served: str, web_shop: Shop, server: FaultServer
) -> None:
    assert web_shop.deployment.settings.allow_private
    for written in (*(server.url("/oak-chair.png", host) for host in HOSTS.split()), *OTHERS):
        answer = ask(served, written)
        # One answer to all: what is inside the network, and under which names, is nobody's business.
        assert told(answer) == (422, "no-public-address"), written
        assert answer.json()["detail"] == "The address leads to no public server"
    assert server.connections == 0


def test_only_web_addresses_are_asked(served: str, web_shop: Shop) -> None:
    inside = (web_shop.folder / "goods.csv").as_uri()
    for written in (
        inside,
        "s3://bucket/key",
        "ftp://a.example/x",
        "gopher://a.example",
        "data:image/png;base64,x",
        "x",
    ):
        answer = ask(served, written)
        assert told(answer) == (400, "")
        assert answer.json()["detail"] == "url must begin with http:// or https://"
    for written in ("http://", "http://user:secret@127.0.0.1/", "http://[::1", "http://a b/", "http://①②⑦.⓪.⓪.①/"):
        answer = ask(served, written)
        assert answer.status_code == 422 and "secret" not in answer.text


def test_a_photo_by_address_is_answered_as_the_same_photo(
    served: str, public: FaultServer, product_pictures: dict[str, bytes]
) -> None:
    public.fail("/moved", faults.redirect("/oak-chair.png"))
    for path in ("/oak-chair.png", "/moved"):
        answer = ask(served, public.url(path))
        assert answer.status_code == 200
        sent = requests.post(f"{served}/api/v1/search", data=product_pictures["oak-chair"], timeout=60)
        assert answer.json() == sent.json()


def test_a_redirect_into_the_network_is_refused_at_its_hop(served: str, public: FaultServer) -> None:
    for target in ("http://127.0.0.2:{}/box.png", "http://[::1]:{}/box.png", "http://0.0.0.0:{}/box.png"):
        public.fail("/moved", faults.redirect(target.format(public.port)))
        assert told(ask(served, public.url("/moved"))) == (422, "no-public-address")
    assert public.count("/box.png") == 0
    for target in ("file:///etc/passwd", "s3://bucket/key"):
        public.fail("/moved", faults.redirect(target))
        assert told(ask(served, public.url("/moved"))) == (422, "bad-url")


def test_what_cannot_be_had_or_is_no_picture_is_told_after_one_try(served: str, public: FaultServer) -> None:
    public.fail("/sorry", faults.status(500))
    public.fail("/page", faults.html())
    public.fail("/nothing", faults.empty())
    public.fail("/circle", faults.redirect("/circle?token=hush"))
    public.fail("/broken", faults.answer(faults.TINY_JPEG))
    for path, reason in (
        ("/sorry", "http-500"),
        ("/gone", "http-404"),
        ("/page", "html-instead-of-picture"),
        ("/nothing", "empty"),
        ("/circle", "redirect-loop"),
        ("/broken", "damaged"),
    ):
        answer = ask(served, public.url(f"{path}?token=hush"))
        assert told(answer) == (422, reason) and "hush" not in answer.text
        assert public.count(path) == 1


def test_a_strangers_address_has_less_patience_than_a_catalogs(web_shop: Shop) -> None:
    with ServedShop(web_shop.deployment).fetcher() as fetcher:
        limits = fetcher.limits
    assert (limits.allow_private, limits.attempts) == (False, 1)
    assert limits.deadline <= 15 < web_shop.deployment.settings.fetch_deadline


@pytest.mark.parametrize(("upload", "picture", "most"), [(1000, 5000, 1000), (5000, 1000, 1000)])
def test_a_photo_by_address_may_be_no_larger_than_one_that_is_sent(
    web_shop: Shop, upload: int, picture: int, most: int
) -> None:
    settings = replace(web_shop.deployment.settings, serve_max_upload=upload, max_picture_bytes=picture)
    with ServedShop(Deployment(settings)).fetcher() as fetcher:
        assert fetcher.limits.max_bytes == most


def test_a_product_whose_picture_is_larger_than_photos_may_be_can_be_searched_with(web_shop: Shop) -> None:
    settings = replace(web_shop.deployment.settings, serve_max_upload=100)
    app = build_app(ServedShop(Deployment(settings)), options_of(settings, ""))
    with running(app) as address:
        for _ in range(2):
            answer = requests.post(f"{address}/api/v1/search", json={"product_id": "box"}, timeout=60)
            assert (answer.status_code, answer.json()["similar"][0]["product_id"]) == (200, "box")
        sent = requests.post(f"{address}/api/v1/search", data=bytes(101), timeout=60)
        assert sent.status_code == 413


def test_addresses_can_be_refused_altogether(web_shop: Shop, product_pictures: dict[str, bytes]) -> None:
    options = options_of(Settings.from_environment({"VETRINA_SERVE_FETCH": "no"}), "")
    with running(build_app(ServedShop(web_shop.deployment), options)) as address:
        refused = ask(address, "http://shop.example/oak-chair.png")
        assert told(refused) == (422, "no-fetching")
        assert refused.json()["detail"] == "This server fetches no photos: send the photo itself"
        sent = requests.post(f"{address}/api/v1/search", data=product_pictures["box"], timeout=60)
        assert sent.json()["similar"][0]["product_id"] == "box"

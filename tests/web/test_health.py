import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from support.shops import Shop, opened_shop
from support.web_server import running

from orchestration.deployment import Deployment
from orchestration.serving import ServedShop
from vetrina.errors import StoreUnavailable
from vetrina.search.window import PICTURES_AWAY, ShopWindow
from vetrina.store import Store
from web.application import build_app
from web.problems import NothingToShow
from web.server.metrics import recall_figures
from web.shop import Options
from web.shown.showing import Showcase


@pytest.fixture
def empty(tmp_path: Path, bundled_models: None) -> Iterator[tuple[Shop, str]]:
    with (
        opened_shop(tmp_path / "shop") as shop,
        running(build_app(ServedShop(shop.deployment), Options(refresh_seconds=0.1))) as address,
    ):
        yield shop, address


def figures(address: str) -> dict[str, float]:
    """The samples of /metrics by name and labels."""
    answer = requests.get(f"{address}/metrics", timeout=30)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f"|{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_server_without_an_index_lives_and_is_not_ready(empty: tuple[Shop, str]) -> None:
    shop, address = empty
    assert requests.get(f"{address}/healthz", timeout=30).json() == {"status": "alive"}
    for path in ("/readyz", "/api/v1/similar?id=1"):
        answer = requests.get(address + path, timeout=30)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "vetrina add CATALOG" in answer.json()["detail"]
        # Whoever runs the shop is told where it was looked for, and nobody else.
        assert (str(shop.folder) in answer.json()["detail"]) == (path == "/readyz")
    assert str(shop.folder) not in requests.get(address, timeout=30).text
    found = figures(address)
    assert found["vetrina_last_look_success"] == 0
    assert "vetrina_products" not in found


def test_a_server_with_an_index_is_ready(served: str) -> None:
    ready = requests.get(f"{served}/readyz", timeout=30).json()
    assert (ready["status"], ready["products"], ready["problem"]) == ("ready", 11, None)
    assert len(ready["index_version"]) == 16
    assert requests.get(f"{served}/readyz", timeout=30).headers["cache-control"] == "no-store"


def test_the_figures_say_what_is_shown(served: str, web_shop: Shop) -> None:
    found = figures(served)
    manifest = web_shop.deployment.window().index.manifest
    assert found["vetrina_products"] == found["vetrina_index_products"] == 11
    assert found["vetrina_index_items"] == manifest.items
    assert found["vetrina_tail_products"] == 0
    assert found["vetrina_last_look_success"] == 1
    assert 0 < found["vetrina_index_age_seconds"] < 3600
    assert found["vetrina_index_recall_target"] == 0.99
    assert found["vetrina_index_recall"] == found["vetrina_index_recall_lower_95"] == 1  # it is searched exactly
    labels = next(name for name in found if name.startswith("vetrina_index_info"))
    assert f"version={web_shop.deployment.window().index.version}" in labels
    assert "serve_with=exact" in labels


def test_requests_are_counted_by_route_and_not_by_what_strangers_write(served: str) -> None:
    before = figures(served)
    for path in (
        "/api/v1/product?id=oak-chair",
        "/api/v1/product?id=<secret>",
        "/nothing/<secret>",
        "/api/v1/pictures/" + "0" * 64,
    ):
        requests.get(served + path, timeout=30)
    requests.request("PURGE", f"{served}/api/v1/product", timeout=30)
    after = figures(served)

    def counted(labels: str) -> float:
        name = f"vetrina_requests_total|{labels}"
        return after[name] - before.get(name, 0.0)

    assert counted("method=GET|route=/api/v1/product|status=200") == 1
    assert counted("method=GET|route=/api/v1/product|status=404") == 1
    assert counted("method=GET|route=none|status=404") == 1
    assert counted("method=GET|route=/api/v1/pictures/{sha256}|status=404") == 1
    assert counted("method=other|route=/api/v1/product|status=405") == 1
    assert "secret" not in "".join(after)
    seconds = "vetrina_request_seconds_count|route=/api/v1/product"
    assert after[seconds] - before.get(seconds, 0.0) == 3


def test_the_recall_of_an_index_served_by_annoy_is_what_was_measured(web_shop: Shop) -> None:
    manifest = web_shop.deployment.window().index.manifest
    recall = {
        **manifest.recall,
        "recall": 0.995,
        "lower_95": 0.992,
        "by_label": [
            {"label": None, "recall": 0.5},
            {"label": "Chair", "recall": 0.96},
            {"label": "Box", "recall": 0.9},
            {"label": "Table", "recall": 0.99},
        ],
        "exact_classes": ["Box"],
    }
    found = {
        sample.name: (sample.value, sample.labels)
        for family in recall_figures(replace(manifest, serve_with="annoy", recall=recall))
        for sample in family.samples
    }
    assert found["vetrina_index_recall"][0] == 0.995
    assert found["vetrina_index_recall_lower_95"][0] == 0.992
    assert found["vetrina_index_weakest_class_recall"] == (0.96, {"class": "Chair"})


def test_a_shop_whose_store_is_gone_is_shown_on_and_says_so(web_shop: Shop) -> None:
    window = web_shop.deployment.window()
    showcase = Showcase(lambda: window, 60)
    with showcase:
        looked = showcase.looked_at
        assert showcase.problem is None

        def fail() -> bool:
            raise StoreUnavailable("The store cannot be reached")

        window.outdated = fail  # type: ignore[method-assign]
        showcase.look()
        assert (showcase.problem, showcase.looked_at) == ("The store cannot be reached", looked)
        assert showcase.now.window is window


def test_strangers_are_not_told_where_a_store_lies_that_could_not_be_opened() -> None:
    def away() -> ShopWindow:
        raise StoreUnavailable("s3://secret cannot be reached")

    with Showcase(away, every=3600) as showcase:
        assert showcase.problem == "s3://secret cannot be reached"
        with pytest.raises(NothingToShow, match="cannot be opened now; /readyz and the log say why"):
            assert showcase.now


def test_a_store_that_lost_its_index_is_told_and_the_shop_shown_on(web_shop: Shop, tmp_path: Path) -> None:
    settings = web_shop.deployment.settings
    shutil.copytree(settings.store, tmp_path / "store")
    deployment = Deployment(replace(settings, store=str(tmp_path / "store")))
    with Showcase(deployment.window, every=3600) as showcase:
        shown = showcase.now
        assert showcase.problem is None
        (tmp_path / "store").rename(tmp_path / "elsewhere")
        showcase.look()
        assert showcase.problem == f"There is no index in {tmp_path}/store any more"
        assert showcase.now is shown
        (tmp_path / "elsewhere").rename(tmp_path / "store")
        showcase.look()
        assert (showcase.problem, showcase.now) == (None, shown)


@pytest.mark.parametrize("how", ["away", "in trouble"])
def test_a_shop_whose_store_is_gone_still_answers_and_keeps_no_answer_that_lacks_something(
    web_shop: Shop, product_pictures: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    settings = web_shop.deployment.settings
    shutil.copytree(settings.store, tmp_path / "store")
    deployment = Deployment(replace(settings, store=str(tmp_path / "store"), hide_duplicates=True))
    with running(build_app(ServedShop(deployment), Options(refresh_seconds=3600))) as address:

        def asked() -> list[dict[str, Any]]:
            similar = requests.get(f"{address}/api/v1/similar?id=box", timeout=30)
            found = requests.post(f"{address}/api/v1/search", data=product_pictures["box"], timeout=30)
            page = requests.get(f"{address}/product?id=box", timeout=30)
            assert (similar.status_code, found.status_code, page.status_code) == (200, 200, 200)
            return [similar.json(), found.json()]

        def fail(self: Store, path: str, **_: object) -> bytes:
            raise StoreUnavailable("The store cannot be reached")

        monkeypatch.setattr("vetrina.pictures.prints._REST", 0.0)
        if how == "away":
            (tmp_path / "store").rename(tmp_path / "elsewhere")
        else:
            monkeypatch.setattr(Store, "read", fail)
        lacking = asked()
        assert all(answer["problems"] == [PICTURES_AWAY] and len(answer["similar"]) == 10 for answer in lacking)
        if how == "away":
            (tmp_path / "elsewhere").rename(tmp_path / "store")
        monkeypatch.undo()
        assert all(answer["problems"] == [] for answer in asked())


def test_a_path_that_repeats_itself_is_still_its_route(served: str) -> None:
    for version, name in (("static", "static"), ("s", "x.css")):
        assert requests.get(f"{served}/static/{version}/{name}", timeout=30).status_code == 404
    routes = [name for name in figures(served) if "static" in name]
    assert routes
    assert all("route=/static/{version}/{name}" in name for name in routes)

"""The models are opened before a window is shown, and one that cannot be had costs photos alone."""

import pytest
import requests
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.embedding.extractor import ExtractorIdentity
from vetrina.search.window import ShopWindow
from web.application import build_app
from web.shop import Options
from web.shown.showing import Showcase


def test_a_window_has_its_models_open_before_it_is_shown(web_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ShopWindow] = []
    open_models = ShopWindow.open_models

    def noted(window: ShopWindow) -> None:
        assert showcase._now is None
        open_models(window)
        opened.append(window)

    monkeypatch.setattr(ShopWindow, "open_models", noted)
    with (showcase := Showcase(web_shop.deployment.window, 60)):
        assert opened == [showcase.now.window]


def test_without_its_extractor_products_are_shown_and_photos_are_told_why(
    web_shop: Shop, product_pictures: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    class Lost(ServedShop):
        def window(self) -> ShopWindow:
            window = super().window()
            window._extractor = ExtractorIdentity("bundled:another", "0" * 16)
            window.index.manifest.fingerprints["extractor"] = "1" * 16
            return window

    with running(build_app(Lost(web_shop.deployment), Options())) as address:
        assert "Photos cannot be searched: The current index was made with another extractor" in caplog.text
        found = requests.get(f"{address}/api/v1/similar", params={"id": "box"}, timeout=60)
        assert found.status_code == 200
        for _ in range(2):
            refused = requests.post(f"{address}/api/v1/search", data=product_pictures["box"], timeout=60)
            assert refused.status_code == 404
            assert "photos cannot be searched until the index is rebuilt" in refused.json()["detail"]

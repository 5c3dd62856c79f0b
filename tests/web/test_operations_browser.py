"""The operations view as a person uses it: a real browser, a shop of its own, in the order of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from support.operated_shop import HOSTILE, TOKEN, operated_shop
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options

SLOW = 90_000  # milliseconds that a retry may take
PHONE = {"width": 375, "height": 720}


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, bundled_models: None, product_pictures: dict[str, bytes]
) -> Iterator[str]:
    with operated_shop(tmp_path_factory.mktemp("seen") / "shop", product_pictures) as seen:
        seen.heal()
        app = build_app(ServedShop(seen.shop.deployment), Options(token=TOKEN, dagster_url="http://dagster.example"))
        with running(app) as address:
            yield f"{address}/operations"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, address: str) -> Iterator[BrowserContext]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name="Sign in").first.click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_contain_text("You are signed in")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext) -> Iterator[Page]:
    """A tab in which nothing may be complained about, such as a breach of the security policy."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page = signed_in.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def _is_accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]})
    assert found.violations_count == 0, f"{page.url}: {found.generate_report()}"


def test_pages_are_accessible_and_fit_in_light_and_dark_and_on_a_phone(
    page: Page, address: str, tmp_path: Path
) -> None:
    page.goto(f"{address}/versions")
    version = page.get_by_role("link", name="Serve version").get_attribute("href")
    assert version is not None
    page.goto(f"{address}/batches")
    batch = page.get_by_role("rowheader").first.get_by_role("link").get_attribute("href")
    assert batch is not None
    paths = ["", "/problems", "/versions", "/reports", "/sign-in", version.split("operations")[1]]
    for path in [
        *paths,
        version.split("operations")[1].replace("rollback?to", "version?id"),
        batch.split("operations")[1],
    ]:
        for scheme, size in (("light", None), ("dark", PHONE)):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size(size or {"width": 1280, "height": 800})  # type: ignore[arg-type]
            page.goto(f"{address}{path}")
            _is_accessible(page)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, scheme)
            name = path.strip("/").partition("?")[0] or "overview"
            page.screenshot(path=tmp_path / f"{name}-{scheme}.png", full_page=True)


def test_an_earlier_version_is_served_after_a_look_at_what_changes(page: Page, address: str) -> None:
    page.goto(f"{address}/versions")
    rows = page.get_by_role("row")
    expect(rows.nth(1)).to_contain_text("current")
    page.get_by_role("link", name="Serve version").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("again?")
    expect(page.get_by_role("row", name="Products in the index")).to_contain_text("4 3")
    page.get_by_role("link", name="Leave it as it is").click()
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="Serve version").click()
    page.get_by_role("button", name="Serve").click()
    expect(page.get_by_role("status")).to_contain_text("The earlier version is served now.")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text("current")
    expect(rows.nth(1)).to_contain_text("rollback from")
    page.goto(address)
    expect(page.get_by_text("1 product, compared one by one beside it")).to_be_visible()


def test_failed_pictures_are_found_by_their_reason_and_asked_for_again(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name="picture could not be fetched: http-404").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible()
    page.get_by_role("button", name="Ask again for 3 failed pictures").click()
    expect(page.get_by_text("Being asked for again since")).to_be_visible()
    _is_accessible(page)
    # The page comes anew by itself.
    expect(page.get_by_text("1 batch worked: 2 pictures fetched, 2 embedded")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="Ask again for 1 failed picture")).to_be_visible()
    expect(page.get_by_text("6 products of 8 rows can be found; 1 picture failed.")).to_be_visible()
    expect(page.get_by_role("link", name="the index", exact=True)).to_have_attribute(
        "href", "http://dagster.example/runs/", timeout=1000
    )
    _is_accessible(page)


def test_all_of_it_works_without_scripts(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/sign-in")
    page.get_by_label("Token").fill("a-wrong-token-of-a-person")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("The token is not that of VETRINA_SERVE_TOKEN")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Ask again for 1 failed picture").click()
    expect(page.get_by_role("status").first).to_contain_text("Failed pictures are being asked for again.")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status").first).to_contain_text("You are signed out.")
    expect(page.get_by_role("button", name="Ask again")).to_have_count(0)
    context.close()

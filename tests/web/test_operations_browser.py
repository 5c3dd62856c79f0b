"""The operations view as a person uses it: a real browser, a shop of its own, in the order of the tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from support.operated_shop import HOSTILE, TOKEN, Operated, copied
from support.web_browser import look, opened
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options

RETRY = 300_000  # milliseconds that one may take on a busy machine


@pytest.fixture(scope="module")
def address(operated: Operated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with copied(operated, tmp_path_factory.mktemp("seen") / "shop") as seen:
        seen.heal()
        app = build_app(ServedShop(seen.shop.deployment), Options(token=TOKEN, dagster_url="http://dagster.example"))
        with running(app) as address:
            yield f"{address}/operations"


@pytest.fixture
def page(address: str, browser: Browser) -> Iterator[Page]:
    """A page of somebody who is signed in."""
    with opened(browser, address.removesuffix("/operations")) as page:
        page.goto(address)
        page.get_by_role("navigation", name="Operations").get_by_role("link", name="Overview").focus()
        page.get_by_role("link", name="Sign in", exact=True).first.click()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("You are signed in")
        yield page


def test_what_goes_on_is_seen_by_all_on_any_screen(address: str, browser: Browser) -> None:
    with opened(browser, address.removesuffix("/operations")) as page:
        page.goto(address)
        expect(page.get_by_text("4 products of 10 rows can be found; 3 pictures failed.")).to_be_visible()
        look(page, "operations")
        page.get_by_role("link", name="Batches", exact=True).click()
        look(page, "operations-batches")
        page.get_by_role("rowheader").first.get_by_role("link").click()
        expect(page.get_by_role("heading", name="What is judged of it")).to_be_visible()
        look(page, "operations-batch")
        page.get_by_role("link", name="row rejected: missing-id").click()
        expect(page.get_by_role("row")).to_have_count(2)
        reason = page.get_by_role("cell").get_by_text("row rejected: missing-id")
        expect(reason).to_have_css("text-decoration-line", "none")  # it is no link
        page.get_by_role("link", name="Index versions", exact=True).click()
        look(page, "operations-versions")
        page.get_by_role("rowheader").last.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Recall per class")).to_be_visible()
        look(page, "operations-version")
        page.get_by_role("link", name="Evaluation", exact=True).click()
        look(page, "operations-reports")
        page.get_by_role("link", name="Sign in", exact=True).click()
        look(page, "operations-sign-in")


def test_an_earlier_version_is_served_after_a_look_at_what_changes(page: Page, address: str) -> None:
    page.goto(f"{address}/versions")
    rows = page.get_by_role("row")
    expect(rows.nth(1)).to_contain_text("current")
    page.get_by_role("link", name="Serve version").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("again?")
    expect(page.get_by_role("row", name="Products in the index 4 3")).to_be_visible()
    look(page, "operations-rollback")
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
    page.get_by_role("link", name="picture could not be fetched: http-404").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible()
    look(page, "operations-problems")
    page.get_by_role("button", name="Ask again for all 3 failed pictures").click()
    expect(page.get_by_text("They are being asked for again")).to_be_visible()
    look(page, "operations-retry")
    # The page comes anew by itself.
    expect(page.get_by_text("1 batch worked: 2 pictures fetched")).to_be_visible(timeout=RETRY)
    expect(page.get_by_role("button", name="Ask again for 1 failed picture")).to_be_visible()
    expect(page.get_by_text("6 products of 10 rows can be found; 1 picture failed.")).to_be_visible()
    run = page.get_by_role("link", name="the index", exact=True).get_attribute("href")
    assert run is not None and run.startswith("http://dagster.example/runs/")
    look(page, "operations-retried")


def test_all_of_it_works_without_scripts(address: str, browser: Browser) -> None:
    with opened(
        browser, address.removesuffix("/operations"), expected=("401 (Unauthorized)",), java_script_enabled=False
    ) as page:
        page.goto(f"{address}/sign-in")
        for token in ("a-wrong-token-of-a-person", TOKEN):
            page.get_by_label("Token").fill(token)
            page.get_by_role("main").get_by_role("button", name="Sign in").click()
            if token != TOKEN:
                expect(page.get_by_role("alert")).to_contain_text("The token is not that of VETRINA_SERVE_TOKEN")
        page.get_by_role("button", name="Ask again for 1 failed picture").click()
        expect(page.get_by_role("status").first).to_contain_text("Failed pictures are being asked for again.")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("status").first).to_contain_text("You are signed out.")
        expect(page.get_by_role("button", name="Ask again")).to_have_count(0)

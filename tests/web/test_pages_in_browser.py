"""The shop's pages in a real browser: found through, narrowed, explained, by mouse, keyboard and on a phone."""

import re
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import Browser, expect
from support.fault_server import FaultServer
from support.shops import Shop, rows_of
from support.web_browser import PHONE, look, opened
from support.web_goods import GOODS, IDS
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options

NAMED_BADLY = IDS["beer-glass"]


def test_the_shop_is_found_through_by_name_class_and_attribute(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/")
        expect(page.locator(".goods > li")).to_have_count(len(GOODS))
        look(page, "shop")
        page.get_by_role("searchbox").fill("chair")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("2 products")
        page.get_by_role("link", name="Kitchen 1").click()
        expect(page.locator(".goods > li")).to_have_text(re.compile("White chair"))
        assert page.url == f"{served}/?q=chair&is.category=Kitchen"
        look(page, "shop-narrowed")
        page.get_by_role("link", name="Remove Category: Kitchen").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("2 products")
        page.get_by_role("link", name="Remove Search").click()
        page.locator("[name='min.price']").fill("100")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".goods > li")).to_have_count(2)
        page.goto(f"{served}/?q=nothing+like+it")
        look(page, "shop-nothing")


def test_a_product_shows_what_looks_like_it_and_why(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/?q=drawing")
        page.get_by_role("link", name="Drawing table").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Drawing table")
        expect(page.locator(".results > li")).to_have_count(len(GOODS) - 1)
        look(page, "product")
        page.locator("a.chip[data-part='0']").hover()
        expect(page.locator(".marks a[data-part='0']")).to_have_class("lit")
        first = page.locator(".results .name").first.inner_text()
        page.get_by_text("Why?").first.click()
        dialog = page.get_by_role("dialog", name="Why it looks alike")
        expect(dialog).to_contain_text("Nothing else in the shop looks more like it.")
        expect(dialog.locator(".pair .name")).to_have_text(["Drawing table", first])
        dialog.get_by_text("All figures").click()
        look(page, "why-dialog")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page.locator(".why").first).to_be_focused()
        page.goto(served + (page.locator(".why").first.get_attribute("href") or ""))
        look(page, "why")


def test_results_are_narrowed_and_compared_with_everything(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/product?id=oak-chair")
        page.get_by_text("Narrow down").click()
        look(page, "product-narrowing")
        page.get_by_label("Category").select_option("Kitchen")
        page.locator("[name='max.price']").fill("10")
        page.get_by_label("Compare with everything").check()
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".results > li")).to_have_count(3)
        expect(page.get_by_text("The index misses none of these")).to_be_visible()
        expect(page.get_by_role("link", name="Remove Price: up to 10")).to_be_visible()
        look(page, "product-narrowed")


def test_alternatives_and_what_is_not_offered_are_shown_to_be_kept_or_taken_away(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/product?id=oak-chair&is.category=Kitchen&is.category=Hall&max.price=EUR+300&is.price=199")
        expect(page.locator(".results > li")).to_have_count(0)
        page.locator("summary").filter(has_text="Narrow down").click()
        look(page, "product-alternatives")
        page.get_by_role("checkbox", name="Hall").uncheck()
        page.get_by_role("checkbox", name="199").uncheck()
        page.get_by_role("group", name="Category").get_by_label("or").select_option("Office")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".results > li")).to_have_count(5)
        for kept in ("Category: Kitchen", "Category: Office", "Price: up to EUR 300"):
            expect(page.get_by_role("link", name=f"Remove {kept}")).to_be_visible()


def test_a_part_of_a_products_picture_is_a_deep_link(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/photo?product=technical-table&box=0.1,0.1,0.6,0.9")
        expect(page.locator(".frame")).to_be_visible()
        expect(page.locator(".results .name").first).not_to_have_text("Drawing table")
        look(page, "part-of-product")
        page.get_by_role("link", name="Whole picture").click()
        page.wait_for_url(f"{served}/photo?product=technical-table")
        expect(page.locator(".frame")).to_have_count(0)


def test_names_and_ids_that_are_markup_right_to_left_or_emoji_are_shown_as_they_are(
    browser: Browser, served: str
) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/")
        page.get_by_role("link", name="Beer glass <script>").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(GOODS["beer-glass"][0])
        expect(page.get_by_text(NAMED_BADLY, exact=True)).to_have_count(1)
        page.get_by_role("link", name="قارورة").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(GOODS["yogurt-bottle"][0])
        look(page, "product-right-to-left")


def test_a_picture_that_cannot_be_had_leaves_a_quiet_place(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("ERR_FAILED",)) as page:
        page.route("**/api/v1/pictures/**", lambda route: route.abort())
        page.goto(f"{served}/?q=chair")
        expect(page.locator(".tile.broken")).to_have_count(2)
        look(page, "pictures-missing")


def test_an_unknown_product_is_told_on_a_page(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("404",)) as page:
        page.goto(f"{served}/product?id=oak-chairs")
        expect(page.get_by_text("did you mean 'oak-chair'")).to_be_visible()
        look(page, "problem")


def test_an_empty_window_waits_until_the_person_looks_again(browser: Browser, shop: Shop, server: FaultServer) -> None:
    with (
        running(build_app(ServedShop(shop.deployment), Options(refresh_seconds=0.2))) as address,
        opened(browser, address, expected=("503",)) as page,
    ):
        page.goto(f"{address}/product?id=oak-chair")
        expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing in the window yet")
        look(page, "shop-empty")
        with ThreadPoolExecutor() as elsewhere:  # Dagster wants an event loop of its own
            elsewhere.submit(shop.add, shop.catalog("goods", rows_of(server, ["oak-chair", "box"]))).result()
        page.wait_for_function("() => fetch('/readyz').then((answer) => answer.ok)")
        page.get_by_role("link", name="Look again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("oak-chair")


def test_what_narrows_the_shop_is_folded_on_a_phone_before_any_script_runs(browser: Browser, served: str) -> None:
    with opened(browser, served, java_script_enabled=False) as page:
        page.goto(f"{served}/")
        kitchen = page.get_by_role("link", name="Kitchen 4")
        expect(kitchen).to_be_visible()
        page.set_viewport_size(PHONE)
        expect(kitchen).to_be_hidden()
        page.locator("summary").filter(has_text="Narrow down").click()
        expect(kitchen).to_be_visible()


def test_the_search_field_keeps_its_shape_and_its_text_beside_the_button(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/")
        field = page.get_by_role("searchbox")
        shape = "at => getComputedStyle(at).borderRadius"
        before = field.evaluate(shape)
        field.focus()
        assert field.evaluate(shape) == before
        button = page.get_by_role("search").get_by_role("button").bounding_box()
        assert button is not None
        assert field.evaluate("at => parseFloat(getComputedStyle(at).paddingRight)") >= button["width"]


def test_everything_can_be_reached_by_keyboard_with_visible_focus(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/product?id=oak-chair")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        seen = []
        for _ in range(14):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(
                    """() => { const at = document.activeElement, style = getComputedStyle(at);
                    return [at.className || at.localName, style.outlineStyle !== "none"]; }"""
                )
            )
        assert all(visible for _, visible in seen), seen
        assert {"card", "why", "chip"} <= {name for name, _ in seen}

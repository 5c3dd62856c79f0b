"""Searching by photo in a real browser: seen, chosen from, drawn on, gone back from, refused, asked again."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.shops import Shop
from support.web_browser import look, opened
from support.web_goods import GOODS
from support.web_server import running

from orchestration.deployment import Deployment
from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options

PICTURES = Path(__file__).parent.parent / "data" / "pictures"
CHAIR, TABLE = PICTURES / "oak-chair.png", PICTURES / "technical-table.png"
AWAY = "<!doctype html><title>Away</title><h1>Away for a moment</h1>"
HAND_OVER = """([kind, bytes]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], "../a.png", { type: "image/png" }));
  const told = { bubbles: true, cancelable: true };
  document.querySelector("main").dispatchEvent(kind === "paste"
    ? new ClipboardEvent(kind, { ...told, clipboardData: carried })
    : new DragEvent(kind, { ...told, dataTransfer: carried }));
}"""
"""Drops or pastes a photo."""


def test_a_photo_is_seen_at_once_and_searched_with(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("ERR_FAILED",)) as page:
        page.goto(f"{served}/photo")
        look(page, "photo-intake")
        page.route("**/photo?*", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
        page.get_by_label("Choose a photo").set_input_files(TABLE)
        expect(page.locator("img[data-own]")).to_have_js_property("complete", True)
        assert page.locator("img[data-own]").evaluate("at => at.naturalWidth") > 0
        expect(page.get_by_role("heading", name="The shop cannot be reached")).to_be_visible()
        look(page, "photo-offline")
        page.unroute_all()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".results .name").first).to_have_text("Drawing table")
        expect(page.get_by_role("status")).to_contain_text("Looks like it: 11 products")
        look(page, "photo-results")


def test_a_photo_like_nothing_in_the_shop_is_told_kindly(browser: Browser, web_shop: Shop) -> None:
    strict = Deployment(replace(web_shop.deployment.settings, min_similarity=0.999))
    with running(build_app(ServedShop(strict), Options())) as address, opened(browser, address) as page:
        with_photo(page, address, PICTURES / "umbrella.png")
        expect(page.get_by_role("heading", name="Nothing quite like it")).to_be_visible()
        look(page, "photo-nothing-similar")


def test_a_photo_is_searched_with_without_scripts(browser: Browser, served: str) -> None:
    with opened(browser, served, java_script_enabled=False) as page:
        page.goto(f"{served}/photo")
        page.locator("input[type=file]").set_input_files(CHAIR)
        page.get_by_role("main").get_by_role("button", name="Search").click()
        expect(page.locator(".results .name").first).to_have_text("Oak chair")


def test_what_is_on_a_photo_can_be_chosen_and_going_back_and_loading_anew_find_it_again(
    browser: Browser, served: str
) -> None:
    with opened(browser, served) as page:
        with_photo(page, served, TABLE)
        page.locator(".marks a[data-part='0']").first.click(position={"x": 10, "y": 10}, force=True)
        page.wait_for_url("**object=*")
        chosen = page.locator("a.chip[aria-current]")
        expect(chosen).not_to_have_text("Whole photo")
        text = chosen.inner_text()
        page.get_by_role("button", name="Why?").nth(1).click()
        dialog = page.get_by_role("dialog", name="Why it looks alike")
        expect(dialog.locator(".pair .name").first).to_have_text("Your photo")
        expect(dialog.get_by_text("the part marked as table").first).to_be_visible()
        assert dialog.locator("img[data-own]").evaluate("at => at.decode().then(() => at.naturalWidth)") > 0
        look(page, "why-photo")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Why?").nth(1)).to_be_focused()
        page.reload()
        expect(page.locator("a.chip[aria-current]")).to_have_text(text)
        look(page, "photo-object")
        page.go_back()
        expect(page.locator("a.chip[aria-current]")).to_have_text("Whole photo")
        page.get_by_role("link", name="Another photo").click()
        expect(page.get_by_role("heading", name="Search by photo")).to_be_visible()
        page.go_back()
        expect(page.locator(".results .name").first).to_have_text("Drawing table")


def test_a_box_is_drawn_with_the_mouse(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        with_photo(page, served, CHAIR)
        shot = page.locator(".subject .shot").bounding_box()
        assert shot is not None
        page.mouse.move(shot["x"] + shot["width"] * 0.25, shot["y"] + shot["height"] * 0.1)
        page.mouse.down()
        page.mouse.move(shot["x"] + shot["width"] * 0.5, shot["y"] + shot["height"] * 0.4, steps=3)
        page.mouse.move(shot["x"] + shot["width"] * 0.75, shot["y"] + shot["height"] * 0.6, steps=3)
        page.mouse.up()
        page.wait_for_url("**box=*")
        assert box_in(page) == pytest.approx([0.1, 0.25, 0.6, 0.75], abs=0.01)
        expect(page.locator(".frame")).to_be_visible()
        expect(page.get_by_role("status")).to_contain_text("products")
        look(page, "photo-box")
        page.reload()
        expect(page.locator(".frame")).to_be_visible()
        assert box_in(page) == pytest.approx([0.1, 0.25, 0.6, 0.75], abs=0.01)


def test_a_box_is_drawn_with_the_keyboard_alone(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        with_photo(page, served, CHAIR)
        page.get_by_role("button", name="Draw a box").focus()
        page.keyboard.press("Enter")
        frame = page.locator(".frame")
        expect(frame).to_be_focused()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+ArrowLeft")
        expect(page.get_by_role("status")).to_have_text(
            "Box 27 % from the left, 27 % from the top, 48 % wide, 50 % high"
        )
        page.keyboard.press("Enter")
        page.wait_for_url("**box=*")
        assert box_in(page) == pytest.approx([0.27, 0.27, 0.77, 0.75], abs=0.001)
        expect(frame).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("a.chip[aria-current]")).to_have_text("Whole photo")
        assert "box=" not in page.url
        expect(frame).to_have_count(0)


def test_a_finger_moves_a_box_only_after_it_was_asked_for(browser: Browser, served: str) -> None:
    with opened(browser, served, has_touch=True, viewport={"width": 360, "height": 760}) as page:
        with_photo(page, served, CHAIR)
        assert page.locator(".subject .shot").evaluate("at => getComputedStyle(at).touchAction") == "auto"
        page.get_by_role("button", name="Draw a box").tap()
        expect(page.locator(".frame")).to_be_visible()
        assert page.locator(".frame").evaluate("at => getComputedStyle(at).touchAction") == "none"
        page.get_by_role("button", name="Draw a box").tap()
        expect(page.locator(".frame")).to_have_count(0)


def test_a_photo_dropped_or_pasted_anywhere_is_searched_with(browser: Browser, served: str) -> None:
    data = list(CHAIR.read_bytes())
    with opened(browser, served) as page:
        page.goto(f"{served}/product?id=slippers")
        page.evaluate(HAND_OVER, ["dragover", data])
        expect(page.get_by_text("Drop it to search with it")).to_be_visible()
        page.evaluate(HAND_OVER, ["drop", data])
        page.wait_for_url("**/photo?photo=*")
        expect(page.locator(".results .name").first).to_have_text("Oak chair")
        first = page.url
        page.evaluate(HAND_OVER, ["paste", data])
        page.wait_for_url(lambda url: url != first)
        expect(page.locator(".results .name").first).to_have_text("Oak chair")


def test_results_of_a_photo_are_narrowed_without_sending_the_person_away(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        with_photo(page, served, CHAIR)
        page.get_by_text("Narrow down").click()
        page.get_by_label("Category").select_option("Kitchen")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".results > li")).to_have_count(4)
        page.reload()
        expect(page.locator(".results > li")).to_have_count(4)
        page.get_by_role("link", name="Remove Category: Kitchen").click()
        expect(page.locator(".results > li")).to_have_count(11)


def test_going_back_while_a_photo_is_looked_at_leaves_nothing_that_says_so(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/photo")
        # The answer does not come.
        page.route("**/photo?*", lambda route: None)
        page.get_by_label("Choose a photo").set_input_files(CHAIR)
        expect(page.get_by_role("status")).to_have_text("Looking…")
        look(page, "photo-looking")
        page.go_back()
        expect(page.get_by_role("heading", name="Search by photo")).to_be_visible()
        expect(page.locator("[data-desk]")).not_to_have_attribute("aria-busy", "true")
        expect(page.get_by_role("status")).to_be_empty()
        look(page, "photo-gone-back")
        page.unroute_all(behavior="ignoreErrors")


def test_what_goes_wrong_is_said_also_on_the_way_back_from_the_way_in(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("503",)) as page:
        page.goto(f"{served}/photo?product=oak-chair")
        page.evaluate(HAND_OVER, ["paste", list(CHAIR.read_bytes())])
        page.get_by_role("link", name="Another photo").click()
        expect(page.get_by_role("heading", name="Search by photo")).to_be_visible()
        page.route("**/photo?*", lambda route: route.fulfill(status=503, content_type="text/html", body=AWAY))
        page.go_back()
        expect(page.get_by_role("heading", name="The shop cannot answer now")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("The shop cannot answer now. Try again later.")
        expect(page.locator("img[data-own]")).to_be_visible()
        look(page, "photo-cannot-answer")
        page.go_back()
        expect(page.get_by_role("heading")).to_have_text("Away for a moment")
        page.unroute_all()
        page.reload()
        expect(page.locator(".results > li")).to_have_count(len(GOODS) - 1)
        page.go_forward()
        expect(page.locator(".results .name").first).to_have_text("Oak chair")


def test_a_busy_shop_is_asked_again_by_itself(browser: Browser, served: str) -> None:
    busy = [{"status": 503, "headers": {"Retry-After": "4"}, "content_type": "application/problem+json", "body": "{}"}]
    with opened(browser, served, expected=("503",)) as page:
        page.route("**/photo?*", lambda route: route.fulfill(**busy.pop()) if busy else route.continue_())
        page.goto(f"{served}/photo")
        page.get_by_label("Choose a photo").set_input_files(CHAIR)
        expect(page.get_by_role("status")).to_have_text("Many are searching. Trying again…")
        expect(page.locator(".results .name").first).to_have_text("Oak chair")


def test_what_is_no_picture_is_refused_kindly(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("422",)) as page:
        page.goto(f"{served}/photo")
        text = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"<script>alert(1)</script>"}
        page.get_by_label("Choose a photo").set_input_files(text)
        expect(page.get_by_role("heading", name="The picture cannot be used")).to_be_visible()
        look(page, "photo-refused")
        page.get_by_role("button", name="Another photo").click()
        expect(page.get_by_label("Choose a photo")).to_be_visible()
        page.goto(f"{served}/photo?photo=gone")
        expect(page.get_by_role("heading", name="That photo is not in this browser any more")).to_be_visible()
        look(page, "photo-gone")


def test_who_searches_by_keyboard_goes_on_where_the_page_has_changed(browser: Browser, served: str) -> None:
    with opened(browser, served, expected=("503",)) as page:
        page.goto(f"{served}/photo")
        page.route("**/photo?*", lambda route: route.fulfill(status=503, body=""))
        page.get_by_label("Choose a photo").focus()
        page.get_by_label("Choose a photo").set_input_files(CHAIR)
        again = page.get_by_role("button", name="Try again")
        again.focus()
        with page.expect_response("**/photo?*"):
            page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("The shop cannot answer now. Try again later.")
        expect(again).to_be_focused()
        page.unroute_all()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Looks like it")).to_be_focused()
        page.get_by_role("link", name="Another photo").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Search by photo")).to_be_focused()


def test_a_photo_that_is_chosen_by_keyboard_leads_to_its_results(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/photo")
        page.get_by_label("Choose a photo").focus()
        page.get_by_label("Choose a photo").set_input_files(CHAIR)
        expect(page.get_by_role("heading", name="Looks like it")).to_be_focused()


def test_skipping_to_the_content_does_not_search_again(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        with_photo(page, served, CHAIR)
        page.evaluate("document.querySelector('.results').still = true")
        page.get_by_role("link", name="Skip to the content").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**#main")
        expect(page.get_by_role("main")).to_be_focused()
        page.wait_for_function("() => !document.querySelector('[data-desk][aria-busy]')")
        assert page.evaluate("document.querySelector('.results').still")


def with_photo(page: Page, served: str, file: Path) -> None:
    page.goto(f"{served}/photo")
    page.get_by_label("Choose a photo").set_input_files(file)
    expect(page.locator(".results > li")).to_have_count(len(GOODS))


def box_in(page: Page) -> list[float]:
    found = page.evaluate("new URLSearchParams(location.search).get('box')")
    return [float(side) for side in found.split(",")]

"""The pages in a real browser: what must never happen there is noted, and every look at a page is an examination.

with opened(browser, address) as page:
    page.goto(f"{address}/")
    look(page, "shop")

Pictures of what was looked at are in `.screenshots/`, by the name of the state, the scheme and the width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
WIDE = {"width": 1360, "height": 860}
PHONE = {"width": 360, "height": 760}
SCREENSHOTS = Path(__file__).parent.parent.parent / ".screenshots"

_PATIENCE = 30_000  # milliseconds that a page may take on a busy machine
expect.set_options(timeout=_PATIENCE)

_TOO_SMALL = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")]
  .filter((at) => at.checkVisibility() && at.tabIndex >= 0 && !at.closest("p, dd, .skip, dialog"))
  .map((at) => [at.closest("label.tick, label.file") ?? at, at])
  .filter(([area]) => area.getBoundingClientRect().height < 43.5)
  .map(([, at]) => at.outerHTML.slice(0, 120))"""
_PICTURES_ARE_THERE = "() => [...document.images].every((at) => at.complete || at.loading === 'lazy')"
_SCROLLS = "() => document.documentElement.scrollWidth > innerWidth"


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium. Skips the test where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, *, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
    """A page for which nothing is cached yet.

    At its end it must have asked no other host for anything, and the console must hold no errors (those of the security
    policy are among them), but for `expected` ones. The options are those of a context of the browser.
    """
    faults: list[str] = []
    # A colour that is still on its way to another would be examined.
    context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.on("request", lambda asked: _is_here(asked.url, address) or faults.append(f"asked {asked.url}"))
    page.on("pageerror", lambda error: faults.append(f"script: {error.stack}"))
    page.on("console", lambda said: said.type in ("error", "warning") and faults.append(f"console: {said.text}"))
    yield page
    context.close()
    unexpected = [fault for fault in faults if not any(text in fault for text in expected)]
    assert not unexpected, unexpected


def _is_here(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", "blob:", "data:"))


def look(page: Page, name: str) -> None:
    """Examine what a page shows now: accessible in light and dark, and on a phone nothing too wide or too small."""
    page.wait_for_function(_PICTURES_ARE_THERE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    page.screenshot(path=SCREENSHOTS / f"{name}-phone.png")
    assert not page.evaluate(_SCROLLS), f"{name} scrolls sideways on a phone"
    assert page.evaluate(_TOO_SMALL) == []
    page.set_viewport_size(WIDE)

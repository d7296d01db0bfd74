"""Look at the page of a running engine: pictures of its views, and whether it grows while it is left open.

.venv/bin/python -m tests.page --tenant demo --pictures build/pictures
.venv/bin/python -m tests.page --tenant demo --seconds 60
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WAIT_MS_MAX = 20_000
SETTLE_MS = 800
GROWTH_MAX = 0.10
"""Share by which the heap may be larger at the end than after it has settled."""

VIEWS = {
    "fleet": ("#/", ".groups tbody tr"),
    "packs": ("#/packs", "tbody tr"),
    "alerts": ("#/alerts", ".alert, .state strong"),
    "rules": ("#/rules", "tbody tr, .state strong"),
    "quarantine": ("#/quarantine", "tbody tr, .state strong"),
    "imports": ("#/imports", "tbody tr, .state strong"),
}
MODES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2},
    "wall": {"viewport": {"width": 1920, "height": 1080}},
}


def signed_in(browser: Browser, url: str, tenant: str, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(WAIT_MS_MAX)
    page.goto(url)
    page.get_by_label("Tenant", exact=True).select_option(tenant)
    page.get_by_role("button", name="Sign in").first.click()
    page.wait_for_selector("#packs-total")
    return page


def first_pack(page: Page) -> str:
    """The address of the pack that stands first."""
    page.goto(page.url.partition("#")[0] + "#/packs")
    address = page.locator("tbody a").first.get_attribute("href")
    assert address is not None
    return address


def take_pictures(browser: Browser, url: str, tenant: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for mode, options in MODES.items():
        page = signed_in(browser, url, tenant, **options)
        pack = f"{first_pack(page)}?span=7d"
        for view, (address, selector) in (VIEWS | {"pack": (pack, ".plot .gtitle")}).items():
            page.goto(f"{url}/{address}")
            page.wait_for_selector(selector)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"{view}-{mode}.png")
        page.context.close()
    print(f"{len(VIEWS) + 1} views in {len(MODES)} modes are in {folder}")


def disconnected(page: Page) -> None:
    page.context.set_offline(True)
    page.wait_for_selector("#connection:not([hidden])")


def expired(page: Page) -> None:
    """The engine refuses the token, as it does one that is over."""
    page.evaluate(
        "sessionStorage.setItem('bpm.token', sessionStorage.getItem('bpm.token').slice(0, -9) + 'AAAAAAAAA')"
    )
    page.reload()
    page.get_by_label("Tenant", exact=True).wait_for()


def nowhere(page: Page) -> None:
    page.goto(page.url.partition("#")[0] + "#/nowhere")


def no_such_pack(page: Page) -> None:
    page.goto(page.url.partition("#")[0] + "#/packs/no-such-pack")


STATES: dict[str, Callable[[Page], None]] = {
    "disconnected": disconnected,
    "expired": expired,
    "nowhere": nowhere,
    "no-such-pack": no_such_pack,
}


def take_states(browser: Browser, url: str, tenant: str, folder: Path) -> None:
    """What the page shows when something is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    for mode, options in MODES.items():
        for state, bring_about in STATES.items():
            page = signed_in(browser, url, tenant, **options)
            bring_about(page)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"{state}-{mode}.png")
            page.context.close()
    print(f"{len(STATES)} states in {len(MODES)} modes are in {folder}")


def heap_mb(session: CDPSession) -> float:
    """What is left on the heap after garbage is collected."""
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in found if one["name"] == "JSHeapUsedSize")) / 1e6


def watch_memory(browser: Browser, url: str, tenant: str, seconds: int) -> bool:
    """Whether no view's heap grew by more than is allowed."""
    sessions: dict[str, CDPSession] = {}
    for view in ("fleet", "alerts", "pack"):
        page = signed_in(browser, url, tenant)
        page.goto(f"{url}/{first_pack(page) if view == 'pack' else VIEWS[view][0]}")
        sessions[view] = page.context.new_cdp_session(page)
        sessions[view].send("Performance.enable")
    time.sleep(min(10, seconds))
    before = {view: heap_mb(session) for view, session in sessions.items()}
    time.sleep(seconds)
    grown = {view: heap_mb(session) / before[view] - 1 for view, session in sessions.items()}
    for view, share in grown.items():
        print(f"{view}: {before[view]:.2f} MB, {share:+.1%} after {seconds} s")
    return max(grown.values()) <= GROWTH_MAX


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.page", description=__doc__.partition(":")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--seconds", type=int, metavar="N", help="leave three views open for so long")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if given.pictures is not None:
            take_pictures(browser, given.url, given.tenant, given.pictures)
            take_states(browser, given.url, given.tenant, given.pictures)
        steady = given.seconds is None or watch_memory(browser, given.url, given.tenant, given.seconds)
        browser.close()
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())

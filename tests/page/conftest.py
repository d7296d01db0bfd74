"""One browser and one engine for all tests of the page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from domain.tenancy import Role
from tests.page.fleet import fill
from tests.running import RunningApi

CHROMIUM = Path("/usr/bin/chromium")

WAIT_MS_MAX = 45_000
"""Long, because other work may take turns with the browser; what is asserted about speed is measured by itself."""

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; tests that need it skip without.

    Closed after the module: while Playwright is there, nothing else in the process may run an event loop.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"needs chromium at {CHROMIUM} (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield launched
        launched.close()


@dataclass
class Window:
    """A window of the browser, with what it complained about."""

    api: RunningApi
    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, address: str, wait_for: str) -> None:
        """Go to a view, and wait until it shows a selector."""
        self.page.goto(f"{self.api.url}/{address}")
        self.page.wait_for_selector(wait_for)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def wait_text(self, selector: str, text: str) -> None:
        """Wait until an element reads so."""
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.innerText.trim() === text",
            arg=[selector, text],
        )

    def all_complaints(self) -> list[str]:
        """What went to the console as an error, was thrown, or broke the policy."""
        return self.complaints + list(self.page.evaluate("window.violations"))


WindowOf = Callable[..., Any]


@pytest.fixture
def window(browser: Browser, api: RunningApi) -> Iterator[WindowOf]:
    """Opens windows: `with window("tenant") as opened`; signed in, unless the tenant is None."""
    contexts: list[BrowserContext] = []

    @contextmanager
    def opened(
        tenant: str | None, *, role: Role = Role.TENANT_ADMIN, token: str | None = None, **options: Any
    ) -> Iterator[Window]:
        given = {
            "viewport": {"width": 1280, "height": 900},
            "locale": "en-GB",
            "timezone_id": "Europe/Zurich",
        }
        context = browser.new_context(**(given | options))
        contexts.append(context)
        context.set_default_timeout(WAIT_MS_MAX)
        context.add_init_script(WATCH_POLICY)
        token = token or (None if tenant is None else api.token(tenant, role))
        if token is not None:
            context.add_init_script(
                f'if (!sessionStorage.getItem("asked")) sessionStorage.setItem("bpm.token", "{token}");'
                ' sessionStorage.setItem("asked", "1");'
            )
        made = Window(api, context.new_page())

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning", "trace"):
                made.complaints.append(f"{message.type}: {message.text}")

        made.page.on("console", on_console)
        made.page.on("pageerror", lambda error: made.complaints.append(f"thrown: {error}"))
        yield made
        context.close()
        contexts.remove(context)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def fleet(api: RunningApi) -> str:
    """A tenant with packs, history, alerts, rules, quarantine and an import."""
    name = api.tenant("fleet")
    with api.client(name) as client:
        fill(client)
    return name


@pytest.fixture
def fleet_client(api: RunningApi, fleet: str) -> Iterator[httpx.Client]:
    with api.client(fleet) as client:
        yield client

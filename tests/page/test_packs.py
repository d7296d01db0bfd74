"""The table of packs: a search goes through fleets of any size, a value is sorted over all that match."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from api.database_access import DatabaseAccess
from tests.page.conftest import Window, WindowOf
from tests.running import RunningApi, running_api

pytestmark = pytest.mark.needs_chromium

PACKS = 600
LOOKED_AT_ONCE = 51
TURNS = 10
ROWS = "() => [...document.querySelectorAll('tbody tr td:first-child')].map(one => one.innerText)"


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that looks at a few packs for one page of a search."""
    with running_api(database, tmp_path_factory.mktemp("data"), packs_scanned_max=1) as running:
        yield running


@pytest.fixture(scope="module")
def large(api: RunningApi) -> str:
    """A tenant of 600 packs at two sites, of which pack n is at n tenths of a degree."""
    name = api.tenant("large")
    with api.client(name) as client:
        for site in ("Bern", "Chur"):
            body = {"name": site, "zone": "UTC", "region": f"around {site}"}
            client.post("/v1/sites", json=body).raise_for_status()
        rows = "".join(f"P-{number:03d},{('Bern', 'Chur')[number % 2]}\n" for number in range(PACKS))
        headers = {"Content-Type": "text/csv"}
        client.post("/v1/packs/import", content=f"pack,site\n{rows}", headers=headers).raise_for_status()
        now = datetime.now(UTC).isoformat()
        body = [
            {"pack": f"P-{number:03d}", "ts": now, "temperature_c": number / 10} for number in range(PACKS)
        ]
        client.post("/v1/telemetry", json=body).raise_for_status()
    return name


def wait_for_foot(opened: Window, pattern: str) -> None:
    opened.page.locator("#packs-found", has_text=re.compile(pattern)).wait_for()


def test_search_goes_on_by_itself_and_says_what_it_went_through(large: str, window: WindowOf) -> None:
    with window(large) as opened:
        opened.go("#/packs?search=p-3", "tbody tr")
        wait_for_foot(opened, "^50 packs on this page$")
        opened.page.get_by_role("button", name="Next").click()
        opened.page.get_by_role("link", name="P-350").wait_for()
        assert opened.page.evaluate(ROWS) == [f"P-{number}" for number in range(350, 400)]
        opened.page.get_by_label("Search").fill("p-4")
        opened.page.get_by_role("link", name="P-449").wait_for()
        assert opened.page.evaluate(ROWS) == [f"P-{number}" for number in range(400, 450)]
        assert opened.all_complaints() == []


def test_search_that_takes_long_waits_for_a_word_and_goes_on(large: str, window: WindowOf) -> None:
    with window(large) as opened:
        opened.go("#/packs?search=P-599", "#packs-found")
        wait_for_foot(
            opened,
            f"^{TURNS * LOOKED_AT_ONCE} packs searched, 0 match so far. There are more packs to search.$",
        )
        opened.page.get_by_role("button", name="Search on").click()
        opened.page.get_by_role("link", name="P-599").wait_for()
        wait_for_foot(opened, "^1 pack$")
        assert opened.page.get_by_role("button", name="Search on").count() == 0


def test_value_is_sorted_over_all_packs_that_match(large: str, window: WindowOf) -> None:
    with window(large) as opened:
        opened.go("#/packs?region=around+Bern", "tbody tr")
        opened.page.get_by_role("button", name="Temperature °C").click()
        opened.page.get_by_role("link", name="P-598").wait_for()
        wait_for_foot(opened, "^1.50 of 300$")
        assert opened.page.evaluate(ROWS) == [f"P-{number}" for number in range(598, 498, -2)]
        opened.page.get_by_role("button", name="Next").click()
        wait_for_foot(opened, "^51.100 of 300$")
        assert opened.page.url.endswith("#/packs?region=around+Bern&sort=temperature_c&down=1&page=1")
        opened.page.reload()
        wait_for_foot(opened, "^51.100 of 300$")
        assert opened.page.evaluate(ROWS)[0] == "P-498"
        opened.page.get_by_role("button", name="Temperature °C").click()
        wait_for_foot(opened, "^1.50 of 300$")
        assert opened.page.evaluate(ROWS)[0] == "P-000"
        assert opened.all_complaints() == []

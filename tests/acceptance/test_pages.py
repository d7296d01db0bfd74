"""What the documentation shows is true: the snippets of every page are run in their order."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.database_access import DatabaseAccess
from tests.running import RunningApi, running_api
from tests.snippets import pages_with_snippets, run_page

FRESH = frozenset({"docs/tutorial/a-day.md"})
"""Pages that begin with nothing and register packs themselves; the others begin with the packs of that day."""

PAGES = pages_with_snippets()


def seed(client: httpx.Client) -> None:
    """What is there at the end of the tutorial's day."""
    client.post(
        "/v1/models", json={"name": "NX-90", "chemistry": "LFP", "rated_capacity_ah": 90}
    ).raise_for_status()
    client.post("/v1/sites", json={"name": "Bern", "zone": "Europe/Zurich"}).raise_for_status()
    packs = "pack,model,site\nNX-1,NX-90,Bern\nNX-2,NX-90,Bern\nNX-3,NX-90,Bern\n"
    client.post("/v1/packs/import", content=packs, headers={"Content-Type": "text/csv"}).raise_for_status()
    hot = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
    rule = {
        "name": "hot",
        "scope": {"kind": "model", "model": "NX-90"},
        "severity": "critical",
        "condition": hot,
    }
    client.post("/v1/rules", json=rule).raise_for_status()
    began = datetime.now(UTC) - timedelta(hours=2)
    readings = [
        {
            "pack": f"NX-{number}",
            "ts": (began + timedelta(minutes=9 * step)).isoformat(),
            "state_of_charge_pct": 80 - step,
            "current_a": -20,
            "voltage_v": 320,
            "temperature_c": 30 + number,
        }
        for step in range(12)
        for number in (1, 2, 3)
    ]
    client.post("/v1/telemetry", json=readings).raise_for_status()
    hot_now = {"pack": "NX-2", "ts": datetime.now(UTC).isoformat(), "temperature_c": 55}
    client.post("/v1/telemetry", json=hot_now).raise_for_status()


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that may reach receivers on this machine, as the tutorial starts it."""
    data = tmp_path_factory.mktemp("data")
    allowed = {"webhook_http_allowed": True, "webhook_networks_allowed": "127.0.0.0/8"}
    with running_api(database, data, **allowed) as running:
        yield running


@pytest.mark.usefixtures("generated_client")
@pytest.mark.parametrize("page", PAGES)
def test_snippets_of_a_page_do_what_it_says(
    api: RunningApi, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_fresh = page in FRESH
    tenant = api.tenant(f"page-{PAGES.index(page)}", register_unknown_packs=not is_fresh)
    if not is_fresh:
        with api.client(tenant) as client:
            seed(client)
    token = api.token(tenant)
    monkeypatch.setenv("TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "*")
    run_page(page, api, token, tmp_path)


def test_every_user_has_a_page_that_is_run() -> None:
    users = (
        "build-a-dashboard",
        "act-on-alerts",
        "analyse-readings",
        "connect-hardware",
        "use-the-python-client",
    )
    assert {f"docs/how-to/{page}.md" for page in users} <= set(PAGES)

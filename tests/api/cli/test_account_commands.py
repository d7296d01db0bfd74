"""`bpm service-account` and `bpm device`, and what their keys are good for."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.database_access import DatabaseAccess
from domain.errors import BpmError
from tests.running import RunningApi, running_api, until

TENANT = "keys"

Bpm = Callable[..., str]


@pytest.fixture(scope="module")
def brisk(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with running_api(database, tmp_path_factory.mktemp("brisk"), api_key_cache_s=0.2) as running:
        running.tenant(TENANT)
        yield running


@pytest.fixture
def bpm(brisk: RunningApi, monkeypatch: pytest.MonkeyPatch) -> Bpm:
    """Runs a command for the tenant, beside the engine; what it says on standard output."""
    monkeypatch.setenv("BPM_DATABASE_URL", brisk.access.admin)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--tenant", TENANT])
        if done.exception is not None:
            raise done.exception
        return done.stdout.strip()

    return run


def asked(api: RunningApi, key: str, path: str, **sent: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    method = "POST" if sent else "GET"
    return httpx.request(method, f"{api.url}{path}", headers=headers, trust_env=False, timeout=60, **sent)


def reading(pack: str) -> dict[str, Any]:
    return {"pack": pack, "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}


def test_key_of_a_service_account_is_printed_once_used_and_revoked(brisk: RunningApi, bpm: Bpm) -> None:
    made = json.loads(bpm("service-account", "create", "sender", "--role", "importer", "--json"))
    assert (made["name"], made["roles"], made["created_by"]) == ("sender", ["importer"], "command line")
    key = bpm("service-account", "key", "add", "sender", "--name", "here")
    assert asked(brisk, key, "/v1/telemetry", json=reading("P-1")).json()["accepted"] == 1
    (listed,) = json.loads(bpm("service-account", "key", "list", "sender", "--json"))["items"]
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (key.split("_")[1], "here", None)
    bpm("service-account", "key", "revoke", "sender", listed["id"])
    until(lambda: asked(brisk, key, "/v1/packs").status_code == 401)
    bpm("service-account", "delete", "sender")
    assert bpm("service-account", "list") == "sender  deleted  importer"
    bpm("service-account", "restore", "sender")
    assert bpm("service-account", "list") == "sender  active  importer"


def test_device_sends_until_it_is_suspended_and_after_it_is_active_again(brisk: RunningApi, bpm: Bpm) -> None:
    with brisk.client(TENANT) as admin:
        admin.post("/v1/packs", json={"pack": "P-device"}).raise_for_status()
    bpm("device", "create", "P-device", "--name", "bms")
    key = bpm("device", "key", "add", "bms", "--expires", "2100-01-01T00:00:00Z")
    assert asked(brisk, key, "/v1/telemetry", json=reading("P-device")).json()["accepted"] == 1
    assert asked(brisk, key, "/v1/telemetry", json=reading("P-other")).json()["quarantined"] == 1
    bpm("device", "suspend", "bms")
    assert bpm("device", "list") == "bms  suspended  device  P-device"
    until(lambda: asked(brisk, key, "/v1/me/permissions").status_code == 401)
    bpm("device", "activate", "bms")
    until(lambda: asked(brisk, key, "/v1/me/permissions").status_code == 200)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["service-account", "create", "x", "--role", "ghost"], "no role ghost"),
        (["device", "create", "P-none"], "no such pack"),
        (["device", "delete", "none"], "no such record in devices"),
        (["service-account", "key", "add", "none"], "no such record in service_accounts"),
    ],
)
def test_refusals_say_what_there_is_not(bpm: Bpm, arguments: list[str], said: str) -> None:
    with pytest.raises(BpmError, match=said):
        bpm(*arguments)

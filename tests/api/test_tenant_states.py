"""A tenant that is suspended or being deleted: nothing is answered or taken in, and nothing is lost."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.auth import NOT_VALID, development_token
from api.database_access import DatabaseAccess
from api.erasing import erase_tenant
from domain.errors import ConflictError, NotFoundError
from domain.tenancy import Role
from storage import tenants
from storage.database import INGEST_ROLE
from storage.tenants import Changed
from tests.running import RunningApi, running_api, until

CACHED_S = 0.2
NAMES = (f"customer-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def brisk(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that soon knows what has become of a tenant."""
    folder = tmp_path_factory.mktemp("brisk")
    with running_api(
        database, folder, tenant_cache_s=CACHED_S, live_poll_s=0.2, live_members_s=0.2
    ) as running:
        yield running


@pytest.fixture
def conninfo(brisk: RunningApi) -> str:
    return brisk.access.as_role(INGEST_ROLE, brisk.engine.settings)


@pytest.fixture
def name(brisk: RunningApi) -> str:
    return brisk.tenant(next(NAMES))


@pytest.fixture
def client(brisk: RunningApi, name: str) -> Iterator[httpx.Client]:
    with brisk.client(name) as client:
        yield client


def send(client: httpx.Client, at: datetime | None = None) -> httpx.Response:
    moment = (at or datetime.now(UTC)).isoformat()
    return client.post("/v1/telemetry", json={"pack": "P-1", "ts": moment, "voltage_v": 357.2})


def refused(client: httpx.Client) -> str | None:
    """The code with which a look is refused; None when it is answered."""
    answer = client.get("/v1/packs")
    return None if answer.is_success else str(answer.json()["code"])


@contextmanager
def live(client: httpx.Client, path: str, **first: Any) -> Iterator[ClientConnection]:
    """A socket that has had its first frame."""
    ticket = client.post("/v1/tickets").json()["ticket"]
    url = str(client.base_url).replace("http", "ws").rstrip("/") + path
    with connect(url, proxy=None, close_timeout=2) as socket:
        socket.send(json.dumps({"ticket": ticket} | first))
        assert json.loads(socket.recv(timeout=20))["type"] == "snapshot"
        yield socket


def closed_with(socket: ClientConnection) -> tuple[int, str]:
    def read_on() -> None:
        while True:
            socket.recv(timeout=20)

    with pytest.raises(ConnectionClosed) as ended:
        read_on()
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


def suspend(conninfo: str, name: str) -> Changed:
    return tenants.suspend(conninfo, name, "invoice 17")


def delete(conninfo: str, name: str) -> Changed:
    return tenants.delete(conninfo, name, grace_days=30)


ENDINGS = pytest.mark.parametrize(
    ("end", "take_back", "code"),
    [(suspend, tenants.resume, "tenant_suspended"), (delete, tenants.undelete, "tenant_deleting")],
    ids=["suspended", "deleted"],
)
Ending = Callable[[str, str], Changed]


@ENDINGS
def test_readings_are_refused_at_once_and_all_else_soon_until_it_is_taken_back(
    client: httpx.Client, conninfo: str, name: str, end: Ending, take_back: Ending, code: str
) -> None:
    assert send(client).json()["accepted"] == 1
    end(conninfo, name)
    answer = send(client)
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    until(lambda: refused(client) == code)
    assert client.post("/v1/sites", json={"name": "S", "zone": "UTC"}).json()["code"] == code
    take_back(conninfo, name)
    until(lambda: refused(client) is None)
    assert send(client).json()["accepted"] == 1
    (pack,) = client.get("/v1/packs").json()["items"]
    latest = client.get(f"/v1/packs/{pack['id']}/latest").json()["latest"]
    assert latest["voltage_v"]["value"] == 357.2


@ENDINGS
def test_sockets_are_closed_and_open_again_afterwards(
    client: httpx.Client, conninfo: str, name: str, end: Ending, take_back: Ending, code: str
) -> None:
    send(client)
    with (
        live(client, "/v1/alerts/live") as alerts,
        live(client, "/v1/telemetry/live", packs=["P-1"]) as telemetry,
    ):
        began_s = time.monotonic()
        end(conninfo, name)
        for socket in (alerts, telemetry):
            closed, reason = closed_with(socket)
            assert closed == 4403
            assert name in reason
        assert time.monotonic() - began_s < 20
    take_back(conninfo, name)
    until(lambda: refused(client) is None)
    with live(client, "/v1/alerts/live"):
        pass


def test_nobody_signs_in_while_suspended(brisk: RunningApi, conninfo: str, name: str) -> None:
    asked = {"tenant": name, "role": "analyst"}

    def sign_in() -> int:
        return httpx.post(f"{brisk.url}/page/development-token", json=asked, trust_env=False).status_code

    assert sign_in() == 200
    suspend(conninfo, name)
    assert sign_in() == 403
    tenants.resume(conninfo, name)
    assert sign_in() == 200


def test_rules_and_channels_rest_while_suspended(
    brisk: RunningApi, client: httpx.Client, conninfo: str, name: str
) -> None:
    """A pack that can't send is not missing: nobody is called for it."""
    condition = {"kind": "missing_data", "after_s": 60}
    rule = {"name": "R", "scope": {"kind": "tenant"}, "severity": "info", "condition": condition}
    client.post("/v1/rules", json=rule).raise_for_status()
    with psycopg.connect(brisk.access.admin, options="-c search_path=bpm") as connection:
        asked = "SELECT rules_version FROM tenants WHERE name = %s"
        before = connection.execute(asked, (name,)).fetchone()
        suspend(conninfo, name)
        during = connection.execute(asked, (name,)).fetchone()
        tenants.resume(conninfo, name)
        after = connection.execute(asked, (name,)).fetchone()
    assert before is not None
    assert during == (before[0] + 1,), "the writer learns the rules anew"
    assert after == (before[0] + 2,)


def test_each_change_is_in_the_tenants_audit_log_once(client: httpx.Client, conninfo: str, name: str) -> None:
    assert suspend(conninfo, name).changed
    assert not suspend(conninfo, name).changed
    tenants.resume(conninfo, name)
    assert not tenants.resume(conninfo, name).changed
    asked = delete(conninfo, name)
    assert delete(conninfo, name).erased_from == asked.erased_from
    assert asked.erased_from is not None
    assert timedelta(days=29) < asked.erased_from - datetime.now(UTC) < timedelta(days=31)
    assert tenants.undelete(conninfo, name) == Changed("active", changed=True)
    until(lambda: refused(client) is None)
    found = client.get("/v1/audit", params={"resource": "tenants"}).json()["items"]
    assert [(one["action"], one["subject"]) for one in found] == [
        (f"tenants.{what}", "installation")
        for what in ("undeleted", "deleting", "resumed", "suspended", "created")
    ]
    assert found[-2]["after"] == {"reason": "invoice 17"}


def test_undeleted_tenant_is_suspended_if_it_was(conninfo: str, name: str) -> None:
    suspend(conninfo, name)
    delete(conninfo, name)
    assert tenants.undelete(conninfo, name).state == "suspended"


def test_what_makes_no_sense_is_refused(conninfo: str, name: str) -> None:
    with pytest.raises(NotFoundError):
        suspend(conninfo, "nobody")
    delete(conninfo, name)
    with pytest.raises(ConflictError, match="deleting"):
        suspend(conninfo, name)
    with pytest.raises(ConflictError, match="deleting"):
        tenants.resume(conninfo, name)


def test_tenants_are_listed_with_their_states(conninfo: str, client: httpx.Client, name: str) -> None:
    send(client)
    suspend(conninfo, name)
    (found,) = [one for one in tenants.every(conninfo) if one["name"] == name]
    assert (found["state"], found["suspended_for"], found["packs"]) == ("suspended", "invoice 17", 1)


def test_tokens_from_before_a_tenant_was_made_are_not_its(
    brisk: RunningApi, name: str, conninfo: str
) -> None:
    settings = brisk.engine.settings
    brisk.make_older(name, 3600)
    ten_minutes_ago_s = time.time() - 600
    old = development_token(settings, name, Role.TENANT_ADMIN, ten_minutes_ago_s)
    with brisk.client_of(old) as before, brisk.client(name) as known:
        assert refused(before) is None
        key = _api_key(known)
        tenants.delete(conninfo, name, grace_days=0)
        erase_tenant(brisk.access, name, "who@where", lambda _: None, rows_max=1000, now=True)
        brisk.tenant(name)
        until(lambda: before.get("/v1/packs").status_code == 401)
        assert before.get("/v1/packs").json()["detail"] == NOT_VALID
        with brisk.client_of(key) as of_key, brisk.client(name) as now:
            assert (of_key.get("/v1/packs").status_code, refused(now)) == (401, None)
            # One that a clock was ahead of is no tenant that was made anew.
            brisk.make_older(name, -3600)
            until(lambda: refused(before) is None)


def _api_key(client: httpx.Client) -> str:
    account = client.post("/v1/service-accounts", json={"name": "reader", "roles": ["read_only"]})
    made = client.post(f"/v1/service-accounts/{account.json()['id']}/keys", json={"name": "first"})
    assert made.is_success, made.text
    return str(made.json()["api_key"])

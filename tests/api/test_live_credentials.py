"""A live stream ends within 60 s of its credential, and when the credential may do other things, by a clock that is
moved by hand.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.auth import Claims
from api.database_access import DatabaseAccess
from api.live.watch import CredentialWatch, WatchLimits
from domain.errors import BpmError, UnavailableError
from domain.tenancy import Actor, Role, TenantId
from tests.api.people import CHEAP, bearer, person
from tests.hand_timer import HandTimer
from tests.running import RunningApi, running_api, until

TENANT = "watched"
BOUND_S = 60
STEP_S = 10
SLOWEST: dict[str, Any] = {
    "revocation_poll_s": 30,
    "revocation_s_max": 60,
    "tenant_cache_s": 30,
    "api_key_cache_s": 30,
}
"""As slow as an operator may let it be."""


@pytest.fixture(scope="module")
def timer() -> HandTimer:
    return HandTimer()


@pytest.fixture(scope="module")
def slow(
    database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory, timer: HandTimer
) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("slow")
    with running_api(database, folder, timer=timer, **SLOWEST, **CHEAP) as running:
        running.tenant(TENANT)
        yield running


@pytest.fixture
def admin(slow: RunningApi) -> Iterator[httpx.Client]:
    with slow.client(TENANT) as client:
        yield client


def passed(timer: HandTimer, seconds: int = BOUND_S) -> None:
    """Let so much time pass, in steps, each when what looks again and again has looked and waits."""
    for _ in range(seconds // STEP_S):
        until(lambda: timer.waiting >= 2)
        timer.move(STEP_S)


class Streams:
    """A socket of alerts, one of latest values that is hardly ever sent anything, and an event stream."""

    def __init__(self, api: RunningApi, credential: str, held: ExitStack) -> None:
        with httpx.Client(base_url=api.url, headers=bearer(credential), trust_env=False) as client:
            tickets = [client.post("/v1/tickets").raise_for_status().json()["ticket"] for _ in range(2)]
        url = api.url.replace("http", "ws")
        firsts = {"alerts": {}, "telemetry": {"packs": ["P-1"], "rate_hz": 0.001}}
        self.sockets: list[ClientConnection] = []
        for ticket, (path, first) in zip(tickets, firsts.items(), strict=True):
            socket = held.enter_context(connect(f"{url}/v1/{path}/live", proxy=None))
            socket.send(json.dumps({"ticket": ticket} | first))
            assert json.loads(socket.recv(20))["type"] == "snapshot"
            self.sockets.append(socket)
        client = held.enter_context(httpx.Client(base_url=api.url, trust_env=False, timeout=20))
        answer = held.enter_context(client.stream("GET", "/v1/alerts/stream", headers=bearer(credential)))
        self.events = answer.iter_text()
        assert "snapshot" in next(self.events)

    def are_open(self) -> bool:
        return all(socket.ping().wait(20) for socket in self.sockets)

    def ended_with(self) -> set[int]:
        """The codes of the sockets, once all three have ended."""
        for text in self.events:
            assert "heartbeat" in text
        return {closed_with(socket) for socket in self.sockets}


def closed_with(socket: ClientConnection) -> int:
    try:
        while True:
            socket.recv(20)
    except ConnectionClosed as closed:
        return 0 if closed.rcvd is None else closed.rcvd.code


@contextmanager
def streams(api: RunningApi, *credentials: str) -> Iterator[list[Streams]]:
    with ExitStack() as held:
        yield [Streams(api, credential, held) for credential in credentials]


def key_of(admin: httpx.Client, name: str) -> tuple[str, dict[str, Any]]:
    account = admin.post("/v1/service-accounts", json={"name": name, "roles": ["analyst"]})
    path = f"/v1/service-accounts/{account.raise_for_status().json()['id']}"
    return path, admin.post(f"{path}/keys", json={"name": "k"}).raise_for_status().json()


def test_revocation_closes_live_streams_within_60_s_though_no_notification_comes(
    slow: RunningApi, admin: httpx.Client, timer: HandTimer
) -> None:
    signed_out, suspended = person(slow, TENANT, "signed-out"), person(slow, TENANT, "suspended")
    _, key = key_of(admin, "revoked")
    _, other = key_of(admin, "other")
    tokens = [one.tokens["access_token"] for one in (signed_out, suspended)]
    kept = [person(slow, TENANT, "kept").tokens["access_token"], other["api_key"]]
    session = jwt.decode(tokens[0], options={"verify_signature": False})["sid"]
    with streams(slow, *tokens, key["api_key"], *kept) as opened:
        # As other processes do it whose notifications are lost.
        with psycopg.connect(slow.access.admin, options="-c search_path=bpm") as connection:
            for holder in (f"session:{session}", f"subject:{suspended.subject}"):
                connection.execute(
                    "INSERT INTO credential_epochs (tenant_id, holder, epoch, raised_at)"
                    " SELECT tenant_id, %s, nextval('credential_epochs_epoch_seq'), now() FROM tenants"
                    " WHERE name = %s ON CONFLICT (tenant_id, holder) DO UPDATE SET epoch = excluded.epoch",
                    (holder, TENANT),
                )
            connection.execute("UPDATE users SET state = 'suspended' WHERE id = %s", (suspended.id,))
            connection.execute("UPDATE api_keys SET revoked_at = now() WHERE key_id = %s", (key["id"],))
        assert all(one.are_open() for one in opened), "it is the clock that ends them"
        passed(timer)
        assert [one.ended_with() for one in opened[:3]] == [{4401}] * 3
        assert all(one.are_open() for one in opened[3:])


def test_change_of_what_a_credential_may_do_reaches_open_streams(
    slow: RunningApi, admin: httpx.Client, timer: HandTimer
) -> None:
    site = {"name": "moving", "zone": "UTC", "region": "northern"}
    moving = admin.post("/v1/sites", json=site).raise_for_status()
    shift = ["alert:read", "ticket:write", "telemetry:read"]
    role = admin.post("/v1/roles", json={"name": "shift", "actions": shift}).raise_for_status()
    path, key = key_of(admin, "changed")
    credentials = [
        slow.token(TENANT, "shift"),
        slow.token(TENANT, Role.OPERATOR, regions=["northern"]),
        key["api_key"],
    ]
    with streams(slow, *credentials, slow.token(TENANT, Role.OPERATOR)) as opened:
        for record, change in (
            (f"/v1/roles/{role.json()['id']}", {"actions": [*shift, "pack:read"]}),
            (f"/v1/sites/{moving.json()['id']}", {"region": "southern"}),
            (path, {"roles": ["auditor"]}),
        ):
            match = {"If-Match": admin.get(record).headers["ETag"]}
            admin.patch(record, json=change, headers=match).raise_for_status()
        passed(timer)
        assert [one.ended_with() for one in opened[:3]] == [{4409}] * 3
        assert opened[3].are_open()
    # Whoever connects again is judged as it is now.
    with streams(slow, *credentials) as opened:
        passed(timer)
        assert all(one.are_open() for one in opened)


def test_streams_go_on_for_a_while_when_credentials_cannot_be_judged() -> None:
    timer = HandTimer()
    claims = Claims("s", "t", frozenset(), None, None, 10, 0)
    actor = Actor("s", TenantId(1), "t", frozenset())
    away: list[BpmError] = []
    woken: list[set[TenantId]] = []

    async def actor_of(_: Claims) -> Actor:
        if away:
            raise away[0]
        return actor

    async def run() -> list[bool]:
        watch = CredentialWatch(actor_of, lambda *_: None, woken.append, WatchLimits(5, 45), timer)
        with watch.watching(claims, actor) as first, watch.watching(claims, actor) as second:
            timer.move(40)
            await watch.look()
            away.append(UnavailableError("the store is away"))
            found = []
            for passed_s in (45, 1):
                timer.move(passed_s)
                await watch.look()
                found.append(first.ended.is_set() and second.ended.is_set())
            with pytest.raises(UnavailableError):
                second.check()
        return found

    assert asyncio.run(run()) == [False, True]
    assert woken[-1] == {1}

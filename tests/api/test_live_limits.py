"""Live streams under clients that are slow, rude or late, and what they do to the others: nothing."""

import itertools
import json
import logging
import random
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from websockets.frames import Opcode

from api.auth import development_token
from api.database_access import DatabaseAccess
from domain.tenancy import Role
from tests.api.live_clients import BareSocket, close_code, masked
from tests.api.test_live_alerts import Tenant, closed_with, event_of, received, tenant_of
from tests.running import RunningApi, running_api, until

FRAME_BYTES_MAX = 4096
WIDE = "\u20ac" * 4000


@pytest.fixture(scope="module")
def hasty(second_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that waits for nobody for long."""
    with running_api(
        second_database,
        tmp_path_factory.mktemp("hasty"),
        live_first_frame_s_max=0.5,
        live_send_s_max=1.0,
        live_feed_events_max=50,
        live_frame_bytes_max=FRAME_BYTES_MAX,
        live_waiting_connections_max=5,
        live_network_waiting_connections_max=3,
        live_origins=["https://dashboard.example"],
    ) as api:
        yield api


@pytest.fixture
def tenant(hasty: RunningApi) -> Iterator[Tenant]:
    with tenant_of(hasty) as made:
        yield made


def ticket_of(tenant: Tenant) -> str:
    return str(tenant.client.post("/v1/tickets").json()["ticket"])


def until_ended(tenant: Tenant) -> None:
    """Return when nobody is subscribed any more."""
    deadline_s = time.monotonic() + 20
    while tenant.api.engine.seats.taken_by_all:
        assert time.monotonic() < deadline_s, "a stream was not ended"
        time.sleep(0.01)


def open_alerts(tenant: Tenant) -> Iterator[dict[str, Any]]:
    """Many open alerts in turn, because an alert is answered with all that was said about it."""
    for number in range(40):
        tenant.send(60, f"P-{number}")
    return itertools.cycle(tenant.client.get("/v1/alerts").json()["items"])


def comment_on(tenant: Tenant, alert: dict[str, Any], text: str) -> None:
    tenant.client.post(f"/v1/alerts/{alert['id']}/comments", json={"comment": text}).raise_for_status()


def test_client_that_does_not_read_is_closed_and_the_others_do_not_notice(tenant: Tenant) -> None:
    alerts = open_alerts(tenant)
    stuck = BareSocket(tenant.api.url)
    stuck.say(masked(Opcode.TEXT, json.dumps({"ticket": ticket_of(tenant)}).encode()))
    waits_s: list[float] = []
    with tenant.socket() as quick:
        assert received(quick)["type"] == "snapshot"
        while tenant.api.engine.seats.taken_by_all == 2:
            began_s = time.monotonic()
            comment_on(tenant, next(alerts), WIDE)
            assert event_of(received(quick))[0] == "commented"
            waits_s.append(time.monotonic() - began_s)
            assert len(waits_s) < 2000
        # Whoever is stuck is closed while the other gets each comment at once.
        assert statistics.median(waits_s) < 1.0
        assert max(waits_s) < 5.0
        comment_on(tenant, next(alerts), "after")
        assert received(quick)["data"]["event"]["comment"] == "after"
    assert close_code(stuck.rest()) in (4408, None)
    stuck.close()
    until_ended(tenant)


def test_e20_client_that_reads_again_in_time_misses_nothing(api: RunningApi) -> None:
    with tenant_of(api) as tenant:
        alerts = open_alerts(tenant)
        slow = BareSocket(api.url)
        slow.say(masked(Opcode.TEXT, json.dumps({"ticket": ticket_of(tenant)}).encode()))
        with tenant.socket() as quick:
            received(quick)
            for number in range(60):
                comment_on(tenant, next(alerts), f"{number} {WIDE[:3900]}")
                received(quick)
            slow.connection.settimeout(2)
            found = b""
            try:
                while True:
                    found += slow.connection.recv(65_536)
            except TimeoutError:
                pass
            slow.close()
    numbers = [int(part.split(b" ")[0]) for part in found.split(b'"comment":"')[1:]]
    assert numbers == list(range(60))
    assert close_code(found) is None


def test_event_stream_that_is_not_read_is_cut_off(tenant: Tenant) -> None:
    alerts = open_alerts(tenant)
    token = tenant.client.headers["authorization"]
    stuck = BareSocket(
        tenant.api.url,
        "/v1/alerts/stream",
        {"Authorization": token, "Upgrade": "none", "Connection": "keep-alive"},
    )
    assert stuck.status == 200
    for _ in range(2000):
        if tenant.api.engine.seats.taken_by_all == 0:
            break
        comment_on(tenant, next(alerts), WIDE)
    until_ended(tenant)
    assert not stuck.rest().endswith(b"0\r\n\r\n"), "cut off, not ended"
    stuck.close()


def token_that_ends(api: RunningApi, tenant: str, ends_in_s: float) -> str:
    settings = api.engine.settings
    api.make_older(tenant, settings.development_token_life_s)
    return development_token(
        settings, tenant, Role.ANALYST, time.time() - settings.development_token_life_s + ends_in_s
    )


def test_socket_and_stream_end_with_the_credential(tenant: Tenant) -> None:
    token = token_that_ends(tenant.api, tenant.name, 3)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=tenant.api.url, headers=headers, trust_env=False, timeout=20) as client,
        tenant.socket(client=client) as socket,
    ):
        assert received(socket)["type"] == "snapshot"
        with client.stream("GET", "/v1/alerts/stream") as answer:
            assert answer.status_code == 200
            text = answer.read()
        assert text.startswith(b"id: ")
        code, reason = closed_with(socket)
        assert (code, reason) == (4401, "the credential has ended")


def test_ticket_does_not_outlive_the_credential_that_it_was_asked_with(tenant: Tenant) -> None:
    # Within the leeway a token still passes, but no socket is opened with it.
    token = token_that_ends(tenant.api, tenant.name, -2)
    with (
        httpx.Client(
            base_url=tenant.api.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as client,
        tenant.socket(client=client) as socket,
    ):
        assert closed_with(socket)[0] == 4401


def test_first_frame_that_does_not_come_is_not_waited_for(tenant: Tenant) -> None:
    with tenant.bare() as socket:
        code, reason = closed_with(socket)
    assert (code, "in time" in reason) == (4400, True)


def test_first_frame_that_is_too_large_is_refused(tenant: Tenant) -> None:
    with tenant.bare() as socket:
        socket.send(json.dumps({"ticket": "x" * FRAME_BYTES_MAX}))
        assert closed_with(socket)[0] == 1009


def test_second_frame_is_refused(tenant: Tenant) -> None:
    with tenant.socket() as socket:
        received(socket)
        socket.send("{}")
        assert closed_with(socket)[0] == 4400


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://dashboard.example", 101),
        ("https://elsewhere.example", 403),
        ("null", 403),
        ("https://[", 403),
        ("", 403),
    ],
)
def test_page_of_another_origin_opens_no_socket(tenant: Tenant, origin: str, status: int) -> None:
    socket = BareSocket(tenant.api.url, headers={"Origin": origin})
    assert socket.status == status
    socket.close()


def test_page_of_the_engine_itself_opens_one(tenant: Tenant) -> None:
    socket = BareSocket(tenant.api.url, headers={"Origin": tenant.api.url})
    assert socket.status == 101
    socket.close()


def test_sockets_that_say_nothing_leave_room_again_and_count_as_strangers(tenant: Tenant) -> None:
    rude, near, far, farthest = "127.5.0.1", "127.5.0.9", "127.5.1.1", "127.5.2.1"
    silent = [BareSocket(tenant.api.url, source=source) for source in (rude, rude, near)]
    refused = [BareSocket(tenant.api.url, source=source) for source in (rude, near)]
    # One network has a part of the places alone.
    first = masked(Opcode.TEXT, json.dumps({"ticket": ticket_of(tenant)}).encode())
    welcome = BareSocket(tenant.api.url, source=far)
    welcome.say(first)
    assert b'"snapshot"' in welcome.connection.recv(65_536)
    silent += [BareSocket(tenant.api.url, source=far) for _ in range(2)]
    refused.append(BareSocket(tenant.api.url, source=farthest))
    assert [socket.status for socket in silent] == [101] * 5
    assert [(one.status, b"retry-after: 1" in one.head.lower()) for one in refused] == [(429, True)] * 3
    silent.pop().close()
    for socket in silent:
        assert close_code(socket.rest()) == 4400
        socket.close()
    for socket in (*refused, welcome):
        socket.close()

    def noted() -> dict[tuple[str, str], int]:
        with psycopg.connect(tenant.api.access.admin) as connection:
            rows = connection.execute(
                "SELECT address_prefix, kind, sum(times) FROM bpm.platform_security_events"
                " WHERE route = '/v1/alerts/live' AND address_prefix LIKE '127.5.%' GROUP BY 1, 2"
            ).fetchall()
        return {(network, kind): int(times) for network, kind, times in rows}

    expected = {
        ("127.5.0.0/24", "bad_credential"): 3,
        ("127.5.0.0/24", "rate_limited"): 2,
        ("127.5.1.0/24", "bad_credential"): 2,
        ("127.5.2.0/24", "rate_limited"): 1,
    }
    until(lambda: noted() == expected)
    with tenant.socket() as welcome:
        assert received(welcome)["type"] == "snapshot"


def noise(random_: random.Random, ticket: str) -> bytes:
    """Something that no client should send."""
    first = json.dumps({"ticket": ticket}).encode()
    text = {
        0: lambda: random_.randbytes(random_.randrange(200)),
        1: lambda: masked(Opcode.TEXT, b"\xff\xfe" + first),
        2: lambda: masked(Opcode.BINARY, first),
        3: lambda: masked(Opcode.TEXT, b"[" * 3000),
        4: lambda: masked(Opcode.TEXT, first[: random_.randrange(len(first))]),
        5: lambda: masked(Opcode.CONT, first),
        6: lambda: masked(Opcode.TEXT, first, fin=False) + masked(Opcode.TEXT, first),
        7: lambda: masked(Opcode.TEXT, b'{"ticket": "\x00", "cursor": 1e400}'),
        8: lambda: masked(Opcode.TEXT, b'{"ticket": "a", "ticket": "b"}'),
        9: lambda: masked(Opcode.CLOSE, random_.randbytes(1)),
        10: lambda: masked(Opcode.TEXT, first) + masked(Opcode.BINARY, b"\x00") * 5,
        11: lambda: masked(Opcode.TEXT, json.dumps({"ticket": ticket, "filter": {"packs": ["\0"]}}).encode()),
        12: lambda: masked(Opcode.TEXT, json.dumps({"ticket": ticket, "cursor": "\0"}).encode()),
        13: lambda: masked(Opcode.PING, b"x" * 125) * 20,
        14: lambda: b"\x81\x05hello",
    }
    return bytes(text[random_.randrange(len(text))]())


def test_noise_leaves_no_trace_but_closed_sockets(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(1_000_000)
    random_ = random.Random(seed)
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            socket = BareSocket(tenant.api.url)
            if socket.status == 101:
                socket.say(noise(random_, ticket_of(tenant)))
                if random_.random() < 0.7:
                    socket.connection.shutdown(1)
                socket.rest()
            socket.close()
    problems = [one for one in caplog.records if one.levelno >= logging.ERROR or one.exc_info is not None]
    assert [one.getMessage() for one in problems] == [], f"seed {seed}"
    until_ended(tenant)
    with tenant.socket() as welcome:
        assert received(welcome)["type"] == "snapshot"


def test_e20_streams_go_on_when_the_database_has_cut_its_connections(tenant: Tenant) -> None:
    with tenant.socket() as socket:
        received(socket)
        with psycopg.connect(tenant.api.access.admin, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        deadline_s = time.monotonic() + 20
        sent = threading.Event()
        while not sent.is_set():
            try:
                tenant.send(60, f"P-{uuid.uuid4().hex[:6]}")
                sent.set()
            except httpx.HTTPStatusError:
                assert time.monotonic() < deadline_s
        assert event_of(received(socket))[0] == "raised"


def test_engine_that_stops_ends_its_streams(
    own_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_api(own_database, tmp_path_factory.mktemp("ending")) as api, tenant_of(api) as tenant:
        token = tenant.client.headers["authorization"]
        stream = BareSocket(
            api.url, "/v1/alerts/stream", {"Authorization": token, "Upgrade": "none", "Connection": "close"}
        )
        socket = BareSocket(api.url)
        socket.say(masked(Opcode.TEXT, json.dumps({"ticket": ticket_of(tenant)}).encode()))
        assert b'"snapshot"' in socket.connection.recv(65_536)
        began_s = time.monotonic()
    # Well within the time that the server would wait for connections that are still in use.
    assert time.monotonic() - began_s < 8
    assert stream.rest().endswith(b"0\r\n\r\n")
    assert close_code(socket.rest()) in (1012, 4503)
    stream.close()
    socket.close()

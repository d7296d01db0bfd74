"""Whoever comes too often without a valid credential waits, by address; who has shown one goes on."""

from collections import Counter
from collections.abc import Iterator
from socket import SHUT_WR

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import connect

from api.app import OPEN_ROUTES
from api.database_access import DatabaseAccess
from api.engine import OF_SECRETS
from api.rates import Rate
from api.strangers import Strangers
from domain.tenancy import Role
from tests.api.live_clients import BareSocket, masked
from tests.hand_timer import HandTimer
from tests.running import RunningApi, running_api, until

BURST = 5


@pytest.fixture(scope="module")
def guarded(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine whose strangers get nothing back within a test."""
    given = {"stranger_requests_per_s_max": 0.001, "rate_burst_s": BURST * 1000, "api_key_cache_s": 0}
    with running_api(database, tmp_path_factory.mktemp("guarded"), **given) as running:
        yield running


def refusals(api: RunningApi) -> float:
    """How many have waited so far, whoever they were."""
    begins = 'bpm_refused_total{limit="stranger_requests_per_s_max"} '
    lines = api.engine.metrics.text().decode().splitlines()
    return sum(float(line.removeprefix(begins)) for line in lines if line.startswith(begins))


def test_address_waits_after_too_many_bad_credentials_and_known_ones_go_on(guarded: RunningApi) -> None:
    tenant, counted = guarded.tenant("served"), refusals(guarded)
    with guarded.client(tenant) as admin, httpx.Client(base_url=guarded.url, trust_env=False) as stranger:
        account = admin.post("/v1/service-accounts", json={"name": "a", "roles": ["analyst"]}).json()["id"]
        accounts = f"/v1/service-accounts/{account}"
        made = [admin.post(f"{accounts}/keys", json={"name": name}).json() for name in ("k", "l")]
        known, new = ({"Authorization": f"Bearer {one['api_key']}"} for one in made)
        assert stranger.get("/v1/packs", headers=known).status_code == 200
        signing_in = {"tenant": tenant, "login": "nobody", "password": "guessed guessed guessed"}
        answers = [stranger.get("/v1/packs", headers={"Authorization": "Bearer x"}) for _ in range(BURST - 1)]
        answers.append(stranger.post("/v1/auth/token", json=signing_in))
        assert [answer.status_code for answer in answers] == [401] * BURST
        refused = stranger.get("/v1/packs", headers={"Authorization": "Bearer x"})
        assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (
            429,
            "rate_limited",
            0.001,
        )
        assert refused.headers["RateLimit-Policy"] == f'"stranger_requests";q={BURST};w={BURST * 1000}'
        assert int(refused.headers["Retry-After"]) == 1000
        # Whether a key is good that nobody has shown here yet, only the database knows.
        for sent in ({"headers": new}, {}):
            assert stranger.get("/v1/packs", **sent).status_code == 429
        assert stranger.post("/v1/auth/token", json=signing_in).status_code == 429
        with (
            pytest.raises(InvalidStatus) as denied,
            connect(f"{guarded.url.replace('http', 'ws')}/v1/alerts/live", proxy=None),
        ):
            pass
        assert denied.value.response.status_code == 429
        assert stranger.get("/v1/packs", headers=known).status_code == 200
        assert admin.get("/v1/packs").status_code == 200
        assert stranger.get("/healthz").status_code == 200
        # Signature and life of a token tell more: one that is new goes on, one that was ended does once.
        fresh = {"Authorization": f"Bearer {guarded.token(tenant, Role.ANALYST)}"}
        ended = {"Authorization": f"Bearer {guarded.token(tenant, Role.TECHNICIAN)}"}
        assert [stranger.get("/v1/packs", headers=one).status_code for one in (fresh, ended)] == [200, 200]
        admin.post("/v1/revocations", json={"subject": "development-technician"}).raise_for_status()
        assert [stranger.get("/v1/packs", headers=ended).status_code for _ in range(3)] == [401, 429, 429]
        assert stranger.get("/v1/packs", headers=fresh).status_code == 200
        forged = {"Authorization": fresh["Authorization"][:-6] + "AAAAAA"}
        assert stranger.get("/v1/packs", headers=forged).status_code == 429
        # No credential speaks for another secret.
        for path, secret in (("refresh", "refresh_token"), ("invitation", "invitation")):
            guess = {secret: "guessed", "password": "guessed guessed guessed"}
            assert stranger.post(f"/v1/auth/{path}", json=guess, headers=fresh).status_code == 429
        assert all(path.startswith(OF_SECRETS) for path in OPEN_ROUTES)
        assert admin.delete(f"{accounts}/keys/{made[0]['id']}").status_code == 204
        assert [stranger.get("/v1/packs", headers=known).status_code for _ in range(3)] == [429] * 3
    assert refusals(guarded) - counted == 13


def test_sockets_without_a_first_frame_count(guarded: RunningApi) -> None:
    source = "127.5.3.1"
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(base_url=guarded.url, transport=transport) as stranger:
        assert stranger.get("/v1/packs").status_code == 401
        for said in (b"", b"no frame", masked(Opcode.TEXT, b"[]"), masked(Opcode.BINARY, b"{}")):
            socket = BareSocket(guarded.url, source=source)
            assert socket.status == 101
            socket.say(said)
            socket.connection.shutdown(SHUT_WR)
            socket.rest()
            socket.close()
        until(lambda: guarded.engine.strangers.came_too_often(source))
        assert stranger.get("/v1/packs").status_code == 429
        refused = BareSocket(guarded.url, source=source)
        assert refused.status == 429
        refused.close()


def test_bucket_fills_by_time_and_is_of_one_address() -> None:
    timer, refused = HandTimer(), Counter[str]()
    strangers = Strangers(Rate(2, 4), timer.now_s, lambda limit: refused.update([limit]))
    for _ in range(4):
        assert not strangers.came_too_often("2001:db8::1")
        strangers.note("2001:db8::1")
    assert strangers.came_too_often("2001:db8::1")
    assert strangers.came_too_often("2001:db8::ffff"), "it is the same household"
    assert not any(map(strangers.came_too_often, ("2001:db8:0:1::1", "203.0.113.9", None, "socket")))
    timer.move(0.4)
    assert strangers.came_too_often("2001:db8::1")
    timer.move(0.1)
    assert not strangers.came_too_often("2001:db8::1")
    timer.move(1000)
    for _ in range(4):
        strangers.note("2001:db8::1")
    assert strangers.came_too_often("2001:db8::1"), "no more is saved up than the bucket holds"

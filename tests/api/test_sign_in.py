"""Signing in: the same answer for whatever is wrong, blocks that double, tokens that rotate, and ends that count."""

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from argon2 import PasswordHasher
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.auth import Claims
from api.database_access import DatabaseAccess, open_pools
from api.identity.keys import KeyRing
from api.identity.passwords import Passwords
from api.identity.revocations import RevocationLimits, Revocations
from domain.errors import BusyError, UnauthenticatedError, UnavailableError
from domain.tenancy import TenantId
from storage.sessions import BlockLimits, Failures
from tests.api.people import CHEAP, PASSWORD, Person, ask, bearer, person, sign_in
from tests.hand_timer import HandTimer
from tests.running import RunningApi, running_api, until

TENANT = "signers"
POLL_S = 0.3
BLOCK_S = 60
"""Longer than a test takes."""


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("data")
    with running_api(
        database, folder, revocation_poll_s=POLL_S, sessions_max=3, sign_in_wait_s=BLOCK_S, **CHEAP
    ) as running:
        running.tenant(TENANT)
        yield running


@pytest.fixture
def ann(api: RunningApi) -> Person:
    return person(api, TENANT, f"{uuid.uuid4().hex[:12]}@example.com", "operator")


def suspended(api: RunningApi) -> str:
    somebody = person(api, TENANT, uuid.uuid4().hex)
    with api.client(TENANT) as admin:
        admin.post(f"/v1/users/{somebody.id}/suspend").raise_for_status()
    return somebody.login


def test_access_token_says_who_and_for_how_long(api: RunningApi, ann: Person) -> None:
    claims = jwt.decode(ann.tokens["access_token"], options={"verify_signature": False})
    header = jwt.get_unverified_header(ann.tokens["access_token"])
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": header["kid"]}
    assert claims["exp"] - claims["iat"] == ann.tokens["expires_in"] == 600
    told = {name: claims[name] for name in ("iss", "aud", "tenant", "sub", "roles", "name")}
    assert told == {
        "iss": "bpm",
        "aud": "bpm",
        "tenant": TENANT,
        "sub": ann.subject,
        "roles": ["operator"],
        "name": ann.login,
    }
    keys = ask(api, "GET", "/.well-known/jwks.json").json()["keys"]
    assert [key["kid"] for key in keys] == [header["kid"]]
    key = jwt.PyJWK(keys[0])
    assert jwt.decode(ann.tokens["access_token"], key, ["EdDSA"], audience="bpm")["sub"] == ann.subject


def test_whatever_is_wrong_the_answer_is_the_same(api: RunningApi, ann: Person) -> None:
    tries = [
        ("nobody", ann.login, PASSWORD),
        (TENANT, "nobody@example.com", PASSWORD),
        (TENANT, ann.login, "another password"),
        (TENANT, suspended(api), PASSWORD),
        (TENANT, "no login at all", PASSWORD),
    ]
    answers = [sign_in(api, *one) for one in tries]
    told = [{name: value for name, value in one.json().items() if name != "request_id"} for one in answers]
    assert [one.status_code for one in answers] == [401] * len(tries)
    assert all(one == told[0] for one in told)


def test_whatever_is_wrong_the_answer_takes_as_long(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argon2 hash of the same parameters is verified each time, which is nearly all of the time."""
    known, resting = person(api, TENANT, uuid.uuid4().hex), suspended(api)
    verified: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, kept: Any, password: Any) -> Any:
        verified.append(str(kept).rpartition("$")[0].rpartition("$")[0])
        return verify(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for tenant, login in (
        ("nobody", known.login),
        (TENANT, "nobody"),
        (TENANT, known.login),
        (TENANT, resting),
    ):
        assert sign_in(api, tenant, login, "another password").status_code == 401
    assert len(verified) == 4
    assert set(verified) == {"$argon2id$v=19$m=8192,t=1,p=1"}


def test_login_is_blocked_for_twice_as_long_with_each_failure(
    database: DatabaseAccess, api: RunningApi
) -> None:
    begins = datetime(2026, 1, 1, tzinfo=UTC)

    async def run() -> list[float | None]:
        _, directory = open_pools(api.engine.settings, api.access)
        async with directory:
            failures = Failures(directory, BlockLimits(free=3, wait_s=2, wait_s_max=10, memory_s=3600))
            login, now_s, waits = uuid.uuid4().hex, 0.0, []
            for _ in range(3):
                assert await failures.begin("acme", login, begins) is None
            for _ in range(4):
                wait_s = await failures.begin("acme", login, begins + timedelta(seconds=now_s))
                waits.append(wait_s)
                assert wait_s is not None
                early = begins + timedelta(seconds=now_s + wait_s - 0.01)
                assert await failures.begin("acme", login, early) is not None
                now_s += wait_s
                assert await failures.begin("acme", login, begins + timedelta(seconds=now_s)) is None
            later = begins + timedelta(seconds=now_s + 3600)
            waits += [await failures.begin("acme", login, later), await failures.begin("acme", login, later)]
            await failures.forget("acme", login)
            assert await failures.begin("acme", "another", begins) is None
            return waits

    assert asyncio.run(run()) == [2, 4, 8, 10, None, None]


@pytest.mark.parametrize("exists", [True, False], ids=["a user", "nobody"])
def test_blocked_login_is_refused_whatever_the_password(api: RunningApi, exists: bool) -> None:
    login = person(api, TENANT, uuid.uuid4().hex).login if exists else uuid.uuid4().hex
    statuses = [sign_in(api, TENANT, login, "another password").status_code for _ in range(5)]
    assert statuses == [401] * 5
    blocked = sign_in(api, TENANT, login)
    assert (blocked.status_code, blocked.json()["code"]) == (429, "sign_in_blocked")
    assert 1 <= int(blocked.headers["Retry-After"]) <= BLOCK_S
    other = person(api, TENANT, uuid.uuid4().hex)
    assert other.sign_in().status_code == 200


def test_many_guesses_at_once_are_no_more_than_one_after_the_other(api: RunningApi) -> None:
    login = person(api, TENANT, uuid.uuid4().hex).login
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(lambda _: sign_in(api, TENANT, login, "a wrong guess").status_code, range(32))
        )
    assert answers.count(401) == 5
    assert answers.count(429) == 27


def test_success_forgets_failures(api: RunningApi, ann: Person) -> None:
    for _ in range(3):
        assert [ann.sign_in("a wrong guess").status_code for _ in range(4)] == [401] * 4
        assert ann.sign_in().status_code == 200


def test_flood_of_sign_ins_hashes_a_few_at_once_and_refuses_the_rest() -> None:
    at_once: list[int] = []
    busy = 0

    async def run() -> list[Any]:
        nonlocal busy
        passwords = Passwords(PasswordHasher(1, 8192, 1), at_once_max=2, waiting_max=3, retry_after_s=1)

        async def attempt() -> bool:
            nonlocal busy
            async with passwords.turn() as turn:
                busy += 1
                at_once.append(busy)
                found = await turn.matches(None, "x")
                busy -= 1
                return found

        try:
            return await asyncio.gather(*(attempt() for _ in range(10)), return_exceptions=True)
        finally:
            passwords.stop()

    answers = asyncio.run(run())
    assert max(at_once) == 2
    assert [type(one) for one in answers].count(BusyError) == 5
    assert [one for one in answers if not isinstance(one, BusyError)] == [False] * 5


def test_loop_goes_on_while_passwords_are_hashed(api: RunningApi) -> None:
    with ThreadPoolExecutor(8) as threads:
        signing = [threads.submit(sign_in, api, TENANT, uuid.uuid4().hex) for _ in range(8)]
        waits = []
        for _ in range(10):
            began_s = time.perf_counter()
            httpx.get(f"{api.url}/healthz", trust_env=False).raise_for_status()
            waits.append(time.perf_counter() - began_s)
        assert {one.result().status_code for one in signing} == {401}
    assert statistics.median(waits) < 1


def test_password_of_older_parameters_is_hashed_again(api: RunningApi, ann: Person) -> None:
    older = PasswordHasher(2, 8192, 1).hash(PASSWORD)
    with psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True) as connection:
        connection.execute("UPDATE users SET password_hash = %s WHERE id = %s", (older, ann.id))
        assert ann.sign_in().status_code == 200
        (kept,) = connection.execute(
            "SELECT password_hash FROM users WHERE id = %s", (ann.id,)
        ).fetchone() or ("",)
    assert kept.startswith("$argon2id$v=19$m=8192,t=1,p=1$")
    assert ann.sign_in().status_code == 200


def test_refresh_token_is_good_once_and_its_session_ends_when_it_comes_again(
    api: RunningApi, ann: Person
) -> None:
    first = ann.tokens["refresh_token"]
    other = person(api, TENANT, uuid.uuid4().hex)
    assert ann.refresh().status_code == 200
    second = dict(ann.tokens)
    assert second["refresh_token"] != first
    assert ann.get().status_code == 200
    assert ann.refresh(first).status_code == 401
    assert ann.refresh(second["refresh_token"]).status_code == 401
    assert ann.get().status_code == 401
    assert other.get().status_code == 200
    assert ann.sign_in().status_code == 200
    assert ann.get().status_code == 200


def test_one_of_many_refreshes_at_once_wins_and_the_session_ends(api: RunningApi, ann: Person) -> None:
    given = {"refresh_token": ann.tokens["refresh_token"]}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(api, "POST", "/v1/auth/refresh", json=given), range(8)))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} == {200, 401}
    assert ann.refresh(won[0]["refresh_token"]).status_code == 401
    assert ask(api, "GET", "/v1/packs", headers=bearer(won[0]["access_token"])).status_code == 401


@pytest.mark.parametrize("token", ["x", "é" * 60, "\0" * 30, "a.b.c"])
def test_what_is_no_refresh_token_is_refused(api: RunningApi, token: str) -> None:
    answer = ask(api, "POST", "/v1/auth/refresh", json={"refresh_token": token})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert ask(api, "POST", "/v1/auth/revoke", json={"refresh_token": token}).status_code == 204


def test_refresh_token_ends_unused_and_so_does_its_session(api: RunningApi, ann: Person) -> None:
    with psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True) as connection:
        ends = "SELECT expires_at - created_at FROM sessions WHERE user_id = %s"
        assert connection.execute(ends, (ann.id,)).fetchone() == (timedelta(hours=72),)
        connection.execute(
            "UPDATE sessions SET created_at = created_at - interval '29 days' WHERE user_id = %s", (ann.id,)
        )
        assert ann.refresh().status_code == 200
        assert connection.execute(ends, (ann.id,)).fetchone() == (timedelta(days=30),)
        connection.execute("UPDATE sessions SET expires_at = now() WHERE user_id = %s", (ann.id,))
    assert ann.refresh().status_code == 401


def test_signing_out_ends_this_session_alone(api: RunningApi, ann: Person) -> None:
    other = replace(ann, tokens={})
    assert other.sign_in().status_code == 200
    assert (
        ask(api, "POST", "/v1/auth/revoke", json={"refresh_token": ann.tokens["refresh_token"]}).status_code
        == 204
    )
    assert (ann.get().status_code, ann.refresh().status_code) == (401, 401)
    assert (other.get().status_code, other.refresh().status_code) == (200, 200)


def test_user_has_so_many_sessions_and_the_oldest_ends(api: RunningApi, ann: Person) -> None:
    first = ann.tokens["refresh_token"]
    for _ in range(3):
        assert ann.sign_in().status_code == 200
    assert ann.refresh().status_code == 200
    assert ann.refresh(first).status_code == 401


def test_administrator_ends_all_credentials_of_a_subject(api: RunningApi, ann: Person) -> None:
    token = api.token(TENANT, "analyst")
    with api.client(TENANT) as admin:
        for subject in (ann.subject, "development-analyst"):
            assert admin.post("/v1/revocations", json={"subject": subject}).status_code == 204
        assert (ann.get().status_code, ann.refresh().status_code) == (401, 401)
        assert ask(api, "GET", "/v1/packs", headers=bearer(token)).status_code == 401
        assert admin.get("/v1/packs").status_code == 200
    assert ann.sign_in().status_code == 200
    assert ann.get().status_code == 200


def test_credentials_of_the_same_subject_in_another_tenant_go_on(api: RunningApi) -> None:
    other = api.tenant("neighbours")
    with api.client(TENANT) as admin:
        admin.post("/v1/revocations", json={"subject": "development-device"}).raise_for_status()
    with api.client(other, "device") as client:
        assert client.get("/v1/me/permissions").status_code == 200


@contextmanager
def opened(api: RunningApi, token: str, path: str = "alerts") -> Iterator[ClientConnection]:
    ticket = ask(api, "POST", "/v1/tickets", headers=bearer(token)).json()["ticket"]
    slowest = {"packs": ["P-1"], "rate_hz": 0.001} if path == "telemetry" else {}
    with connect(f"{api.url.replace('http', 'ws')}/v1/{path}/live", proxy=None) as socket:
        socket.send(json.dumps({"ticket": ticket} | slowest))
        assert json.loads(socket.recv(20))["type"] == "snapshot"
        yield socket


def closed_with(socket: ClientConnection, within_s: float = 20) -> int:
    deadline_s = time.monotonic() + within_s
    try:
        while time.monotonic() < deadline_s:
            socket.recv(max(0.0, deadline_s - time.monotonic()))
    except ConnectionClosed as closed:
        return 0 if closed.rcvd is None else closed.rcvd.code
    raise AssertionError("the socket stayed open")


ENDS = {
    "suspended": lambda who, admin: admin.post(f"/v1/users/{who.id}/suspend"),
    "deleted": lambda who, admin: admin.delete(f"/v1/users/{who.id}"),
    "another role": lambda who, admin: admin.patch(
        f"/v1/users/{who.id}",
        json={"roles": ["analyst"]},
        headers={"If-Match": admin.get(f"/v1/users/{who.id}").headers["ETag"]},
    ),
    "revoked": lambda who, admin: admin.post("/v1/revocations", json={"subject": who.subject}),
    "signed out": lambda who, admin: admin.post(
        "/v1/auth/revoke", json={"refresh_token": who.tokens["refresh_token"]}
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_live_connections_are_closed_when_the_credential_ends(api: RunningApi, ann: Person, how: str) -> None:
    other = person(api, TENANT, uuid.uuid4().hex)
    token = ann.tokens["access_token"]
    with (
        opened(api, token) as alerts,
        opened(api, token, "telemetry") as telemetry,
        opened(api, other.tokens["access_token"]) as kept,
        httpx.Client(trust_env=False, timeout=20) as client,
        client.stream("GET", f"{api.url}/v1/alerts/stream", headers=bearer(token)) as stream,
        api.client(TENANT) as admin,
    ):
        events = stream.iter_text()
        assert "snapshot" in next(events)
        ENDS[how](ann, admin).raise_for_status()
        assert [closed_with(socket) for socket in (alerts, telemetry)] == [4401, 4401]
        assert list(events) == []
        assert kept.ping().wait(20)


def test_end_of_which_no_notification_came_is_found_by_looking(api: RunningApi, ann: Person) -> None:
    with (
        opened(api, ann.tokens["access_token"]) as socket,
        psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True) as connection,
    ):
        connection.execute(
            "INSERT INTO credential_epochs SELECT tenant_id, %s, nextval('credential_epochs_epoch_seq'), now()"
            " FROM tenants WHERE name = %s ON CONFLICT (tenant_id, holder) DO UPDATE SET epoch = excluded.epoch",
            (f"subject:{ann.subject}", TENANT),
        )
        assert closed_with(socket) == 4401
    until(lambda: ann.get().status_code == 401)


def claims(**given: Any) -> Claims:
    said = {
        "subject": "s", "tenant_name": TENANT, "roles": frozenset(), "sites": None, "device_pack": None,
        "expires_at_s": 10_000, "issued_at_s": 1_000, "epoch": None, "session": None,
    }  # fmt: skip
    return Claims(**(said | given))


def test_credentials_are_refused_when_it_is_not_known_for_long_what_has_ended(
    api: RunningApi, tmp_path: Any
) -> None:
    timer = HandTimer()

    async def run() -> None:
        _, directory = open_pools(api.engine.settings, api.access)
        async with directory:
            limits = RevocationLimits(5, 45, 30, 1)
            known = Revocations("", directory, KeyRing(tmp_path), limits, timer)
            with pytest.raises(UnavailableError):
                known.require_valid(TenantId(1), claims())
            await known.look()
            for passed_s, refused in ((0, False), (45, False), (1, True)):
                timer.move(passed_s)
                if refused:
                    with pytest.raises(UnavailableError):
                        known.require_valid(TenantId(1), claims())
                else:
                    known.require_valid(TenantId(1), claims())
            await known.look()
            known.require_valid(TenantId(1), claims())

    asyncio.run(run())


def test_token_without_an_epoch_ends_by_its_time_and_one_with_it_by_the_number(
    api: RunningApi, tmp_path: Any
) -> None:
    tenant = api.tenant(f"t-{uuid.uuid4().hex[:8]}")
    with psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True) as connection:
        (tenant_id,) = connection.execute(
            "INSERT INTO credential_epochs SELECT tenant_id, holder, 7, to_timestamp(2000) FROM tenants,"
            " unnest(ARRAY['subject:s', 'session:gone']) AS holder WHERE name = %s RETURNING tenant_id",
            (tenant,),
        ).fetchone() or (0,)

    async def run() -> list[bool]:
        _, directory = open_pools(api.engine.settings, api.access)
        async with directory:
            known = Revocations("", directory, KeyRing(tmp_path), RevocationLimits(5, 45, 30, 1), HandTimer())
            await known.look()
            given = [
                {"issued_at_s": 1999}, {"issued_at_s": 2030}, {"issued_at_s": 2031}, {"epoch": 6}, {"epoch": 7},
                {"epoch": 7, "session": "gone"}, {"epoch": 7, "session": "here"}, {"subject": "other"},
            ]  # fmt: skip
            return [not refused(known, claims(**one)) for one in given]

    def refused(known: Revocations, said: Claims) -> bool:
        try:
            known.require_valid(TenantId(tenant_id), said)
        except UnauthenticatedError:
            return True
        return False

    assert asyncio.run(run()) == [False, False, True, False, True, False, True, True]


def test_what_is_over_is_dropped(api: RunningApi, ann: Person) -> None:
    ann.sign_in("a wrong guess")
    with psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True) as connection:
        connection.execute(
            "UPDATE sign_in_failures SET last_at = last_at - interval '2 days', blocked_until = now()"
        )
        connection.execute("UPDATE sessions SET expires_at = now() WHERE user_id = %s", (ann.id,))
        connection.execute(
            "INSERT INTO credential_epochs SELECT tenant_id, 'subject:old', 1, now() - interval '13 hours' FROM tenants"
        )
        asyncio.run(_look(api))
        left = [
            connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
            for rows in (
                "sign_in_failures WHERE last_at < now() - interval '1 day'",
                "sessions WHERE expires_at <= now()",
                "credential_epochs WHERE holder = 'subject:old'",
            )
        ]
    assert left == [(0,)] * 3


async def _look(api: RunningApi) -> None:
    from api.identity.housekeeping import Housekeeping, HousekeepingLimits

    _, directory = open_pools(api.engine.settings, api.access)
    async with directory:
        limits = HousekeepingLimits.of(api.engine.settings)
        await Housekeeping(directory, api.engine.clock, limits, 60).look()


def change_password(api: RunningApi, user: Person, old: str, new: str) -> httpx.Response:
    given = {"tenant": TENANT, "login": user.login, "password": old, "new_password": new}
    return ask(api, "POST", "/v1/auth/password", json=given)


def test_user_changes_the_own_password_and_other_sessions_end(api: RunningApi, ann: Person) -> None:
    other = ann.sign_in().json()
    ann.sign_in().raise_for_status()
    assert change_password(api, ann, "another password", "five other words are too").status_code == 401
    weak = change_password(api, ann, PASSWORD, "short")
    assert (weak.status_code, weak.json()["field"]) == (422, "password")
    same = change_password(api, ann, PASSWORD, PASSWORD)
    assert (same.status_code, same.json()["field"]) == (422, "new_password")
    assert ann.refresh().status_code == 200, "nothing has changed yet"
    with api.client(TENANT) as admin:
        invited = admin.post(f"/v1/users/{ann.id}/invite").raise_for_status().json()
    changed = change_password(api, ann, PASSWORD, "five other words are too")
    assert changed.status_code == 200, changed.text
    assert ann.get().status_code == 401
    assert ann.refresh(other["refresh_token"]).status_code == 401
    assert ann.sign_in().status_code == 401
    ann.tokens = changed.json()
    assert ann.get().status_code == 200
    assert ann.sign_in("five other words are too").status_code == 200
    chosen = {"invitation": invited["invitation"], "password": PASSWORD}
    assert ask(api, "POST", "/v1/auth/invitation", json=chosen).status_code == 401, "it ends with the change"
    with api.client(TENANT) as admin:
        asked = {"subject": ann.subject, "action": "users.password_changed"}
        (entry,) = admin.get("/v1/audit", params=asked).json()["items"]
    assert (entry["resource_id"], entry["before"], entry["after"]) == (ann.id, None, None)


def test_wrong_passwords_block_the_change_of_one_too(api: RunningApi, ann: Person) -> None:
    tries = [change_password(api, ann, "another password", PASSWORD).status_code for _ in range(8)]
    assert tries[0] == 401
    assert tries[-1] == 429
    assert change_password(api, ann, PASSWORD, "five other words are too").status_code == 429

"""What is refused is counted by the second, shown to the tenant alone, and costs no more than what is allowed."""

import time
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.security_events.recorder import RecorderLimits, SecurityRecorder
from domain.security import SecurityKind
from domain.tenancy import Actor, Role, TenantId
from tests.running import RunningApi, running_api, until

GUESSED = "00000000-0000-4000-8000-000000000000"
THRESHOLD = 6


@pytest.fixture(scope="module")
def watched(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("watched")
    with running_api(database, folder, security_denied_per_minute_max=THRESHOLD) as running:
        yield running


def events(client: httpx.Client, **asked: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (
        client.get("/v1/security-events", params=asked).raise_for_status().json()["items"]
    )
    return found


def test_refusals_are_listed_with_whom_from_where_and_how_often(watched: RunningApi) -> None:
    tenant = watched.tenant("listed")
    with watched.client(tenant) as admin, watched.client(tenant, Role.ANALYST) as analyst:
        for _ in range(3):
            assert analyst.post("/v1/sites", json={"name": "S", "zone": "UTC"}).status_code == 403
        assert analyst.get(f"/v1/packs/{GUESSED}").status_code == 404
        until(lambda: sum(int(str(event["times"])) for event in events(admin)) == 4)
        (missed,) = events(admin, kind="not_found")
        assert {name: missed[name] for name in ("subject", "address_prefix", "route", "times")} == {
            "subject": "development-analyst",
            "address_prefix": "127.0.0.0/24",
            "route": "/v1/packs/{id}",
            "times": 1,
        }
        denied = events(admin, kind="denied", subject="development-analyst", route="/v1/sites")
        assert sum(int(str(event["times"])) for event in denied) == 3
        table = admin.get("/v1/security-events", headers={"Accept": "text/csv"}).text.splitlines()
        assert table[0] == "at,kind,subject,address_prefix,route,times"
        assert len(table) == len(events(admin)) + 1
        with watched.client(watched.tenant("onlooker"), Role.AUDITOR) as other:
            assert events(other) == []


def test_many_denials_within_a_minute_are_an_event_of_their_own(watched: RunningApi) -> None:
    tenant = watched.tenant("probed")
    with watched.client(tenant) as admin, watched.client(tenant, Role.ANALYST) as analyst:
        for _ in range(THRESHOLD + 2):
            analyst.post("/v1/sites", json={"name": "S", "zone": "UTC"})
        until(lambda: events(admin, kind="threshold_exceeded"))
        (passed,) = events(admin, kind="threshold_exceeded")
        assert int(str(passed["times"])) >= THRESHOLD


def test_bad_credentials_of_strangers_are_kept_for_the_platform_alone(watched: RunningApi) -> None:
    for _ in range(2):
        bad = {"Authorization": "Bearer planted-token"}
        assert httpx.get(f"{watched.url}/v1/packs", headers=bad, trust_env=False).status_code == 401

    def kept() -> int:
        with psycopg.connect(watched.access.admin) as connection:
            (times,) = connection.execute(
                "SELECT coalesce(sum(times), 0) FROM bpm.platform_security_events"
                " WHERE kind = 'bad_credential' AND route = '/v1/packs' AND address_prefix = '127.0.0.0/24'"
            ).fetchone() or (0,)
        return int(times)

    until(lambda: kept() == 2)


def test_what_is_told_apart_within_a_second_is_bounded(watched: RunningApi) -> None:
    engine = watched.engine
    recorder = SecurityRecorder(engine.directory, engine.clock, engine.metrics, RecorderLimits(10, 1, {}))
    for number in range(1000):
        actor = Actor(f"s{number}", TenantId(1), "t", frozenset())
        recorder.note(SecurityKind.DENIED, actor, f"203.0.{number % 256}.1", "/v1/packs")
    assert len(recorder._counted) == 11
    assert recorder._counted.total() == 1000


def test_refusing_costs_no_more_than_allowing(watched: RunningApi) -> None:
    tenant = watched.tenant("compared")
    requests = 300

    def took_s(client: httpx.Client, expected: int) -> float:
        began_s = time.perf_counter()
        for _ in range(requests):
            assert client.get("/v1/audit", params={"limit": 1}).status_code == expected
        return time.perf_counter() - began_s

    with watched.client(tenant) as admin, watched.client(tenant, Role.ANALYST) as analyst:
        took_s(admin, 200)
        allowed_s, denied_s = took_s(admin, 200), took_s(analyst, 403)
    assert denied_s < 2 * allowed_s

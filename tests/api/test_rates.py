"""Rates of credentials and tenants hold over all processes together, and cost no round trip a request."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from api.database_access import DatabaseAccess, open_pools
from api.rates import OwnLeases, Rate, RateKind, RateLimiter
from api.settings import Settings
from domain.errors import RateLimitedError
from domain.operators import Operator
from domain.tenancy import Actor, Role, TenantId
from storage.database import INGEST_ROLE
from storage.security import RateStore
from storage.tenants import create as create_tenant
from tests.running import RunningApi, running_api

PER_S, BURST, LEASE_S, SECONDS, PROCESSES = 200.0, 300.0, 0.25, 2.0, 2


@pytest.fixture
def tenant_id(database: DatabaseAccess) -> TenantId:
    """A tenant of the test's own: what others have spent would be missing in its bucket."""
    name = f"rated-{uuid.uuid4().hex[:12]}"
    create_tenant(database.as_role(INGEST_ROLE, Settings()), name, register_unknown_packs=True)
    with psycopg.connect(database.admin) as connection:
        row = connection.execute("SELECT tenant_id FROM bpm.tenants WHERE name = %s", (name,)).fetchone()
    assert row is not None
    return TenantId(row[0])


def test_two_processes_together_spend_no_more_than_the_rate(
    database: DatabaseAccess, tenant_id: TenantId
) -> None:
    command = [
        *(sys.executable, "-m", "tests.api.rates_process", database.as_role(INGEST_ROLE, Settings())),
        *map(str, (tenant_id, SECONDS, PER_S, BURST, LEASE_S)),
    ]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    began_s = time.monotonic()
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began_s = time.monotonic()
    counts = [int(process.communicate("go\n", timeout=60)[0]) for process in running]
    took_s = time.monotonic() - began_s
    # What is leased is out of the bucket before it is spent: nothing is overshot.
    assert sum(counts) <= BURST + PER_S * took_s
    left_unspent = PROCESSES * PER_S * LEASE_S
    assert sum(counts) >= 0.8 * (BURST + PER_S * SECONDS) - left_unspent
    assert min(counts) > 0


def run_limiter(
    database: DatabaseAccess, rate: Rate, body: object, store: type[RateStore] = RateStore
) -> object:
    async def run() -> object:
        _, pool = open_pools(Settings(), database)
        async with pool:
            leases = store(pool)
            limiter = RateLimiter(
                leases, dict.fromkeys(RateKind, rate), LEASE_S, time.monotonic, lambda _: None
            )
            return await body(limiter, leases)  # type: ignore[operator]

    return asyncio.run(run())


class CountedStore(RateStore):
    leases = 0

    async def lease(self, *args: object, **kwargs: object) -> float:
        self.leases += 1
        return await super().lease(*args, **kwargs)  # type: ignore[arg-type]


def test_requests_ask_the_database_once_for_a_slice(database: DatabaseAccess, tenant_id: TenantId) -> None:
    actor = Actor("many", tenant_id, "rated", frozenset())

    async def send(limiter: RateLimiter, leases: CountedStore) -> int:
        await asyncio.gather(*(limiter.take_request(actor) for _ in range(1000)))
        return leases.leases

    # A slice is 1,000 requests; the credential has a bucket and the tenant another.
    assert run_limiter(database, Rate(4000, 40_000), send, CountedStore) == 2


def test_refusals_do_not_ask_the_database_each_time(database: DatabaseAccess, tenant_id: TenantId) -> None:
    actor = Actor("greedy", tenant_id, "rated", frozenset())

    async def send(limiter: RateLimiter, leases: CountedStore) -> tuple[int, int]:
        refused = 0
        for _ in range(1000):
            try:
                await limiter.take_request(actor)
            except RateLimitedError:
                refused += 1
        return refused, leases.leases

    refused, leases = run_limiter(database, Rate(0.1, 3), send, CountedStore)  # type: ignore[misc]
    assert refused >= 995
    assert leases < 40


def test_without_the_database_each_process_goes_by_the_rate(database: DatabaseAccess) -> None:
    class AwayStore(RateStore):
        async def lease(self, *_: object, **__: object) -> float:
            raise psycopg.OperationalError

    actor = Actor("s", TenantId(1), "t", frozenset())

    async def send(limiter: RateLimiter, _: RateStore) -> int:
        count = 0
        for _ in range(2000):
            try:
                await limiter.take_request(actor)
                count += 1
            except RateLimitedError:
                await asyncio.sleep(0)
        return count

    assert 10 <= int(str(run_limiter(database, Rate(40, 400), send, AwayStore))) <= 60


@pytest.fixture(scope="module")
def limited(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    rates = {
        "subject_requests_per_s_max": 0.5,
        "tenant_requests_per_s_max": 1.0,
        "subject_readings_per_s_max": 1.0,
        "rate_burst_s": 10,
    }
    with running_api(database, tmp_path_factory.mktemp("limited"), **rates) as running:
        yield running


def test_a_credential_beyond_its_rate_is_told_when_to_come_again(limited: RunningApi) -> None:
    tenant = limited.tenant("hurried")
    with limited.client(tenant) as admin, limited.client(tenant, Role.ANALYST) as analyst:
        answers = [admin.get("/v1/sites") for _ in range(8)]
        assert [answer.status_code for answer in answers][:5] == [200] * 5
        refused = answers[-1]
        assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (
            429,
            "rate_limited",
            0.5,
        )
        assert 1 <= int(refused.headers["Retry-After"]) <= 3
        assert refused.headers["RateLimit-Policy"] == '"subject_requests";q=5;w=10'
        assert refused.headers["RateLimit"].startswith('"subject_requests";r=0;t=')
        # Refused requests of one credential are not counted against its tenant.
        assert analyst.get("/v1/sites").status_code == 200
    counted = limited.engine.metrics.text().decode()
    assert 'bpm_refused_total{limit="subject_requests_per_s_max"}' in counted


def test_a_body_beyond_the_rate_of_readings_is_paid_off(limited: RunningApi) -> None:
    def reading(number: int) -> dict[str, object]:
        return {"pack": "P", "ts": 1_767_225_600_000 + number, "voltage_v": 300}

    with limited.client(limited.tenant("talkative"), Role.DEVICE) as device:
        first = device.post("/v1/telemetry", json=[reading(number) for number in range(50)])
        assert first.status_code in (200, 207)
        second = device.post("/v1/telemetry", json=[reading(100)])
    assert (second.status_code, second.json()["code"]) == (429, "rate_limited")
    assert second.headers["RateLimit"].startswith('"subject_readings"')
    assert int(second.headers["Retry-After"]) >= 30


def test_operators_of_the_installation_have_a_rate_each_without_a_tenants_bucket() -> None:
    now_s = [0.0]
    rates = dict.fromkeys(RateKind, Rate(10.0, 20.0))
    limiter = RateLimiter(OwnLeases(lambda: now_s[0]), rates, LEASE_S, lambda: now_s[0], lambda _: None)
    ann, bob = (Operator(f"operator:{name}", frozenset()) for name in ("ann", "bob"))

    async def admitted(operator: Operator) -> int:
        count = 0
        while True:
            try:
                await limiter.take_platform_request(operator)
            except RateLimitedError:
                return count
            count += 1

    async def run() -> None:
        assert await admitted(ann) == 20
        assert await admitted(bob) == 20
        now_s[0] += 1.0
        assert await admitted(ann) == 10

    asyncio.run(run())

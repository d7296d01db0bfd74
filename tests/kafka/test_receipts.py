"""What a 202 promises holds, whatever goes away between sending and committing; and what isn't told to be safe."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.database_access import DatabaseAccess
from domain.receipts import OUTCOME_UNKNOWN
from streams.topic_admin import log_ends
from tests.kafka.sending import TENANT, committed, reading
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import RunningApi, running_api, until

pytestmark = pytest.mark.needs_kafka

PACKS = [f"P-{number}" for number in range(4)]
PARTITIONS = 2
CLIENTS = 50
WAIT_S = 3.0


@contextmanager
def database_away(access: DatabaseAccess) -> Iterator[None]:
    """Nobody comes into the database until the end, and whoever was in it is put out."""
    name = conninfo_to_dict(access.admin)["dbname"]
    with psycopg.connect(make_conninfo(access.admin, dbname="postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@contextmanager
def sessions_hanging(access: DatabaseAccess) -> Iterator[None]:
    """The processes that serve the database's clients stand still until the end; new clients get others."""
    with psycopg.connect(access.admin) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in rows:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def readiness(api: RunningApi) -> tuple[int, str | None]:
    answer = httpx.get(f"{api.url}/readyz", trust_env=False)
    return answer.status_code, answer.json()["code"]


def test_what_is_in_the_topic_while_the_database_is_away_is_not_told_to_be_safe_and_is_stored_once(
    own_database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    topic = adopt_new_topic(own_database, kafka, PARTITIONS)
    settings = {"receipt_wait_s": WAIT_S, "database_wait_s_max": 1.0}
    bodies = [[reading(pack, back_s=back_s) for pack in PACKS] for back_s in (60, 50)]
    keys: list[dict[str, str]] = [{"Idempotency-Key": "known"}, {}]
    with (
        running_api(own_database, tmp_path / "api", kafka=kafka, **settings) as api,
        api.client(api.tenant(TENANT)) as client,
    ):

        def sent(number: int) -> httpx.Response:
            return client.post("/v1/telemetry", json=bodies[number], headers=keys[number])

        # A pending receipt stands through whatever becomes of the process that gave it.
        place = client.post("/v1/telemetry", json=[reading("first")]).headers["Location"]
        before = sum(log_ends(kafka, topic, PARTITIONS).values())
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(sent, number) for number in range(2)]
            until(lambda: sum(log_ends(kafka, topic, PARTITIONS).values()) >= before + 2 * PARTITIONS)
            with database_away(own_database):
                for answer in (one.result() for one in answers):
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                    assert answer.json()["detail"] == OUTCOME_UNKNOWN
                assert readiness(api) == (503, "loading")
                away = client.get(place)
                assert (away.status_code, "Retry-After" in away.headers) == (503, True)
        until(lambda: readiness(api) == (200, None))
        # Connections of requests come back in their own time.
        until(lambda: client.get(place).json()["status"] == "pending")
        # One that answers no more is as good as away.
        with sessions_hanging(own_database):
            until(lambda: readiness(api) == (503, "loading"))
        until(lambda: readiness(api) == (200, None))
    with (
        running_api(own_database, tmp_path / "again", kafka=kafka, **settings) as api,
        api.client(TENANT) as client,
    ):
        assert client.get(place).json()["status"] == "pending"
        with working(Worker(own_database, kafka, tmp_path / "worker")):
            assert committed(client, place.rpartition("/")[2])["accepted"] == 1
            known, unknown = (committed(client, sent(number).json()["id"]) for number in range(2))
    assert (known["accepted"], known["duplicate"]) == (len(PACKS), 0)
    assert (unknown["accepted"], unknown["duplicate"]) == (0, len(PACKS))


def test_fifty_clients_wait_when_the_bus_is_full_or_workers_are_behind_and_all_that_is_answered_2xx_is_stored(
    own_database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    adopt_new_topic(own_database, kafka, PARTITIONS)
    settings: dict[str, Any] = {
        "receipt_wait_s": 0.2,
        "retry_after_s": 3,
        "behind_messages_max": 20,
        "queue_bytes_max": 4_000,
    }
    readings = 40
    with running_api(own_database, tmp_path / "api", kafka=kafka, **settings) as api:
        token = api.token(api.tenant(TENANT))
        refused: list[httpx.Response] = []
        given_up = threading.Event()
        receipts: list[str] = []

        def keep_sending(number: int) -> None:
            with api.client_of(token) as client:
                for turn in range(3):
                    body = [reading(f"C-{number}-{pack}", back_s=60 + 10 * turn) for pack in range(readings)]
                    while not (answer := client.post("/v1/telemetry", json=body)).is_success:
                        refused.append(answer)
                        assert not given_up.wait(0.2)
                    receipts.append(answer.json()["id"])

        def refused_for(what: str) -> bool:
            return any(what in answer.json()["detail"] for answer in tuple(refused))

        with ThreadPoolExecutor(CLIENTS) as pool, ExitStack() as leaving:
            leaving.callback(given_up.set)
            sending = [pool.submit(keep_sending, number) for number in range(CLIENTS)]
            until(lambda: refused_for("bodies of") and refused_for("messages of a partition wait"))
            with working(Worker(own_database, kafka, tmp_path / "worker")), api.client_of(token) as client:
                for one in sending:
                    one.result()
                found = [committed(client, receipt_id) for receipt_id in receipts]
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in refused} == {(429, "3")}
    assert {answer.json()["code"] for answer in refused} == {"busy"}
    assert [one["accepted"] for one in found] == [readings] * (3 * CLIENTS)
    with psycopg.connect(own_database.admin) as connection:
        row = connection.execute("SELECT count(*) FROM bpm.readings").fetchone()
    assert row == (3 * CLIENTS * readings,)

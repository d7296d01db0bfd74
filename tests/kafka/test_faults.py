"""Workers and brokers that end while readings flow: nothing lost, nothing twice, and the same windows and alerts."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from api.database_access import DatabaseAccess
from tests.kafka.spread import PACKS, RULE, Spread, check, date_rules_back, spread
from tests.running import running_api
from tests.steady_load import BATCH_READINGS, TENANT, Reading, SteadyLoad

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(600)]

_FLOW_S = 1.0


def under_load(made: Spread) -> SteadyLoad:
    token = made.engine.token(TENANT)
    status, answer = made.engine.request("POST", "/v1/rules", RULE, token)
    assert status == 201, answer
    date_rules_back(made.connections().admin)
    return SteadyLoad(made.engine.port, token, "steady", threads=PACKS)


def shown(pages: Any) -> list[Any]:
    """Alerts without what differs from one installation to another."""
    names = (
        "pack",
        "rule",
        "severity",
        "state",
        "onset",
        "raised_at",
        "cleared_at",
        "value",
        "late",
        "flapping",
    )
    return sorted([one.get(name) for name in names] for one in pages)


def everything(ask: Any, path: str) -> list[Any]:
    found, cursor = [], ""
    while cursor is not None:
        page = ask(f"{path}?limit=1000{cursor and '&cursor=' + cursor}")
        found += page["items"]
        cursor = page["next_cursor"]
    return found


def windows(ask: Any, packs: list[str], first_ms: int, last_ms: int) -> list[Any]:
    bounds = f"from={_text(first_ms)}&to={_text(last_ms + 1)}"
    return [
        ask(f"/v1/aggregates?pack={pack}&measure=voltage_v&step=PT15M&zone=UTC&{bounds}") for pack in packs
    ]


def _text(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1000 + 1))


def test_workers_and_a_broker_that_end_lose_nothing_and_double_nothing(
    kafka_jars: None, reachable_folder: Path, database: DatabaseAccess, tmp_path: Path
) -> None:
    with spread(reachable_folder / "spread") as made:
        load = under_load(made)
        try:
            made.wait_progress()
            made.workers["one"].kill()
            made.wait_progress()
            made.worker("three").wait_ready()
            made.worker("one").wait_ready()
            made.wait_progress()
            made.cluster.brokers[0].kill()
            time.sleep(_FLOW_S)
            made.cluster.brokers[0].restart()
            made.wait_progress()
            made.workers["two"].signal(signal.SIGSTOP)
            made.wait_progress()
            made.workers["two"].signal(signal.SIGCONT)
            made.wait_progress()
        finally:
            load.stop()
        assert check(made, load) == []
        assert made.workers["three"].stop() == 0, made.workers["three"].log.read_text()[-4000:]

        token = made.engine.token(TENANT)

        def ask(path: str) -> Any:
            status, answer = made.engine.request("GET", path, token=token)
            assert status == 200, answer
            return answer

        sent = load.acknowledged()
        packs = sorted({pack for pack, _, _ in sent})
        first_ms, last_ms = min(one[1] for one in sent), max(one[1] for one in sent)
        alerts, counted = shown(everything(ask, "/v1/alerts")), windows(ask, packs, first_ms, last_ms)
    assert alerts
    with running_api(database, tmp_path) as api:
        again, counted_again = sent_embedded(api, sent, packs, first_ms, last_ms)
    assert alerts == again
    assert counted == counted_again


def sent_embedded(
    api: Any, sent: list[Reading], packs: list[str], first_ms: int, last_ms: int
) -> tuple[list[Any], list[Any]]:
    """Alerts and windows of the same readings, pack by pack, in one process."""
    api.tenant(TENANT)
    with api.client(TENANT) as client:
        assert client.post("/v1/rules", json=RULE).status_code == 201
        date_rules_back(api.access.admin)
        for pack in packs:
            rows = sorted(one for one in sent if one[0] == pack)
            for start in range(0, len(rows), 100 * BATCH_READINGS):
                body = [
                    {"pack": name, "ts": ts_ms, "voltage_v": volts / 1000}
                    for name, ts_ms, volts in rows[start : start + 100 * BATCH_READINGS]
                ]
                assert client.post("/v1/telemetry", json=body).status_code == 200

        def ask(path: str) -> Any:
            return client.get(path).raise_for_status().json()

        return shown(everything(ask, "/v1/alerts")), windows(ask, packs, first_ms, last_ms)

"""An installation whose cluster was lost goes on with a new topic, and with everything that was committed."""

from pathlib import Path

import pytest

from api.database_access import DatabaseAccess
from tests.kafka.sending import committed, reading
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import running_api

pytestmark = pytest.mark.needs_kafka

PACKS = [f"P-{number}" for number in range(4)]


def test_readings_go_on_in_a_new_topic(own_database: DatabaseAccess, kafka: str, tmp_path: Path) -> None:
    old = adopt_new_topic(own_database, kafka, 2)
    for turn, voltage_v in enumerate((350.0, 340.0)):
        if turn:
            assert adopt_new_topic(own_database, kafka, 2, anew=True) != old
        with (
            running_api(own_database, tmp_path / f"api-{turn}", kafka=kafka) as api,
            working(Worker(own_database, kafka, tmp_path / f"worker-{turn}")),
            api.client("acme" if turn else api.tenant("acme")) as client,
        ):
            # Positions of the new topic are lower than those where the old one ended.
            for second in range(3 - turn):
                body = [reading(pack, voltage_v, 60 - 10 * turn - second) for pack in PACKS]
                receipt = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
                assert (receipt["accepted"], receipt["duplicate"]) == (len(PACKS), 0)
            latest = client.post("/v1/packs/latest", json={"packs": PACKS}).json()
            assert latest["columns"]["voltage_v"] == [voltage_v] * len(PACKS)

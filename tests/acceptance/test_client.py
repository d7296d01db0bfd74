"""The generated client, and what is written by hand beside it, against a running engine."""

import importlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from websockets.sync.client import ClientConnection

from api.client import alerts, sending, sockets
from api.client.alerts import LiveFrame, StreamLostError, StreamRefusedError
from api.client.sending import RefusedError
from tests.described import openapi
from tests.running import RunningApi

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}


def test_every_operation_but_endless_streams_is_in_the_client(generated_client: Path) -> None:
    made = {path.stem for path in (generated_client / "bpm_client" / "api").glob("*/*.py")} - {"__init__"}
    described = {operation["operationId"].replace(" ", "_") for methods in openapi()["paths"].values() for operation in methods.values()}  # fmt: skip
    assert made == described - {"live_alert_stream"}


def test_every_module_of_the_client_can_be_imported(generated_client: Path) -> None:
    for path in sorted((generated_client / "bpm_client").rglob("*.py")):
        name = ".".join(path.relative_to(generated_client).with_suffix("").parts)
        importlib.import_module(name.removesuffix(".__init__"))


def test_problems_come_as_objects(generated_client: Path, api: RunningApi) -> None:
    client_of = importlib.import_module("bpm_client").AuthenticatedClient
    read = importlib.import_module("bpm_client.api.packs.packs_get")
    with client_of(base_url=api.url, token=api.token(api.tenant("problems"))) as client:
        missing = read.sync(uuid.uuid4(), client=client)
    assert (missing.code, missing.status) == ("not_found", 404)
    with client_of(base_url=api.url, token="nonsense") as client:
        assert read.sync(uuid.uuid4(), client=client).code == "unauthenticated"


def table(rows: int) -> pa.Table:
    """Readings of one pack, a millisecond apart."""
    began_ms = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
    return pa.table(
        {
            "pack": pa.array(["P-1"] * rows),
            "ts": pa.array(began_ms + np.arange(rows), pa.int64()),
            "voltage_v": pa.array(np.full(rows, 357.2), pa.float32()),
        }
    )


def test_long_table_goes_in_by_parts_and_once_however_often_it_is_sent(api: RunningApi) -> None:
    readings = table(sending.READINGS_MAX + 1)
    with api.client(api.tenant("parts")) as client:
        first = sending.send_table(client, readings, key="parts")
        again = sending.send_table(client, readings, key="parts")
        other = sending.send_table(client, readings.slice(0, 10))
    assert (first.batches, first.counts["accepted"]) == (2, readings.num_rows)
    assert again.counts == first.counts
    assert other.counts["duplicate"] == 10


def test_refusal_tells_the_problem(api: RunningApi) -> None:
    with api.client(api.tenant("refused"), "analyst") as client, pytest.raises(RefusedError) as refused:
        sending.send_table(client, table(1))
    assert (refused.value.status, refused.value.problem["code"]) == (403, "forbidden")


def of_rule(client: httpx.Client) -> None:
    rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
    client.post("/v1/rules", json=rule).raise_for_status()


def heat(client: httpx.Client, pack: str, temperature_c: float) -> None:
    reading = {"pack": pack, "ts": datetime.now(UTC).isoformat(), "temperature_c": temperature_c}
    client.post("/v1/telemetry", json=reading).raise_for_status()


def told(frame: LiveFrame) -> tuple[str, str]:
    return frame.data["alert"]["pack"], frame.data["event"]["kind"]


def test_e20_alerts_are_followed_over_broken_sockets_each_once(api: RunningApi, monkeypatch: Any) -> None:
    opened: list[ClientConnection] = []
    connect = sockets.connect

    @contextmanager
    def remembered(*given: Any, **options: Any) -> Iterator[ClientConnection]:
        with connect(*given, **options) as socket:
            opened.append(socket)
            yield socket

    monkeypatch.setattr(sockets, "connect", remembered)
    with api.client(api.tenant("follower")) as client:
        of_rule(client)
        frames = alerts.follow(client, packs=["P-1", "P-2"], sleep=lambda _: None)
        assert next(frames).data["alerts"] == []
        seen = []
        for pack, temperature_c in (("P-1", 55), ("P-9", 55), ("P-2", 55), ("P-1", 20)):
            heat(client, pack, temperature_c)
            if pack != "P-9":
                seen.append(next(frames))
                opened[-1].socket.shutdown(2)
        frames.close()
        assert [told(frame) for frame in seen] == [
            ("P-1", "raised"), ("P-2", "raised"), ("P-1", "cleared"),
        ]  # fmt: skip
        resumed = alerts.follow(client, cursor=seen[0].cursor, packs=["P-1", "P-2"])
        assert [told(next(resumed)) for _ in range(2)] == [("P-2", "raised"), ("P-1", "cleared")]
        resumed.close()
    assert len(opened) == 4


def test_follower_ends_where_asking_again_helps_nothing(api: RunningApi) -> None:
    with (
        api.client(api.tenant("refused-follower")) as client,
        pytest.raises(StreamRefusedError, match="4400"),
    ):
        next(alerts.follow(client, cursor="nonsense"))
    with (
        api.client(api.tenant("device"), "device", pack="P-1") as client,
        pytest.raises((StreamRefusedError, RefusedError), match="403"),
    ):
        next(alerts.follow(client))


def test_follower_gives_up_after_its_attempts(api: RunningApi) -> None:
    waits_s: list[float] = []
    with api.client(api.tenant("lost")) as client, pytest.raises(StreamLostError, match="10 attempts"):
        next(alerts.follow(client, quiet_s_max=0.0, sleep=waits_s.append))
    assert len(waits_s) == sending.ATTEMPTS_MAX - 1

"""What the engine does when its disk is nearly full, with a disk whose free space the test says."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from api.disk import FORECAST_S_MIN, DiskGuard, Look, days_until
from domain.errors import DiskLowError
from tests.running import RunningApi, until

LOW_BYTES = 1_000


@dataclass
class Disk:
    """A disk and a clock that the test moves."""

    free: int = 10_000
    now_s: float = 0.0

    def guard(self, low_bytes: int = LOW_BYTES) -> DiskGuard:
        return DiskGuard(Path("/"), low_bytes, 1, measure=lambda _: self.free, monotonic_s=lambda: self.now_s)


def test_room_is_required_below_the_mark_only_and_is_there_again_at_the_next_look() -> None:
    disk = Disk(free=LOW_BYTES)
    guard = disk.guard()
    guard.require_room()
    disk.free -= 1
    guard.require_room()
    guard.look()
    with pytest.raises(DiskLowError) as refused:
        guard.require_room()
    assert (refused.value.code, refused.value.limit) == ("disk_low", LOW_BYTES)
    disk.free += 1
    guard.look()
    guard.require_room()


def test_mark_of_nothing_refuses_nothing() -> None:
    guard = Disk(free=0).guard(low_bytes=0)
    guard.require_room()
    assert not guard.is_low


def test_forecast_needs_twenty_minutes_and_looks_back_six_hours() -> None:
    disk = Disk(free=1_000_000)
    guard = disk.guard()
    for _ in range(24 * 60):
        disk.now_s += 60
        # Nothing is written in the first half of the day; then 10 bytes a minute.
        disk.free -= 10 if disk.now_s > 12 * 3600 else 0
        guard.look()
        if disk.now_s < 2 * FORECAST_S_MIN:
            assert guard.days_until_full is None
    assert guard.days_until_full == pytest.approx((disk.free - LOW_BYTES) / 10 / (24 * 60))


def test_forecast_forgets_an_import_that_is_over() -> None:
    disk = Disk(free=10_000_000)
    guard = disk.guard()
    for minute in range(6 * 60):
        disk.now_s += 60
        disk.free -= 100_000 if minute < 8 else 10
        guard.look()
        days = guard.days_until_full
        assert days is None or days == pytest.approx((disk.free - LOW_BYTES) / 10 / (24 * 60))
    assert days is not None


def test_forecast_takes_the_slower_pace_while_a_fleet_grows() -> None:
    disk = Disk(free=10_000_000)
    guard = disk.guard()
    for minute in range(60):
        disk.now_s += 60
        disk.free -= 10 if minute < 30 else 20
        guard.look()
    assert guard.days_until_full == pytest.approx((disk.free - LOW_BYTES) / 15 / (24 * 60), rel=0.02)


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.floats(0, 1e6), st.integers(0, 10**12))
def test_forecast_is_never_negative_and_absent_where_space_does_not_shrink(before, after, passed_s, mark):
    days = days_until(mark, Look(0.0, before), Look(passed_s, after))
    if after >= before or passed_s < FORECAST_S_MIN:
        assert days is None
    else:
        assert days is not None
        assert days >= 0
        assert (days == 0) == (after <= mark)


@pytest.fixture
def full(api: RunningApi) -> Iterator[RunningApi]:
    """The running API on a disk that is nearly full."""
    guard = api.engine.disk
    measure, guard._measure = guard._measure, lambda _: guard.low_bytes - 1
    guard.look()
    yield api
    guard._measure = measure
    guard.look()


def figures(api: RunningApi) -> dict[str, float]:
    text = httpx.get(f"{api.url}/metrics", trust_env=False).text
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_full_disk_stops_ingest_with_507_and_reads_go_on(full: RunningApi) -> None:
    tenant = full.tenant("full")
    sent = {"pack": "P-1", "ts": 1_700_000_000_000, "voltage_v": 3.5}
    with full.client(tenant) as client:
        for path in ("/v1/telemetry", "/v1/telemetry/thingsboard?pack=P-1"):
            refused = client.post(path, json=sent if path == "/v1/telemetry" else {"voltage_v": 1})
            assert refused.status_code == 507, refused.text
            assert refused.json()["code"] == "disk_low"
            assert refused.json()["limit"] == full.engine.settings.disk_low_bytes
            assert refused.headers["Retry-After"] == "1"
        assert client.get("/v1/packs").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "disk_low")
        assert ready.json()["disk"]["free_bytes"] == full.engine.settings.disk_low_bytes - 1
    assert figures(full)["bpm_disk_free_bytes"] == full.engine.settings.disk_low_bytes - 1


def test_ingest_goes_on_by_itself_when_there_is_room(full: RunningApi) -> None:
    tenant = full.tenant("room-again")
    with full.client(tenant) as client:
        ts = full.engine.clock.now_ms()
        send = lambda: client.post("/v1/telemetry", json={"pack": "P-1", "ts": ts, "voltage_v": 3.5})  # noqa: E731
        assert send().status_code == 507
        full.engine.disk._measure = lambda _: full.engine.disk.low_bytes
        until(lambda: send().status_code == 200)
        assert client.get("/readyz").json()["code"] is None


def test_metrics_tell_the_disk(api: RunningApi) -> None:
    told = figures(api)
    assert told["bpm_disk_free_bytes"] > 0
    assert told["bpm_disk_low_bytes"] == api.engine.settings.disk_low_bytes
    assert told["bpm_disk_days_until_full"] == math.inf

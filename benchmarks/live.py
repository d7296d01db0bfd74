"""The fleet as it is now, from sketches, beside PostgreSQL's GROUP BY over the same latest values."""

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import psycopg

from benchmarks.fleet import FleetReadings, arrow_body, make_readings, pack_name
from benchmarks.ingest_field import ARROW, TENANT
from benchmarks.measuring import Samples, percentile, seconds_of
from benchmarks.report import Goal, Line, Report
from benchmarks.senders import accepted, senders, wall_s
from benchmarks.served import ServedEngine, served_engine
from domain.alert_rules import Severity
from domain.measures import MEASURES
from domain.packs import ALWAYS_MS, Place
from domain.readings import Holders, LastArrivals, LiveReadings, PackStates, StoredReadings
from domain.tenancy import TenantId
from streams.live_picture import LivePicture
from streams.state import State

SPLITS = ("fleet", "site", "model", "region", "state")
PACKS_PER_SITE = 1_000
MODELS = 2
REGIONS = 10
_BODY_PACKS = 10_000
_SILENT_AFTER_S = 86_400
_MS_PER_S = 1000
_MILLION = 1e6


def measure(*, quick: bool) -> list[Report]:
    """The sketches in this process, then an engine with the fleet in its state."""
    sizes, requests = ((10_000,), 20) if quick else ((100_000, 1_000_000), 300)
    reports = [_follow_commits(packs) for packs in sizes]
    for packs in sizes:
        with _engine_with(packs) as (engine, token, start_s):
            reports.append(_answered(engine, token, packs, requests, start_s))
    return reports


def _follow_commits(packs: int) -> Report:
    """What a commit costs the picture: one reading of each of 10,000 packs, or five."""
    now_ms = int(time.time()) * _MS_PER_S
    state, picture = _picture(packs, now_ms)
    lines = []
    for readings_per_pack in (1, 5):
        samples = Samples(f"groups of {_BODY_PACKS:,} packs, {readings_per_pack} readings of each")
        for number in range(min(20, packs // _BODY_PACKS * 4)):
            chosen = (number * _BODY_PACKS + np.arange(_BODY_PACKS)) % packs
            live = _live(chosen.astype(np.int32), readings_per_pack, now_ms + number * _MS_PER_S, number)
            state.apply(StoredReadings(live.pack, live.ts_ms, live.thousandths))
            changed = state.take_changed()
            began_s = time.perf_counter()
            picture.arrive(state, changed, live)
            samples.figures.append((time.perf_counter() - began_s) / _BODY_PACKS * _MILLION)
        lines.append(Line(samples.name, samples.median, samples.low, samples.high))
    cells = np.array([cell for cell, _ in picture.cells_of(TenantId(1))], np.int32)
    one_group = np.zeros(len(cells), np.int32)
    alone_s = seconds_of(lambda: picture.figures(cells, one_group, 1), at_least_s=1.0)
    sizes = picture.sizes()
    return Report(
        f"The live picture of {packs:,} packs follows commits",
        "µs a pack",
        tuple(lines),
        (
            f"{len(cells):,} cells; merging all of them into one group takes {alone_s * _MS_PER_S:.2f} ms",
            f"bytes a pack: {sizes['packs'] / packs:.0f}",
            f"bytes a cell: {sizes['cells'] / len(cells):.0f}, and {sizes['pages'] / len(cells):.0f} of histograms",
        ),
    )


def _live(pack: Any, readings_per_pack: int, now_ms: int, seed: int) -> LiveReadings:
    made = make_readings(len(pack), readings_per_pack, now_ms - 1000, 100, seed)
    zeros = np.zeros(len(made), np.int32)
    arrived_ms = np.full(len(made), now_ms, np.int64)
    ones = np.ones(len(made), np.int32)
    return LiveReadings(ones, zeros, pack[made.position], made.ts_ms, arrived_ms, zeros, made.thousandths)


def _picture(packs: int, now_ms: int) -> tuple[State, LivePicture]:
    """A picture of packs that have all reported."""
    numbers = np.arange(packs, dtype=np.int32)
    made = make_readings(packs, 1, now_ms - 60_000, 1000, seed=1)
    ts_ms = np.broadcast_to(made.ts_ms, (len(MEASURES), packs)).copy()
    state = State.restored(PackStates(numbers, made.ts_ms, ts_ms, made.thousandths), StoredReadings.none())
    sites = max(packs // PACKS_PER_SITE, 1)
    places = tuple(
        Place(TenantId(1), UUID(int=1 + site), UUID(int=1 + model))
        for site in range(sites)
        for model in range(MODELS)
    )
    holders = Holders(numbers, numbers % len(places), np.full(packs, ALWAYS_MS, np.int64), places)
    ones, arrived_ms = np.ones(packs, np.int32), np.full(packs, now_ms - 50_000, np.int64)
    arrivals = LastArrivals(numbers, ones, arrived_ms, made.ts_ms, arrived_ms - made.ts_ms)
    picture = LivePicture(_SILENT_AFTER_S, 60, now_ms)
    picture.load(state, holders, arrivals, LiveReadings.none(), ())
    return state, picture


@contextmanager
def _engine_with(packs: int) -> Iterator[tuple[ServedEngine, str, float]]:
    """An engine whose state holds a fleet, with a token, and the seconds that it took to start."""
    with served_engine({"BPM_SILENT_AFTER_S": str(_SILENT_AFTER_S)}) as engine:
        token = engine.tenant_token(TENANT)
        with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
            given = {"packs": packs, "sites": max(packs // PACKS_PER_SITE, 1)}
            for statement in _FLEET.split(";"):
                connection.execute(statement.encode(), given)
        engine.kill()
        began_s = time.perf_counter()
        engine.start()
        yield engine, token, time.perf_counter() - began_s


# Each pack has reported within five minutes, one in ten within a day; values are spread evenly.
_FLEET = f"""
INSERT INTO sites (tenant_id, name, region, zone)
SELECT 1, 'S-' || n, 'region ' || n %% {REGIONS}, 'UTC' FROM generate_series(1, %(sites)s) AS n;

INSERT INTO models (tenant_id, name, chemistry, rated_capacity_ah)
SELECT 1, 'M-' || n, 'LFP', 100 FROM generate_series(1, {MODELS}) AS n;

INSERT INTO packs (tenant_id, external_id)
SELECT 1, 'P-' || lpad(n::text, 6, '0') FROM generate_series(0, %(packs)s - 1) AS n;

INSERT INTO tenures (tenant_id, pack_id, held_from, site_id, model_id)
SELECT 1, pack_id, '-infinity', site.id, model.id FROM packs
JOIN (SELECT id, row_number() OVER () - 1 AS place FROM sites) AS site ON site.place = pack_id %% %(sites)s
JOIN (SELECT id, row_number() OVER () - 1 AS place FROM models) AS model
    ON model.place = (pack_id / %(sites)s) %% {MODELS};

INSERT INTO pack_state (
    pack_id, watermark_ms, latest_ts_ms, latest, live_tenant_id, live_arrived_ms, live_newest_ts_ms, live_skew_ms
)
SELECT
    pack_id, ts, array_fill(ts, ARRAY[7]),
    ARRAY[random(5000, 95000), random(70000, 100000), random(-5000, 45000), random(300000, 400000), 0,
        random(3000, 3600), random(3600, 4200)],
    1, ts + skew, ts, skew
FROM (
    SELECT pack_id, random(0, 3000) AS skew, (extract(epoch FROM now()) * 1000)::int8 - random(3001, 300000)
        - CASE WHEN pack_id %% 10 = 0 THEN random(0, 80000000) ELSE 0 END AS ts
    FROM packs
) AS reported;

CREATE TABLE benchmark_latest AS
SELECT
    pack_id, sites.name AS site, latest[1] / 1000.0::float4 AS charge, latest[2] / 1000.0::float4 AS health,
    latest[3] / 1000.0::float4 AS temperature, latest[6] / 1000.0::float4 AS cell_low,
    latest[7] / 1000.0::float4 AS cell_high, live_arrived_ms AS arrived_ms, live_skew_ms AS skew_ms
FROM pack_state JOIN tenures USING (pack_id) JOIN sites ON sites.id = site_id;

VACUUM (ANALYZE) benchmark_latest, packs, tenures, pack_state;

CHECKPOINT
"""

_AGGREGATES = (
    "count(*), avg(charge), avg(health),"
    " percentile_disc(ARRAY[0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]) WITHIN GROUP (ORDER BY charge),"
    " percentile_disc(ARRAY[0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]) WITHIN GROUP (ORDER BY health),"
    " min(temperature), max(temperature), min(cell_low), max(cell_high),"
    " percentile_disc(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY arrived_ms),"
    " percentile_disc(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY skew_ms)"
)
_PLAIN_AGGREGATES = (
    "count(*), avg(charge), avg(health), min(charge), max(charge), min(health), max(health),"
    " min(temperature), max(temperature), min(cell_low), max(cell_high), min(arrived_ms), max(skew_ms)"
)


@dataclass(slots=True)
class _Client:
    """One client with one connection."""

    connection: http.client.HTTPConnection
    token: str

    def ask(self, by: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        self.connection.request("GET", f"/v1/aggregates/live?by={by}", headers=headers)
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == http.client.OK, body[:500]
        return body


def _answered(engine: ServedEngine, token: str, packs: int, requests: int, start_s: float) -> Report:
    client = _Client(http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60), token)
    with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
        _require_same(client, connection, packs)
        samples = [_timed(f"by {by}", lambda by=by: client.ask(by), requests) for by in SPLITS]
        with senders(1, engine.port, token, ARROW) as sending, ThreadPoolExecutor(1) as beside:
            posted = beside.submit(sending.post, _bodies(packs, requests))
            samples.append(_timed("by fleet, while readings arrive", lambda: client.ask("fleet"), requests))
            sent = posted.result()
        few = max(requests // 30, 3)
        peers = [
            _timed(name, lambda text=text: connection.execute(text.encode()).fetchall(), few)
            for name, text in (
                ("GROUP BY, the fleet", f"SELECT {_AGGREGATES} FROM benchmark_latest"),
                ("GROUP BY site", f"SELECT site, {_AGGREGATES} FROM benchmark_latest GROUP BY site"),
                (
                    "GROUP BY without percentiles, the fleet",
                    f"SELECT {_PLAIN_AGGREGATES} FROM benchmark_latest",
                ),
            )
        ]
    fleet, grouped = samples[0], peers[0]
    lines = tuple(
        Line(
            one.name,
            one.median,
            percentile(one.figures, 0.01),
            percentile(one.figures, 0.99),
            {grouped.name: one.median / grouped.median},
        )
        for one in (*samples, *peers)
    )
    return Report(
        f"Live aggregate of {packs:,} packs through HTTP",
        "ms",
        lines,
        (
            f"one client, {requests} requests of each; low and high are p1 and p99",
            f"{max(packs // PACKS_PER_SITE, 1):,} sites, {MODELS} models; the answers were compared with SQL's first",
            f"while readings arrive: {accepted(sent) / wall_s(sent) / _MILLION:.2f} M readings/s of one client",
            f"start to ready with the fleet in the state: {start_s:.1f} s, PostgreSQL's own start included",
        ),
        (Goal("p99 by fleet, ms", 10, percentile(fleet.figures, 0.99), at_least=False),),
    )


def _timed(name: str, ask: Callable[[], object], times: int) -> Samples:
    samples = Samples(name)
    ask()
    for _ in range(times):
        began_s = time.perf_counter()
        ask()
        samples.figures.append((time.perf_counter() - began_s) * _MS_PER_S)
    return samples


def _bodies(packs: int, requests: int) -> list[bytes]:
    """Bodies that keep the engine busy for about as long as the requests take."""
    now_ms = int(time.time()) * _MS_PER_S
    bodies = []
    for number in range(max(requests // 10, 2)):
        made = make_readings(_BODY_PACKS, 1, now_ms + number, 1000, seed=number)
        position = (made.position + number * _BODY_PACKS) % packs
        bodies.append(arrow_body(FleetReadings(position.astype(np.int32), made.ts_ms, made.thousandths)))
    return bodies


def _require_same(client: _Client, connection: psycopg.Connection[Any], packs: int) -> None:
    """Raises AssertionError unless answer and SQL say the same of the fleet."""
    (item,) = orjson.loads(client.ask("fleet"))["items"]
    found = connection.execute(f"SELECT {_AGGREGATES} FROM benchmark_latest".encode()).fetchone()
    assert found is not None
    count, charge, _, charges, _, coldest, hottest, cell_low, cell_high, _, _ = found
    assert sum(item["packs"].values()) == item["packs"]["reporting"] == count == packs
    assert abs(item["state_of_charge_pct"]["mean"] - charge) < 0.01
    names = ("min", "p5", "p25", "p50", "p75", "p95", "max")
    for name, value in zip(names, charges, strict=True):
        assert abs(item["state_of_charge_pct"][name] - value) <= 0.0501, (name, value)
    extremes = [item["temperature_c"]["min"], item["temperature_c"]["max"]]
    extremes += [item["cell_voltage_v"]["min"], item["cell_voltage_v"]["max"]]
    for extreme, value in zip(extremes, (coldest, hottest, cell_low, cell_high), strict=True):
        assert abs(extreme["value"] - value) < 0.001, (extreme, value)
    assert set(item["open_alerts"]) == {*map(str, Severity), "muted"}
    assert extremes[0]["pack"].startswith(pack_name(0)[:2])

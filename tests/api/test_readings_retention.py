"""What requests see of days whose raw readings were archived and dropped, and of those that are kept."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.retention import Bookkeeping, ReadingsRetention
from api.settings import Settings
from domain.clock import AnchoredClock, to_ms
from storage import retention_classes
from storage.database import INGEST_ROLE, RETENTION_ROLE
from storage.operation import overview
from storage.registry import confirm_clock
from tests.running import RunningApi, running_api, until

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
KEEP_DAYS = 10
BOOKKEEPING = Bookkeeping(timedelta(days=7), timedelta(days=8), 100)
KEPT = TODAY - timedelta(days=KEEP_DAYS)
FIRST = KEPT - timedelta(days=4)
"""Of four archived days the first three are dropped."""

MEASURES = ["voltage_v", "current_a"]


def span(starts: datetime, **more: Any) -> dict[str, Any]:
    return {"measure": MEASURES, "from": starts.isoformat(), "to": TODAY.isoformat()} | more


def kept_questions(pack_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Raw readings from the line on, and windows of whole quarter-hours from the beginning."""
    late = KEPT + timedelta(minutes=7, seconds=1)
    return [
        ("/v1/trends", span(KEPT, pack=["P-1", "P-2"])),
        ("/v1/trends", span(late, pack="P-1", points=50, method="min_max")),
        ("/v1/trends", span(FIRST, pack="P-1", step="P1D", band="site", zone="Europe/Zurich")),
        ("/v1/trends/analysis", span(KEPT, pack="P-1") | {"measure": "voltage_v"}),
        ("/v1/trends/analysis", span(FIRST, pack="P-1", step="PT1H") | {"measure": "voltage_v"}),
        ("/v1/aggregates", span(late, pack="P-1", step="PT7M")),
        ("/v1/aggregates", span(FIRST, pack=["P-1", "P-2"], step="PT15M")),
        ("/v1/aggregates", span(FIRST, pack="P-1", step="P1D", zone="Europe/Zurich")),
        ("/v1/aggregates", span(FIRST, group="site:A", step="P1D", zone="Europe/Zurich")),
        ("/v1/aggregates", span(FIRST, group="all", step="PT90M")),
        ("/v1/aggregates", span(late, group="saved:G", step="PT7M")),
        (f"/v1/packs/{pack_id}", {}),
        ("/v1/alerts", {}),
        ("/v1/quarantine", {}),
    ]


DROPPED_QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/trends", span(KEPT - timedelta(seconds=1), pack="P-1")),
    ("/v1/trends", span(FIRST, pack="P-1", points=50)),
    ("/v1/trends/analysis", span(FIRST, pack="P-1") | {"measure": "voltage_v"}),
    ("/v1/aggregates", span(FIRST, pack="P-1", step="PT5M")),
    ("/v1/aggregates", span(FIRST + timedelta(seconds=7), pack="P-1", step="P1D")),
    ("/v1/aggregates", span(FIRST, group="all", step="PT5M")),
]


PREVIEW: dict[str, Any] = {
    "scope": {"kind": "tenant"},
    "severity": "warning",
    "condition": {
        "kind": "threshold",
        "measure": "voltage_v",
        "side": "above",
        "limit": 365,
        "clear_limit": 360,
    },
    "imports": True,
    "to": TODAY.isoformat(),
}


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API in whose database these days have a partition each."""
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE bpm.installation SET first_day = %s, clock_trusted_until = %s",
            (FIRST - timedelta(days=1), TODAY + timedelta(days=2)),
        )
    with running_api(database, tmp_path_factory.mktemp("data"), count_wait_s=0.05) as running:
        yield running


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("alpha", register_unknown_packs=False)) as client:
        yield client


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


def reading(pack: str, moment: datetime, place: int) -> dict[str, Any]:
    voltage_v = round(350 + 20 * math.sin(place / 9), 3)
    return {"pack": pack, "ts": moment.isoformat(), "voltage_v": voltage_v, "current_a": place % 13 - 6}


def send(client: httpx.Client, readings: list[dict[str, Any]], import_id: str) -> dict[str, Any]:
    answer = client.post("/v1/telemetry", json=readings, params={"import": import_id})
    assert answer.is_success, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def value(api: RunningApi, statement: str) -> Any:
    with psycopg.connect(api.access.admin, options="-c search_path=bpm -c timezone=UTC") as connection:
        row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


def counted(api: RunningApi) -> None:
    """Wait until windows of all days that are over are as they will be."""
    over = f"WHERE day < '{TODAY - timedelta(days=1):%Y-%m-%d}'"
    waiting = ("window_notes", f"days_to_fold {over}", f"groups_to_fold {over}")
    until(lambda: value(api, "SELECT " + " AND ".join(f"NOT EXISTS (SELECT FROM {one})" for one in waiting)))


def retention(api: RunningApi, now: datetime) -> ReadingsRetention:
    clock = AnchoredClock(lambda: to_ms(now), lambda: 0, 60_000)
    conninfo = api.access.as_role(RETENTION_ROLE, Settings())
    return ReadingsRetention(conninfo, clock, api.engine.metrics, KEEP_DAYS, 3600, 60, BOOKKEEPING)


@dataclass(frozen=True, slots=True)
class Imported:
    """The readings of two packs over all days, counted and in the writer's state."""

    pack_id: str
    import_id: str
    sent: list[dict[str, Any]]


def imported(api: RunningApi, client: httpx.Client) -> Imported:
    post(client, "sites", name="A", zone="Europe/Zurich")
    post(client, "sites", name="B", zone="Asia/Kolkata")
    post(client, "models", name="M", chemistry="LFP", rated_capacity_ah=1)
    ids = [post(client, "packs", pack=pack, site="A", model="M")["id"] for pack in ("P-1", "P-2")]
    post(client, "groups", name="G", packs=["P-1", "P-2"])
    import_id = post(client, "imports", source="s")["id"]
    moments = [FIRST + timedelta(minutes=11 * n) for n in range(int((TODAY - FIRST) / timedelta(minutes=11)))]
    sent = [reading(pack, moment, n) for n, moment in enumerate(moments) for pack in ("P-1", "P-2")]
    assert send(client, sent, import_id)["accepted"] == len(sent)
    counted(api)
    until(lambda: value(api, "SELECT applied_batch_no = last_batch_no FROM partitions"))
    return Imported(ids[0], import_id, sent)


def answers(client: httpx.Client, pack_id: str) -> list[bytes]:
    """What is answered about what is kept."""
    found = [client.get(path, params=params) for path, params in kept_questions(pack_id)]
    found.append(client.post("/v1/rules/preview", json=PREVIEW | {"from": KEPT.isoformat()}))
    assert [(one.status_code, one.text) for one in found if one.status_code != 200] == []
    return [one.content for one in found]


def require_refused(client: httpx.Client, held: Imported) -> None:
    """That what needs dropped readings is refused, with the moment from which on they are kept."""
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/rules/preview", PREVIEW | {"from": FIRST.isoformat()}),
        (f"/v1/packs/{held.pack_id}/tenures", {"from": FIRST.isoformat(), "site": "B"}),
        ("/v1/corrections", {"kind": "delete_import", "import": held.import_id, "reason": "r"}),
    )
    reads = [client.get(path, params=params) for path, params in DROPPED_QUESTIONS]
    assert {one.json()["field"] for one in reads} == {"from"}
    for refused in (*reads, *(client.post(path, json=body) for path, body in bodies)):
        told = refused.json()
        assert (refused.status_code, told["code"], told["limit"]) == (409, "archived", KEPT.isoformat())


def require_told(api: RunningApi, client: httpx.Client, now: datetime, drops: int) -> None:
    """That metrics and the status say what is kept."""
    shown = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(shown['bpm_readings_kept_since_seconds{retention_class="standard"}']) == KEPT.timestamp()
    assert float(shown["bpm_readings_parts_dropped_total"]) == drops
    assert float(shown["bpm_readings_dropped_bytes_total"]) > 0
    with psycopg.connect(api.access.as_role(INGEST_ROLE, Settings())) as connection:
        standard = overview(connection, now, 900)["retention_classes"][0]
    assert (standard["name"], standard["archived_before"], standard["parts_dropped"]) == (
        "standard",
        KEPT,
        drops,
    )


BOOKS = (
    "SELECT id::text FROM batches WHERE source = 'old' UNION ALL SELECT id::text FROM submissions"
    " UNION ALL SELECT ts::text FROM superseded_readings"
)


def leave_bookkeeping(api: RunningApi) -> None:
    """A receipt, a note of a body and a superseded value, as old as the oldest readings."""
    with psycopg.connect(api.access.admin, options="-c search_path=bpm -c timezone=UTC") as connection:
        given = {"at": FIRST}
        connection.execute(
            "INSERT INTO batches (tenant_id, id, batch_no, partition_no, position, mode, source, subject, arrived_at,"
            " received, accepted, duplicate, quarantined, late, conflicting, items, items_omitted, ignored_keys)"
            " SELECT tenant_id, gen_random_uuid(), -2000, 0, 0, 'live', 'old', 's', %(at)s, 1, 0, 1, 0, 0, 0, '[]', 0, '{}'"
            " FROM tenants",
            given,
        )
        connection.execute(
            "INSERT INTO submissions (tenant_id, id, subject, arrived_at, registry_version)"
            " SELECT tenant_id, gen_random_uuid(), 's', %(at)s, 1 FROM tenants",
            given,
        )
        connection.execute(
            "WITH asked AS (INSERT INTO corrections (tenant_id, kind, chosen, reason, subject, status)"
            " SELECT min(tenant_id), 'delete_range', '{}', 'r', 's', 'done' FROM tenants"
            " RETURNING tenant_id, correction_no) INSERT INTO superseded_readings"
            " (tenant_id, pack_id, ts, batch_no, item_no, correction_no, deleted)"
            " SELECT tenant_id, 1, %(at)s, 1, 0, correction_no, true FROM asked",
            given,
        )
    assert value(api, f"SELECT count(*) FROM ({BOOKS}) AS books") >= 3


def test_kept_answers_stay_and_dropped_days_are_named(api: RunningApi, client: httpx.Client) -> None:
    held = imported(api, client)
    before = answers(client, held.pack_id)
    leave_bookkeeping(api)
    now = TODAY + timedelta(hours=12)
    assert asyncio.run(retention(api, now).look())
    assert value(api, "SELECT archived_before FROM retention_classes WHERE class_no = 0") == KEPT
    assert answers(client, held.pack_id) == before
    # Requests that began before may still read them: nothing is dropped for an hour.
    assert not asyncio.run(retention(api, now + timedelta(minutes=59)).look())
    looks = 0
    while asyncio.run(retention(api, now + timedelta(minutes=61)).look()):
        looks += 1
    assert looks >= 3
    assert value(api, f"SELECT count(*) FROM ({BOOKS}) AS books") == 0
    assert value(api, "SELECT min(ts) FROM readings") >= KEPT - timedelta(days=1)
    assert answers(client, held.pack_id) == before
    require_refused(client, held)

    # What comes again, or late, for a dropped day is set aside, and what is younger is a duplicate.
    late = reading("P-1", KEPT - timedelta(seconds=1), 0)
    again = send(client, [held.sent[0], held.sent[-1], late], held.import_id)
    assert (again["accepted"], again["duplicate"], again["quarantined"]) == (0, 1, 2)
    assert [(item["index"], item["reason"]) for item in again["items"]] == [(0, "archived"), (2, "archived")]
    # A move from the line on changes no window before it.
    questions = kept_questions(held.pack_id)
    windows = next(place for place, (_, params) in enumerate(questions) if params.get("step") == "PT15M")
    path, params = questions[windows]
    moved = {"from": KEPT.isoformat(), "site": "B"}
    assert client.post(f"/v1/packs/{held.pack_id}/tenures", json=moved).status_code == 201
    counted(api)
    assert client.get(path, params=params).content == before[windows]
    require_told(api, client, now, looks)


class Machine:
    """A machine whose wall clock is ahead, by days; it runs by its monotonic clock."""

    def __init__(self, api: RunningApi, ahead_days: int, keep_days: int = KEEP_DAYS) -> None:
        self.ahead, self.ran = timedelta(days=ahead_days), timedelta()
        self._began = datetime.now(UTC)
        self.clock = AnchoredClock(
            lambda: to_ms(self._began + self.ran + self.ahead), lambda: self.ran // timedelta(milliseconds=1)
        )
        conninfo = api.access.as_role(RETENTION_ROLE, Settings())
        self.retention = ReadingsRetention(
            conninfo, self.clock, api.engine.metrics, keep_days, 60, 0.02, BOOKKEEPING
        )

    def look(self, times: int = 3) -> None:
        """Look again and again, two minutes apart."""
        for _ in range(times):
            self.ran += timedelta(minutes=2)
            asyncio.run(self.retention.look())


def test_nothing_is_archived_by_a_clock_that_is_ahead_and_that_nothing_confirms(
    own_database: DatabaseAccess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"count_wait_s": 0.05, "readings_look_s": 3600}
    with running_api(own_database, tmp_path, **given) as api, api.client(api.tenant("a")) as client:

        def run(statement: str, *given: Any) -> None:
            with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
                connection.execute(statement.encode(), given)

        def is_kept() -> bool:
            line, readings = (
                value(api, f"SELECT {asked}")
                for asked in (
                    "(SELECT archived_before FROM retention_classes WHERE class_no = 0)",
                    "(SELECT count(*) FROM readings)",
                )
            )
            return bool(line == KEPT and readings == 2)

        sent = [reading("P-1", TODAY - timedelta(days=days, minutes=-5), days) for days in (10, 9)]
        assert send(client, sent, post(client, "imports", source="s")["id"])["accepted"] == 2
        counted(api)
        until(lambda: value(api, "SELECT applied_batch_no = last_batch_no FROM partitions"))
        # As by a clock that is ahead: it holds back nothing.
        run("UPDATE window_marks SET counted_before = %s", TODAY + timedelta(days=500))
        # At noon, so that no look comes upon the next day.
        trust_until = "UPDATE installation SET clock_trusted_until = %s"
        noon = TODAY + timedelta(hours=12)
        run(trust_until, noon)
        Machine(api, 0).look()
        assert is_kept()
        for ahead_days, keep_days in ((2, KEEP_DAYS), (389, KEEP_DAYS + 387), (500, KEEP_DAYS)):
            # Ahead from its start, and again after a restart.
            for _ in range(2):
                Machine(api, ahead_days, keep_days).look()
                assert is_kept()
        said = [one for one in caplog.records if "is trusted until" in one.getMessage()]
        assert len(said) == 6, "each process says it once"
        running = Machine(api, 0)
        running.look()
        running.ahead = timedelta(days=2)
        running.look()
        assert running.clock.jumped_by_ms is not None
        assert is_kept()

        # What it is trusted for goes on by time that goes by, at twice its pace at most, over all processes.
        run(trust_until, TODAY - timedelta(days=1))
        down = [Machine(api, 0) for _ in range(3)]
        for machine in down:
            machine.ran += timedelta(seconds=1)
            machine.look(1)
        trusted = value(api, "SELECT clock_trusted_until FROM installation")
        assert trusted == TODAY - timedelta(days=1), (
            "nobody knows how long they have run before the first look"
        )
        for _ in range(15):
            for machine in down:
                machine.look(1)
        caught_up = value(api, "SELECT clock_trusted_until FROM installation") - trusted
        assert caught_up == timedelta(hours=1)

        # A clock that is confirmed is trusted at once, so far as the database's own goes.
        confirm_clock(api.access.as_role(INGEST_ROLE, Settings()))
        assert value(api, "SELECT clock_trusted_until FROM installation") > TODAY
        run(trust_until, noon)
        Machine(api, 2).look()
        assert is_kept()
        caplog.clear()
        with psycopg.connect(api.access.admin, autocommit=True) as admin:
            admin.execute("REVOKE UPDATE (clock_trusted_until) ON bpm.installation FROM bpm_retention")

        async def several_looks() -> None:
            machine = Machine(api, 2)
            task = asyncio.create_task(machine.retention.run())
            for _ in range(20):
                await asyncio.sleep(0.05)
                machine.ran += timedelta(minutes=1)
            task.cancel()

        asyncio.run(several_looks())
        warned = [one for one in caplog.records if "can't be archived" in one.getMessage()]
        assert len(warned) == 1, "the same trouble is said once"


def test_a_day_shorter_than_readings_may_be_late_is_refused() -> None:
    with pytest.raises(ValueError, match="BPM_LATE_S_MAX"):
        Settings(readings_keep_days=29)
    assert Settings(readings_keep_days=30).readings_keep_days == 30


def trend(client: httpx.Client, starts: datetime) -> httpx.Response:
    return client.get("/v1/trends", params=span(starts, pack="P-1"))


def windows(client: httpx.Client) -> bytes:
    answer = client.get("/v1/aggregates", params=span(FIRST, pack="P-1", step="PT15M"))
    assert answer.status_code == 200, answer.text
    return answer.content


def test_tenants_of_two_classes_are_told_of_their_own_line(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    """Made over HTTP; days of the one go, while the other's same days are answered byte for byte as before."""
    with psycopg.connect(own_database.admin) as connection:
        connection.execute(
            "UPDATE bpm.installation SET first_day = %s, clock_trusted_until = %s",
            (FIRST - timedelta(days=1), TODAY + timedelta(days=2)),
        )
    retention_classes.create(own_database.admin, "law", 60)
    given = {"count_wait_s": 0.05, "readings_look_s": 3600}
    with running_api(own_database, tmp_path, **given) as api, api.operator_client() as operator:
        refused = operator.post("/v1/platform/tenants", json={"name": "t", "retention_class": "none"})
        told = refused.json()
        assert (refused.status_code, told["field"], told["limit"]) == (
            422,
            "retention_class",
            "standard, law",
        )
        bad = operator.post("/v1/platform/tenants", json={"name": "t", "retention_class": "No!"})
        assert (bad.status_code, bad.json()["field"]) == (422, "retention_class")
        for name, chosen in (("few", {}), ("long", {"retention_class": "law"})):
            body = {"name": name, "register_unknown_packs": True} | chosen
            made = operator.post("/v1/platform/tenants", json=body)
            assert (made.status_code, made.json()["retention_class"]) == (
                201,
                chosen.get("retention_class", "standard"),
            )
        assert [one["retention_class"] for one in operator.get("/v1/platform/tenants").json()["items"]] == [
            "standard",
            "law",
        ]
        moments = [
            FIRST + timedelta(minutes=37 * n) for n in range(int((TODAY - FIRST) / timedelta(minutes=37)))
        ]
        sent = [reading("P-1", moment, n) for n, moment in enumerate(moments)]
        with api.client("few") as few, api.client("long") as long:
            imports = {client: post(client, "imports", source="s")["id"] for client in (few, long)}
            for client, import_id in imports.items():
                assert send(client, sent, import_id)["accepted"] == len(sent)
            counted(api)
            until(lambda: value(api, "SELECT applied_batch_no = last_batch_no FROM partitions"))
            before = {client: (windows(client), trend(client, KEPT).content) for client in imports}
            whole = trend(long, FIRST)
            assert whole.status_code == 200
            now = TODAY + timedelta(hours=12)
            assert asyncio.run(retention(api, now).look())
            while asyncio.run(retention(api, now + timedelta(minutes=61)).look()):
                pass
            assert value(api, "SELECT min(ts) FROM readings_class_0") >= KEPT - timedelta(days=1)
            assert {client: (windows(client), trend(client, KEPT).content) for client in imports} == before
            assert trend(long, FIRST).content == whole.content
            told = trend(few, FIRST).json()
            assert (told["status"], told["code"], told["limit"]) == (409, "archived", KEPT.isoformat())
            # What was never sent for a time before the one's line, and what is corrected there.
            new = reading("P-1", FIRST + timedelta(minutes=1), 3)
            assert send(long, [new], imports[long])["accepted"] == 1
            assert [item["reason"] for item in send(few, [new], imports[few])["items"]] == ["archived"]
            undone = {"kind": "delete_import", "import": imports[few], "reason": "r"}
            told = few.post("/v1/corrections", json=undone).json()
            assert (told["status"], told["code"], told["limit"]) == (409, "archived", KEPT.isoformat())
            right = {
                "kind": "correct",
                "pack": "P-1",
                "ts": sent[0]["ts"],
                "values": {"voltage_v": 1},
                "reason": "r",
            }
            assert long.post("/v1/corrections", json=right).json()["readings"] == 1
            assert value(api, "SELECT count(*) FROM readings_class_0 WHERE voltage_v = 1") == 0
            # Ten days and sixty: the other class has a line of its own.
            lines = value(api, "SELECT array_agg(archived_before ORDER BY class_no) FROM retention_classes")
            assert lines == [KEPT, TODAY - timedelta(days=60)]

"""A tenant is moved from one cell to another: what it has is there afterwards, all of it once, and here no more."""

import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.database_access import DatabaseAccess
from api.moving import Steps
from domain.errors import MoveFailedError, MoveRefusedError, NotFoundError
from storage import retention_classes
from storage.cell_tables import MOVED
from storage.database import INGEST_ROLE
from storage.embedded_postgres import Connections
from storage.hypertables import settle
from storage.tenants import create as create_tenant
from storage.tenants import set_retention_class
from tests.databases import new_database
from tests.kafka.cells import RunningCell, running_cell, write_cells
from tests.kafka.sending import HOT, committed
from tests.running import until

pytestmark = pytest.mark.needs_kafka

QUIET, BUSY, STAYER, LOCAL, TAKEN = "quiet", "busy", "stayer", "local", "taken"
PACKS: Final = 5
BUSY_PACKS: Final = ("B-0", "B-1", "B-2")
BATCH: Final = 20
STEP_S: Final = 5
NOW: Final = datetime.now(UTC).replace(microsecond=0)


class StoppedError(Exception):
    """The command ended here."""


@pytest.fixture(scope="module")
def south(
    postgres: Connections, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCell]:
    access = new_database(postgres)
    with running_cell("south", access, kafka, tmp_path_factory.mktemp("south") / "cell", 4) as cell:
        for name in (QUIET, BUSY, STAYER, TAKEN):
            cell.api.tenant(name)
        yield cell


@pytest.fixture(scope="module")
def north(
    postgres: Connections, kafka: str, south: RunningCell, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCell]:
    access, folder = new_database(postgres), tmp_path_factory.mktemp("north") / "cell"
    with running_cell("north", access, kafka, folder, 3, keys_of=south.folder) as cell:
        for name in (LOCAL, TAKEN):
            cell.api.tenant(name)
        yield cell


@pytest.fixture(scope="module")
def cells_file(south: RunningCell, north: RunningCell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "cells.toml", south, north)


def at(back_s: float) -> str:
    return (NOW - timedelta(seconds=back_s)).isoformat()


def span_of(from_back_s: float, to_back_s: float) -> str:
    return f"from={at(from_back_s)}&to={at(to_back_s)}".replace("+", "%2B")


def now() -> str:
    return datetime.now(UTC).isoformat()


def sent(
    client: httpx.Client, body: list[dict[str, Any]], key: str | None = None, **query: str
) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/v1/telemetry", json=body, headers=headers, params=query)
    assert answer.status_code in (200, 202, 207), answer.text
    return committed(client, answer.json()["id"])


def history(pack: str, back_s: int, hours: int) -> list[dict[str, Any]]:
    """A reading a minute."""
    return [
        {"pack": pack, "ts": at(back_s - 60 * n), "voltage_v": 300 + n % 50, "temperature_c": 20 + n % 30}
        for n in range(hours * 60)
    ]


def furnish(client: httpx.Client) -> dict[str, Any]:
    """Let a tenant have one of everything; what is needed of it later."""
    site = client.post("/v1/sites", json={"name": "yard", "zone": "Europe/Berlin"}).json()
    model = client.post("/v1/models", json={"name": "m", "chemistry": "nmc", "rated_capacity_ah": 50}).json()
    for number in range(PACKS):
        made = client.post("/v1/packs", json={"pack": f"P-{number}", "site": "yard", "model": "m"})
        assert made.status_code == 201, made.text
    assert client.post("/v1/rules", json=HOT).status_code == 201
    assert client.post("/v1/groups", json={"name": "few", "packs": ["P-0", "P-1"]}).status_code == 201
    channel = {"name": "hook", "kind": "webhook", "url": "https://hooks.example.test/", "events": ["raised"]}
    hook = client.post("/v1/channels", json=channel)
    assert hook.status_code == 201, hook.text
    imported = client.post("/v1/imports", json={"source": "old logs"}).json()["id"]
    for number in range(PACKS):
        sent(client, history(f"P-{number}", 60 * 3600, 40), **{"import": imported})
    time.sleep(0.2)
    key = str(uuid.uuid4())
    fresh = [{"pack": f"P-{n}", "ts": now(), "temperature_c": 80, "voltage_v": 320} for n in range(PACKS)]
    sent(client, fresh, key)
    bad = sent(client, [{"pack": "P-0", "ts": at(100), "voltage_v": 100_000}])
    assert bad["quarantined"] == 1
    batch = sent(client, [{"pack": "P-1", "ts": at(90), "voltage_v": 333}])
    asked = client.post(
        "/v1/corrections", json={"kind": "delete_batch", "batch": batch["id"], "reason": "wrong"}
    )
    until(lambda: client.get(f"/v1/corrections/{asked.json()['id']}").json()["status"] == "done")
    alerts = until(lambda: _items(client, "/v1/alerts?state=open", PACKS))
    assert client.post(f"/v1/alerts/{alerts[0]['id']}/acknowledge").status_code == 200
    sent(client, [{"pack": "P-4", "ts": now(), "temperature_c": 30}])
    until(lambda: len(_items(client, "/v1/alerts?state=open", PACKS - 1)) == PACKS - 1)
    return {"key": key, "body": fresh, "hook": hook.json(), "site": site, "model": model}


def _items(client: httpx.Client, path: str, count: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(path).json()["items"]
    return items if len(items) == count else []


def answers(client: httpx.Client) -> dict[str, Any]:
    """What clients are told of what a tenant has."""
    span = span_of(61 * 3600, -3600)
    paths = [
        *(f"/v1/{name}" for name in ("sites", "models", "packs", "rules", "groups", "imports", "quarantine")),
        *(f"/v1/{name}" for name in ("channels", "corrections", "alerts", "silences")),
        f"/v1/alerts/history?{span}",
        *(f"/v1/trends?pack=P-{n}&measure=voltage_v&{span}" for n in range(PACKS)),
        *(
            f"/v1/aggregates?{whose}&measure=voltage_v&step={step}&zone=Europe/Berlin&{span}"
            for whose in ("pack=P-0", "pack=P-4", "group=all", "group=saved:few")
            for step in ("PT15M", "P1D")
        ),
    ]
    found = {path: client.get(path) for path in paths}
    wrong = {path: answer.text for path, answer in found.items() if answer.status_code != 200}
    assert not wrong, wrong
    told = {path: answer.json() for path, answer in found.items()}
    for item in told["/v1/channels"]["items"]:
        # Deliveries go on meanwhile.
        for name in ("failing_since", "failures", "last_delivery", "disabled_reason"):
            item.pop(name, None)
    for item in told[f"/v1/alerts/history?{span}"]["items"]:
        # Numbers of the cell.
        item.pop("partition", None)
        item.pop("seq", None)
    told[f"/v1/alerts/history?{span}"]["items"].sort(key=str)
    latest = client.post("/v1/packs/latest", json={"packs": [f"P-{n}" for n in range(PACKS)]})
    return told | {"latest": latest.json()}


STILL: Final = frozenset(
    {
        "packs",
        "tenures",
        "batches",
        "readings",
        "superseded_readings",
        "corrections",
        "quarantine",
        "rules",
        "alerts",
    }
    | {"rule_transitions", "rule_states", "alert_actions", "sites", "models", "imports", "pack_group_members"}
)
"""Tables in which nothing happens by itself."""


def untouched(cell: RunningCell, tenant: str) -> dict[str, Any]:
    """Counts and sums of what a tenant has in a cell."""
    found = {}
    for table in MOVED:
        if table.name in STILL:
            where = table.where % {"tenant": "(SELECT tenant_id FROM tenants WHERE name = %s)"}
            text = f"SELECT count(*), sum(hashtext(t::text)) FROM {table.name} AS t WHERE {where}"
            found[table.name] = cell.rows(text, tenant)
    return found


def put_in_columns(cell: RunningCell) -> None:
    """Days that are counted, where readings are hypertables; one at least."""
    ingest = cell.access.as_role(INGEST_ROLE, cell.api.engine.settings)

    def settled() -> bool:
        done = settle(ingest, NOW)
        return done is None or done.chunk is not None

    until(settled)
    while (done := settle(ingest, NOW)) is not None and done.chunk is not None:
        pass


def bind_by_law(tenant: str, south: RunningCell, north: RunningCell) -> None:
    """Let a tenant be of a class of retention to which each cell gives another number; the workers were there before."""
    retention_classes.create(north.access.admin, "other", None)
    for cell in (south, north):
        retention_classes.create(cell.access.admin, "law", 3650)
    ingest = south.access.as_role(INGEST_ROLE, south.api.engine.settings)
    assert set_retention_class(ingest, tenant, "law")


def lose_a_body(cell: RunningCell, tenant: str) -> str:
    """The receipt of a body whose only message was lost, as an operator has accepted."""
    ((receipt,),) = cell.rows(
        "WITH lost AS (INSERT INTO lost_ranges (topic, partition_no, first_position, last_position)"
        " VALUES ('former/1', 0, 7, 9)) INSERT INTO submissions (tenant_id, id, subject, arrived_at, registry_version,"
        " received, topic, partition_nos, positions, sent_at) SELECT tenant_id, gen_random_uuid(), '', now(), 0, 1,"
        " 'former/1', '{0}', '{8}', now() FROM tenants WHERE name = %s RETURNING id",
        tenant,
    )
    return str(receipt)


def test_everything_that_a_tenant_has_is_there_afterwards_whatever_ended_the_command_before(
    south: RunningCell, north: RunningCell, cells_file: Path
) -> None:
    bind_by_law(QUIET, south, north)
    with south.client(QUIET) as client, south.client(STAYER) as other, north.client(LOCAL) as local:
        furnish(other)
        furnish(local)
        made = furnish(client) | {"lost": lose_a_body(south, QUIET)}
        time.sleep(1.5)
        put_in_columns(south)
        put_in_columns(north)
        before = answers(client)
        others = untouched(south, STAYER), untouched(north, LOCAL)

        def stop_at(step: str) -> Steps:
            def reached(one: str) -> None:
                if one == step:
                    raise StoppedError

            return Steps(wait_s_max=30, taken_in_s=0.5, reached=reached)

        with pytest.raises(StoppedError):
            south.move(QUIET, cells_file, stop_at("sealed")).run("north")
        refused = client.post("/v1/telemetry", json=made["body"])
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert client.post("/v1/sites", json={"name": "no", "zone": "UTC"}).status_code == 503
        assert client.get("/v1/packs").status_code == 200
        assert south.move(QUIET, cells_file).cancel()["changed"]
        until(lambda: client.post("/v1/telemetry", json=made["body"]).status_code in (200, 207))

        with pytest.raises(StoppedError):
            south.move(QUIET, cells_file, stop_at("copied")).run("north")
        assert north.rows("SELECT count(*) FROM tenants WHERE name = %s", QUIET) == [(0,)]
        ticket = client.post("/v1/tickets").json()["ticket"]
        with connect(f"{south.api.url.replace('http', 'ws')}/v1/alerts/live") as socket:
            socket.send(json.dumps({"ticket": ticket}))
            cursor = json.loads(socket.recv())["cursor"]
            with pytest.raises(StoppedError):
                south.move(QUIET, cells_file, stop_at("between")).run("north")
            with pytest.raises(MoveRefusedError, match="has arrived"):
                south.move(QUIET, cells_file).cancel()
            done = south.move(QUIET, cells_file).run("north")
            assert done["was_there"]
            assert south.move(QUIET, cells_file).run("north")["was_there"], "again does no harm"
            assert closed_with(socket) == 4421

        elsewhere = until(lambda: _refused(client.get("/v1/packs")))
        assert (elsewhere["code"], elsewhere["cell"], elsewhere["url"]) == (
            "tenant_elsewhere",
            "north",
            north.api.url,
        )
        assert client.post("/v1/telemetry", json=made["body"]).status_code == 421
    assert (untouched(south, STAYER), untouched(north, LOCAL)) == others
    assert (
        north.rows("SELECT count(*) FROM readings_class_2")
        == south.rows("SELECT count(*) FROM readings_class_1")
        > [(0,)]
    )
    with north.client(QUIET) as client:
        after = answers(client)
        assert {path for path in before if before[path] != after[path]} == set()
        assert client.get(f"/v1/receipts/{made['lost']}").json()["status"] == "lost"
        again = sent(client, made["body"], made["key"])
        assert again["accepted"] == PACKS, "it is the receipt of before"
        assert sent(client, made["body"])["duplicate"] == PACKS
        ticket = client.post("/v1/tickets").json()["ticket"]
        with connect(f"{north.api.url.replace('http', 'ws')}/v1/alerts/live") as socket:
            socket.send(json.dumps({"ticket": ticket, "cursor": cursor}))
            first = json.loads(socket.recv())
            assert (first["type"], len(first["data"]["alerts"])) == ("snapshot", PACKS - 1)
            sent(client, [{"pack": "P-3", "ts": now(), "temperature_c": 30}])
            event = json.loads(socket.recv(timeout=10))
            assert (event["type"], event["data"]["event"]["kind"]) == ("alert", "cleared")
        assert secret_of(north, made["hook"]["id"]) == secret_of(south, made["hook"]["id"])
        assert {one["action"] for one in _audit(north, QUIET)} >= {"tenants.arrived", "sites.created"}
    assert {one["action"] for one in _audit(south, QUIET)} >= {
        "tenants.leaving",
        "tenants.stayed",
        "tenants.moved",
    }


def test_others_go_on_with_days_that_are_new_while_a_tenant_is_copied_to_them(
    south: RunningCell, north: RunningCell, cells_file: Path
) -> None:
    with south.client(south.api.tenant("copied")) as client, north.client(LOCAL) as local:
        sent(client, [{"pack": "P", "ts": at(9 * 86_400), "voltage_v": 300}])

        def reached(step: str) -> None:
            if step == "copied":
                new = [{"pack": "N", "ts": at(19 * 86_400), "voltage_v": 300}]
                assert sent(local, new)["accepted"] == 1
                raise StoppedError

        with pytest.raises(StoppedError):
            south.move("copied", cells_file, Steps(wait_s_max=30, taken_in_s=0.5, reached=reached)).run(
                "north"
            )
        assert south.move("copied", cells_file).cancel()["changed"]


def secret_of(cell: RunningCell, channel: str) -> str:
    """The secret of a channel of the tenant that moves, opened where it is."""
    ((tenant, sealed),) = cell.rows("SELECT tenant_id, secret FROM channels WHERE id = %s", channel)
    return cell.api.engine.outside.sealer.open(sealed, tenant, UUID(channel))


def closed_with(socket: ClientConnection) -> int | None:
    """With which code a socket is closed, after whatever comes before."""
    try:
        while True:
            socket.recv(timeout=10)
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


def _refused(answer: httpx.Response) -> dict[str, Any] | None:
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 421 else None


def _audit(cell: RunningCell, tenant: str) -> list[dict[str, Any]]:
    text = "SELECT action FROM audit_log JOIN tenants USING (tenant_id) WHERE name = %s"
    return [{"action": action} for (action,) in cell.rows(text, tenant)]


class FollowingLoad:
    """Sends readings of one pack, batch after batch, and goes where the tenant is."""

    def __init__(self, cell: RunningCell, pack: str) -> None:
        self.acknowledged: list[int] = []
        self.attempted: list[int] = []
        self.wrong: list[str] = []
        self.statuses: set[int] = set()
        self.url = cell.api.url
        self._headers = {"Authorization": f"Bearer {cell.api.token(BUSY)}"}
        self._pack = pack
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        first_ms = int((NOW - timedelta(hours=20)).timestamp() * 1000)
        with httpx.Client(headers=self._headers, trust_env=False, timeout=30) as client:
            while not self._stopping.is_set():
                self.attempted.append(first_ms)
                if self._send(client, first_ms):
                    self.acknowledged.append(first_ms)
                first_ms += BATCH * STEP_S * 1000

    def _send(self, client: httpx.Client, first_ms: int) -> bool:
        body = [
            {"pack": self._pack, "ts": ts_ms, "voltage_v": volts / 1000}
            for ts_ms, volts in readings_from(first_ms)
        ]
        key = {"Idempotency-Key": str(uuid.uuid4())}
        while not self._stopping.is_set():
            answer = client.post(f"{self.url}/v1/telemetry", json=body, headers=key)
            self.statuses.add(answer.status_code)
            told = answer.json()
            if answer.status_code in (200, 202):
                if answer.status_code == 200 and told["accepted"] != BATCH:
                    self.wrong.append(str(told))
                return True
            if answer.status_code == 421:
                self.url = told["url"]
            elif answer.status_code not in (409, 429, 503):
                self.wrong.append(answer.text)
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)


def readings_from(first_ms: int) -> list[tuple[int, int]]:
    times = range(first_ms, first_ms + BATCH * STEP_S * 1000, STEP_S * 1000)
    return [(ts_ms, 300_000 + ts_ms // 1000 % 50_000) for ts_ms in times]


def stored(cell: RunningCell) -> list[tuple[str, int, int]]:
    return sorted(
        cell.rows(
            "SELECT external_id, (extract(epoch FROM ts) * 1000)::int8, round(voltage_v::numeric * 1000)::int8"
            " FROM readings JOIN packs USING (tenant_id, pack_id) JOIN tenants USING (tenant_id) WHERE name = %s",
            BUSY,
        )
    )


def test_what_is_acknowledged_under_load_is_in_one_place_once(
    south: RunningCell, north: RunningCell, cells_file: Path
) -> None:
    packs = BUSY_PACKS
    with south.client(BUSY) as client:
        for pack in packs:
            assert client.post("/v1/packs", json={"pack": pack}).status_code == 201
    loads = [FollowingLoad(south, pack) for pack in packs]
    try:
        until(lambda: min(len(load.acknowledged) for load in loads) > 30)
        before = sum(len(load.acknowledged) for load in loads)
        ended = south.bpm(cells_file, "tenant", "move", BUSY, "--to", "north", "--json")
        assert ended.returncode == 0, ended.stderr
        done = json.loads(ended.stdout)
        here = stored(south)
        moved = sum(len(load.acknowledged) for load in loads)
        until(lambda: all(load.url == north.api.url for load in loads))
        until(lambda: sum(len(load.acknowledged) for load in loads) > moved + 60)
    finally:
        for load in loads:
            load.stop()
    acknowledged = sorted(
        (pack, ts_ms, volts)
        for pack, load in zip(packs, loads, strict=True)
        for first_ms in load.acknowledged
        for ts_ms, volts in readings_from(first_ms)
    )
    attempted = {(pack, first) for pack, load in zip(packs, loads, strict=True) for first in load.attempted}
    until(lambda: set(acknowledged) <= set(stored(north)))
    there = stored(north)
    assert [load.wrong for load in loads] == [[], [], []]
    assert len(set(there)) == len(there)
    assert len(there) <= len(attempted) * BATCH
    assert stored(south) == here, "nothing more is stored where it was"
    assert set(here) <= set(there)
    assert done["rows"]["readings"] == len(here) >= before * BATCH
    assert "readings" in ended.stderr
    assert "password" not in ended.stderr + ended.stdout
    assert {421, 503} <= loads[0].statuses | loads[1].statuses | loads[2].statuses
    assert counted(north) == Counter(pack for pack, *_ in there), "also while quarter-hours are to be counted"
    until(lambda: north.rows("SELECT count(*) FROM window_notes WHERE starts > '-infinity'") == [(0,)])
    assert counted(north) == Counter(pack for pack, *_ in there)

    for command in (("delete", BUSY, "--grace", "0"), ("erase", BUSY, "--confirm", BUSY)):
        taken_away = south.bpm(cells_file, "tenant", *command)
        assert taken_away.returncode == 0, taken_away.stderr
    with south.client(BUSY) as client:
        until(lambda: client.get("/v1/packs").status_code == 401)
    assert stored(south) == []
    back = north.bpm(cells_file, "tenant", "move", BUSY, "--to", "south")
    assert back.returncode == 0, back.stderr
    assert stored(south) == there == stored(north)
    with south.client(BUSY) as client:
        until(lambda: client.get("/v1/packs").status_code == 200)


def counted(cell: RunningCell) -> dict[str, int]:
    """How many readings of each pack its quarter-hours count."""
    found = {}
    with cell.client(BUSY) as client:
        for pack in BUSY_PACKS:
            asked = f"pack={pack}&measure=voltage_v&step=PT15M&zone=UTC&{span_of(24 * 3600, -3600)}"
            columns = client.get(f"/v1/aggregates?{asked}").json()["columns"]
            found[pack] = sum(count or 0 for count in columns["voltage_v_count"])
    return found


def test_what_can_not_be_moved_is_refused_and_stays(
    south: RunningCell, north: RunningCell, cells_file: Path, own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no cell"):
        south.move(STAYER, cells_file).run("west")
    with pytest.raises(NotFoundError, match="no tenant"):
        south.move("nobody", cells_file).run("north")
    with pytest.raises(MoveRefusedError, match="itself"):
        south.move(STAYER, cells_file).run("south")
    with pytest.raises(MoveRefusedError, match="has a tenant taken already"):
        south.move(TAKEN, cells_file).run("north")
    west = tmp_path / "west.toml"
    west.write_text(f'[cells.west]\nurl = "http://west"\ndatabase_url = "{own_database.admin}"\n')
    with pytest.raises(MoveRefusedError, match="without Kafka"):
        south.move(STAYER, west).run("west")
    retention_classes.create(south.access.admin, "apart", 400)
    ingest = south.access.as_role(INGEST_ROLE, south.api.engine.settings)
    create_tenant(ingest, "apart", register_unknown_packs=False, retention_class="apart")
    with pytest.raises(MoveRefusedError, match="has no retention class apart") as refused:
        south.move("apart", cells_file).run("north")
    assert refused.value.field == "retention_class"
    retention_classes.create(north.access.admin, "apart", 500)
    with pytest.raises(MoveRefusedError, match="the retention class apart of the other cell keeps"):
        south.move("apart", cells_file).run("north")
    with south.client(STAYER) as client:
        sent(client, [{"pack": "held by two", "ts": at(10), "voltage_v": 300}])
    with psycopg.connect(south.access.admin) as connection:
        connection.execute(
            "INSERT INTO bpm.packs (tenant_id, pack_id, external_id)"
            " SELECT taken.tenant_id, pack_id, 'shared' FROM bpm.packs JOIN bpm.tenants AS holder USING (tenant_id),"
            " bpm.tenants AS taken WHERE holder.name = %s AND taken.name = %s LIMIT 1",
            (STAYER, TAKEN),
        )
    with pytest.raises(MoveRefusedError, match="handed over"):
        south.move(STAYER, cells_file).run("north")
    ended = south.bpm(cells_file, "tenant", "move", STAYER, "--to", "north")
    assert ended.returncode == 3
    assert "handed over" in ended.stderr
    assert not south.move(STAYER, cells_file).cancel()["changed"]
    assert south.rows("SELECT DISTINCT placement FROM tenants WHERE name IN (%s, %s)", STAYER, TAKEN) == [
        ("here",)
    ]


def test_a_move_that_workers_do_not_finish_leaves_the_tenant_on_its_way_and_it_is_taken_back(
    south: RunningCell, north: RunningCell, cells_file: Path
) -> None:
    south.api.tenant("slow")
    with south.client("slow") as client:
        sent(client, [{"pack": "S", "ts": at(10), "voltage_v": 300}])
        south.worker.signal(signal.SIGSTOP)
        try:
            answer = client.post("/v1/telemetry", json=[{"pack": "S", "ts": at(9), "voltage_v": 300}])
            assert answer.status_code == 202
            with pytest.raises(MoveFailedError, match="--cancel"):
                south.move("slow", cells_file, Steps(wait_s_max=0.5, taken_in_s=0)).run("north")
        finally:
            south.worker.signal(signal.SIGCONT)
        refused = client.post("/v1/telemetry", json=[{"pack": "S", "ts": at(8), "voltage_v": 300}])
        assert (refused.status_code, refused.json()["code"]) == (503, "tenant_moving")
        assert committed(client, answer.json()["id"])["accepted"] == 1
        assert south.move("slow", cells_file).cancel()["changed"]
        until(
            lambda: (
                client.post("/v1/telemetry", json=[{"pack": "S", "ts": at(8), "voltage_v": 300}]).is_success
            )
        )

"""Of an erased tenant no row is left in any table; others keep theirs; what was erased is told, and proven."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess
from api.erasing import LIST, erase_again, erase_tenant, read_proofs, write_proof
from domain.errors import ConflictError, InvalidRequestError, NotFoundError
from domain.measures import MEASURES
from domain.readings import ABSENT
from storage import erasing, tenants
from storage.database import ERASER_ROLE, INGEST_ROLE, adapt_columns, conninfo_as, query
from storage.erasing import BY_OTHER_NUMBERS, Erasure
from storage.erasing_slices import Erased
from storage.registry import hand_over
from storage.shared_packs import SharedPacks
from tests.acceptance.test_isolation import OWN_VOLTAGE_V, SECRET, SECRET_VOLTAGE_V, Holding, hold
from tests.running import RunningApi, until
from tests.stored import Stored

DAY = datetime(2026, 3, 3, tzinfo=UTC)

KNOWN_BY = {"pack_id", "rule_no", "correction_no", "tenure_no", "alert_no", "delivery_no", "silence_no"}
"""Numbers that are a tenant's, by which a table could hold something of one."""


@pytest.fixture(scope="module")
def other(api: RunningApi) -> Iterator[Holding]:
    holding = hold(api, "beta", SECRET, SECRET_VOLTAGE_V)
    yield holding
    holding.admin.close()


@pytest.fixture(scope="module")
def held(api: RunningApi, other: Holding) -> Iterator[Holding]:
    """A tenant with one of everything, of which a pack went to the other one."""
    holding = hold(api, "alpha", "alpha", OWN_VOLTAGE_V)
    now = datetime.now(UTC)
    sent = [
        {"pack": "given", "ts": (now - timedelta(seconds=90 - number)).isoformat(), "voltage_v": 300 + number}
        for number in range(30)
    ]
    holding.admin.post("/v1/packs", json={"pack": "given"}).raise_for_status()
    assert holding.admin.post("/v1/telemetry", json=sent).json()["accepted"] == 30
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    hand_over(conninfo, "given", "alpha", "beta", "taken", now - timedelta(seconds=50))
    taken = {"pack": "taken", "ts": (now - timedelta(seconds=40)).isoformat(), "voltage_v": 222}
    assert other.admin.post("/v1/telemetry", json=taken).json()["accepted"] == 1
    yield holding
    holding.admin.close()


def state_of(other: Holding) -> dict[str, Any]:
    """What the other tenant sees of its own."""
    paths = ("packs", "sites", "models", "rules", "alerts", "channels", "audit", "imports", "quarantine")
    found: dict[str, Any] = {path: other.admin.get(f"/v1/{path}").json()["items"] for path in paths}
    span = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    found["readings"] = [
        other.admin.get("/v1/trends", params={"pack": pack, "measure": "voltage_v"} | span).json()["columns"]
        for pack in ("P-1", "taken")
    ]
    return found


def admin(api: RunningApi) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(
        api.access.admin, autocommit=True, row_factory=dict_row, options="-c search_path=bpm"
    )


def erase(api: RunningApi, name: str, *, now: bool = False) -> Erasure:
    return erase_tenant(api.access, name, "who@where", lambda _: None, rows_max=1000, now=now)


def test_nothing_is_left_of_the_tenant_and_all_of_the_other_one_is(
    api: RunningApi, held: Holding, other: Holding, tmp_path: Path
) -> None:
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    with pytest.raises(ConflictError, match="active"):
        erase(api, "alpha", now=True)
    tenants.delete(conninfo, "alpha", grace_days=30)
    with pytest.raises(ConflictError, match="can be taken back until"):
        erase(api, "alpha")
    with admin(api) as connection:
        row = connection.execute("SELECT * FROM tenants WHERE name = 'alpha'").fetchone()
        assert row is not None
        number = row["tenant_id"]
        counted = {
            table: connection.execute(
                f"SELECT count(*) AS n FROM {table} WHERE tenant_id = {number}"
            ).fetchone()
            for table in ("readings", "sites", "alerts", "channels", "quarantine", "deliveries")
        }
        of_packs = connection.execute("SELECT pack_id FROM packs WHERE tenant_id = %s", (number,)).fetchall()
    before = state_of(other)
    done = erase(api, "alpha", now=True)
    assert state_of(other) == before
    for table, found in counted.items():
        assert found is not None
        assert done.erased_rows[table] == found["n"] > 0, table
    with admin(api) as connection:
        assert erasing.rows_left(connection, number) == {}
        dump = {
            table["relname"]: str(
                connection.execute(f'SELECT t::text FROM "{table["relname"]}" AS t').fetchall()
            )
            for table in connection.execute(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'bpm'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition"
            ).fetchall()
        }
        assert [table for table, text in dump.items() if "alpha" in text] == ["erasures", "platform_log"]
        kept = {row["pack_id"] for row in connection.execute("SELECT pack_id FROM pack_state").fetchall()}
        shared = {
            row["pack_id"]
            for row in connection.execute("SELECT pack_id FROM packs WHERE external_id = 'taken'").fetchall()
        }
    assert {row["pack_id"] for row in of_packs} & kept <= shared
    with pytest.raises(NotFoundError):
        erase(api, "alpha", now=True)
    until(lambda: held.admin.get("/v1/packs").status_code == 401)
    proof = write_proof(api.access, done, [tmp_path / "proof.json"])
    assert proof["rows_left"] == {}
    assert read_proofs(tmp_path) == [done]
    goes_on(other)


def goes_on(other: Holding) -> None:
    """A pack that changed hands shows its new holder its own values, and readings are taken in."""
    pack = next(one for one in other.admin.get("/v1/packs").json()["items"] if one["pack"] == "taken")
    latest = other.admin.get(f"/v1/packs/{pack['id']}/latest").json()["latest"]
    assert latest["voltage_v"]["value"] == 222
    sent = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "temperature_c": 21}
    assert other.admin.post("/v1/telemetry", json=sent).json()["accepted"] == 1


def test_others_are_served_without_a_break_while_tenants_are_erased(api: RunningApi) -> None:
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    names = [f"going-{number}" for number in range(4)]
    for name in names:
        with api.client(api.tenant(name)) as client:
            sent = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 300}
            assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
        tenants.delete(conninfo, name, 0)
    ended = Event()
    with api.client(api.tenant("staying")) as client, ThreadPoolExecutor(2) as threads:

        def send() -> list[int]:
            answers = []
            while not ended.is_set():
                sent = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 300}
                answers.append(client.post("/v1/telemetry", json=sent).status_code)
            return answers

        def look() -> list[int]:
            answers = []
            while not ended.is_set():
                answers.append(client.get("/v1/aggregates/live").status_code)
            return answers

        working = [threads.submit(send), threads.submit(look)]
        try:
            for name in names:
                epoch = epoch_of(api)
                erase(api, name)
                # Until the writer has loaded again.
                until(lambda before=epoch: epoch_of(api) > before)
        finally:
            ended.set()
        for one in working:
            assert set(one.result()) == {200}


def test_rows_go_in_slices_for_which_no_writer_waits(api: RunningApi) -> None:
    rows_max, packs, each = 25, 4, 60
    now = datetime.now(UTC)
    sent = [
        {"pack": f"P-{n % packs}", "ts": (now - timedelta(seconds=n)).isoformat(), "voltage_v": 300 + n % 9}
        for n in range(packs * each)
    ]
    few = [{"pack": f"F-{n}", "ts": now.isoformat(), "voltage_v": 1} for n in range(40)]
    with api.client(api.tenant("sliced")) as client:
        assert client.post("/v1/telemetry", json=[*sent, *few]).json()["accepted"] == len(sent) + len(few)
        for batch in range(60):
            client.post("/v1/telemetry", json=few[batch % 40]).raise_for_status()
    tenants.delete(api.access.as_role(INGEST_ROLE, api.engine.settings), "sliced", 0)
    slices: dict[str, list[int]] = {}
    waited_for = set()
    with admin(api) as writer:

        def told(erased: Erased) -> None:
            slices.setdefault(erased.table, []).append(erased.rows)
            try:
                writer.execute("SELECT FROM partitions FOR NO KEY UPDATE NOWAIT")
            except psycopg.errors.LockNotAvailable:
                waited_for.add(erased.table)

        done = erase_tenant(api.access, "sliced", "who@where", told, rows_max=rows_max, now=False)
    assert waited_for <= {"pack_state", "corrected_packs", "tenures"}
    for table in ("readings", "batches"):
        assert len(slices[table]) >= 3
        assert max(slices[table]) <= rows_max
        assert sum(slices[table]) == done.erased_rows[table]
    assert len(slices["readings"]) <= packs * (each // rows_max + 1) + len(few) // rows_max + 1, (
        "few go together"
    )
    assert done.erased_rows["readings"] == len(sent) + len(few)


def test_values_of_a_shared_pack_that_came_meanwhile_are_remembered(own_database: DatabaseAccess) -> None:
    stored = Stored(own_database)
    stored.prepare(DAY)
    gone, stays = stored.tenant("gone"), stored.tenant("stays")
    packs = [stored.pack(gone, name) for name in ("quiet", "sends", "corrected", "put right")]
    at = [int((DAY + timedelta(hours=hour)).timestamp() * 1000) for hour in range(24)]
    for pack in packs:
        stored.run(
            "INSERT INTO packs (tenant_id, pack_id, external_id) VALUES (%s, %s, %s)", stays, pack, str(pack)
        )
        stored.run("UPDATE tenures SET held_to = %s WHERE pack_id = %s", DAY + timedelta(hours=10), pack)
        stored.tenure(stays, pack, None, (DAY + timedelta(hours=10)).isoformat(), "infinity")
        stored.insert(stays, [(pack, at[12], volts(12)), (pack, at[13], volts(13))])
        stored.run(
            "INSERT INTO pack_state (pack_id, watermark_ms, latest_ts_ms, latest) VALUES (%s, 1, %s, %s)",
            pack,
            [at[9]] * len(MEASURES),
            [9000] * len(MEASURES),
        )
    stored.run("UPDATE retention_classes SET archived_before = %s", DAY + timedelta(hours=11))
    stored.run("UPDATE partitions SET last_batch_no = 1")
    eraser = conninfo_as(own_database.admin, ERASER_ROLE, application="test")
    with psycopg.connect(eraser, autocommit=True, row_factory=dict_row) as connection:
        adapt_columns(connection)
        shared = SharedPacks.of(connection, gone)
        assert shared.packs == packs
        shared.read()
        stored.insert(stays, [(packs[1], at[14], volts(14))], batch_no=2)
        stored.run(
            "INSERT INTO batches (tenant_id, id, batch_no, partition_no, position, mode, source, subject, arrived_at,"
            " received, accepted, duplicate, quarantined, late, conflicting, items, items_omitted, ignored_keys,"
            " first_ts, last_ts) SELECT %s, gen_random_uuid(), 2, 0, 0, 'live', 's', 's', now(), 1, 1, 0, 0, 0, 0, '[]',"
            " 0, '{}', at, at FROM (VALUES (%s::timestamptz)) AS given (at)",
            stays,
            DAY + timedelta(hours=14),
        )
        # A deleted reading that is put right has no batch, and supersedes nothing.
        stored.insert(stays, [(packs[3], at[15], volts(15))], batch_no=3)
        stored.run(
            "INSERT INTO corrections (tenant_id, kind, pack_id, starts, chosen, reason, subject, status, finished_at)"
            " VALUES (%s, 'correct', %s, now(), '{}', 'r', 's', 'done', clock_timestamp())",
            stays,
            packs[3],
        )
        stored.delete(stays, packs[2], at[13])
        stored.run(
            "WITH asked AS (INSERT INTO corrections (tenant_id, kind, chosen, reason, subject) VALUES"
            " (%s, 'delete_range', '{}', 'r', 's') RETURNING correction_no) INSERT INTO superseded_readings"
            " (tenant_id, pack_id, ts, batch_no, item_no, correction_no, deleted)"
            " SELECT %s, %s, now(), 1, 0, correction_no, true FROM asked",
            stays,
            stays,
            packs[2],
        )
        with connection.transaction():
            shared.forget()
    voltage = [measure.name for measure in MEASURES].index("voltage_v") + 1
    found = stored.rows(
        f"SELECT latest_ts_ms[{voltage}], latest[{voltage}], latest[{voltage % len(MEASURES) + 1}]"
        " FROM pack_state ORDER BY pack_id"
    )
    absent = int(ABSENT)
    assert found == [(at[hour], hour * 1000, absent) for hour in (13, 14, 12, 15)]


def volts(value: float) -> list[float | None]:
    """A reading of a voltage alone."""
    return [value if measure.name == "voltage_v" else None for measure in MEASURES]


def epoch_of(api: RunningApi) -> int:
    with admin(api) as connection:
        row = connection.execute("SELECT epoch FROM partitions WHERE partition_no = 0").fetchone()
    assert row is not None
    return int(row["epoch"])


def test_name_that_is_free_again_is_another_tenant(api: RunningApi) -> None:
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    api.tenant("again")
    tenants.delete(conninfo, "again", 0)
    first = erase(api, "again")
    with api.client(api.tenant("again")) as client:
        until(lambda: client.get("/v1/packs").is_success)
        (entry,) = client.get("/v1/audit").json()["items"]
        assert entry["action"] == "tenants.created", "nothing of the other one"
    with admin(api) as connection:
        assert not erasing.still_there(connection, first)


def test_erasure_that_ended_in_between_goes_on_and_counts_all(api: RunningApi) -> None:
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    with api.client(api.tenant("broken")) as client:
        sent = [
            {"pack": f"P-{number}", "ts": datetime.now(UTC).isoformat(), "voltage_v": 300}
            for number in range(60)
        ]
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 60
    tenants.delete(conninfo, "broken", 0)
    eraser = conninfo_as(api.access.admin, ERASER_ROLE, application="test")
    with admin(api) as connection:
        row = connection.execute("SELECT tenant_id FROM tenants WHERE name = 'broken'").fetchone()
    assert row is not None
    number = row["tenant_id"]

    def stop(erased: Erased) -> None:
        raise InterruptedError(erased.table)

    with pytest.raises(InterruptedError, match="readings"):
        erasing.erase(eraser, "broken", "who", stop, rows_max=100)
    with pytest.raises(ConflictError):
        tenants.undelete(conninfo, "broken")
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        # What is left in a log is passed over from now on: nothing of it comes behind what is gone.
        asked = {"tenants": [number]}
        assert connection.execute(query("partition.tenant_versions"), asked).fetchall() == []
        assert connection.execute(query("partition.erased"), asked).fetchall() == [{"tenant_no": number}]
    done = erasing.erase(eraser, "broken", "who", lambda _: None, rows_max=100)
    assert done.erased_rows["readings"] == 60


def test_tenant_that_came_back_with_an_old_backup_is_erased_again(api: RunningApi) -> None:
    api.tenant("restored")
    with admin(api) as connection:
        row = connection.execute(
            "SELECT tenant_id, created_at, installation.id FROM tenants, installation WHERE name = 'restored'"
        ).fetchone()
    assert row is not None
    facts = {"tenant_no": row["tenant_id"], "tenant_name": "restored", "tenant_made_at": row["created_at"]}
    moment = datetime.now(UTC)
    known = Erasure(
        id=row["id"],
        installation=row["id"],
        asked_by="who",
        began_at=moment,
        erased_at=moment,
        erased_rows={},
        **facts,
    )
    others = [
        replace(known, tenant_no=known.tenant_no + 1000),
        replace(known, tenant_made_at=moment),
        replace(known, installation=known.id.__class__(int=1)),
    ]
    said: list[str] = []
    assert erase_again(api.access.admin, SERVICE_LOGIN, others, said.append, rows_max=1000) == []
    assert erase_again(api.access.admin, SERVICE_LOGIN, [known], said.append, rows_max=1000) == ["restored"]
    assert "restored" in said[0]
    with admin(api) as connection:
        assert not erasing.still_there(connection, known)


def test_proof_that_was_changed_is_refused(api: RunningApi, tmp_path: Path) -> None:
    api.tenant("proven")
    tenants.delete(api.access.as_role(INGEST_ROLE, api.engine.settings), "proven", 0)
    path = tmp_path / LIST / "one.json"
    write_proof(api.access, erase(api, "proven"), [path])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"asked_by": "somebody else"}))
    with pytest.raises(InvalidRequestError, match="was changed"):
        read_proofs(path.parent)


def test_every_table_that_may_hold_something_of_a_tenant_is_erased(database: DatabaseAccess) -> None:
    """By its tenant, or by a number of the tenant's; the rest is the installation's own."""
    with psycopg.connect(database.admin) as connection:
        columns: dict[str, set[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " JOIN pg_class ON relname = table_name AND relnamespace = 'bpm'::regnamespace"
            " WHERE table_schema = 'bpm' AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall():
            columns.setdefault(table, set()).add(column)
    without = {table for table, names in columns.items() if "tenant_id" not in names and names & KNOWN_BY}
    assert without == set(BY_OTHER_NUMBERS) - {"partition_reports"}


@pytest.mark.parametrize("role", ["bpm_app", "bpm_ingest", "bpm_retention"])
def test_serving_roles_can_not_act_as_the_one_that_erases(database: DatabaseAccess, role: str) -> None:
    with psycopg.connect(database.admin) as connection:
        row = connection.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", (role, ERASER_ROLE)).fetchone()
        assert row == (False,)
        row = connection.execute(
            "SELECT pg_has_role(%s, %s, 'MEMBER')", (SERVICE_LOGIN, ERASER_ROLE)
        ).fetchone()
        assert row == (False,)


def test_audit_log_of_a_tenant_that_is_not_being_erased_is_held_against_the_eraser_too(
    api: RunningApi,
) -> None:
    with api.client(api.tenant("kept")) as client:
        client.post("/v1/sites", json={"name": "S", "zone": "UTC"}).raise_for_status()
    eraser = conninfo_as(api.access.admin, ERASER_ROLE, application="test")
    with psycopg.connect(eraser) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM audit_log WHERE tenant_id = (SELECT max(tenant_id) FROM audit_log)")

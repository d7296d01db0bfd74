"""An export has every row that a tenant has, once, as it is stored, and nothing of another tenant or of its secrets."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from domain.errors import ExportFailedError, ExportRefusedError, NotFoundError
from domain.measures import MEASURE_NAMES
from domain.redaction import REDACTED
from storage.cell_tables import MOVED, NOT_MOVED
from storage.database import INGEST_ROLE
from storage.exporting import MANIFEST, NOT_EXPORTED, READINGS, WINDOWS, Exported, export_tenant
from tests.acceptance.test_isolation import OWN_VOLTAGE_V, SECRET, SECRET_VOLTAGE_V, Holding, hold
from tests.running import RunningApi, until

EARLIEST = datetime(2025, 11, 30, 23, 50, tzinfo=UTC)


@pytest.fixture(scope="module")
def held(api: RunningApi) -> Iterator[Holding]:
    """A tenant with one of everything and readings of two months, beside another one."""
    other = hold(api, "beta", SECRET, SECRET_VOLTAGE_V)
    holding = hold(api, "alpha", "alpha", OWN_VOLTAGE_V)
    sent = [
        {
            "pack": "P-1",
            "ts": (EARLIEST + timedelta(minutes=number)).isoformat(),
            "voltage_v": 300 + number / 8,
        }
        for number in range(60)
    ]
    holding.admin.post("/v1/packs", json={"pack": 'odd "pack", with ü'}).raise_for_status()
    sent.append({"pack": 'odd "pack", with ü', "ts": EARLIEST.isoformat(), "current_a": -1.5})
    answer = holding.admin.post("/v1/telemetry", json=sent, params={"import": holding.ids["import"]})
    assert answer.json()["accepted"] == len(sent), answer.text
    corrected = {"kind": "correct", "pack": "P-1", "ts": sent[0]["ts"], "values": {"voltage_v": 299.5}}
    holding.admin.post("/v1/corrections", json=corrected | {"reason": "r"}).raise_for_status()
    until(lambda: counted(api, "SELECT count(*) FROM bpm.quarters WHERE starts < '2026-01-01'") >= 5)
    yield holding
    holding.admin.close()
    other.admin.close()


def counted(api: RunningApi, statement: str) -> int:
    with psycopg.connect(api.access.admin) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])


def export(api: RunningApi, directory: Path, name: str = "alpha") -> Exported:
    return export_tenant(
        api.access.as_role(INGEST_ROLE, api.engine.settings), name, directory, "1.0", lambda *_: None
    )


@pytest.fixture(scope="module")
def made(api: RunningApi, held: Holding, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports") / "alpha"
    export(api, directory)
    return directory


def manifest(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / MANIFEST).read_text())
    return found


def test_every_table_of_a_tenant_is_exported_or_left_out_for_a_reason(made: Path) -> None:
    told = manifest(made)
    # Which are all that have something of a tenant: tests/storage/test_cell_tables.py.
    assert {*told["tables"], *NOT_EXPORTED} == {*NOT_MOVED, *(table.name for table in MOVED)}
    assert not set(told["tables"]) & set(NOT_EXPORTED)
    assert told["left_out"] == NOT_EXPORTED
    assert {"access_grants", "security_events", "users", "audit_log"} <= set(told["tables"])


def test_counts_of_the_manifest_are_those_of_the_files_and_of_the_database(
    api: RunningApi, made: Path
) -> None:
    tables = manifest(made)["tables"]
    number = counted(api, "SELECT tenant_id FROM bpm.tenants WHERE name = 'alpha'")
    for name, told in tables.items():
        rows = 0
        for file in told["files"]:
            path = made / file["path"]
            found = (
                pq.read_metadata(path).num_rows
                if path.suffix == ".parquet"
                else len(path.read_bytes().splitlines())
            )
            assert found == file["rows"], name
            assert path.stat().st_size == file["size_bytes"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
            rows += found
        assert rows == told["rows"], name
        # Requests that come meanwhile are counted, and what was refused is written a second later.
        if name not in ("request_days", "security_events"):
            assert rows == counted(api, f"SELECT count(*) FROM bpm.{name} WHERE tenant_id = {number}"), name
    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == {
        MANIFEST,
        "README.md",
        *(file["path"] for told in tables.values() for file in told["files"]),
    }


def as_stored(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pack, time and values, as bits; in an order of their own."""
    return (
        row[0],
        row[1].timestamp(),
        *(np.float32("nan" if one is None else one).tobytes() for one in row[2:]),
    )


def test_readings_stand_in_the_file_of_their_month_as_they_are_stored(api: RunningApi, made: Path) -> None:
    found = [row for path in sorted((made / "readings").iterdir()) for row in pq.read_table(path).to_pylist()]
    months = {path.stem for path in (made / "readings").iterdir()}
    assert {"2025-11", "2025-12"} <= months
    assert {
        row["ts"].strftime("%Y-%m") for row in pq.read_table(made / "readings/2025-11.parquet").to_pylist()
    } == {"2025-11"}
    names = ", ".join(MEASURE_NAMES)
    with psycopg.connect(api.access.admin) as connection:
        stored = connection.execute(
            f"SELECT external_id, ts, {names} FROM bpm.readings JOIN bpm.packs USING (tenant_id, pack_id)"
            " JOIN bpm.tenants USING (tenant_id) WHERE tenants.name = 'alpha'"
        ).fetchall()
    shown = [(row["pack"], row["ts"], *(row[name] for name in MEASURE_NAMES)) for row in found]
    assert sorted(map(as_stored, shown)) == sorted(map(as_stored, stored))


def test_windows_are_those_that_the_api_answers(held: Holding, made: Path) -> None:
    rows = pq.read_table(made / WINDOWS / "2025-12.parquet").to_pylist()
    (one,) = [row for row in rows if row["ts"] == datetime(2025, 12, 1, tzinfo=UTC) and row["pack"] == "P-1"]
    asked = {"pack": "P-1", "measure": "voltage_v", "step": "PT15M"}
    span = {"from": "2025-12-01T00:00:00Z", "to": "2025-12-01T00:15:00Z"}
    answered = held.admin.get("/v1/aggregates", params=asked | span).json()["columns"]
    for column in (
        "voltage_v_count",
        "voltage_v_mean",
        "voltage_v_min",
        "voltage_v_time_weighted_mean",
        "covered_s",
    ):
        assert one[column] == answered[column][0], column
    assert one["current_a_mean"] is None


def test_nothing_of_another_tenant_and_no_secret_is_in_it(api: RunningApi, made: Path) -> None:
    text = "".join(path.read_text() for path in made.glob("*.ndjson"))
    assert SECRET not in text
    (channel, *_) = [json.loads(line) for line in (made / "channels.ndjson").read_text().splitlines()]
    assert channel["secret"] == REDACTED
    users = [json.loads(line) for line in (made / "users.ndjson").read_text().splitlines()]
    assert {REDACTED} == {user["invitation_digest"] for user in users if user["invitation_expires_at"]}
    assert "access_grants" in manifest(made)["tables"]
    voltages = pq.read_table(made / "readings")["voltage_v"].to_pylist()
    assert pytest.approx(SECRET_VOLTAGE_V) not in [one for one in voltages if one is not None]


def test_readme_says_what_each_column_is(made: Path) -> None:
    text = (made / "README.md").read_text()
    assert "| `voltage_v` | real | " in text
    for name in READINGS:
        assert f"## {name}" in text


def test_directory_that_is_there_is_refused_and_an_unknown_tenant_leaves_nothing(
    api: RunningApi, held: Holding, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ExportRefusedError):
        export(api, tmp_path / "taken")
    with pytest.raises(NotFoundError):
        export(api, tmp_path / "new", name="nobody")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_export_that_ends_in_between_leaves_no_directory_and_is_made_anew(
    api: RunningApi, held: Holding, tmp_path: Path
) -> None:
    def stop(table: str, _: int) -> None:
        if table == "readings":
            raise OSError("the disk is full")

    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    with pytest.raises(ExportFailedError, match="the disk is full"):
        export_tenant(conninfo, "alpha", tmp_path / "new", "1.0", stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "left").touch()
    export(api, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert not (tmp_path / "new" / "left").exists()

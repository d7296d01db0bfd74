"""What operators ask: doctor, status and tail, against an engine, and without one."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from api.auth import development_token
from api.cli import checks, status, tail
from api.cli.checks import Finding, State
from api.cli.main import app
from api.settings import Environment, Settings
from domain.tenancy import Role
from tests.api.cli.conftest import BPM, Installation
from tests.running import free_port, until

TENANT = "operated"


def client(installation: Installation) -> httpx.Client:
    settings = Settings(env=Environment.DEVELOPMENT, data_dir=Path(installation.environment["BPM_DATA_DIR"]))
    token = development_token(settings, TENANT, Role.TENANT_ADMIN, datetime.now(UTC).timestamp())
    return httpx.Client(
        base_url=installation.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )


def send(api: httpx.Client, pack: str, **values: float) -> None:
    body = {"pack": pack, "ts": datetime.now(UTC).isoformat()} | values
    assert api.post("/v1/telemetry", json=body).json()["accepted"] == 1


@pytest.fixture(scope="module")
def operated(installation: Installation) -> Installation:
    """The installation with a tenant, a pack, and a rule that its temperature breaches."""
    assert installation.bpm("tenant", "create", TENANT, "--register-unknown-packs").returncode == 0
    condition = {"kind": "threshold", "measure": "temperature_c", "side": "above"} | {
        "limit": 60,
        "clear_limit": 50,
    }
    with client(installation) as api:
        made = api.post(
            "/v1/rules",
            json={"name": "Hot", "severity": "critical", "scope": {"kind": "tenant"}, "condition": condition},
        )
        assert made.status_code == 201, made.text
        send(api, "P-1", temperature_c=20, voltage_v=350)
    return installation


def test_doctor_finds_a_running_engine_well(operated: Installation) -> None:
    done = operated.bpm("doctor", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True), told
    states = {one["check"]: one["state"] for one in told["findings"]}
    assert states.keys() >= {
        "port",
        "engine",
        "data directory",
        "disk",
        "clock",
        "database",
        "migrations",
        "layout",
        "roles",
    }
    assert "failure" not in states.values()
    lines = operated.bpm("doctor").stdout
    assert "ready, version" in lines
    assert "tenants are kept apart" in lines


def test_status_tells_machines_and_people_what_the_engine_does(operated: Installation) -> None:
    done = operated.bpm("status", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["engine"]["ready"], told["engine"]["accepted"] > 0) == (True, True)
    assert told["database"]["readings_per_s"] > 0
    assert told["disk"]["free_bytes"] > told["disk"]["low_bytes"]
    assert told["database"]["partitions"][0]["last_batch_no"] > 0
    assert sum(told["database"]["packs"].values()) >= 1
    assert told["database"]["open_alerts"].keys() == {"critical", "warning", "info"}
    table = status.table_of(told)
    assert table.row_count >= 10


@contextmanager
def tailing(operated: Installation, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`bpm tail` under way; Ctrl-C ends it well."""
    process = subprocess.Popen(
        [*BPM, "tail", *arguments, "--tenant", TENANT, "--json"],
        env=operated.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_reader_that_has_enough_ends_tail_well(operated: Installation) -> None:
    with client(operated) as api:
        send(api, "P-head", temperature_c=20)
    reading, writing = os.pipe()
    command = [*BPM, "tail", "readings", "--tenant", TENANT, "--pack", "P-head", "--json"]
    process = subprocess.Popen(command, env=operated.environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    try:
        assert os.read(reading, 1 << 16)
        os.close(reading)
        with client(operated) as api:
            send(api, "P-head", temperature_c=21.5)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_tail_shows_readings_and_alerts_as_they_come_and_ctrl_c_ends_it_well(operated: Installation) -> None:
    with (
        client(operated) as api,
        tailing(operated, "readings", "--pack", "P-1") as readings,
        tailing(operated, "alerts", "--severity", "critical") as alerts,
    ):
        assert line_of(readings)["values"] == {"temperature_c": 20, "voltage_v": 350}
        send(api, "P-1", temperature_c=70.5)
        assert line_of(readings)["values"] == {"temperature_c": 70.5}
        told = line_of(alerts)
        assert told["event"]["kind"] in ("open", "raised")
        assert (told["alert"]["pack"], told["alert"]["rule"]) == ("P-1", "Hot")
        line = tail._alert_line(told).plain
        assert "critical" in line
        assert "70.5 °C" in line
        send(api, "P-1", temperature_c=30)
        assert line_of(alerts)["event"]["kind"] == "cleared"


def test_status_and_doctor_work_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPM_ENV", "development")
    monkeypatch.setenv("BPM_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("BPM_PORT", str(free_port()))
    monkeypatch.setenv("BPM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    told = json.loads((seen := CliRunner().invoke(app, ["status", "--json"])).stdout)
    assert seen.exit_code == 1
    assert told["engine"] == {"running": False, "ready": False}
    assert "127.0.0.1" in told["database_trouble"]
    doctor = CliRunner().invoke(app, ["doctor"])
    assert doctor.exit_code == 1
    assert "can't be reached" in " ".join(doctor.stdout.split())
    assert not (tmp_path / "none").exists()


def test_doctor_names_a_setting_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPM_PORT", "no")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    assert "BPM_PORT" in json.loads(done.stdout)["findings"][0]["found"]


def states(findings: Iterator[Finding]) -> dict[str, State]:
    return {finding.check: finding.state for finding in findings}


def test_doctor_tells_a_port_that_another_program_has() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings(port=other.getsockname()[1])
        (found,) = checks.check_port(settings, None)
        assert found.state is State.FAILURE
        assert str(settings.port) in str(found.remedy)
    until(lambda: next(checks.check_port(settings, None)).state is State.OK)


def test_doctor_tells_a_disk_below_its_mark_and_near_it(tmp_path: Path) -> None:
    def found(low_bytes: int) -> State:
        return next(checks.check_disk(Settings(data_dir=tmp_path, disk_low_bytes=low_bytes), None)).state

    free = shutil.disk_usage(tmp_path).free
    assert [found(2 * free), found(free // 2), found(1)] == [State.FAILURE, State.WARNING, State.OK]


def test_doctor_tells_production_what_keys_it_lacks(tmp_path: Path) -> None:
    lacking = Settings(env=Environment.PRODUCTION, data_dir=tmp_path)
    assert states(checks.check_secrets(lacking)) == {"tokens": State.OK, "secrets": State.WARNING}
    half = Settings(env=Environment.PRODUCTION, data_dir=tmp_path, token_issuer="https://issuer.example")
    assert states(checks.check_secrets(half))["tokens"] is State.FAILURE
    assert states(checks.check_secrets(Settings(env=Environment.DEVELOPMENT, data_dir=tmp_path))) == {
        "secrets": State.OK
    }
    assert list(tmp_path.iterdir()) == []


def test_doctor_tells_arrivals_that_lie_ahead_of_the_clock() -> None:
    ahead = checks._arrivals(datetime.now(UTC) + timedelta(hours=1), Settings())
    assert (ahead.state, "confirm" in str(ahead.remedy)) == (State.FAILURE, True)
    assert checks._arrivals(datetime.now(UTC), Settings()).state is State.OK
    assert checks._arrivals(None, Settings()).state is State.OK


def test_doctor_tells_migrations_that_are_missing_or_newer() -> None:
    assert checks._migrations([], []).state is State.OK
    assert checks._migrations(["0099_more"], []).state is State.WARNING
    assert checks._migrations([], [99]).state is State.FAILURE


def test_backup_of_an_outside_database_or_of_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domain.errors import BackupRefusedError

    monkeypatch.setenv("BPM_DATA_DIR", str(tmp_path))
    nothing = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert isinstance(nothing.exception, BackupRefusedError)
    monkeypatch.setenv("BPM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    outside = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert isinstance(outside.exception, BackupRefusedError)
    assert "pg_basebackup" in str(outside.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["backup", "restore", "status", "doctor"])
def test_help_teaches_by_examples(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"]).stdout
    assert "Examples" in told
    assert f"bpm {command}" in told

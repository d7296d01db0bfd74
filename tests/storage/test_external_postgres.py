"""The engine on a PostgreSQL that isn't ours, of the oldest version that is supported."""

import os
import pwd
import secrets
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api.database_access import DatabaseAccess, prepare_database
from api.settings import Settings
from domain.errors import DatabaseRefusedError
from storage.database import INGEST_ROLE
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from tests.running import free_port, running_api

OLDEST = Path("/usr/lib/postgresql/15/bin")
START_S_MAX = 30.0


@pytest.fixture(scope="module")
def external(reachable_folder: Path) -> Iterator[str]:
    """The administrator's connection to a PostgreSQL 15 on the loopback, with a password."""
    if not (OLDEST / "postgres").exists():
        pytest.skip("needs PostgreSQL 15 in /usr/lib/postgresql/15 (Debian: postgresql-15)")
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = reachable_folder / "external"
    folder.mkdir(mode=0o700)
    password_file = folder / "password"
    password_file.write_text(password := secrets.token_urlsafe())
    for path in (folder, password_file):
        os.chown(path, account.pw_uid, account.pw_gid)
    as_account = (
        {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    subprocess.run(
        [
            OLDEST / "initdb",
            "-D",
            folder / "data",
            "-U",
            "owner",
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **as_account,
    )
    port = free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [OLDEST / "postgres", "-D", folder / "data", *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            **as_account,
        )
    conninfo = make_conninfo(host="127.0.0.1", port=port, user="owner", password=password, dbname="postgres")
    try:
        _wait_until_it_accepts(conninfo)
        yield conninfo
    finally:
        server.terminate()
        server.wait(START_S_MAX)


def _wait_until_it_accepts(conninfo: str) -> None:
    deadline_s = time.monotonic() + START_S_MAX
    while True:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
        else:
            return


def test_readings_go_in_and_out_on_postgresql_15(external: str, tmp_path: Path) -> None:
    access = DatabaseAccess(external)
    prepare_database(access, None)
    with psycopg.connect(access.as_role(INGEST_ROLE, Settings())) as connection:
        # The embedded server is set so, and others usually are not.
        assert connection.execute("SHOW jit").fetchone() == ("off",)
    with running_api(access, tmp_path) as api, api.client(api.tenant("external")) as client:
        now = datetime.now(UTC)
        sent = {"pack": "P-1", "ts": now.isoformat(), "voltage_v": 351.5}
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
        assert client.post("/v1/telemetry", json=sent).json()["duplicate"] == 1
        asked = {
            "pack": "P-1",
            "measure": "voltage_v",
            "from": (now - timedelta(minutes=1)).isoformat(),
            "to": (now + timedelta(minutes=1)).isoformat(),
        }
        assert client.get("/v1/trends", params=asked).json()["columns"]["voltage_v"] == [351.5]


def test_login_that_may_not_make_roles_is_refused_with_what_to_do(external: str) -> None:
    prepare_database(DatabaseAccess(external), None)
    password = secrets.token_urlsafe()
    with psycopg.connect(external, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE ROLE plain LOGIN PASSWORD {}").format(password))
    with pytest.raises(DatabaseRefusedError, match="roles"):
        prepare_database(DatabaseAccess(make_conninfo(external, user="plain", password=password)), None)


def test_login_without_superuser_is_enough_from_postgresql_16_on(
    reachable_folder: Path, tmp_path: Path
) -> None:
    server = EmbeddedPostgres(
        EmbeddedConfig(reachable_folder / "newer", shared_buffers_mb=64, durable=False), lambda _: None
    )
    admin = server.start().admin
    try:
        password = secrets.token_urlsafe()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE ROLE bpm_login LOGIN CREATEROLE BYPASSRLS PASSWORD {}").format(
                    password
                )
            )
            connection.execute("CREATE DATABASE theirs OWNER bpm_login")
        access = DatabaseAccess(make_conninfo(admin, user="bpm_login", password=password, dbname="theirs"))
        prepare_database(access, None)
        with running_api(access, tmp_path) as api, api.client(api.tenant("theirs")) as client:
            sent = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 351.5}
            assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
    finally:
        server.stop()

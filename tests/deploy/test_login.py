"""The script that makes the engine's login in a new database, run on a real PostgreSQL."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.database_access import DatabaseAccess, prepare_database
from storage.embedded_postgres import Connections, EmbeddedConfig, EmbeddedPostgres
from storage.embedded_postgres.binaries import packaged_installation
from tests.deploy.composed import DEPLOY

PASSWORD = "it's a \\ $word"


@pytest.fixture
def server(reachable_folder: Path) -> Iterator[Connections]:
    """A server of the test's own: roles are of the whole server."""
    config = EmbeddedConfig(
        data_dir=reachable_folder / f"deployed-{uuid.uuid4().hex[:8]}", shared_buffers_mb=64, durable=False
    )
    embedded = EmbeddedPostgres(config, lambda _: None)
    yield embedded.start()
    embedded.stop()


def run_script(admin: str, database: str) -> subprocess.CompletedProcess[str]:
    """The script as the image runs it: on the socket, with the names in the environment."""
    known = conninfo_to_dict(admin)
    environment = {
        "PATH": f"{packaged_installation() / 'bin'}:{os.environ['PATH']}",
        "PGHOST": str(known["host"]),
        "PGPASSWORD": str(known["password"]),
        "POSTGRES_USER": str(known["user"]),
        "POSTGRES_DB": database,
        "POSTGRES_PASSWORD": PASSWORD,
    }
    if "port" in known:
        environment["PGPORT"] = str(known["port"])
    script = DEPLOY / "timescaledb" / "10-login.sh"
    return subprocess.run([script], env=environment, capture_output=True, text=True)


def test_login_of_the_engine_migrates_and_is_no_superuser(server: Connections) -> None:
    with psycopg.connect(server.admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bpm_deployed")
        done = run_script(server.admin, "bpm_deployed")
        assert done.returncode == 0, done.stderr
        superuser = connection.info.user
        row = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (superuser,)
        ).fetchone()
        assert row == (None,)
    login = make_conninfo(server.admin, user="bpm_login", password=PASSWORD, dbname="bpm_deployed")
    assert prepare_database(DatabaseAccess(login), None)
    with psycopg.connect(login) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, True)


def test_script_that_fails_ends_the_making_of_the_database(server: Connections) -> None:
    done = run_script(server.admin, "no_such_database")
    assert done.returncode != 0

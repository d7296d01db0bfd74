"""A TimescaleDB for tests, where somebody has one: BPM_TEST_TIMESCALE_URL is its administrator's URL."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.cli.context import SERVICE_LOGIN
from storage.embedded_postgres import Connections

URL = os.environ.get("BPM_TEST_TIMESCALE_URL")
"""Read when the tests are loaded: settings in the environment don't reach tests."""

PARTITIONS, HYPERTABLES = "partitions", "hypertables"
ONLY_PARTITIONS = pytest.mark.parametrize("postgres", [PARTITIONS], indirect=True, scope="session")
"""Of tests that look at native partitions."""

BOTH = (PARTITIONS, pytest.param(HYPERTABLES, marks=pytest.mark.needs_timescale))


def _databases(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^t_[0-9a-f]{12}$'")
    return {name for (name,) in rows}


@contextmanager
def connections(made: set[str]) -> Iterator[Connections]:
    """Connections of administrator and serving login. The databases in `made` are dropped at the end."""
    if URL is None:
        pytest.skip("needs a server with TimescaleDB: its administrator's URL in BPM_TEST_TIMESCALE_URL")
    # Processes and runs at the same time share the login: whoever comes later must not take it from the others.
    password = hashlib.sha256(URL.encode()).hexdigest()
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('bpm tests'))")
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE_LOGIN,)).fetchall():
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(SERVICE_LOGIN)))
        connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN NOINHERIT PASSWORD {}").format(
                sql.Identifier(SERVICE_LOGIN), sql.Literal(password)
            )
        )
    yield Connections(URL, make_conninfo(URL, user=SERVICE_LOGIN, password=password))
    with psycopg.connect(URL, autocommit=True) as connection:
        for name in made & _databases(connection):
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


MADE: set[str] = set()
"""Databases of this process on the server with TimescaleDB."""


def is_on(conninfo: str) -> bool:
    """Whether it is of the server with TimescaleDB."""
    if URL is None:
        return False
    given, there = conninfo_to_dict(conninfo), conninfo_to_dict(URL)
    return all(given.get(part) == there.get(part) for part in ("host", "port"))


def extend(conninfo: str) -> None:
    """Give a new database the extension, when it is one of the server with TimescaleDB."""
    if not is_on(conninfo):
        return
    MADE.add(str(conninfo_to_dict(conninfo)["dbname"]))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")

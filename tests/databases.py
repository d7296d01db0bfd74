"""Databases for tests on a running server: empty ones, and migrated ones, of which each is a new installation."""

import uuid
from functools import cache

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from storage.embedded_postgres import Connections
from tests import timescale


def empty_database(connections: Connections) -> DatabaseAccess:
    """A database without anything in it."""
    access = _made(connections, "")
    timescale.extend(access.admin)
    return access


def new_database(connections: Connections) -> DatabaseAccess:
    """A migrated database. Copied, because to migrate takes four times as long."""
    if timescale.is_on(connections.admin):
        # The extension's own processes hold a database that is to be copied.
        return _migrated(connections)
    access = _made(
        connections, f"TEMPLATE {_template(connections.admin, connections.service)} STRATEGY file_copy"
    )
    with psycopg.connect(access.admin, autocommit=True) as connection:
        connection.execute("UPDATE bpm.installation SET id = DEFAULT, clock_trusted_until = DEFAULT")
    return access


@cache
def _template(admin: str, service: str) -> str:
    return str(conninfo_to_dict(_migrated(Connections(admin, service)).admin)["dbname"])


def _migrated(connections: Connections) -> DatabaseAccess:
    access = empty_database(connections)
    prepare_database(access, SERVICE_LOGIN)
    return access


def _made(connections: Connections, how: str) -> DatabaseAccess:
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(connections.admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {how}".encode())
    return DatabaseAccess(
        make_conninfo(connections.admin, dbname=name), make_conninfo(connections.service, dbname=name)
    )

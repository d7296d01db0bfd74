"""Databases for runs of the model: each run is a new installation."""

import uuid

import psycopg
from psycopg.conninfo import make_conninfo

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from storage.embedded_postgres import Connections
from tests import timescale


def new_database(connections: Connections) -> DatabaseAccess:
    """A migrated database on a running server."""
    name = f"model_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(connections.admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = DatabaseAccess(
        make_conninfo(connections.admin, dbname=name), make_conninfo(connections.service, dbname=name)
    )
    timescale.extend(made.admin)
    prepare_database(made, SERVICE_LOGIN)
    return made

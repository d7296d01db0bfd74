"""Migrations: numbered SQL, applied in order, once, under a lock; there is no way back."""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from domain.errors import DatabaseRefusedError
from storage import hypertables
from storage.connections import connect
from storage.database import APP_ROLE, ERASER_ROLE, INGEST_ROLE, OWNER_ROLE, RETENTION_ROLE, SCHEMA

OLDEST_SERVER = 150_000
GRANTED_SET_SERVER = 160_000
_LOCK = 0x42504D01
_DECIDES_ON_HYPERTABLES = "hypertables"

_ROLES = {
    OWNER_ROLE: "NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
    APP_ROLE: "NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
    INGEST_ROLE: "NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEDB NOCREATEROLE",
    RETENTION_ROLE: "NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEDB NOCREATEROLE",
    ERASER_ROLE: "NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEDB NOCREATEROLE",
}


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this version of the engine, in order."""
    found = []
    for entry in (resources.files("storage") / "migrations").iterdir():
        matched = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if matched is not None:
            found.append(Migration(int(matched[1]), matched[2], entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def migrate(conninfo: str, service_login: str | None = None) -> list[str]:
    """Bring the database up to date; returns the names of what was applied.

    conninfo: an administrator's connection. service_login: a role that may act as the app and ingest roles;
    None leaves that to the administrator, who can act as any.
    Raises DatabaseRefusedError for a server or a schema that this version can't work with.
    """
    with connect(conninfo, autocommit=True) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise DatabaseRefusedError(
                f"PostgreSQL {connection.info.server_version // 10_000} is too old; 15 is the oldest that is supported",
                limit=15,
            )
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _ensure_roles(connection, service_login)
        _ensure_schema(connection)
        return _apply_missing(connection)


def _ensure_roles(connection: psycopg.Connection, service_login: str | None) -> None:
    existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    try:
        for role, attributes in _ROLES.items():
            if role not in existing:
                connection.execute(sql.SQL("CREATE ROLE {} " + attributes).format(sql.Identifier(role)))
        me = connection.execute("SELECT current_user").fetchone()
        members = [name for name in (service_login, me[0] if me else None) if name is not None]
        for member in members:
            granted = [APP_ROLE, INGEST_ROLE, RETENTION_ROLE] + (
                [OWNER_ROLE, ERASER_ROLE] if member != service_login else []
            )
            for role in granted:
                if not _can_act_as(connection, member, role):
                    connection.execute(
                        sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member))
                    )
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefusedError(
            "this login can't make the roles bpm_owner, bpm_app, and with BYPASSRLS bpm_ingest, bpm_retention and "
            "bpm_eraser; "
            f"migrate once with a login that can ({error.diag.message_primary})"
        ) from error


def _can_act_as(connection: psycopg.Connection, member: str, role: str) -> bool:
    # From 16 on, who makes a role is its member without the right to act as it.
    right = "MEMBER" if connection.info.server_version < GRANTED_SET_SERVER else "SET"
    row = connection.execute("SELECT pg_has_role(%s, %s, %s)", (member, role, right)).fetchone()
    return row is not None and bool(row[0])


def _ensure_schema(connection: psycopg.Connection) -> None:
    connection.execute(
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
            sql.Identifier(SCHEMA), sql.Identifier(OWNER_ROLE)
        )
    )
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {}.migrations (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        ).format(sql.Identifier(SCHEMA))
    )
    connection.execute(
        sql.SQL("ALTER TABLE {}.migrations OWNER TO {}").format(
            sql.Identifier(SCHEMA), sql.Identifier(OWNER_ROLE)
        )
    )


def _apply_missing(connection: psycopg.Connection) -> list[str]:
    known = {migration.number: migration for migration in migrations()}
    applied: dict[int, str] = dict(
        connection.execute(f"SELECT number, digest FROM {SCHEMA}.migrations").fetchall()
    )
    for number, digest in applied.items():
        if number not in known:
            raise DatabaseRefusedError(
                f"the database has migration {number}, which this version doesn't know: a newer version made it"
            )
        if known[number].digest != digest:
            raise DatabaseRefusedError(f"migration {number} was changed after it had been applied")
    done = []
    for number, migration in known.items():
        if number in applied:
            continue
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER_ROLE)))
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(SCHEMA)))
            connection.execute(migration.text.encode())
            if migration.name == _DECIDES_ON_HYPERTABLES:
                hypertables.make_where_possible(connection)
            connection.execute(
                "INSERT INTO migrations (number, name, digest) VALUES (%s, %s, %s)",
                (number, migration.name, migration.digest),
            )
        done.append(f"{number:04}_{migration.name}")
    return done


def require_migrated(conninfo: str) -> None:
    """Raises DatabaseRefusedError when the database isn't the one of this version."""
    with connect(conninfo, autocommit=True) as connection:
        there = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.migrations",)).fetchone()
        if there == (None,):
            raise DatabaseRefusedError("the database is empty; run `bpm migrate`")
        applied = {number for (number,) in connection.execute(f"SELECT number FROM {SCHEMA}.migrations")}
    if applied != {migration.number for migration in migrations()}:
        raise DatabaseRefusedError("the database is of another version; run `bpm migrate`")

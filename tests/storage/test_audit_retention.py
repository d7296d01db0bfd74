"""Audit entries are dropped only when they are old, only by the role for it, and the log says so."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from api.audit.retention import AuditRetention
from api.database_access import DatabaseAccess
from api.settings import Settings
from api.timer import wall_ms
from domain.clock import AnchoredClock
from domain.redaction import is_sensitive
from storage import audit
from storage.database import INGEST_ROLE, RETENTION_ROLE
from storage.tenants import create as create_tenant

NOW = datetime.now(UTC)
MS_PER_DAY = 86_400_000
AGES_DAYS = (0, 10, 89, 91, 200, 400)
SOUNDS_SECRET = re.compile(
    r"secret|passw|token|salt|hash|(^|_)keys?($|_)|code|seed|credential|signature|digest"
)
KNOWN_TO_BE_SHOWN = {"item_hash", "body_hash", "key", "key_id", "ignored_keys", "key_aliases_version"}
"""Hashes of readings and bodies, which their sender has; and names of measures."""


@pytest.fixture
def entries(database: DatabaseAccess) -> Iterator[psycopg.Connection]:
    """A log with entries of several ages, of two tenants."""
    for name in ("alpha", "beta"):
        create_tenant(database.as_role(INGEST_ROLE, Settings()), name, register_unknown_packs=False)
    with psycopg.connect(database.admin, autocommit=True, options="-c search_path=bpm") as connection:
        # No role may: so do superusers in emergencies.
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM audit_log")
        connection.execute("SET session_replication_role = origin")
        for age_days in AGES_DAYS:
            connection.execute(
                "INSERT INTO audit_log (tenant_id, at, subject, action, resource, resource_id, request_id)"
                " SELECT tenant_id, %s, 's', 'a', 'r', %s, '' FROM tenants",
                (NOW - timedelta(days=age_days), str(age_days)),
            )
        yield connection


def ages(connection: psycopg.Connection) -> list[int]:
    found = connection.execute(
        "SELECT DISTINCT resource_id::int FROM audit_log WHERE action = 'a'"
    ).fetchall()
    return sorted(age for (age,) in found)


def retention(
    database: DatabaseAccess, days_min: int | None, entries_max: int = 100, ahead_days: int = 0
) -> AuditRetention:
    def now_ms() -> int:
        return wall_ms() + ahead_days * MS_PER_DAY

    clock = AnchoredClock(now_ms, now_ms, 60_000)
    return AuditRetention(
        database.as_role(RETENTION_ROLE, Settings()), clock, days_min, entries_max, interval_s=60
    )


def test_entries_older_than_wanted_go_and_each_log_says_so(
    database: DatabaseAccess, entries: psycopg.Connection
) -> None:
    assert asyncio.run(retention(database, 150).look()) == 4
    assert ages(entries) == [0, 10, 89, 91]
    noted = entries.execute(
        "SELECT subject, after ->> 'entries' FROM audit_log WHERE action = 'audit.dropped'"
    )
    assert noted.fetchall() == [("engine", "2"), ("engine", "2")]
    assert asyncio.run(retention(database, 150).look()) == 0


def test_one_look_drops_no_more_than_it_may(database: DatabaseAccess, entries: psycopg.Connection) -> None:
    assert [asyncio.run(retention(database, 150, entries_max=3).look()) for _ in range(3)] == [3, 1, 0]


def test_a_clock_that_is_ahead_makes_no_entry_older(
    database: DatabaseAccess, entries: psycopg.Connection
) -> None:
    assert asyncio.run(retention(database, 300, ahead_days=250).look()) == 2
    assert ages(entries) == [0, 10, 89, 91, 200]


def test_all_entries_are_kept_without_the_setting(
    database: DatabaseAccess, entries: psycopg.Connection
) -> None:
    asyncio.run(retention(database, None).run())
    assert ages(entries) == list(AGES_DAYS)


def test_database_keeps_the_last_90_days_whatever_is_asked(
    database: DatabaseAccess, entries: psycopg.Connection
) -> None:
    conninfo = database.as_role(RETENTION_ROLE, Settings())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        asyncio.run(audit.drop(conninfo, NOW, timedelta(days=50), 100))
    assert ages(entries) == list(AGES_DAYS)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET subject = 'x'", "TRUNCATE audit_log", "DELETE FROM sites", "SELECT 1 FROM packs"],
)
def test_role_for_retention_can_do_nothing_else(
    database: DatabaseAccess, entries: psycopg.Connection, statement: str
) -> None:
    with (
        psycopg.connect(database.as_role(RETENTION_ROLE, Settings())) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_every_column_that_sounds_secret_is_left_out_of_the_log_or_known_to_be_shown(
    database: DatabaseAccess,
) -> None:
    with psycopg.connect(database.admin) as connection:
        rows: list[Any] = connection.execute(
            "SELECT DISTINCT column_name::text FROM information_schema.columns"
            " WHERE table_schema = 'bpm' AND data_type NOT LIKE 'timestamp%'"
        ).fetchall()
    sounding = {name for (name,) in rows if SOUNDS_SECRET.search(name)}
    assert {name for name in sounding if not is_sensitive(name)} <= KNOWN_TO_BE_SHOWN
    assert {"secret", "former_secret"} <= sounding

"""Migrations: from empty to the schema, once, one way."""

import threading
from importlib import resources

import psycopg
import pytest

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess
from domain.errors import DatabaseRefusedError
from domain.measures import MEASURE_NAMES
from storage.database import query
from storage.migrate import migrate, migrations
from tests.schema import SCHEMA_FILE, dump_schema
from tests.timescale import ONLY_PARTITIONS


@ONLY_PARTITIONS
def test_migrations_from_empty_give_the_written_schema(database: DatabaseAccess) -> None:
    assert dump_schema(database) == SCHEMA_FILE.read_text(encoding="utf-8")


def test_columns_of_readings_are_the_table_of_measures(database: DatabaseAccess) -> None:
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT attname, atttypid::regtype::text FROM pg_attribute"
            " WHERE attrelid = 'bpm.readings_class_0'::regclass AND attnum > 0 ORDER BY attnum"
        ).fetchall()
    assert [row for row in rows if row[1] == "real"] == [(name, "real") for name in MEASURE_NAMES]


def test_concurrent_migrations_apply_each_once(empty_database: DatabaseAccess) -> None:
    applied: list[str] = []
    threads = [
        threading.Thread(target=lambda: applied.extend(migrate(empty_database.admin, SERVICE_LOGIN)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == [f"{one.number:04}_{one.name}" for one in migrations()]
    assert migrate(empty_database.admin, SERVICE_LOGIN) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("INSERT INTO bpm.migrations (number, name, digest) VALUES (9999, 'later', 'x')", "9999"),
        ("UPDATE bpm.migrations SET digest = 'x' WHERE number = 1", "changed after"),
    ],
)
def test_schema_of_another_version_is_refused(database: DatabaseAccess, change: str, said: str) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(change.encode())
        connection.commit()
    try:
        with pytest.raises(DatabaseRefusedError, match=said):
            migrate(database.admin, SERVICE_LOGIN)
    finally:
        with psycopg.connect(database.admin) as connection:
            connection.execute("DELETE FROM bpm.migrations WHERE number = 9999")
            connection.execute(
                "UPDATE bpm.migrations SET digest = %s WHERE number = 1", (migrations()[0].digest,)
            )


def test_numbers_of_migrations_have_no_gap() -> None:
    assert [one.number for one in migrations()] == list(range(1, len(migrations()) + 1))


def test_every_query_has_a_name_of_its_own() -> None:
    folder = resources.files("storage") / "queries"
    for file in folder.iterdir():
        names = [
            line.removeprefix("-- name: ")
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("-- name: ")
        ]
        assert len(names) == len(set(names))
        for name in names:
            assert query(f"{file.name.removesuffix('.sql')}.{name}").strip()

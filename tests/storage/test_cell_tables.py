"""Everything that a tenant has goes along when it moves, or is named with the reason why it stays."""

import re

import psycopg
import pytest

from api.database_access import DatabaseAccess
from storage.cell_tables import MAPS, MOVED, NOT_MOVED
from storage.days import STANDARD_CLASS, class_table
from storage.erasing_slices import READINGS, named

_OF_A_TENANT = frozenset(
    {"tenant_id", "pack_id", "rule_no", "partition_no", "tenure_no", "correction_no", "batch_no"}
)
_AS_THEY_ARE = {
    ("closed_changes", "partition_no"): "it refers to none",
    ("ingest_days", "partition_no"): "it refers to none",
    ("batches", "position"): "in a log that is not read again",
}
_NUMBERS_BY_NAME = re.compile(r".*_no|pack_id|tenant_id|.*_tenant_id|seq")
_NOT_OF_THE_CELL = {
    ("readings", "item_no"): "of the batch",
    ("superseded_readings", "item_no"): "of the batch",
}


@pytest.fixture(scope="module")
def columns(database: DatabaseAccess) -> dict[str, list[str]]:
    """The columns of each table that is no partition of another."""
    with psycopg.connect(database.admin) as connection:
        found = dict(
            connection.execute(
                "SELECT relname, array_agg(attname::text ORDER BY attnum) FROM pg_class"
                " JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
                " WHERE relnamespace = 'bpm'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
                " AND attgenerated = '' GROUP BY relname"
            ).fetchall()
        )
    # Read as one, and written in the table of the tenant's class of retention.
    return {named(table): names for table, names in found.items()}


def test_every_table_with_something_of_a_tenant_is_moved_or_stays_for_a_reason(
    columns: dict[str, list[str]],
) -> None:
    of_tenants = {table for table, names in columns.items() if _OF_A_TENANT & set(names)}
    moved = [table.name for table in MOVED]
    assert len(set(moved)) == len(moved)
    assert of_tenants - set(moved) == set(NOT_MOVED)
    assert set(moved) <= of_tenants
    assert all(NOT_MOVED.values())


def test_no_number_of_the_cell_is_copied_as_it_is(columns: dict[str, list[str]]) -> None:
    kept = {
        (table.name, name)
        for table in MOVED
        for name in columns[table.name]
        if _NUMBERS_BY_NAME.fullmatch(name)
        and table.expression(name) in (None, f"t.{name}")
        and name not in table.left
    }
    assert kept - set(_NOT_OF_THE_CELL) == {key for key in _AS_THEY_ARE if key[1] != "position"}


def test_every_number_that_a_sequence_gives_has_a_map(database: DatabaseAccess) -> None:
    with psycopg.connect(database.admin) as connection:
        given = {
            name
            for (name,) in connection.execute(
                "SELECT sequencename FROM pg_sequences WHERE schemaname = 'bpm'"
            ).fetchall()
        }
    # Batches are shifted, a tenant's own number is given when its row is made, and epochs begin anew. Security events
    # stay, and so do access grants, classes of retention and what the installation logs.
    assert given - {sequence for _, _, sequence in MAPS.values()} == {
        "access_grants_grant_no_seq",
        "batch_numbers",
        "credential_epochs_epoch_seq",
        "platform_log_id_seq",
        "platform_security_events_event_no_seq",
        "retention_classes_class_no_seq",
        "security_events_event_no_seq",
        "tenants_tenant_id_seq",
    }


def test_rows_come_after_what_they_refer_to(database: DatabaseAccess) -> None:
    order = {table.name: place for place, table in enumerate(MOVED)}
    with psycopg.connect(database.admin) as connection:
        references = connection.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
            " WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'bpm'::regnamespace"
        ).fetchall()
    known = [(of.removeprefix("bpm."), to.removeprefix("bpm.")) for of, to in references]
    wrong = [(of, to) for of, to in known if of in order and to in order and order[of] < order[to]]
    assert known
    assert wrong == []


def test_whatever_moves_may_be_read_and_written_by_the_role_that_copies(database: DatabaseAccess) -> None:
    with psycopg.connect(database.admin) as connection:
        lacking = [
            (moved.name, right)
            for moved in MOVED
            for right in ("SELECT", "INSERT")
            if connection.execute(
                "SELECT has_table_privilege('bpm_ingest', 'bpm.' || %s, %s)",
                (
                    class_table(STANDARD_CLASS)
                    if moved.name == READINGS and right == "INSERT"
                    else moved.name,
                    right,
                ),
            ).fetchone()
            != (True,)
        ]
    assert lacking == []

"""A restart after many batches, of which the planner knows nothing yet, is a matter of seconds."""

import time

import numpy as np
import psycopg
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.alerting import live_after
from storage.database import INGEST_ROLE, adapt_columns
from storage.partition import PartitionStore
from storage.partition_queries import PartitionQueries
from tests.storage.test_hypertables import into_columns
from tests.stored import Stored

BATCHES, READINGS_OF_EACH = 6_000, 10
DAY_MS = 86_400_000
RESTART_MS_MAX = 20_000
"""With a look through all batches for each reading it was minutes."""


def test_later_readings_are_found_without_statistics_of_them(own_database: DatabaseAccess) -> None:
    conninfo = own_database.as_role(INGEST_ROLE, Settings())
    store = PartitionStore(conninfo, 0)
    store.take_over()
    now_ms = time.time_ns() // 1_000_000
    store.prepare_days(np.zeros(2, np.int32), np.array([now_ms - DAY_MS, now_ms], np.int64))
    store.close()
    with psycopg.connect(own_database.admin, options="-c search_path=bpm") as connection:
        connection.execute("INSERT INTO tenants (name) VALUES ('restart')")
        connection.execute("INSERT INTO packs (tenant_id, pack_id, external_id) VALUES (1, 0, 'P')")
        connection.execute("INSERT INTO tenures (tenant_id, pack_id, held_from) VALUES (1, 0, '-infinity')")
        connection.execute(
            "INSERT INTO batches (tenant_id, id, batch_no, partition_no, position, source, subject, mode, arrived_at,"
            " received, accepted, duplicate, late, quarantined, conflicting, items, items_omitted, ignored_keys)"
            " SELECT 1, gen_random_uuid(), n, 0, n, 'http', 's', 'live', now(), 10, 10, 0, 0, 0, 0, '[]', 0, '{}'"
            " FROM generate_series(1, %s) AS n",
            (BATCHES,),
        )
        connection.execute(
            "INSERT INTO readings (tenant_id, pack_id, ts, batch_no, item_no, voltage_v)"
            " SELECT 1, 0, now() - (n * 10 + item) * interval '1 second', n, item, 350"
            " FROM generate_series(1, %s) AS n, generate_series(0, %s) AS item",
            (BATCHES, READINGS_OF_EACH - 1),
        )
    with psycopg.connect(conninfo, autocommit=True, row_factory=dict_row) as connection:
        adapt_columns(connection)
        connection.execute(f"SET statement_timeout = {RESTART_MS_MAX}")
        found = live_after(PartitionQueries(connection, 0), 0)
        assert len(found) == BATCHES * READINGS_OF_EACH
        if connection.execute("SELECT FROM installation WHERE hypertables").fetchall():
            assert into_columns(Stored(own_database)) >= 1
            found = live_after(PartitionQueries(connection, 0), 0)
            assert len(found) == BATCHES * READINGS_OF_EACH

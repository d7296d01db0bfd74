"""Two workers of one partition of a topic, the older of which was paused and knows nothing of the newer.

Takes the administrator's connection string from standard input, of an installation whose readings come from a topic.
Prints, as JSON, the partition's position after both, and whether the older one knows that it has lost the partition.
"""

import json
import sys
import time
from dataclasses import replace

import psycopg

from api.limits import owner_limits
from api.settings import Environment, Settings
from domain.clock import AnchoredClock
from domain.log_ends import Ends
from storage.database import INGEST_ROLE, conninfo_as
from storage.layout import layout
from storage.partition import PartitionStore
from streams.partition_worker import PartitionWorker
from streams.pipeline import PipelineLimits
from streams.settling import Delivered
from tests.faults.stale_owner import one_reading

MESSAGES = 4
SEEN_BY_THE_OLDER = 2
ENDS = Ends(0, MESSAGES)


def worker(conninfo: str, topic: str | None) -> PartitionWorker:
    settings = Settings(env=Environment.DEVELOPMENT)
    return PartitionWorker(
        0,
        PartitionStore(conninfo, 0, log=topic),
        owner_limits(settings),
        PipelineLimits(settings.late_after_s, settings.receipt_items_max),
        AnchoredClock(lambda: time.time_ns() // 1_000_000, lambda: time.monotonic_ns() // 1_000_000, 60_000),
        time.monotonic,
        lambda _: None,
    )


def no_dead_letter(position: int, error: Exception) -> None:
    raise AssertionError(position) from error


def main(administrator: str, tenant: int, ts_ms: int) -> None:
    topic = layout(administrator).topic
    conninfo = conninfo_as(administrator, INGEST_ROLE, application="stale worker")
    with psycopg.connect(administrator) as connection:
        row = connection.execute("SELECT registry_version FROM bpm.tenants").fetchone()
    assert row is not None
    messages = [
        Delivered(replace(one_reading(tenant, ts_ms + number), registry_version=row[0]), number)
        for number in range(MESSAGES)
    ]
    older, newer = worker(conninfo, topic), worker(conninfo, topic)
    for one in (older, newer):
        one.take_over()
        one.compare(ENDS)
    newer.commit(messages, no_dead_letter)
    older.commit(messages[:SEEN_BY_THE_OLDER], no_dead_letter)
    with psycopg.connect(administrator) as connection:
        found = connection.execute("SELECT next FROM bpm.partitions WHERE partition_no = 0").fetchone()
    assert found is not None
    for one in (older, newer):
        one.store.close()
        one.close()
    print(json.dumps({"position": found[0], "knows": older.lost}))


if __name__ == "__main__":
    main(sys.stdin.read(), int(sys.argv[1]), int(sys.argv[2]))

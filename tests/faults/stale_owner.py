"""Two owners of one partition, the older of which knows nothing of the newer; run from the build to be tried.

Takes the administrator's connection string from standard input. Prints, as JSON, what became of the older one's write: "fenced" or "committed".
"""

import json
import sys
from contextlib import closing
from uuid import uuid4

import numpy as np

from domain.errors import FencedError
from domain.measures import MEASURE_NAMES, MEASURES
from domain.readings import ABSENT, IncomingBatch, ReadingBatch
from domain.receipts import Mode
from domain.tenancy import PARTITION_ZERO, TenantId
from storage.database import INGEST_ROLE, conninfo_as
from storage.partition import PartitionStore
from streams import pipeline
from streams.state import State

PACK, THOUSANDTHS = 0, 350_000
_LIMITS = pipeline.PipelineLimits(late_after_s=900, receipt_items_max=10)


class NoRawItems:
    """Nothing here is set aside, so no raw text is asked for."""

    def __call__(self, index: int) -> str:
        raise LookupError(index)

    def release(self) -> None:
        """Nothing is kept."""


def one_reading(tenant: int, ts_ms: int) -> IncomingBatch:
    thousandths = np.full((len(MEASURES), 1), ABSENT, np.int32)
    thousandths[MEASURE_NAMES.index("voltage_v")] = THOUSANDTHS
    return IncomingBatch(
        id=uuid4(),
        tenant_id=TenantId(tenant),
        subject="tester",
        source="test",
        mode=Mode.LIVE,
        import_id=None,
        arrived_at_ms=ts_ms,
        body_hash=None,
        registry_version=0,
        body_bytes=0,
        received=1,
        readings=ReadingBatch(
            np.zeros(1, np.int32),
            np.full(1, tenant, np.int32),
            np.ones(1, np.int32),
            np.full(1, PACK, np.int32),
            np.full(1, ts_ms, np.int64),
            thousandths,
        ),
        quarantined=(),
        ignored_keys=(),
        raw_of=NoRawItems(),
    )


class Owner:
    """An owner of the partition with its state, as the runner is one."""

    def __init__(self, conninfo: str) -> None:
        self.store = PartitionStore(conninfo, PARTITION_ZERO)
        self.store.take_over()
        self.state = State.restored(*self.store.load())

    def commit(self, batch: IncomingBatch) -> None:
        self.store.prepare_days(batch.readings.tenant, batch.readings.ts_ms)
        with self.store.group() as transaction:
            found = transaction.find(pipeline.plan([batch], self.state))
            transaction.write(pipeline.decide([batch], found, _LIMITS))

    def lose_the_lock(self) -> None:
        """As behind a pooler, or after a failover: the session lives on, and the lock is somebody else's."""
        self.store._required().connection.execute("SELECT pg_advisory_unlock_all()")


def main(administrator: str, tenant: int, ts_ms: int) -> None:
    conninfo = conninfo_as(administrator, INGEST_ROLE, application="stale owner")
    older = Owner(conninfo)
    with closing(older.store):
        older.lose_the_lock()
        newer = Owner(conninfo)
        with closing(newer.store):
            newer.commit(one_reading(tenant, ts_ms))
        try:
            older.commit(one_reading(tenant, ts_ms))
        except FencedError as error:
            print(json.dumps({"outcome": "fenced", "detail": error.detail}))
        else:
            print(json.dumps({"outcome": "committed", "detail": None}))


if __name__ == "__main__":
    main(sys.stdin.read(), int(sys.argv[1]), int(sys.argv[2]))

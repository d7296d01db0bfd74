"""Packs that a tenant which is erased shares with others: what is remembered of them becomes what the others have."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import numpy as np
import psycopg
from psycopg.rows import DictRow

from domain.measures import MEASURES
from domain.readings import ABSENT, NEVER_MS, Int32Array
from storage.correcting import latest_of
from storage.database import int4s, int8s, query
from storage.partition_queries import PartitionQueries

_PACKS_AT_ONCE: Final = 50


@dataclass(slots=True)
class SharedPacks:
    """Their latest values are read while readings come in; what came meanwhile is read once more under the partitions.

    So the owners wait for these packs alone, however many there are. packs: ascending.
    """

    connection: psycopg.Connection[DictRow]
    tenant: int
    packs: list[int]
    _latest_ts_ms: np.ndarray[Any, np.dtype[np.int64]] = field(init=False)
    _latest: np.ndarray[Any, np.dtype[np.int32]] = field(init=False)
    _last_batch_no: int = field(init=False)
    _since: datetime = field(init=False)
    _superseded: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._latest_ts_ms = np.full((len(MEASURES), len(self.packs)), NEVER_MS, np.int64)
        self._latest = np.full((len(MEASURES), len(self.packs)), ABSENT, np.int32)

    @classmethod
    def of(cls, connection: psycopg.Connection[DictRow], tenant: int) -> Self:
        """Those of a tenant; the connection has NumPy columns."""
        rows = connection.execute(query("erasing.shared_packs"), {"tenant": tenant}).fetchall()
        return cls(connection, tenant, [row["pack_id"] for row in rows])

    def read(self) -> None:
        """Read the latest values of all of them. The tenant's readings are gone, its tenures of them aren't."""
        if not self.packs:
            return
        with self.connection.transaction():
            # Whatever has a batch number up to the last is committed by now, in every partition.
            self.connection.execute(query("erasing.lock_partitions"))
            (row,) = self.connection.execute(query("erasing.last_batch")).fetchall()
        self._last_batch_no, self._since = row["batch_no"], row["at"]
        self._superseded = self._count_superseded()
        everywhere = np.arange(len(self.packs))
        for start in range(0, len(self.packs), _PACKS_AT_ONCE):
            self._read(everywhere[start : start + _PACKS_AT_ONCE])

    def forget(self) -> None:
        """Let the saved states hold what others have, under the locked partitions."""
        if not self.packs:
            return
        self._read(self._changed())
        given = {
            "pack": int4s(self.packs),
            "latest_ts_ms": int8s(self._latest_ts_ms.T.ravel()),
            "latest": int4s(self._latest.T.ravel()),
            "measures": len(MEASURES),
        }
        self.connection.execute(query("erasing.forget_latest"), given)

    def _changed(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The places of those of which readings were stored, corrected or deleted since they were read."""
        # BRIN finds the blocks, whatever the statistics of the newest rows say.
        self.connection.execute("SET LOCAL enable_seqscan = off")
        given = {"packs": self.packs, "batch_no": self._last_batch_no, "since": self._since}
        (span,) = self.connection.execute(query("erasing.span_after"), given).fetchall()
        rows = self.connection.execute(query("erasing.packs_corrected"), given).fetchall()
        if span["starts"] is not None:
            rows += self.connection.execute(query("erasing.packs_after"), given | span).fetchall()
        changed = {row["pack_id"] for row in rows}
        now = self._count_superseded()
        changed |= {pack for pack, rows in now.items() if rows != self._superseded.get(pack)}
        return np.flatnonzero(np.isin(self.packs, sorted(changed)))

    def _count_superseded(self) -> dict[int, int]:
        rows = self.connection.execute(query("erasing.superseded_of"), {"packs": self.packs}).fetchall()
        return {row["pack_id"]: row["rows"] for row in rows}

    def _read(self, places: np.ndarray[Any, np.dtype[np.intp]]) -> None:
        if len(places) == 0:
            return
        packs: Int32Array = np.array(self.packs, np.int32)[places]
        queries = PartitionQueries(self.connection, 0)
        found = latest_of(queries, packs)
        absent = found.thousandths == ABSENT
        # What is left of the tenant's own is the saved state's, from days whose readings were dropped.
        tenant, pack, from_ms, to_ms, _ = queries.columns("windows.tenures_of", {"packs": int4s(packs)})
        own = np.flatnonzero(np.equal(tenant, self.tenant))
        for row in own:
            place = np.flatnonzero(packs == pack[row])
            ts_ms = found.ts_ms[:, place]
            absent[:, place] |= (ts_ms >= from_ms[row]) & (ts_ms < to_ms[row])
        self._latest_ts_ms[:, places] = np.where(absent, NEVER_MS, found.ts_ms)
        self._latest[:, places] = np.where(absent, ABSENT, found.thousandths)

"""Rows of a tenant, deleted some at a time: each slice in a transaction of its own, and counted in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, tuple_row

from storage.database import SCHEMA, query
from storage.days import CLASS_TABLES

READINGS: Final = "readings"
"""Rows are counted by this name, whichever class of retention the table is of."""

BY_PACK: Final = {
    READINGS: "ts",
    "superseded_readings": "ts",
    "quarters": "starts",
    "pack_days": "starts",
    "window_notes": "starts",
    "days_to_fold": "day",
}
"""Tables with many rows of a pack, whose index begins with the pack: with the column by which a pack's are cut."""

_PACKS_AT_ONCE: Final = 50
"""Looked at together."""

# With bounds, since TimescaleDB passes over no batch of its columns for a list.
_SOME_PACKS: Final = (
    "tenant_id = %(tenant)s AND pack_id = ANY(%(packs)s) AND pack_id >= %(first)s AND pack_id <= %(last)s"
)
_ONE_PACK: Final = "tenant_id = %(tenant)s AND pack_id = %(pack)s"

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Erased:
    """Rows that one transaction deleted. packs_done: how many have none left; None where it doesn't go by packs."""

    table: str
    rows: int
    packs_done: int | None = None


Told = Callable[[Erased], None]


@dataclass(frozen=True, slots=True)
class Slices:
    """A tenant's rows. rows_max: deleted by one transaction. told: is called with each that deleted some."""

    connection: psycopg.Connection[DictRow]
    tenant: int
    rows_max: int
    told: Told

    def by_pack(self, table: str, packs: Sequence[int]) -> None:
        """Delete the rows of some packs, ascending, from a table of BY_PACK, or from one with readings of a class."""
        for start in range(0, len(packs), _PACKS_AT_ONCE):
            looked_at = packs[start : start + _PACKS_AT_ONCE]
            counts = self._counts(table, looked_at)
            together: list[int] = []
            for place, pack in enumerate(looked_at, start=start):
                if counts.get(pack, 0) > self.rows_max:
                    self._cut(table, pack, place)
                    continue
                if sum(counts.get(one, 0) for one in [*together, pack]) > self.rows_max:
                    self.slice(table, _SOME_PACKS, _bounded(together), place)
                    together = []
                if pack in counts:
                    together.append(pack)
            if together:
                self.slice(table, _SOME_PACKS, _bounded(together), start + len(looked_at))

    def by_key(self, table: str, where: str, key: Sequence[str], given: Parameters | None = None) -> None:
        """Delete the rows for which a condition holds, in the order of the table's primary key."""
        names = ", ".join(f'"{column}"' for column in key)
        ends = ", ".join(f"%(end_{place})s" for place in range(len(key)))
        rest, parameters = where, dict(given or {})
        while True:
            end = self._end(table, rest, key, parameters)
            if end is None:
                self.slice(table, rest, parameters)
                return
            self.slice(
                table,
                f"{rest} AND ({names}) <= ({ends})",
                parameters | {f"end_{place}": value for place, value in enumerate(end)},
            )
            # Behind what is gone, so that its dead entries of the index aren't gone through again.
            rest = f"{where} AND ({names}) > ({ends.replace('end_', 'last_')})"
            parameters |= {f"last_{place}": value for place, value in enumerate(end)}

    def slice(
        self, table: str, where: str, given: Parameters | None = None, packs_done: int | None = None
    ) -> None:
        """Delete the rows for which a condition holds, in one transaction, or within the one that is open."""
        parameters = {"tenant": self.tenant} | (given or {})
        with self.connection.transaction():
            gone = self.connection.execute(
                f'DELETE FROM {SCHEMA}."{table}" WHERE {where}'.encode(), parameters
            ).rowcount
            if gone:
                counted = {"tenant": self.tenant, "table": named(table), "rows": gone}
                self.connection.execute(query("erasing.count"), counted)
        if gone:
            self.told(Erased(named(table), gone, packs_done))

    def _cut(self, table: str, pack: int, packs_done: int) -> None:
        """Delete the rows of a pack that has more than go at once."""
        column = BY_PACK[named(table)]
        given: Parameters = {"pack": pack}
        where = _ONE_PACK
        while True:
            end = self._end(table, where, [column], given)
            if end is None:
                self.slice(table, where, given, packs_done)
                return
            self.slice(table, f"{where} AND {column} <= %(end)s", given | {"end": end[0]}, packs_done)
            where, given = f"{_ONE_PACK} AND {column} > %(last)s", {"pack": pack, "last": end[0]}

    def _end(self, table: str, where: str, key: Sequence[str], given: Parameters) -> tuple[str, ...] | None:
        """The key of the last row that goes at once, as text, since no datetime is infinite; None when all do."""
        shown = ", ".join(f'"{column}"::text' for column in key)
        order = ", ".join(f'rows."{column}"' for column in key)
        text = (
            f'SELECT {shown} FROM {SCHEMA}."{table}" AS rows WHERE {where}'
            f" ORDER BY {order} OFFSET %(before_end)s LIMIT 1"
        )
        parameters = {"tenant": self.tenant, "before_end": self.rows_max - 1} | given
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(text.encode(), parameters).fetchone()

    def _counts(self, table: str, packs: Sequence[int]) -> dict[int, int]:
        """How many rows each of some packs has; those without any are left out."""
        text = (
            f'SELECT pack_id, count(*) AS rows FROM {SCHEMA}."{table}" WHERE {_SOME_PACKS} GROUP BY pack_id'
        )
        found = self.connection.execute(text.encode(), {"tenant": self.tenant} | _bounded(packs)).fetchall()
        return {row["pack_id"]: row["rows"] for row in found}


def named(table: str) -> str:
    """What a table's rows are counted as.

    >>> named("readings_class_2"), named("quarters")
    ('readings', 'quarters')
    """
    return READINGS if table.startswith(CLASS_TABLES) else table


def _bounded(packs: Sequence[int]) -> Parameters:
    return {"packs": list(packs), "first": packs[0], "last": packs[-1]}

"""What the owners of partitions say of themselves, and the live pictures of their packs."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.clock import from_ms
from domain.packs import Place
from domain.tenancy import TenantId
from storage.connections import connect
from storage.database import query


@dataclass(frozen=True, slots=True)
class Report:
    """What a partition's owner says.

    behind: messages that it hasn't committed yet, and behind_s: how long ago the last one that it committed arrived,
    while there are any. refused: messages that became dead letters. picture: of its packs.
    watermark_delay_s: age of the newest reading that it has committed, None before the first. trouble: why it doesn't
    work on the partition, None while it does.
    """

    partition_no: int
    worker: str
    reported_at_ms: int
    log_end: int
    behind: int
    behind_s: float
    refused: int
    picture: bytes
    watermark_delay_s: float | None
    trouble: str | None = None


class Reports:
    """Written by workers and read by all; each use takes a connection of its own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def write(self, reports: list[Report]) -> None:
        """Put reports in place of those before."""
        with self._connected() as connection:
            connection.cursor().executemany(
                query("operation.write_report"),
                [
                    {name: getattr(one, name) for name in Report.__slots__}
                    | {"reported_at": from_ms(one.reported_at_ms)}
                    for one in reports
                ],
            )

    def pictures(self) -> tuple[list[tuple[int, int, bytes]], list[int]]:
        """Partition, time of the report in ms, and picture; and the partitions of which there was no report yet."""
        with self._connected() as connection:
            rows = connection.execute(query("operation.pictures")).fetchall()
        told = [
            (row["partition_no"], row["reported_at_ms"], bytes(row["picture"]))
            for row in rows
            if row["picture"] is not None
        ]
        return told, [row["partition_no"] for row in rows if row["picture"] is None]

    def unreported(
        self, numbers: Sequence[int], silent_before_ms: int
    ) -> list[tuple[Place, int, str | None, int]]:
        """What the store says of partitions without a report: place, state, kind of open alert, and how many.

        The kind is None for packs. A pack is silent when its last live reading arrived before silent_before_ms.
        """
        asked = {"numbers": list(numbers), "silent_before_ms": silent_before_ms}
        with self._connected() as connection:
            rows = connection.execute(query("operation.unreported"), asked).fetchall()
        return [
            (
                Place(TenantId(row["tenant_id"]), row["site_id"], row["model_id"]),
                row["state"],
                row["kind"],
                row["counted"],
            )
            for row in rows
        ]

    def _connected(self) -> psycopg.Connection[DictRow]:
        return connect(self._conninfo, autocommit=True, row_factory=dict_row)

"""What happened to alerts over a range of time, one by one and in sums."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from domain.errors import InvalidRequestError
from domain.policy import sees_security_alerts
from storage.cursors import Cursors, moment_in, no_cursor, number_in, signed_number_in
from storage.database import query
from storage.transactions import Transaction

_HISTORY = Cursors("alert history")


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which events are asked for, starts <= at < ends; None asks for all. site: by name."""

    starts: datetime
    ends: datetime
    kinds: Sequence[str] | None = None
    severities: Sequence[str] | None = None
    pack: str | None = None
    rule: UUID | None = None
    site: str | None = None


def history_query(name: str, *, newest_first: bool, goes_on: bool) -> bytes:
    """The text of `history` or `history_end`. goes_on: behind a cursor."""
    direction, beyond = ("DESC", "<") if newest_first else ("ASC", ">")

    def after(column: str) -> str:
        if not goes_on:
            return ""
        return (
            f" AND ({column}, partition_no, seq) {beyond} (%(after_at)s, %(after_partition)s, %(after_seq)s)"
        )

    return (
        query(f"alerts.{name}")
        .replace(b"{looked}", query("alerts.history_looked"))
        .decode()
        .replace("{after_rule_time}", after("rule_time"))
        .replace("{after_at}", after("at"))
        .replace("{direction}", direction)
        .encode()
    )


async def history(
    transaction: Transaction,
    chosen: HistoryFilter,
    cursor: str | None,
    limit: int,
    scanned_max: int,
    *,
    newest_first: bool,
) -> tuple[list[DictRow], str | None]:
    """Events with what they are about, in order of their time, and the cursor of the next page.

    At most `scanned_max` events are looked at: then the page may be short though there are more behind its cursor.
    """
    given = history_parameters(transaction, chosen, cursor, limit, scanned_max)
    goes_on = cursor is not None
    text = history_query("history", newest_first=newest_first, goes_on=goes_on)
    rows = await (await transaction.connection.execute(text, given)).fetchall()
    if len(rows) > limit:
        return rows[:limit], _cursor_of(rows[limit - 1])
    text = history_query("history_end", newest_first=newest_first, goes_on=goes_on)
    ends = await (await transaction.connection.execute(text, given)).fetchall()
    return rows, _cursor_of(ends[0]) if ends else None


def history_parameters(
    transaction: Transaction, chosen: HistoryFilter, cursor: str | None, limit: int, scanned_max: int
) -> dict[str, Any]:
    """The parameters of both queries. Where nothing is filtered, no more is looked at than is shown.

    For what is hidden from the actor of security alerts, which are few, no more is looked at either.
    """
    sites = None if transaction.actor.sites is None else sorted(transaction.actor.sites)
    filters = {
        "kinds": None if chosen.kinds is None else list(chosen.kinds),
        "severities": None if chosen.severities is None else list(chosen.severities),
        "pack": chosen.pack,
        "rule": chosen.rule,
        "site": chosen.site,
        "sites": sites,
    }
    narrowed = any(value is not None for value in filters.values())
    after = {} if cursor is None else _decoded(cursor)
    bounds = {"scanned": scanned_max if narrowed else limit + 1, "limit": limit + 1}
    span = {"from": chosen.starts, "to": chosen.ends}
    whose = {
        "tenant_id": transaction.actor.tenant_id,
        "security": sees_security_alerts(transaction.actor),
    }
    return filters | after | bounds | span | whose


def _decoded(cursor: str) -> dict[str, Any]:
    parts = (_HISTORY.decode(cursor) or "").split(" ")
    if len(parts) != 3:  # noqa: PLR2004 - time, partition, number
        raise no_cursor()
    moment, partition, seq = parts
    return {
        "after_at": moment_in(moment),
        "after_partition": number_in(partition),
        "after_seq": signed_number_in(seq),
    }


def _cursor_of(row: DictRow) -> str:
    return _HISTORY.encode(f"{row['at'].isoformat()} {row['partition_no']} {row['seq']}")


GROUPS: Final = {
    "severity": ("alerts.severity", "NULL"),
    "rule": ("rules.name", "rules.id"),
    "site": ("sites.name", "sites.id"),
    "pack": ("packs.external_id", "packs.id"),
    "model": ("models.name", "models.id"),
}
"""By what statistics are grouped: the name and the id of each group."""


async def statistics(
    transaction: Transaction, by: str, starts: datetime, ends: datetime, groups_max: int, alerts_max: int
) -> list[DictRow]:
    """Sums of the alerts raised in starts <= t < ends: of all of them first, then by group, the largest first.

    by: a key of GROUPS. Raises InvalidRequestError for more than `alerts_max` alerts.
    """
    span = {"from": starts, "to": ends}
    counted = await transaction.one("alerts.count_raised", span | {"limit": alerts_max + 1})
    if counted is not None and counted["count"] > alerts_max:
        raise InvalidRequestError(
            f"more than {alerts_max} alerts: ask for a shorter range", field="to", limit=alerts_max
        )
    key, id_ = GROUPS[by]
    text = query("alerts.statistics").replace(b"{key}", key.encode()).replace(b"{id}", id_.encode())
    sites = None if transaction.actor.sites is None else sorted(transaction.actor.sites)
    given = span | {
        "tenant_id": transaction.actor.tenant_id,
        "sites": sites,
        "security": sees_security_alerts(transaction.actor),
        "limit": groups_max,
    }
    return await (await transaction.connection.execute(text, given)).fetchall()

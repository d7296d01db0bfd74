"""Alerts as requests see them."""

from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import DictRow

from domain.errors import NotFoundError
from storage.records import decode_number_cursor, page_of
from storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts are asked for; None asks for all."""

    state: str | None = None
    severity: str | None = None
    pack: str | None = None
    rule: UUID | None = None


async def page(
    transaction: Transaction, chosen: AlertFilter, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Alerts, newest first, and the cursor of the next page."""
    asked = _asked(chosen) | {"after": decode_number_cursor(cursor), "limit": limit + 1}
    return page_of(await transaction.rows("alerts.list", asked), limit, "alert_no")


def _asked(chosen: AlertFilter, alert_id: UUID | None = None) -> dict[str, object]:
    return {
        "id": alert_id,
        "state": chosen.state,
        "severity": chosen.severity,
        "pack": chosen.pack,
        "rule": chosen.rule,
    }


async def get(transaction: Transaction, alert_id: UUID) -> DictRow:
    """The alert. Raises NotFoundError, also for what the actor's sites don't show."""
    row = await transaction.one("alerts.list", _asked(AlertFilter(), alert_id) | {"after": None, "limit": 1})
    if row is None:
        raise NotFoundError("there is no such alert")
    return row


async def actions(transaction: Transaction, alert_id: UUID, limit: int) -> list[DictRow]:
    """What people did with an alert, oldest first; at most `limit`."""
    return await transaction.rows("alerts.actions", {"id": alert_id, "limit": limit})


async def transitions(transaction: Transaction, alert: DictRow, limit: int) -> list[DictRow]:
    """What happened to an alert, oldest first; at most `limit`."""
    keys = ("rule_no", "rule_version", "subject_pack", "subject_source", "onset")
    return await transaction.rows("alerts.transitions", {key: alert[key] for key in keys} | {"limit": limit})

"""Alerts as requests see them: one, a page of those that a filter chooses, and what happened to one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from domain.errors import NotFoundError
from domain.policy import sees_security_alerts
from storage.cursors import Cursors, moment_in, number_in
from storage.database import query
from storage.transactions import Transaction

_ALERTS, _BY_RAISED = Cursors("alerts"), Cursors("alerts by time")

SCANNED_MAX: Final = 20_000
"""Alerts looked at for a page, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts are asked for; None asks for all. severities: one of these. starts <= raised_at < ends.

    site: by name or id. assigned_to: the name that was given.
    """

    state: str | None = None
    severities: Sequence[str] | None = None
    pack: str | None = None
    rule: UUID | None = None
    site: str | None = None
    starts: datetime | None = None
    ends: datetime | None = None
    acknowledged: bool | None = None
    assigned_to: str | None = None
    flapping: bool | None = None
    muted: bool | None = None

    @property
    def has_range(self) -> bool:
        return self.starts is not None or self.ends is not None


_SITE: Final = (
    "EXISTS (SELECT FROM tenures JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id"
    " WHERE tenures.tenant_id = looked.tenant_id AND tenures.tenure_no = looked.tenure_no AND {which})"
)

_CONDITIONS: Final = {
    "pack": "pack_id = (SELECT pack_id FROM packs WHERE packs.tenant_id = %(tenant_id)s AND external_id = %(pack)s)",
    "assigned_to": "assigned_to = %(assigned_to)s",
    "open": "state = 'open'",
    "rule": "rule_no = (SELECT rule_no FROM rules WHERE rules.tenant_id = %(tenant_id)s AND rules.id = %(rule)s)",
    "flapping": "flapping",
    "muted": "silence_id IS NOT NULL",
    "from": "raised_at >= %(from)s",
    "to": "raised_at < %(to)s",
    "severity": "severity = %(severity)s",
    "state": "state = %(state)s",
    "severities": "severity = ANY(%(severities)s::text[])",
    "acknowledged": "acknowledged_at IS NOT NULL",
    "unacknowledged": "acknowledged_at IS NULL",
    "steady": "NOT flapping",
    "shown": "silence_id IS NULL",
    "site": _SITE.format(which="(sites.name = %(site)s OR sites.id::text = %(site)s)"),
    "not_of_security": "security_kind IS NULL",
    "seen": _SITE.format(which="sites.name = ANY(%(sites)s::text[])"),
}
"""What can be asked for, in SQL; the first ones are answered by an index of their own, the best of them first."""

_DRIVING: Final = (
    ("pack",),
    ("assigned_to",),
    ("open",),
    ("rule",),
    ("flapping",),
    ("muted",),
    ("from", "to"),
    ("severity",),
)
_RANGE: Final = _DRIVING[6]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a page is read. by_raised: in order of raised_at, since a range of it is what the index answers."""

    driven: tuple[str, ...]
    others: tuple[str, ...]
    by_raised: bool

    def text(self, name: str, after: str) -> bytes:
        order = "raised_at DESC, alert_no DESC" if self.by_raised else "alert_no DESC"
        shown = ", ".join(f"shown_alerts.{part}" for part in order.split(", "))
        return (
            query(f"alerts.{name}")
            .decode()
            .replace("{driven}", _joined(self.driven) + after)
            .replace("{conditions}", _joined(self.others))
            .replace("{shown_order}", shown)
            .replace("{order}", order)
            .encode()
        )


def _joined(names: Sequence[str]) -> str:
    return "".join(f" AND {_CONDITIONS[name]}" for name in names)


def _plan(chosen: AlertFilter, *, limited: bool, security: bool) -> _Plan:
    asked = {
        "pack": chosen.pack is not None,
        "assigned_to": chosen.assigned_to is not None,
        "open": chosen.state == "open",
        "rule": chosen.rule is not None,
        "flapping": chosen.flapping is True,
        "muted": chosen.muted is True,
        "from": chosen.starts is not None,
        "to": chosen.ends is not None,
        "severity": chosen.severities is not None and len(chosen.severities) == 1,
        "state": chosen.state not in (None, "open"),
        "severities": chosen.severities is not None and len(chosen.severities) > 1,
        "acknowledged": chosen.acknowledged is True,
        "unacknowledged": chosen.acknowledged is False,
        "steady": chosen.flapping is False,
        "shown": chosen.muted is False,
        "site": chosen.site is not None,
        "not_of_security": not security,
        "seen": limited,
    }
    names = [name for name in _CONDITIONS if asked[name]]
    driving = next((group for group in _DRIVING if any(asked[name] for name in group)), ())
    driven = tuple(name for name in names if name in driving)
    return _Plan(driven, tuple(name for name in names if name not in driven), driving == _RANGE)


def page_query(
    chosen: AlertFilter, cursor: str | None, *, limited: bool, security: bool = True, name: str = "page"
) -> tuple[bytes, dict[str, Any], bool]:
    """The text of the query, its parameters, and whether it goes by raised_at.

    limited: to the actor's sites. security: whether those about refusals are among them.
    """
    plan = _plan(chosen, limited=limited, security=security)
    given: dict[str, Any] = {
        "state": chosen.state,
        "severity": None if not chosen.severities else chosen.severities[0],
        "severities": None if chosen.severities is None else list(chosen.severities),
        "pack": chosen.pack,
        "rule": chosen.rule,
        "site": chosen.site,
        "from": chosen.starts,
        "to": chosen.ends,
        "assigned_to": chosen.assigned_to,
    }
    after = ""
    if cursor is not None and plan.by_raised:
        given["after_at"], given["after"] = _raised_cursor(cursor)
        after = " AND (raised_at, alert_no) < (%(after_at)s, %(after)s)"
    elif cursor is not None:
        given["after"] = _ALERTS.decode_number(cursor)
        after = " AND alert_no < %(after)s"
    return plan.text(name, after), given, plan.by_raised


def _raised_cursor(cursor: str) -> tuple[datetime, int]:
    moment, _, number = (_BY_RAISED.decode(cursor) or "").partition(" ")
    return moment_in(moment), number_in(number)


async def page(
    transaction: Transaction,
    chosen: AlertFilter,
    cursor: str | None,
    limit: int,
    scanned_max: int = SCANNED_MAX,
) -> tuple[list[DictRow], str | None]:
    """Alerts, newest first, and the cursor of the next page.

    By raised_at when the range is what is looked through. At most `scanned_max` alerts are looked at: then the page
    may be short, or empty, though there are more behind its cursor.
    """
    limited, security = transaction.actor.sites is not None, sees_security_alerts(transaction.actor)
    bounds = {"scanned": scanned_max, "limit": limit + 1}
    text, given, by_raised = page_query(chosen, cursor, limited=limited, security=security)
    rows = await _rows(transaction, text, given | bounds)
    if len(rows) > limit:
        return rows[:limit], _cursor_of(rows[limit - 1], by_raised=by_raised)
    text, given, by_raised = page_query(chosen, cursor, limited=limited, security=security, name="scan_end")
    ends = await _rows(transaction, text, given | bounds)
    return rows, _cursor_of(ends[0], by_raised=by_raised) if ends else None


async def _rows(transaction: Transaction, text: bytes, given: Mapping[str, Any]) -> list[DictRow]:
    sites = None if transaction.actor.sites is None else sorted(transaction.actor.sites)
    actors = {"tenant_id": transaction.actor.tenant_id, "sites": sites}
    return await (await transaction.connection.execute(text, actors | dict(given))).fetchall()


def _cursor_of(row: Mapping[str, Any], *, by_raised: bool) -> str:
    number = str(row["alert_no"])
    return (
        _BY_RAISED.encode(f"{row['raised_at'].isoformat()} {number}") if by_raised else _ALERTS.encode(number)
    )


async def get(transaction: Transaction, alert_id: UUID) -> DictRow:
    """The alert. Raises NotFoundError, also for what the actor's sites or rights don't show."""
    asked = {"id": alert_id, "security": sees_security_alerts(transaction.actor)}
    row = await transaction.one("alerts.get", asked)
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

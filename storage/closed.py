"""What an answer about closed quarter-hours depends on, cheap enough to be asked before each."""

from dataclasses import dataclass

from domain.clock import from_ms
from domain.windows import QUARTER_MS
from storage.transactions import Transaction

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ClosedSpan:
    """How often a tenant's registry has changed, and its closed quarter-hours in some days.

    While both stay the same, so does every answer about a span that is counted: whoever stores, corrects or deletes a
    reading that reaches a closed quarter-hour raises `changes` (with its note, rule E15), and whoever moves packs or
    edits sites, models and packs raises `registry_version`, each in the transaction of the change.
    """

    registry_version: int
    changes: int
    is_counted: bool


async def closed_span(transaction: Transaction, from_ms_: int, to_ms: int) -> ClosedSpan:
    """The state of from_ms_ <= t < to_ms, as this transaction sees it."""
    # A quarter-hour that begins before the span may reach into it.
    first_ms = (from_ms_ - QUARTER_MS) // _DAY_MS * _DAY_MS
    row = await transaction.one("windows.closed_span", {"from": from_ms(first_ms), "until": from_ms(to_ms)})
    assert row is not None  # noqa: S101 - the tenant's own row
    return ClosedSpan(row["registry_version"], row["changes"], bool(row["is_counted"]))

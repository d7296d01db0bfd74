"""Items of quarantine judged again, as new batches, by what their senders may and when they first came."""

import asyncio
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np

from api.call import Call
from api.quarantine.schemas import Redrive
from api.quarantine.service import require_whole_tenant
from api.ranges import require_range
from api.telemetry.judging import known_packs, marks_of
from api.telemetry.service import commit, require_clock, settled_version
from domain.clock import to_ms
from domain.errors import BodyUnreadableError, ConflictError, InFlightError, UnavailableError
from domain.measures import MEASURES
from domain.quarantine import RawForm, is_cut
from domain.readings import IncomingBatch, Int64Array, PackMarks
from domain.receipts import ItemOutcome, Mode, Receipt, ReceiptItem, ReceiptStatus
from domain.tenancy import Actor, Role
from ingest.bodies.kept import header_of, read_kept
from ingest.columns import RawReadings
from ingest.validate import Judged, Sender, judge
from storage import quarantine as stored
from storage.registry import RegistryVersion

Row = dict[str, Any]

SOURCE = "redrive"
_PAGE_ITEMS = 1000
_COUNTS = ("accepted", "duplicate", "quarantined", "late", "conflicting")


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are judged together: of one mode and import, and of senders with the same limits."""

    mode: Mode
    import_id: UUID | None
    form: RawForm
    header: str | None
    pack_limit: str | None
    own_device: bool
    site_limit: tuple[str, ...] | None

    def sender(self, redriver: Actor) -> Actor:
        """An actor with the limits of those who sent the items."""
        sites = None if self.site_limit is None else frozenset(self.site_limit)
        roles = frozenset({Role.DEVICE if self.own_device else Role.OPERATOR})
        return replace(redriver, roles=roles, sites=sites, device_pack=self.pack_limit)


@dataclass(slots=True)
class Summary:
    """What became of the items so far."""

    dry_run: bool
    selected: int = 0
    skipped: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    batches: list[UUID] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)

    def skip(self, rows: Sequence[Row]) -> None:
        """Note items that can't be tried."""
        self.skipped += len(rows)
        nothing = {"outcome": ItemOutcome.QUARANTINED, "reason": None, "field": None, "limit": None}
        self.items += [{"id": row["uid"]} | nothing for row in rows]

    def stay(self, rows: Sequence[Row], items: Sequence[ReceiptItem]) -> None:
        """Note items that stay, each with what is wrong with it now."""
        self.items += [
            {"id": rows[item.index]["uid"], "outcome": item.outcome, "reason": item.reason}
            | {"field": item.field, "limit": item.limit}
            for item in items
        ]

    def answer(self, next_cursor: str | None) -> Row:
        return {
            "dry_run": self.dry_run,
            "selected": self.selected,
            **self.counts,
            "skipped": self.skipped,
            "batches": self.batches,
            "items": self.items,
            "next_cursor": next_cursor,
        }


async def redrive(call: Call, asked: Redrive) -> Row:
    """What became of the items. Those that went in leave quarantine once they are committed; the others stay.

    Raises ForbiddenError, DiskLowError, InFlightError, BusyError, UnavailableError. Whatever stops it, no item is
    lost: one whose readings are committed already is a duplicate at the next try.
    """
    require_whole_tenant(call)
    require_clock(call)
    settings = call.engine.settings
    # A receipt must have room for every measure of every reading, or it couldn't be told which went in.
    in_receipt = settings.receipt_items_max // len(MEASURES)
    page_items = max(1, min(_PAGE_ITEMS, settings.json_readings_max, in_receipt))
    summary = Summary(asked.dry_run)
    cursor, left = asked.cursor, settings.redrive_items_max
    while left > 0:
        async with call.snapshot() as transaction:
            rows, cursor = await stored.page(transaction, _wanted(asked), cursor, min(page_items, left))
        summary.selected += len(rows)
        left -= len(rows)
        for group, members in _grouped(rows, summary):
            await _redrive_group(call, group, members, summary)
        if cursor is None:
            break
    return summary.answer(cursor)


def _wanted(asked: Redrive) -> stored.Wanted:
    if asked.filter is None:
        return stored.Wanted(ids=asked.ids)
    given = asked.filter
    require_range(given.starts, given.ends)
    return stored.Wanted(None, given.reason, given.source, given.pack, given.starts, given.ends)


def _grouped(rows: Sequence[Row], summary: Summary) -> Iterator[tuple[Group, list[Row]]]:
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        if is_cut(row["raw"]):
            summary.skip([row])
        else:
            groups.setdefault(_group_of(row), []).append(row)
    yield from groups.items()


def _group_of(row: Row) -> Group:
    form = RawForm(row["form"])
    return Group(
        mode=Mode(row["mode"]),
        import_id=row["import_id"],
        form=form,
        header=header_of(row["raw"]) if form is RawForm.CSV else None,
        pack_limit=row["pack_limit"],
        own_device=row["own_device"],
        site_limit=None if row["site_limit"] is None else tuple(row["site_limit"]),
    )


async def _redrive_group(call: Call, group: Group, rows: Sequence[Row], summary: Summary) -> None:
    tenant_id = call.actor.tenant_id
    if group.import_id is not None and not await call.engine.registry.import_exists(
        tenant_id, group.import_id, None
    ):
        summary.skip(rows)
        return
    try:
        if summary.dry_run:
            version = await call.engine.registry.version(tenant_id)
            raw, judged, _ = await _judged(call, group, rows, version, register=False)
            _count_judged(raw, judged, rows, summary)
            return
        receipt = await commit(call, _batch_id(call, rows), lambda: _batch(call, group, rows))
        if receipt.status is ReceiptStatus.PENDING:
            # Asked again, the same items are the same batch.
            raise UnavailableError(
                "the items are safe, and not committed yet: ask again",
                retry_after_s=call.engine.settings.retry_after_s,
            )
    except InFlightError as error:
        raise InFlightError("another request has these items judged again now") from error
    except (BodyUnreadableError, ConflictError):
        # A row of CSV whose header no longer names the pack, because an alias is gone; an import that was undone.
        summary.skip(rows)
        return
    await _settle(call, rows, receipt, summary)


def _count_judged(raw: RawReadings, judged: Judged, rows: Sequence[Row], summary: Summary) -> None:
    summary.counts["accepted"] += raw.received - len(judged.quarantined)
    summary.counts["quarantined"] += len(judged.quarantined)
    found = [
        ReceiptItem(item.index, ItemOutcome.QUARANTINED, item.reason, item.field, item.limit)
        for item in judged.quarantined
    ]
    summary.stay(rows, found)


async def _settle(call: Call, rows: Sequence[Row], receipt: Receipt, summary: Summary) -> None:
    """Let the items go that went in. Only now, after their commit."""
    failed = {item.index for item in receipt.items}
    if receipt.items_omitted:
        failed = set(range(len(rows)))
    gone = [row["uid"] for index, row in enumerate(rows) if index not in failed]
    stay = [(rows[index]["uid"], rows[index]["redrives"]) for index in sorted(failed)]
    async with call.transaction() as transaction:
        await stored.settle_redrive(transaction, receipt.id, gone, stay)
    for name in _COUNTS:
        summary.counts[name] += getattr(receipt, name)
    summary.batches.append(receipt.id)
    summary.stay(rows, receipt.items)


def _tries(call: Call, rows: Sequence[Row]) -> str:
    """The items with the tries before this one: the same for a try that is repeated since its end isn't known."""
    tries = ",".join(f"{row['uid']}/{row['redrives']}" for row in rows)
    return f"urn:bpm:redrive:{call.actor.tenant_name}:{tries}"


def _batch_id(call: Call, rows: Sequence[Row]) -> UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, _tries(call, rows))


async def _batch(call: Call, group: Group, rows: Sequence[Row]) -> IncomingBatch:
    version = await settled_version(call)
    raw, judged, marks = await _judged(call, group, rows, version, register=True)
    return IncomingBatch(
        id=_batch_id(call, rows),
        tenant_id=call.actor.tenant_id,
        subject=call.actor.subject,
        source=SOURCE,
        mode=group.mode,
        import_id=group.import_id,
        arrived_at_ms=call.engine.clock.now_ms(),
        body_hash=hashlib.sha256(_tries(call, rows).encode()).digest(),
        registry_version=version.version,
        body_bytes=sum(len(row["raw"]) for row in rows),
        received=raw.received,
        readings=judged.readings,
        quarantined=judged.quarantined,
        ignored_keys=raw.ignored_keys,
        raw_of=raw.raw_of,
        redriven=True,
        marks=marks,
        came_ms=_first_ms(rows)[judged.readings.index],
    )


def _first_ms(rows: Sequence[Row]) -> Int64Array:
    return np.array([to_ms(row["first_at"]) for row in rows], np.int64)


async def _judged(
    call: Call, group: Group, rows: Sequence[Row], version: RegistryVersion, *, register: bool
) -> tuple[RawReadings, Judged, PackMarks]:
    """The items as readings, judged by when each first came and by what their senders may; and their packs' marks."""
    aliases = await call.engine.aliases.of(call.actor.tenant_id, version.version)
    raws = [row["raw"] for row in rows]
    raw = await asyncio.to_thread(read_kept, group.form, raws, call.engine.body_limits_json, aliases)
    actor = group.sender(call.actor)
    packs = await known_packs(
        call.engine.packs, call.transaction, actor, version, raw.readable_pack_names(), register=register
    )
    sender = Sender(actor.tenant_id, actor.device_pack if group.own_device else None)
    first_ms = _first_ms(rows)[raw.index]
    limits = replace(call.engine.time_limits, archived_before_ms=version.archived_before_ms)
    judged = await asyncio.to_thread(judge, raw, packs, sender, group.mode, first_ms, limits)
    return raw, judged, marks_of(packs)

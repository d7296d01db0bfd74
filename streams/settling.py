"""What of a group is left to be committed, once what is known of it is answered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from uuid import UUID

import numpy as np

from domain.errors import (
    BpmError,
    ConflictError,
    KeyReusedError,
    MessageMisdirectedError,
    NotFoundError,
    RegistryChangedError,
)
from domain.readings import BoolArray, IncomingBatch
from domain.receipts import QuarantinedItem, QuarantineReason, Receipt
from domain.tenancy import TenantId, TenantVersions, is_of_same_tenant
from kernels.holders import find_tenures
from streams.owner import One
from streams.ports import Group


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """A message of a log: its batch, and the position at which it stands."""

    batch: IncomingBatch
    position: int
    committed: tuple[Receipt, ...] = ()
    is_last_part: bool = False

    @property
    def whole(self) -> IncomingBatch:
        return self.batch

    @property
    def key(self) -> tuple[TenantId, UUID]:
        return self.batch.tenant_id, self.batch.id

    @property
    def whole_key(self) -> tuple[TenantId, UUID]:
        return self.key


def settle_known(
    group: Sequence[One],
    transaction: Group,
    versions: Mapping[TenantId, TenantVersions],
    *,
    all_ids: bool,
) -> tuple[list[One], list[tuple[One, Receipt | BpmError]]]:
    """Answer what was committed before or must be judged again; gives the rest, and these answers."""
    keys = {one.key for one in group if all_ids or one.batch.body_hash or one.batch.part_of}
    # The first part looks for its whole batch, which is there when all of it was committed before.
    keys |= {one.whole_key for one in group if one.batch.part_of and not one.committed}
    committed = transaction.committed(sorted(keys))
    undone = transaction.undone_imports(
        sorted({one.batch.import_id for one in group if one.batch.import_id is not None})
    )
    answers: list[tuple[One, Receipt | BpmError]] = []
    rest = []
    for one in group:
        known = committed.get(one.whole_key) or committed.get(one.key)
        if known is not None and known.body_hash != one.batch.body_hash:
            answers.append((one, KeyReusedError("this Idempotency-Key was used with another body")))
        elif known is not None:
            answers.append((one, known.receipt))
        elif one.batch.import_id in undone:
            answers.append((one, ConflictError("the import was undone", field="import")))
        elif (now := versions.get(one.batch.tenant_id)) is None or now.registry != one.batch.registry_version:
            # A tenant that is not there any more was erased meanwhile.
            answers.append((one, RegistryChangedError("packs or tenures changed meanwhile")))
        else:
            rest.append(one)
    return rest, answers


def settle_in_log(
    group: Sequence[Delivered],
    transaction: Group,
    versions: Mapping[TenantId, TenantVersions],
    *,
    all_ids: bool,  # noqa: ARG001 - a message may come twice under one id, whatever happened before
) -> tuple[list[Delivered], list[tuple[Delivered, Receipt | BpmError]]]:
    """Answer messages that were committed before; give the rest as they are to be judged now.

    A log holds what can't be asked for again, so nothing is refused: what may not be stored any more is set aside.
    Nothing is kept of a tenant that was erased. Raises MessageMisdirectedError for another one that the database
    doesn't have.
    """
    committed = transaction.committed(sorted({one.key for one in group}))
    imports = sorted({one.batch.import_id for one in group if one.batch.import_id is not None})
    undone = transaction.undone_imports(imports)
    answers: list[tuple[Delivered, Receipt | BpmError]] = []
    rest: dict[tuple[TenantId, UUID], Delivered] = {}
    sources = _Sources(transaction, group)
    erased = transaction.erased(sorted({one.batch.tenant_id for one in group} - versions.keys()))
    for one in group:
        known = committed.get(one.key)
        if known is not None:
            answers.append((one, known.receipt))
        elif one.batch.tenant_id in erased:
            answers.append((one, NotFoundError("the tenant was erased")))
        elif one.key not in rest and (batch := sources.unseen(one.batch)) is not None:
            rest[one.key] = replace(one, batch=_as_of_now(batch, transaction, versions, undone))
    sources.write()
    return list(rest.values()), answers


class _Sources:
    """Up to where a partition has what was sent on from other topics, while a group of messages is gone through."""

    def __init__(self, transaction: Group, group: Sequence[Delivered]) -> None:
        self._transaction = transaction
        named = sorted({one.batch.sent_on.source for one in group if one.batch.sent_on is not None})
        self._next = transaction.source_positions(named) if named else {}
        self._moved: dict[str, int] = {}

    def unseen(self, batch: IncomingBatch) -> IncomingBatch | None:
        """The batch without the items that came before; None when all did.

        Each partition gets the items of a source in their order, one message after another, so that of those before
        the last that it has none is missing.
        """
        sent_on = batch.sent_on
        if sent_on is None:
            return batch
        known = self._next.get(sent_on.source, 0)
        rows = np.flatnonzero(sent_on.at(batch.readings.index) >= known)
        is_new = sent_on.at([item.index for item in batch.quarantined]) >= known
        items = tuple(compress(batch.quarantined, is_new.tolist()))
        if not len(rows) and not items:
            return None
        last = max([*batch.readings.index[rows[-1:]].tolist(), *(item.index for item in items)])
        self._next[sent_on.source] = self._moved[sent_on.source] = int(sent_on.at(last)) + 1
        if len(rows) + len(items) == batch.received:
            return batch
        ahead = batch.ahead
        if ahead is not None:
            ahead = ahead.rows(np.flatnonzero(sent_on.at(ahead.index) >= known))
        return replace(
            batch,
            received=len(rows) + len(items),
            readings=batch.readings.rows(rows),
            quarantined=items,
            ahead=ahead if ahead is not None and len(ahead) else None,
            came_ms=None if batch.came_ms is None else batch.came_ms[rows],
        )

    def write(self) -> None:
        """Say how far they are now."""
        if self._moved:
            self._transaction.move_sources(self._moved)


def _as_of_now(
    batch: IncomingBatch,
    transaction: Group,
    versions: Mapping[TenantId, TenantVersions],
    undone: Collection[UUID],
) -> IncomingBatch:
    """The batch as it is judged by the packs and tenures of now.

    By the same version no tenure can be otherwise, because none is ever given twice.
    """
    now = versions.get(batch.tenant_id)
    if now is None or not is_of_same_tenant(now.registry, batch.registry_version):
        raise MessageMisdirectedError("the message is for a tenant that is not in this database")
    if batch.import_id in undone:
        return set_aside(
            batch, np.ones(len(batch.readings), np.bool_), QuarantineReason.IMPORT_UNDONE, None, None
        )
    batch = _without_other_packs(batch, transaction)
    if now.registry == batch.registry_version or len(batch.readings) == 0:
        return batch
    readings, held = batch.readings, transaction.tenures_of(np.unique(batch.readings.pack), batch.tenant_id)
    found = np.empty(len(readings), np.int32)
    find_tenures(
        readings.tenant,
        readings.pack,
        readings.ts_ms,
        held.tenant,
        held.pack,
        held.from_ms,
        held.to_ms,
        found,
    )
    tenure = (
        np.where(found < 0, readings.tenure, held.number[np.maximum(found, 0)]) if len(held.pack) else found
    )
    judged = replace(batch, readings=replace(readings, tenure=tenure.astype(np.int32)))
    judged = set_aside(judged, found < 0, QuarantineReason.NOT_HELD_THEN, "ts", None)
    archived = judged.readings.ts_ms < held.archived_before_ms
    return set_aside(judged, archived, QuarantineReason.ARCHIVED, "ts", held.archived_before_ms)


def _without_other_packs(batch: IncomingBatch, transaction: Group) -> IncomingBatch:
    """The batch with the readings set aside whose packs aren't those that had these numbers when they were sent."""
    others = transaction.others(batch.tenant_id, batch.marks)
    if len(others) == 0:
        return batch
    if batch.ahead is not None:
        batch = replace(batch, ahead=batch.ahead.rows(np.flatnonzero(~np.isin(batch.ahead.pack, others))))
    return set_aside(batch, np.isin(batch.readings.pack, others), QuarantineReason.UNKNOWN_PACK, "pack", None)


def set_aside(
    batch: IncomingBatch, rows: BoolArray, reason: QuarantineReason, field: str | None, limit: float | None
) -> IncomingBatch:
    """The batch with some of its readings set aside."""
    if not rows.any():
        return batch
    items = [
        QuarantinedItem(index, reason, field, limit, batch.raw_of(index))
        for index in batch.readings.index[rows].tolist()
    ]
    kept = np.flatnonzero(~rows)
    return replace(
        batch,
        readings=batch.readings.rows(kept),
        came_ms=None if batch.came_ms is None else batch.came_ms[kept],
        quarantined=tuple(sorted((*batch.quarantined, *items), key=lambda item: item.index)),
    )

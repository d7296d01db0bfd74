"""Large bulk batches in parts, each committed by itself, so that live readings never wait for a whole one."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domain.readings import BatchResult, IncomingBatch, ReadingBatch
from domain.receipts import Receipt, ReceiptStatus


def parts_of(batch: IncomingBatch, items: int) -> list[IncomingBatch]:
    """The batch in parts of so many items of its body; the batch itself when it has no more.

    A part's id follows from the batch's and its position, so that a retry finds the parts that are committed.
    The last part carries the size of the body, which is kept until then.
    """
    if batch.received <= items:
        return [batch]
    starts = range(0, batch.received, items)
    bounds = np.searchsorted(batch.readings.index, [*starts, batch.received])
    parts = []
    for number, start in enumerate(starts):
        end = min(start + items, batch.received)
        parts.append(
            replace(
                batch,
                id=uuid.uuid5(batch.id, f"part {number}"),
                part_of=batch.id,
                received=end - start,
                readings=batch.readings.rows(slice(int(bounds[number]), int(bounds[number + 1]))),
                came_ms=None if batch.came_ms is None else batch.came_ms[bounds[number] : bounds[number + 1]],
                quarantined=tuple(item for item in batch.quarantined if start <= item.index < end),
                ahead=_ahead_of(batch, start, end),
                ignored_keys=(),
                body_bytes=batch.body_bytes if end == batch.received else 0,
            )
        )
    return parts


def _ahead_of(batch: IncomingBatch, start: int, end: int) -> ReadingBatch | None:
    if batch.ahead is None:
        return None
    first, last = np.searchsorted(batch.ahead.index, [start, end])
    return batch.ahead.rows(slice(int(first), int(last))) if first < last else None


def whole_result(whole: IncomingBatch, receipts: Sequence[Receipt], items_max: int) -> BatchResult:
    """The batch with the receipt that its parts' receipts add up to; it stores nothing by itself."""
    items = tuple(item for receipt in receipts for item in receipt.items)

    receipt = Receipt(
        id=whole.id,
        status=ReceiptStatus.COMMITTED,
        received=sum(one.received for one in receipts),
        accepted=sum(one.accepted for one in receipts),
        duplicate=sum(one.duplicate for one in receipts),
        quarantined=sum(one.quarantined for one in receipts),
        late=sum(one.late for one in receipts),
        conflicting=sum(one.conflicting for one in receipts),
        items=items[:items_max],
        ignored_keys=whole.ignored_keys,
        items_omitted=sum(one.items_omitted for one in receipts) + max(0, len(items) - items_max),
    )
    nothing = whole.readings.rows(slice(0, 0))
    return BatchResult(replace(whole, readings=nothing, quarantined=()), receipt, ())

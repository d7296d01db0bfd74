"""The pipeline in two pure steps: `plan` says what to look up, `decide` what becomes of each reading.

Rules E2 and E10: within the batches in order of arrival first; then a reading newer than its pack's watermark
needs no look-up; the rest is looked up in one query.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.measures import MEASURE_NAMES, MEASURES
from domain.readings import (
    ABSENT,
    BatchResult,
    BoolArray,
    Found,
    IncomingBatch,
    Int32Array,
    LiveReadings,
    LookUps,
    NewReadings,
    Outcome,
    ReadingBatch,
    ReadingKeys,
)
from domain.receipts import (
    ItemOutcome,
    Mode,
    QuarantinedItem,
    QuarantineReason,
    Receipt,
    ReceiptItem,
    ReceiptStatus,
)
from kernels import identity
from streams.former import UInt32Array, withhold
from streams.state import State


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """late_after_s: a live reading that arrives later than this after its event time is late.

    receipt_items_max: readings that a receipt lists one by one.
    """

    late_after_s: int
    receipt_items_max: int


def plan(batches: Sequence[IncomingBatch], state: State) -> LookUps:
    """The identities whose stored readings, and whose superseded ones, `decide` needs to know."""
    readings = _joined([batch.readings for batch in batches])
    wanted = state.not_newer(readings.pack, readings.ts_ms)
    pack, ts_ms = readings.pack[wanted], readings.ts_ms[wanted]
    order = identity.sorted_order(pack, ts_ms)
    pack, ts_ms = pack[order], ts_ms[order]
    different = np.ones(len(pack), np.bool_)
    different[1:] = (pack[1:] != pack[:-1]) | (ts_ms[1:] != ts_ms[:-1])
    pack, ts_ms = pack[different], ts_ms[different]
    once = state.was_corrected(pack)
    return LookUps(ReadingKeys(pack, ts_ms), ReadingKeys(pack[once], ts_ms[once]))


def decide(batches: Sequence[IncomingBatch], found: Found, limits: PipelineLimits) -> Outcome:
    """What is stored, answered and set aside, given the readings that `plan` asked for."""
    readings = _joined([batch.readings for batch in batches])
    readings, deleted = withhold(readings, found.stored, found.former)
    stored = found.stored
    fresh, conflicting = identity.classify(
        np.concatenate([stored.pack, readings.pack]),
        np.concatenate([stored.ts_ms, readings.ts_ms]),
        np.concatenate([stored.thousandths, readings.thousandths], axis=1),
        len(stored),
    )
    counts = [len(batch.readings) for batch in batches]
    batch_of = np.repeat(np.arange(len(batches), dtype=np.int32), counts)
    ends = np.cumsum(counts)
    results = [
        _result(batch, _Masks(*(mask[end - count : end] for mask in (fresh, conflicting, deleted))), limits)
        for batch, count, end in zip(batches, counts, ends, strict=True)
    ]
    live = _live(readings, batch_of, fresh, batches)
    return Outcome(_rows(readings, batch_of, fresh), tuple(results), live)


def _joined(parts: Sequence[ReadingBatch]) -> ReadingBatch:
    if len(parts) == 1:
        return parts[0]
    return ReadingBatch(
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.tenant for part in parts]),
        np.concatenate([part.tenure for part in parts]),
        np.concatenate([part.pack for part in parts]),
        np.concatenate([part.ts_ms for part in parts]),
        np.concatenate([part.thousandths for part in parts], axis=1),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """For each reading of a batch a bit for each measure that is new, contradicts, or was deleted; uint32[n] each."""

    fresh: UInt32Array
    conflicting: UInt32Array
    deleted: UInt32Array


def _measures_of(masks: UInt32Array) -> BoolArray:
    bits = np.arange(len(MEASURES), dtype=np.uint32)[:, None]
    return ((masks[None, :] >> bits) & 1).astype(np.bool_)


def _rows(readings: ReadingBatch, batch_of: Int32Array, fresh: UInt32Array) -> NewReadings:
    kept = np.flatnonzero(fresh)
    kept = kept[identity.sorted_order(readings.pack[kept], readings.ts_ms[kept])]
    thousandths = np.where(_measures_of(fresh[kept]), readings.thousandths[:, kept], np.int32(ABSENT))
    return NewReadings(
        readings.tenant[kept],
        readings.pack[kept],
        readings.ts_ms[kept],
        batch_of[kept],
        readings.index[kept],
        thousandths,
    )


def _live(
    readings: ReadingBatch, batch_of: Int32Array, fresh: UInt32Array, batches: Sequence[IncomingBatch]
) -> LiveReadings:
    """The readings that rules see: what is new of live batches, as it arrived (rule E17)."""
    of_live = np.array([batch.mode is Mode.LIVE for batch in batches], np.bool_)
    arrived_ms = np.array([batch.arrived_at_ms for batch in batches], np.int64)
    thousandths = np.where(_measures_of(fresh), readings.thousandths, np.int32(ABSENT))
    ahead = [
        (position, batch.ahead)
        for position, batch in enumerate(batches)
        if batch.ahead is not None and batch.mode is Mode.LIVE
    ]
    kept = np.flatnonzero((fresh != 0) & of_live[batch_of])
    if ahead:
        # Those that were set aside stand among the others where they stood in their bodies.
        readings = _joined([readings, *(part for _, part in ahead)])
        batch_of = np.concatenate(
            [batch_of, *(np.full(len(part), position, np.int32) for position, part in ahead)]
        )
        thousandths = np.concatenate([thousandths, *(part.thousandths for _, part in ahead)], axis=1)
        kept = np.concatenate([kept, np.arange(len(fresh), len(batch_of))])
        kept = kept[np.lexsort((readings.index[kept], batch_of[kept]))]
    return LiveReadings(
        readings.tenant[kept],
        readings.tenure[kept],
        readings.pack[kept],
        readings.ts_ms[kept],
        arrived_ms[batch_of[kept]],
        batch_of[kept],
        thousandths[:, kept],
    )


def _result(batch: IncomingBatch, masks: _Masks, limits: PipelineLimits) -> BatchResult:
    accepted = masks.fresh != 0
    contradicts = ~accepted & (masks.conflicting != 0)
    refused = contradicts | (~accepted & (masks.deleted != 0))
    late = 0
    if batch.mode is Mode.LIVE:
        came_ms = batch.arrived_at_ms if batch.came_ms is None else batch.came_ms
        late = int((accepted & (batch.readings.ts_ms < came_ms - limits.late_after_s * 1000)).sum())
    conflicts = _items_of(batch, masks.conflicting, QuarantineReason.CONFLICT)
    gone = _items_of(batch, masks.deleted, QuarantineReason.DELETED)
    items = sorted(
        [
            ReceiptItem(item.index, ItemOutcome.QUARANTINED, item.reason, item.field, item.limit)
            for item in (*batch.quarantined, *gone)
        ]
        + [ReceiptItem(item.index, ItemOutcome.CONFLICT, item.reason, item.field) for item in conflicts],
        key=lambda item: item.index,
    )
    accepted_count, refused_count = int(accepted.sum()), int(refused.sum())
    receipt = Receipt(
        id=batch.id,
        status=ReceiptStatus.COMMITTED,
        received=batch.received,
        accepted=accepted_count,
        duplicate=len(accepted) - accepted_count - refused_count,
        quarantined=len(batch.quarantined) + refused_count,
        late=late,
        conflicting=int(contradicts.sum()),
        items=tuple(items[: limits.receipt_items_max]),
        ignored_keys=batch.ignored_keys,
        items_omitted=max(0, len(items) - limits.receipt_items_max),
    )
    return BatchResult(batch, receipt, (*batch.quarantined, *conflicts, *gone))


def _items_of(batch: IncomingBatch, masks: UInt32Array, reason: QuarantineReason) -> list[QuarantinedItem]:
    """An item for each measure of a reading that is refused by itself, whatever the others are."""
    rows, measures = np.nonzero(_measures_of(masks).T)
    indexes = batch.readings.index[rows].tolist()
    return [
        QuarantinedItem(index, reason, MEASURE_NAMES[measure], None, batch.raw_of(index))
        for index, measure in zip(indexes, measures, strict=True)
    ]

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
    IncomingBatch,
    Int32Array,
    NewReadings,
    Outcome,
    ReadingBatch,
    ReadingKeys,
    StoredReadings,
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
from streams.state import State


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """late_after_s: a live reading that arrives later than this after its event time is late.

    receipt_items_max: readings that a receipt lists one by one.
    """

    late_after_s: int
    receipt_items_max: int


def plan(batches: Sequence[IncomingBatch], state: State) -> ReadingKeys:
    """The identities whose stored readings `decide` needs to know."""
    readings = _joined([batch.readings for batch in batches])
    wanted = state.not_newer(readings.pack, readings.ts_ms)
    pack, ts_ms = readings.pack[wanted], readings.ts_ms[wanted]
    order = identity.sorted_order(pack, ts_ms)
    pack, ts_ms = pack[order], ts_ms[order]
    different = np.ones(len(pack), np.bool_)
    different[1:] = (pack[1:] != pack[:-1]) | (ts_ms[1:] != ts_ms[:-1])
    return ReadingKeys(pack[different], ts_ms[different])


def decide(batches: Sequence[IncomingBatch], found: StoredReadings, limits: PipelineLimits) -> Outcome:
    """What is stored, answered and set aside, given the stored readings that `plan` asked for."""
    readings = _joined([batch.readings for batch in batches])
    fresh, conflicting = identity.classify(
        np.concatenate([found.pack, readings.pack]),
        np.concatenate([found.ts_ms, readings.ts_ms]),
        np.concatenate([found.thousandths, readings.thousandths], axis=1),
        len(found),
    )
    counts = [len(batch.readings) for batch in batches]
    batch_of = np.repeat(np.arange(len(batches), dtype=np.int32), counts)
    ends = np.cumsum(counts)
    results = [
        _result(batch, fresh[end - count : end], conflicting[end - count : end], limits)
        for batch, count, end in zip(batches, counts, ends, strict=True)
    ]
    return Outcome(_rows(readings, batch_of, fresh), tuple(results))


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


def _measures_of(masks: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> BoolArray:
    bits = np.arange(len(MEASURES), dtype=np.uint32)[:, None]
    return ((masks[None, :] >> bits) & 1).astype(np.bool_)


def _rows(
    readings: ReadingBatch, batch_of: Int32Array, fresh: np.ndarray[tuple[int], np.dtype[np.uint32]]
) -> NewReadings:
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


def _result(
    batch: IncomingBatch,
    fresh: np.ndarray[tuple[int], np.dtype[np.uint32]],
    conflicting: np.ndarray[tuple[int], np.dtype[np.uint32]],
    limits: PipelineLimits,
) -> BatchResult:
    accepted = fresh != 0
    refused = ~accepted & (conflicting != 0)
    late = 0
    if batch.mode is Mode.LIVE:
        late = int(
            (accepted & (batch.readings.ts_ms < batch.arrived_at_ms - limits.late_after_s * 1000)).sum()
        )
    conflicts = _conflict_items(batch, conflicting)
    items = sorted(
        [
            ReceiptItem(item.index, ItemOutcome.QUARANTINED, item.reason, item.field, item.limit)
            for item in batch.quarantined
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
        duplicate=len(fresh) - accepted_count - refused_count,
        quarantined=len(batch.quarantined) + refused_count,
        late=late,
        conflicting=refused_count,
        items=tuple(items[: limits.receipt_items_max]),
        ignored_keys=batch.ignored_keys,
        items_omitted=max(0, len(items) - limits.receipt_items_max),
    )
    return BatchResult(batch, receipt, batch.quarantined + tuple(conflicts))


def _conflict_items(
    batch: IncomingBatch, conflicting: np.ndarray[tuple[int], np.dtype[np.uint32]]
) -> list[QuarantinedItem]:
    """An item for each measure of a reading that contradicts what came first."""
    rows, measures = np.nonzero(_measures_of(conflicting).T)
    indexes = batch.readings.index[rows].tolist()
    return [
        QuarantinedItem(index, QuarantineReason.CONFLICT, MEASURE_NAMES[measure], None, batch.raw_of(index))
        for index, measure in zip(indexes, measures, strict=True)
    ]

"""A batch cut into what each partition's owner gets of it."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from domain.readings import IncomingBatch, Int32Array, Int64Array, ReadingBatch
from domain.receipts import QuarantinedItem


@dataclass(frozen=True, slots=True)
class Cut:
    """What one message holds, and the partition that it is for."""

    partition_no: int
    batch: IncomingBatch


@dataclass(frozen=True, slots=True)
class CutLimits:
    """Readings, and bytes of the raw texts that were set aside, in one message."""

    readings_max: int
    raw_bytes_max: int


def partition_of(pack: Int32Array, partitions: int) -> Int32Array:
    """The partition of each pack."""
    return pack % np.int32(partitions)


def home_of(tenant_id: int, partitions: int) -> int:
    """The partition of what belongs to a tenant and to no pack."""
    return tenant_id % partitions


def cut(batch: IncomingBatch, partitions: int, limits: CutLimits) -> list[Cut]:
    """The batch in messages, at least one, in order of arrival within each partition.

    What was set aside without a known pack goes to the tenant's own partition. The parts' ids follow from the batch's
    and from its time of arrival: a batch that is sent again is another try, whose readings are duplicates.
    """
    pieces = list(_pieces(batch, partitions, limits)) or [
        _Piece(home_of(batch.tenant_id, partitions), np.zeros(0, np.int64), ())
    ]
    if len(pieces) == 1:
        return [Cut(pieces[0].partition_no, batch)]
    return [
        Cut(piece.partition_no, _part(batch, piece, number, len(pieces)))
        for number, piece in enumerate(pieces)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Rows of the batch's readings, and items that were set aside."""

    partition_no: int
    rows: Int64Array
    items: tuple[QuarantinedItem, ...]


def _pieces(batch: IncomingBatch, partitions: int, limits: CutLimits) -> Iterator[_Piece]:
    of_row = partition_of(batch.readings.pack, partitions)
    items = _items_by_partition(batch, partitions)
    for partition_no in sorted({*np.unique(of_row).tolist(), *items}):
        rows = np.flatnonzero(of_row == partition_no)
        left = items.get(partition_no, [])
        if not len(rows) and not left:
            continue
        chunks = [
            rows[start : start + limits.readings_max] for start in range(0, len(rows), limits.readings_max)
        ]
        groups = list(_groups(left, limits))
        for number in range(max(len(chunks), len(groups))):
            yield _Piece(
                partition_no,
                chunks[number] if number < len(chunks) else rows[:0],
                groups[number] if number < len(groups) else (),
            )


def _items_by_partition(batch: IncomingBatch, partitions: int) -> dict[int, list[QuarantinedItem]]:
    """Items by partition: of those that were too far ahead the pack is known, whose rules they feed."""
    ahead: dict[int, int] = {}
    if batch.ahead is not None:
        found = partition_of(batch.ahead.pack, partitions)
        ahead = dict(zip(batch.ahead.index.tolist(), found.tolist(), strict=True))
    home = home_of(batch.tenant_id, partitions)
    items: dict[int, list[QuarantinedItem]] = {}
    for item in batch.quarantined:
        items.setdefault(ahead.get(item.index, home), []).append(item)
    return items


def _groups(items: list[QuarantinedItem], limits: CutLimits) -> Iterator[tuple[QuarantinedItem, ...]]:
    group: list[QuarantinedItem] = []
    size = 0
    for item in items:
        raw_bytes = len(item.raw.encode())
        if group and (size + raw_bytes > limits.raw_bytes_max or len(group) >= limits.readings_max):
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += raw_bytes
    if group:
        yield tuple(group)


def _part(batch: IncomingBatch, piece: _Piece, number: int, parts: int) -> IncomingBatch:
    return replace(
        batch,
        id=uuid.uuid5(batch.id, f"part {number} of {parts}, {batch.arrived_at_ms}"),
        part_of=batch.id,
        parts=parts,
        received=len(piece.rows) + len(piece.items),
        readings=batch.readings.rows(piece.rows),
        came_ms=None if batch.came_ms is None else batch.came_ms[piece.rows],
        quarantined=piece.items,
        ahead=_ahead(batch.ahead, piece.items),
        ignored_keys=batch.ignored_keys if number == 0 else (),
    )


def _ahead(ahead: ReadingBatch | None, items: tuple[QuarantinedItem, ...]) -> ReadingBatch | None:
    if ahead is None or not items:
        return None
    rows = np.flatnonzero(np.isin(ahead.index, [item.index for item in items]))
    return ahead.rows(rows) if len(rows) else None

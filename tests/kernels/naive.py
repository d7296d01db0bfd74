"""Slow, obvious twins of the kernels."""

import json
import struct
from typing import Any

ABSENT = -(2**31)


def classify(rows: list[tuple[int, int, list[int]]], stored: int) -> list[tuple[int, int]]:
    """(fresh, conflicting) masks of the rows behind the first `stored`; rows are (pack, time, thousandths)."""
    kept: dict[tuple[int, int, int], int] = {}
    masks = []
    for pack, ts_ms, values in rows:
        fresh = conflicting = 0
        for measure, value in enumerate(values):
            if value == ABSENT:
                continue
            if (pack, ts_ms, measure) not in kept:
                kept[pack, ts_ms, measure] = value
                fresh |= 1 << measure
            elif kept[pack, ts_ms, measure] != value:
                conflicting |= 1 << measure
        masks.append((fresh, conflicting))
    return masks[stored:]


def encode_row(
    tenant: int, pack: int, ts_ms: int, batch_no: int, item_no: int, values: list[float | None]
) -> bytes:
    """One row in PostgreSQL's binary COPY format."""
    out = struct.pack(">h", 5 + len(values))
    out += struct.pack(">ii", 4, tenant) + struct.pack(">ii", 4, pack)
    out += struct.pack(">iq", 8, (ts_ms - 946_684_800_000) * 1000) + struct.pack(">iq", 8, batch_no)
    out += struct.pack(">ii", 4, item_no)
    for value in values:
        out += struct.pack(">i", -1) if value is None else struct.pack(">if", 4, value)
    return out


def count_members(text: bytes) -> int:
    """Name-value pairs at any depth."""
    count = 0

    def counted(pairs: list[tuple[str, Any]]) -> None:
        nonlocal count
        count += len(pairs)

    json.loads(text, object_pairs_hook=counted)
    return count


def latest(rows: list[tuple[int, int, list[int]]]) -> dict[int, tuple[int, list[tuple[int, int] | None]]]:
    """Watermark and latest (time, value) by measure of each pack."""
    state: dict[int, tuple[int, list[tuple[int, int] | None]]] = {}
    for pack, ts_ms, values in rows:
        watermark, found = state.get(pack, (ts_ms, [None] * len(values)))
        for measure, value in enumerate(values):
            best = found[measure]
            if value != ABSENT and (best is None or ts_ms >= best[0]):
                found[measure] = (ts_ms, value)
        state[pack] = (max(watermark, ts_ms), found)
    return state


def touched_windows(
    rows: list[tuple[int, int, int, int]], reach_ms: int, window_ms: int, before_ms: int
) -> set[tuple[int, int, int, int]]:
    """(tenant, pack, batch, start) of the windows that readings (tenant, pack, time, batch) reach."""
    return {
        (tenant, pack, batch, start)
        for tenant, pack, ts_ms, batch in rows
        for start in range(-50 * window_ms, before_ms, window_ms)
        if start <= ts_ms + reach_ms and ts_ms - reach_ms < start + window_ms
    }

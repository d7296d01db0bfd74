"""Rows of the table of readings in PostgreSQL's binary COPY format, which costs a client the least."""

import numpy as np
import numpy.typing as npt
from numba import njit

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

EPOCH_2000_MS = 946_684_800_000
FIXED_BYTES = 2 + (4 + 4) + (4 + 4) + (4 + 8) + (4 + 8) + (4 + 4)
NULL_BYTES = 4
VALUE_BYTES = 8
FIXED_COLUMNS = 5


@njit("int64(uint8[::1], int64, int32)", nogil=True, cache=True, inline="always")
def put_int32(out, at, value):  # type: ignore[no-untyped-def]
    out[at] = (value >> 24) & 0xFF
    out[at + 1] = (value >> 16) & 0xFF
    out[at + 2] = (value >> 8) & 0xFF
    out[at + 3] = value & 0xFF
    return at + 4


@njit("int64(uint8[::1], int64, int64)", nogil=True, cache=True, inline="always")
def put_int64(out, at, value):  # type: ignore[no-untyped-def]
    for byte in range(8):
        out[at + byte] = (value >> (56 - 8 * byte)) & 0xFF
    return at + 8


@njit(
    "int64(uint8[::1], int32[::1], int32[::1], int64[::1], int64[::1], int32[::1], int32[:, ::1], boolean[:, ::1])",
    nogil=True,
    cache=True,
)
def encode_into(out, tenant, pack, ts_us, batch_no, item_no, value_bits, present):  # type: ignore[no-untyped-def]
    measures = value_bits.shape[0]
    at = 0
    for row in range(len(pack)):
        out[at] = 0
        out[at + 1] = FIXED_COLUMNS + measures
        at += 2
        at = put_int32(out, put_int32(out, at, np.int32(4)), tenant[row])
        at = put_int32(out, put_int32(out, at, np.int32(4)), pack[row])
        at = put_int64(out, put_int32(out, at, np.int32(8)), ts_us[row])
        at = put_int64(out, put_int32(out, at, np.int32(8)), batch_no[row])
        at = put_int32(out, put_int32(out, at, np.int32(4)), item_no[row])
        for measure in range(measures):
            if present[measure, row]:
                at = put_int32(out, put_int32(out, at, np.int32(4)), value_bits[measure, row])
            else:
                at = put_int32(out, at, np.int32(-1))
    return at


def encode_rows(
    tenant: npt.NDArray[np.int32],
    pack: npt.NDArray[np.int32],
    ts_ms: npt.NDArray[np.int64],
    batch_no: npt.NDArray[np.int64],
    item_no: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
) -> npt.NDArray[np.uint8]:
    """The rows (tenant int4, pack int4, ts timestamptz, batch_no int8, item_no int4, measures float4…).

    Without header and trailer.

    tenant, pack int32[n]; ts_ms int64[n], milliseconds since 1970; batch_no int64[n]; item_no int32[n]; values
    float32[measures, n], NaN becomes NULL. Format: PostgreSQL manual, COPY, "Binary Format"; big-endian,
    timestamps are microseconds since 2000.
    """
    present = ~np.isnan(values)
    size = len(pack) * (FIXED_BYTES + NULL_BYTES * len(values)) + int(present.sum()) * (
        VALUE_BYTES - NULL_BYTES
    )
    out = np.empty(size, np.uint8)
    ts_us = (ts_ms - EPOCH_2000_MS) * 1000
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    written = encode_into(out, tenant, pack, ts_us, batch_no, item_no, bits, present)
    if written != size:
        raise AssertionError(f"wrote {written} bytes of {size}")
    return out

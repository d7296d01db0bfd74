"""Messages of readings: what was encoded is decoded, and what is no whole message says so."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from domain.errors import MessageUnreadableError
from domain.readings import IncomingBatch, PackMarks
from streams.codec import decode, encode
from tests.streams.test_pipeline import batch_of

READINGS = [(pack, 1_700_000_000_000 + pack, {0: 50_000, 3: 357_200}) for pack in range(1, 40)]


def sent(count: int) -> IncomingBatch:
    """The batch of the first readings."""
    return replace(batch_of(READINGS[:count]), marks=PackMarks.of({pack: pack for pack, _, _ in READINGS}))


@pytest.mark.parametrize("count", [0, 1, len(READINGS)])
def test_readings_of_a_message_are_those_of_its_batch_and_can_be_written(count: int) -> None:
    batch = sent(count)
    found = decode(encode(batch))
    for name in ("index", "tenant", "tenure", "pack", "ts_ms", "thousandths"):
        column = getattr(found.readings, name)
        assert np.array_equal(column, getattr(batch.readings, name))
        assert column.flags.writeable, "kernels take no others"
    assert (found.id, found.received, found.mode) == (batch.id, count, batch.mode)


def test_message_that_ends_too_early_is_unreadable_wherever_it_ends() -> None:
    message = encode(sent(len(READINGS)))
    for length in range(0, len(message) - 64, 7):
        with pytest.raises(MessageUnreadableError):
            decode(message[:length])


def altered(
    message: bytes, column: str | None = None, values: pa.Array | None = None, said: bytes | None = None
) -> bytes:
    """The message with another column, or that says something else of its batch."""
    with pa.ipc.open_stream(message) as reader:
        rows = reader.read_next_batch()
    metadata = dict(rows.schema.metadata)
    if column is not None:
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    if said is not None:
        metadata[b"bpm"] = said
    rows = rows.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


COUNT = 3
WRONG: dict[str, Callable[[bytes], bytes]] = {
    "a name that isn't there": lambda one: altered(one, "name", pa.array([0, COUNT, 1], pa.int32())),
    "a name before the first": lambda one: altered(one, "name", pa.array([0, -1, 1], pa.int32())),
    "no name": lambda one: altered(one, "name", pa.array([0, None, 1], pa.int32())),
    "names that are no codes": lambda one: altered(one, "name", pa.array(["a", "b", "c"])),
    "an index before the first": lambda one: altered(one, "index", pa.array([-1, 0, 1], pa.int32())),
    "indexes in no order": lambda one: altered(one, "index", pa.array([0, 2, 1], pa.int32())),
    "packs of another type": lambda one: altered(one, "pack", pa.array([1.0, 2.0, 3.0])),
    "facts that nest too deeply": lambda one: altered(one, said=b'{"x":' * 100_000 + b"1" + b"}" * 100_000),
    "more readings too far ahead than there are": lambda one: altered(one, said=_ahead(one, COUNT + 1)),
    "fewer readings too far ahead than none": lambda one: altered(one, said=_ahead(one, -1)),
}


def _ahead(message: bytes, ahead: int) -> bytes:
    with pa.ipc.open_stream(message) as reader:
        said = msgspec.json.decode(reader.schema.metadata[b"bpm"])
    return msgspec.json.encode(said | {"ahead": ahead})


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_message_that_would_fail_later_is_unreadable(wrong: Callable[[bytes], bytes]) -> None:
    message = encode(sent(COUNT))
    assert len(decode(altered(message)).readings) == COUNT
    with pytest.raises(MessageUnreadableError):
        decode(wrong(message))

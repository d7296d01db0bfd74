"""Messages of readings: what was encoded is decoded, and what is no whole message says so."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from domain.errors import MessageUnreadableError
from domain.readings import IncomingBatch, PackMarks, SentOn
from domain.receipts import QuarantinedItem, QuarantineReason
from streams.codec import decode, encode
from streams.cutting import CutLimits
from streams.messages import messages_of
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
    message: bytes,
    column: str | None = None,
    values: pa.Array | None = None,
    said: bytes | None = None,
    positions: bytes | None = None,
) -> bytes:
    """The message with another column, or that says something else of its batch."""
    with pa.ipc.open_stream(message) as reader:
        rows = reader.read_next_batch()
    metadata = dict(rows.schema.metadata)
    if column is not None:
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    if said is not None:
        metadata[b"bpm"] = said
    if positions is not None:
        metadata[b"bpm-source-positions"] = positions
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


def test_message_says_where_its_own_items_came_from_and_no_others() -> None:
    count = 5_000
    whole = batch_of([(pack, 1_700_000_000_000, {0: 50_000}) for pack in range(count)])
    ahead = whole.readings.rows(slice(count - 2, count - 1))
    items = tuple(
        QuarantinedItem(index, QuarantineReason.UNKNOWN_PACK, None, None, "{}")
        for index in (count - 2, count - 1)
    )
    batch = replace(
        whole,
        readings=whole.readings.rows(slice(0, count - 2)),
        quarantined=items,
        ahead=ahead,
        marks=PackMarks.of(dict.fromkeys(range(count), 1)),
        sent_on=SentOn("source", np.arange(count, dtype=np.int32), np.arange(count) * 2),
    )
    made = messages_of(batch, 8, CutLimits(count, 1 << 18))
    found = {}
    for _, message in made:
        part = decode(message)
        assert part.sent_on is not None
        index = part.readings.index.tolist() + [item.index for item in part.quarantined]
        found |= dict(zip(index, part.sent_on.at(index).tolist(), strict=True))
    assert found == {index: 2 * index for index in range(count)}
    alone = messages_of(replace(batch, sent_on=None), 8, CutLimits(count, 1 << 18))
    added = sum(len(message) for _, message in made) - sum(len(message) for _, message in alone)
    assert 8 * count <= added < 9 * count
    message = made[0][1]
    with pa.ipc.open_stream(message) as reader:
        rows = reader.read_next_batch()
    positions = rows.schema.metadata[b"bpm-source-positions"]
    with pytest.raises(MessageUnreadableError, match="where all of its items"):
        decode(altered(message, positions=positions[8:]))

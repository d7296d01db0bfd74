"""Messages of a batch: all of it is in them, and each is taken by its topic, whatever names and texts are made of."""

from dataclasses import replace

import pytest

from domain.errors import BodyTooLargeError
from domain.quarantine import ItemOrigin
from domain.readings import IncomingBatch, PackMarks
from domain.receipts import QuarantinedItem, QuarantineReason
from streams.codec import decode
from streams.cutting import CutLimits
from streams.messages import MESSAGE_BYTES_MAX, messages_of
from tests.streams.test_pipeline import batch_of

PARTITIONS = 2
COUNT = 3_000
LIMITS = CutLimits(readings_max=5_000, raw_bytes_max=1 << 18)


def named(name: str, count: int = COUNT) -> IncomingBatch:
    """Readings of as many packs, whose names have 200 characters."""
    readings = [(number, 1_700_000_000_000, {0: 50_000}) for number in range(count)]
    return replace(
        batch_of(readings),
        marks=PackMarks.of(dict.fromkeys(range(count), 1)),
        origin=ItemOrigin(pack_of=lambda index: f"{index:06}{name * 194}"),
    )


def aside(raw: str, count: int, bytes_each: int) -> IncomingBatch:
    """Readings that were set aside, as they came."""
    text = raw * (bytes_each // len(raw.encode()))
    items = tuple(
        QuarantinedItem(index, QuarantineReason.UNKNOWN_PACK, None, None, text) for index in range(count)
    )
    return replace(batch_of([]), received=count, quarantined=items)


@pytest.mark.parametrize(
    ("batch", "limits"),
    [
        pytest.param(named("\U0001f50b"), LIMITS, id="names"),
        pytest.param(aside("\\", 64, 16_384), CutLimits(5_000, 1 << 20), id="texts that double as JSON"),
        pytest.param(aside("\U0001f50b", 70, 16_384), LIMITS, id="texts of four bytes a character"),
    ],
)
def test_no_message_is_larger_than_its_topic_takes_and_all_of_the_batch_is_in_them(
    batch: IncomingBatch, limits: CutLimits
) -> None:
    made = messages_of(batch, PARTITIONS, limits)
    assert max(len(message) for _, message in made) <= MESSAGE_BYTES_MAX
    found: list[int] = []
    for number, message in made:
        part = decode(message)
        assert (part.part_of, part.parts) == (batch.id, len(made))
        assert {pack % PARTITIONS for pack in part.readings.pack.tolist()} <= {number}
        found += part.readings.index.tolist() + [item.index for item in part.quarantined]
    assert sorted(found) == list(range(batch.received))


def test_texts_that_were_set_aside_are_measured_in_bytes() -> None:
    batch = aside("\U0001f50b", 6, 400)
    assert len(messages_of(batch, PARTITIONS, CutLimits(5_000, 1_000))) == 3


def test_reading_that_no_message_takes_is_refused() -> None:
    batch = aside("\\", 1, MESSAGE_BYTES_MAX)
    with pytest.raises(BodyTooLargeError, match="a reading takes"):
        messages_of(batch, PARTITIONS, LIMITS)

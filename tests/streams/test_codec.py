"""Messages of readings: what was encoded is decoded, and what is no whole message says so."""

from dataclasses import replace

import numpy as np
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

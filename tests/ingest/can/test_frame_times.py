import numpy as np
import pytest

from domain.errors import DecodeError
from ingest.can.frame_times import FrameTimes
from ingest.can.frames import FrameBatch, FrameColumns

START_US = 1_772_352_000_000_000


def batch_at(*times_s: float) -> FrameBatch:
    columns = FrameColumns()
    for time_s in times_s:
        columns.append(time_s, "", 1, False, b"")
    return columns.take()


def test_times_since_1970_are_believed():
    assert FrameTimes().stamp(batch_at(1632426783.177868), "a").tolist() == [1_632_426_783_177_868]


def test_recording_without_a_date_needs_a_start():
    with pytest.raises(DecodeError, match="a has no date") as raised:
        FrameTimes().stamp(batch_at(1953.6), "a")
    assert raised.value.field == "start"


def test_start_is_the_time_of_the_first_frame_and_moves_all_recordings_by_the_same_span():
    times = FrameTimes(START_US)
    assert times.stamp(batch_at(1953.5, 1954.0), "a").tolist() == [START_US, START_US + 500_000]
    assert times.stamp(batch_at(1953.75), "b").tolist() == [START_US + 250_000]


def test_rate_counts_frames_through_batches_and_recordings():
    times = FrameTimes(START_US, rate_hz=3)
    stamps = [*times.stamp(batch_at(np.nan, np.nan), "a"), *times.stamp(batch_at(np.nan, np.nan), "b")]
    assert [stamp - START_US for stamp in stamps] == [0, 333_333, 666_667, 1_000_000]


@pytest.mark.parametrize(
    ("start_us", "rate_hz", "field"), [(None, None, "rate"), (START_US, None, "rate"), (None, 5.0, "start")]
)
def test_recording_without_times_needs_both_start_and_rate(start_us, rate_hz, field):
    with pytest.raises(DecodeError, match=f"--{field}") as raised:
        FrameTimes(start_us, rate_hz).stamp(batch_at(np.nan), "a")
    assert raised.value.field == field

import numpy as np
import pytest

from api.cli.pacing import at_recorded_speed, first_and_last_ms, shifted
from domain.measures import MEASURES
from ingest.recorded import NO_READINGS, RecordedReadings, joined


def readings(*ts_ms: int) -> RecordedReadings:
    return RecordedReadings(np.array(ts_ms, np.int64), np.ones((len(MEASURES), len(ts_ms))))


class ManualClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def test_shifting_moves_every_reading_by_the_same_span():
    assert joined(shifted([readings(1, 5), readings(9)], 100)).ts_ms.tolist() == [101, 105, 109]


def test_span_is_from_the_first_in_order_to_the_latest():
    assert first_and_last_ms([NO_READINGS, readings(5, 9), readings(7)]) == (5, 9)
    assert first_and_last_ms([NO_READINGS]) is None


def test_readings_come_second_by_second_when_as_much_time_has_passed():
    clock = ManualClock()
    given = []
    for part in at_recorded_speed([readings(1_500, 1_900, 2_100), readings(5_000)], clock, clock.sleep):
        given.append((round(clock.now_s - 100, 3), part.ts_ms.tolist()))
    assert given == [(0.4, [1_500, 1_900]), (0.6, [2_100]), (3.5, [5_000])]


def test_readings_that_are_behind_are_not_waited_for():
    clock = ManualClock()
    parts = at_recorded_speed([readings(10_000), readings(5_000), readings(11_000)], clock, clock.sleep)
    assert [(clock.now_s, part.ts_ms[0]) for part in parts] == [
        (100.0, 10_000),
        (100.0, 5_000),
        (pytest.approx(101.0), 11_000),
    ]

"""What becomes of a value that was stored once and comes again."""

import numpy as np
import pytest

from domain.measures import MEASURES
from domain.readings import ABSENT, FormerReadings, ReadingBatch, StoredReadings
from streams.former import withhold

Values = list[int]


def columns(values: Values) -> np.ndarray:
    """Values of the first measure, the others absent."""
    made = np.full((len(MEASURES), len(values)), ABSENT, np.int32)
    made[0] = values
    return made


def same_moment(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(count, np.int32), np.full(count, 1000, np.int64)


@pytest.mark.parametrize(
    ("former", "stored", "again", "outcome"),
    [
        ([(5, True)], [], 5, "deleted"),
        ([(5, True)], [], 6, "passes"),
        ([(5, False)], [6], 5, "silent"),
        ([(5, False)], [6], 6, "passes"),
        ([(5, False), (6, True)], [], 5, "deleted"),
        ([(5, True), (5, False)], [6], 5, "silent"),
        ([(5, False), (5, True)], [6], 5, "deleted"),
    ],
)
def test_what_came_last_and_what_stands_now_decide(
    former: list[tuple[int, bool]], stored: Values, again: int, outcome: str
) -> None:
    pack, ts_ms = same_moment(len(former))
    deleted = np.array([mark for _, mark in former], np.int32)
    gone = FormerReadings(pack, ts_ms, deleted, columns([value for value, _ in former]))
    there = StoredReadings(*same_moment(len(stored)), columns(stored))
    pack, ts_ms = same_moment(1)
    none = np.zeros(1, np.int32)
    batch = ReadingBatch(none, none, none, pack, ts_ms, columns([again]))
    left, marks = withhold(batch, there, gone)
    found = "deleted" if marks[0] else "passes" if left.thousandths[0, 0] == again else "silent"
    assert found == outcome


def test_value_that_came_before_it_in_the_group_stands_in_its_place() -> None:
    pack, ts_ms = same_moment(2)
    gone = FormerReadings(pack, ts_ms, np.array([0, 1], np.int32), columns([5, 6]))
    nothing = StoredReadings(*same_moment(0), columns([]))
    for again, marked in (([7, 5], [0, 0]), ([5, 7], [1, 0]), ([5, 7, 5], [1, 0, 0])):
        pack, ts_ms = same_moment(len(again))
        none = np.zeros(len(again), np.int32)
        batch = ReadingBatch(none, none, none, pack, ts_ms, columns(again))
        _, marks = withhold(batch, nothing, gone)
        assert marks.tolist() == marked, again

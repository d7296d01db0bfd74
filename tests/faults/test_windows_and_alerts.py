"""The comparisons of windows and of alerts find what they are there for."""

from collections.abc import Callable

import numpy as np
import pytest

from aggregations.quarters import Columns, count_windows
from domain.measures import MEASURE_INDEX, MEASURES
from domain.readings import ABSENT
from tests.faults.alarms import expected_alerts
from tests.faults.windows import QUARTER_MS, Snapshot, stored_contradictions

TENURE, GAP_MS = 7, 300_000
TIMES_MS = (10_000, QUARTER_MS - 1000, QUARTER_MS + 1000, 2 * QUARTER_MS + 5000)
VOLTAGE = MEASURE_INDEX["voltage_v"]


def snapshot() -> Snapshot:
    """Three quarter-hours with readings, of which two were counted."""
    thousandths = np.full((len(MEASURES), len(TIMES_MS)), ABSENT, np.int32)
    thousandths[VOLTAGE] = [350_000 + place for place in range(len(TIMES_MS))]
    columns = Columns(np.zeros(len(TIMES_MS), np.int32), np.array(TIMES_MS, np.int64), thousandths)
    counted = count_windows(columns, np.array([0, QUARTER_MS, 2 * QUARTER_MS], np.int64), GAP_MS)
    found = Snapshot(1, 2 * QUARTER_MS, 2 * QUARTER_MS, GAP_MS, 0, 0, {TENURE: "P"})
    found.moments[TENURE] = {ts_ms: {"voltage_v": 350_000 + place} for place, ts_ms in enumerate(TIMES_MS)}
    found.quarters = {
        (TENURE, starts_ms): record.tobytes()
        for starts_ms, record in zip(counted.starts_ms.tolist(), counted.records, strict=True)
    }
    return found


def test_nothing_contradicts_when_windows_equal_a_recount() -> None:
    assert stored_contradictions(snapshot()) == []


def lose(found: Snapshot) -> None:
    del found.quarters[TENURE, 0]


def change(found: Snapshot) -> None:
    found.moments[TENURE][TIMES_MS[0]]["voltage_v"] += 1


def change_beyond_the_bound(found: Snapshot) -> None:
    found.moments[TENURE][TIMES_MS[2]]["voltage_v"] += 1


def delete_all_readings(found: Snapshot) -> None:
    found.moments.clear()


def move_the_mark(found: Snapshot) -> None:
    found.counted_before_ms = 3 * QUARTER_MS


def count_what_is_open(found: Snapshot) -> None:
    found.counted_before_ms = QUARTER_MS


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (
            lose,
            "1 stored quarter-hours that differ from a recount: P at 1970-01-01T00:00:00+00:00: not stored",
        ),
        (change, "1 stored quarter-hours that differ"),
        (change_beyond_the_bound, "2 stored quarter-hours that differ"),
        (delete_all_readings, "there are no readings"),
        (
            move_the_mark,
            "1 stored quarter-hours that differ from a recount: P at 1970-01-01T00:30:00+00:00: not stored",
        ),
        (count_what_is_open, "1 quarter-hours stored above the mark"),
    ],
)
def test_every_harm_to_windows_is_found(harm: Callable[[Snapshot], None], told: str) -> None:
    found = snapshot()
    harm(found)
    assert any(told in one for one in stored_contradictions(found))


def test_e16_what_is_noted_is_not_compared() -> None:
    found = snapshot()
    change(found)
    found.noted = {(TENURE, 0)}
    assert stored_contradictions(found) == []


def test_e17_alerts_follow_from_what_was_sent_in_its_order() -> None:
    sent = [
        (10, 2_900, True),
        (20, 3_100, True),  # Raised.
        (30, 3_200, True),
        (30, 3_200, True),  # A duplicate moves nothing.
        (15, 3_300, True),  # Late, and breaching by itself.
        (16, 2_900, True),
        (40, 3_000, True),  # Cleared.
        (50, 3_001, True),
    ]
    assert expected_alerts(sent) == [
        (15, "cleared", 15, True),
        (20, "cleared", 40, False),
        (50, "open", None, False),
    ]

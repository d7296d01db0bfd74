"""Readings judged as they will be stored."""

import numpy as np
import pytest

from domain.measures import MEASURE_INDEX, MEASURES
from domain.packs import ALWAYS_MS, FOREVER_MS, KnownPack, Tenure, model_limits
from domain.receipts import Mode, QuarantineReason
from domain.tenancy import PackNumber, TenantId
from ingest.columns import RawReadings
from ingest.validate import Judged, Sender, TimeLimits, judge

NOW_MS = 1_800_000_000_000
TENANT = TenantId(1)
LIMITS = TimeLimits(future_s_max=300, late_s_max=3600, import_from_ms=0)


class NoText:
    def __call__(self, index: int) -> str:
        return str(index)

    def release(self) -> None:
        """Nothing to do."""


def judged(measure: str, values: list[float], **bounds: tuple[float | None, float | None]) -> Judged:
    columns = np.full((len(MEASURES), len(values)), np.nan)
    columns[MEASURE_INDEX[measure]] = values
    raw = RawReadings(
        received=len(values),
        index=np.arange(len(values), dtype=np.int32),
        pack_names=("P",),
        pack_code=np.zeros(len(values), np.int32),
        ts_ms=np.full(len(values), NOW_MS, np.int64) - np.arange(len(values)),
        values=columns,
        problems=(),
        ignored_keys=(),
        raw_of=NoText(),
    )
    tenure = Tenure(TENANT, ALWAYS_MS, FOREVER_MS, None, model_limits(dict(bounds)))
    packs = {"P": KnownPack(PackNumber(7), 7, (tenure,))}
    return judge(raw, packs, Sender(TENANT), Mode.LIVE, NOW_MS, LIMITS)


@pytest.mark.parametrize("value", [float(np.float32(3.65)), 3.65, 3.6504, float(np.float32(2.8)), 2.7996])
def test_value_that_rounds_to_a_limit_is_within_it(value: float) -> None:
    result = judged("cell_voltage_max_v", [value], cell_voltage_max_v=(2.8, 3.65))
    assert not result.quarantined
    assert result.readings.thousandths[MEASURE_INDEX["cell_voltage_max_v"], 0] in (2800, 3650)


@pytest.mark.parametrize("value", [3.6506, 2.7994, 1e300, -1e300, float("inf")])
def test_value_that_rounds_beyond_a_limit_is_out_of_range(value: float) -> None:
    (item,) = judged("cell_voltage_max_v", [value], cell_voltage_max_v=(2.8, 3.65)).quarantined
    assert (item.reason, item.field) == (QuarantineReason.OUT_OF_RANGE, "cell_voltage_max_v")
    assert item.limit in (2.8, 3.65)


def test_negative_nothing_is_stored_as_zero() -> None:
    result = judged("state_of_charge_pct", [-1e-12, -0.0, 100.0004])
    assert result.readings.thousandths[0].tolist() == [0, 0, 100_000]

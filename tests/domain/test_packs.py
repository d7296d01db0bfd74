"""Models narrow what is plausible, and never widen it."""

from domain.measures import MEASURE_INDEX
from domain.packs import GENERAL_LIMITS, model_limits


def test_model_without_limits_has_the_general_ones() -> None:
    assert model_limits({}) == GENERAL_LIMITS


def test_model_narrows_one_side_only() -> None:
    limits = model_limits({"temperature_c": (None, 60.0)})
    row = MEASURE_INDEX["temperature_c"]
    assert (limits.minimum[row], limits.maximum[row]) == (GENERAL_LIMITS.minimum[row], 60.0)

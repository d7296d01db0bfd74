"""The measures of a battery pack: one table, from which columns, SQL, schemas and documentation follow."""

from dataclasses import dataclass
from typing import Final

THOUSANDTHS_PER_UNIT: Final = 1000
"""Resolution of every measure: 0.001 of its unit. Values are compared and summed as whole thousandths."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured quantity.

    `minimum` and `maximum` (inclusive, in `unit`) bound what is plausible for any pack.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    description: str


MEASURES: Final[tuple[Measure, ...]] = (
    Measure("state_of_charge_pct", "%", 0.0, 100.0, "charge left, as a share of what the pack can hold now"),
    Measure("state_of_health_pct", "%", 0.0, 120.0, "capacity now, as a share of the rated capacity"),
    Measure("temperature_c", "°C", -60.0, 150.0, "highest temperature that the pack reports"),
    Measure("voltage_v", "V", 0.0, 2000.0, "voltage at the pack's terminals"),
    Measure("current_a", "A", -5000.0, 5000.0, "current at the pack's terminals; charging is positive"),
    Measure("cell_voltage_min_v", "V", 0.0, 6.0, "lowest voltage of a cell"),
    Measure("cell_voltage_max_v", "V", 0.0, 6.0, "highest voltage of a cell"),
)

MEASURE_NAMES: Final[tuple[str, ...]] = tuple(measure.name for measure in MEASURES)

MEASURE_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(MEASURE_NAMES)}
"""Row of each measure in two-dimensional arrays (measures by readings)."""

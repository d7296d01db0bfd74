"""Rules to begin with, per chemistry: limits as cell makers and standards state them, to be narrowed by hand.

Sources: cell voltages and temperatures are those common to the makers' data sheets of each chemistry (LFP: CATL,
EVE LF280K; NMC and NCA: LG M50, Panasonic NCR18650B, Samsung INR21700-50E; LTO: Toshiba SCiB; lead-acid: IEEE 1188
and IEEE 450 float and equalise ranges of a 2 V cell). End of life at 80 % of the rated capacity: IEC 61960 and
IEC 62620, IEEE 1188 for lead-acid. No charging of graphite anodes below 0 °C, because lithium plates: Waldmann et
al., Journal of The Electrochemical Society 165 (2018) A1191.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.alert_rules import (
    CELL_HIGH,
    CELL_LOW,
    CellImbalance,
    ClockSkew,
    Condition,
    MissingData,
    RateOfChange,
    Severity,
    Side,
    Threshold,
    Trend,
    While,
)


class Chemistry(StrEnum):
    LFP = "LFP"
    NMC = "NMC"
    NCA = "NCA"
    LTO = "LTO"
    LEAD_ACID = "lead-acid"


@dataclass(frozen=True, slots=True)
class Template:
    """A rule to begin with: a name, how bad it is, and what it watches."""

    name: str
    severity: Severity
    condition: Condition


@dataclass(frozen=True, slots=True)
class CellLimits:
    """What the cells of a chemistry bear.

    Voltages of a cell in V, with the value at which each alert is over; temperatures in °C; imbalance in V.
    charge_min_c: below it the cells mustn't be charged, None where the maker allows it.
    """

    over_v: float
    over_clear_v: float
    under_v: float
    under_clear_v: float
    over_c: float
    under_c: float
    charge_min_c: float | None
    imbalance_v: float


CELL_LIMITS: Final[dict[Chemistry, CellLimits]] = {
    Chemistry.LFP: CellLimits(3.65, 3.55, 2.50, 2.80, 60, -20, 0, 0.10),
    Chemistry.NMC: CellLimits(4.20, 4.15, 2.80, 3.00, 60, -20, 0, 0.08),
    Chemistry.NCA: CellLimits(4.20, 4.15, 2.50, 3.00, 60, -20, 0, 0.08),
    Chemistry.LTO: CellLimits(2.80, 2.70, 1.50, 1.70, 55, -30, None, 0.10),
    Chemistry.LEAD_ACID: CellLimits(2.45, 2.35, 1.75, 1.90, 50, -20, None, 0.15),
}

_TEMPERATURE_BAND_C: Final = 3
_CHARGING_A: Final = 0.5
_LASTING_S: Final = 60


def templates(chemistry: Chemistry) -> tuple[Template, ...]:
    """The rules to begin with for packs of a chemistry.

    >>> [template.name for template in templates(Chemistry.LTO)][:2]
    ['cell over-voltage', 'cell under-voltage']
    """
    cell = CELL_LIMITS[chemistry]
    band = _TEMPERATURE_BAND_C
    made = [
        Template(
            "cell over-voltage",
            Severity.CRITICAL,
            Threshold(CELL_HIGH, Side.ABOVE, cell.over_v, cell.over_clear_v),
        ),
        Template(
            "cell under-voltage",
            Severity.CRITICAL,
            Threshold(CELL_LOW, Side.BELOW, cell.under_v, cell.under_clear_v),
        ),
        Template(
            "over-temperature",
            Severity.CRITICAL,
            Threshold("temperature_c", Side.ABOVE, cell.over_c, cell.over_c - band),
        ),
        Template(
            "under-temperature",
            Severity.WARNING,
            Threshold("temperature_c", Side.BELOW, cell.under_c, cell.under_c + band),
        ),
        Template(
            "temperature rises fast",
            Severity.CRITICAL,
            RateOfChange("temperature_c", Trend.RISING, limit_per_s=1.0, max_gap_s=60),
        ),
        Template(
            "cell imbalance",
            Severity.WARNING,
            CellImbalance(cell.imbalance_v, cell.imbalance_v / 2, _LASTING_S),
        ),
        Template(
            "low state of health",
            Severity.WARNING,
            Threshold("state_of_health_pct", Side.BELOW, 80, 81),
        ),
        Template("no data", Severity.WARNING, MissingData(after_s=900)),
        Template("clock runs ahead", Severity.INFO, ClockSkew(future_s=60)),
    ]
    if cell.charge_min_c is not None:
        made.insert(
            4,
            Template(
                "charging while cold",
                Severity.CRITICAL,
                Threshold(
                    "temperature_c",
                    Side.BELOW,
                    cell.charge_min_c,
                    cell.charge_min_c + 1,
                    _LASTING_S,
                    While("current_a", Side.ABOVE, _CHARGING_A),
                ),
            ),
        )
    return tuple(made)

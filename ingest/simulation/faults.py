"""Faults of simulated packs: what goes wrong with one, from when on, and what of it can be seen."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FaultKind(StrEnum):
    """What may go wrong with a pack."""

    OVERHEATING = "overheating"
    IMBALANCE = "imbalance"
    STUCK_SENSOR = "stuck_sensor"
    LOST_CONTACT = "lost_contact"
    CLOCK_SKEW = "clock_skew"
    CAPACITY_LOSS = "capacity_loss"


HOT_SPOT_K: Final = 80.0
HOT_SPOT_MS: Final = 45_000
"""A cell that fails beside the sensor: so much warmer than the pack in the end, by this time constant."""

IMBALANCE_PER_HOUR: Final = 0.02
IMBALANCE_MAX: Final = 0.3
"""Share of the charge by which a pack's weakest and strongest cell drift apart."""

SKEW_MS: Final = 180_000
"""How far a wrong clock goes fast. Beyond five minutes the engine would set its readings aside."""

CAPACITY_LOST: Final = 0.18
"""Share of its capacity that a pack loses from one moment to the next."""


@dataclass(frozen=True, slots=True)
class Fault:
    """From `starts_ms` on, without end, something is wrong with a pack."""

    pack: int
    kind: FaultKind
    starts_ms: int

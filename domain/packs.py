"""Packs, their models and sites, and whose a pack was when."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from domain.measures import MEASURES, Measure
from domain.tenancy import PackNumber, TenantId

ALWAYS_MS: Final = -(2**62)
"""Start of a tenure that has held for as long as anyone knows, and `-FOREVER_MS`."""

FOREVER_MS: Final = 2**62
"""End of a tenure that still holds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Plausible values of each measure for one model.

    Inclusive bounds in the measure's unit, in the order of MEASURES.
    """

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]


GENERAL_LIMITS: Final = Limits(
    tuple(measure.minimum for measure in MEASURES), tuple(measure.maximum for measure in MEASURES)
)


def model_limits(bounds: dict[str, tuple[float | None, float | None]]) -> Limits:
    """The general limits, narrowed by a model's own; a model can't widen them.

    >>> model_limits({"voltage_v": (300.0, 9999.0)}).maximum[3]
    2000.0
    """

    def narrowed(measure: Measure) -> tuple[float, float]:
        low, high = bounds.get(measure.name, (None, None))
        return (
            measure.minimum if low is None else max(low, measure.minimum),
            measure.maximum if high is None else min(high, measure.maximum),
        )

    pairs = [narrowed(measure) for measure in MEASURES]
    return Limits(tuple(low for low, _ in pairs), tuple(high for _, high in pairs))


@dataclass(frozen=True, slots=True)
class Tenure:
    """A span of time, from <= t < to, in which a tenant held a pack at a site, as a certain model.

    `number` is the tenure's own, never reused.
    """

    tenant_id: TenantId
    from_ms: int
    to_ms: int
    site: str | None
    limits: Limits
    number: int = 0


class Place(NamedTuple):
    """Where packs stand: their tenant, site and model, None where they have none."""

    tenant_id: TenantId
    site_id: UUID | None
    model_id: UUID | None


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack as a sender may name it: its number, its mark, and every tenure, of whichever tenant, oldest first.

    mark: of its id; a database that was restored may give the number to another pack.
    """

    number: PackNumber
    mark: int
    tenures: tuple[Tenure, ...]

"""Shapes of pack models."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, field_validator, model_validator

from api.routing import Name, Strict
from domain.measures import MEASURE_INDEX, MEASURES

CAPACITY_AH_MAX = 1_000_000
VOLTAGE_V_MAX = 2_000

Capacity = Annotated[float, Field(gt=0, le=CAPACITY_AH_MAX, allow_inf_nan=False)]
Voltage = Annotated[float | None, Field(ge=0, le=VOLTAGE_V_MAX, allow_inf_nan=False)]


class Bounds(Strict):
    """Plausible values of a measure, inclusive."""

    minimum: Annotated[float | None, Field(allow_inf_nan=False)] = None
    maximum: Annotated[float | None, Field(allow_inf_nan=False)] = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        return self


class _Common(Strict):
    voltage_min_v: Voltage = None
    voltage_max_v: Voltage = None
    limits: dict[str, Bounds] = Field(
        default_factory=dict, description="plausible values by measure; they narrow the general ones"
    )

    @field_validator("limits")
    @classmethod
    def _known_measures(cls, limits: dict[str, Bounds]) -> dict[str, Bounds]:
        for name, bounds in limits.items():
            if name not in MEASURE_INDEX:
                raise ValueError(f"limits are by measure: {', '.join(MEASURE_INDEX)}")
            measure = MEASURES[MEASURE_INDEX[name]]
            for bound in (bounds.minimum, bounds.maximum):
                if bound is not None and not measure.minimum <= bound <= measure.maximum:
                    raise ValueError(
                        f"{name} lies between {measure.minimum} and {measure.maximum} {measure.unit}"
                    )
        return limits

    @model_validator(mode="after")
    def _voltages_ordered(self) -> Self:
        low, high = self.voltage_min_v, self.voltage_max_v
        if low is not None and high is not None and low >= high:
            raise ValueError("voltage_min_v is not below voltage_max_v")
        return self


class NewModel(_Common):
    name: Name
    chemistry: Name
    rated_capacity_ah: Capacity


class ModelChange(_Common):
    name: Name = ""
    chemistry: Name = ""
    rated_capacity_ah: Capacity = 1.0


class Model(BaseModel):
    id: UUID
    name: str
    chemistry: str
    rated_capacity_ah: float
    voltage_min_v: float | None
    voltage_max_v: float | None
    limits: dict[str, Bounds]
    created_at: str
    version: int


class ModelPage(BaseModel):
    items: list[Model]
    next_cursor: str | None

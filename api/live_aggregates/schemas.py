"""Shapes of live aggregates."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field


class By(StrEnum):
    """What a live aggregate is split by."""

    FLEET = "fleet"
    SITE = "site"
    MODEL = "model"
    REGION = "region"
    STATE = "state"


class Packs(BaseModel):
    """Packs by state."""

    reporting: int
    silent: int
    never_seen: int


class Histogram(BaseModel):
    """Packs by value, in buckets of one width; what is on the upper end belongs to the last one."""

    starts: Annotated[float, Field(serialization_alias="from", description="lower end of the first bucket")]
    width: float
    packs: list[int]


class Distribution(BaseModel):
    """How packs' latest values lie. The mean is exact; the others are of values rounded to 0.1 %, by nearest rank."""

    packs: int
    mean: float | None
    min: float | None
    p5: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p95: float | None
    max: float | None
    histogram: Histogram


class Extreme(BaseModel):
    """A value, and the external id of a pack that has it."""

    value: float
    pack: str | None


class Extremes(BaseModel):
    """The least and the largest of packs' latest values; null where there is none."""

    min: Extreme | None
    max: Extreme | None


class OpenAlerts(BaseModel):
    """Open alerts by severity, without those that a silence hides; those are `muted`, of whichever severity."""

    info: int
    warning: int
    critical: int
    muted: int


class Freshness(BaseModel):
    """Ages of packs' last live arrivals in seconds, to 2 %; null where none has arrived."""

    p50: int | None
    p95: int | None
    max: int | None


class ClockSkew(BaseModel):
    """Arrival minus event time of packs' newest live readings in seconds, to 7 %; null where none has arrived."""

    p50: float | None
    p95: float | None
    max: float | None
    packs_beyond_limit: int


class LiveGroup(BaseModel):
    """A group of packs as they are now."""

    group: Annotated[
        str | None, Field(description="name of the site, model, region or state; null for packs without one")
    ]
    packs: Packs
    readings_per_s: Annotated[
        float, Field(description="live readings accepted, over the last 60 full seconds or since the start")
    ]
    state_of_charge_pct: Distribution
    state_of_health_pct: Distribution
    temperature_c: Extremes
    cell_voltage_v: Extremes
    open_alerts: OpenAlerts
    freshness_s: Freshness
    clock_skew_s: ClockSkew


class StalePartition(BaseModel):
    """A partition of which nothing was heard lately: its packs are counted as they were then."""

    partition: int
    as_of: Annotated[str, Field(description="RFC 3339, the second that its packs are counted as of")]


class LiveAggregate(BaseModel):
    """The fleet as it is now, by groups."""

    by: By
    as_of: Annotated[str, Field(description="RFC 3339, the second that the figures are of")]
    silent_after_s: int
    clock_skew_s_max: int
    stale_partitions: Annotated[
        list[StalePartition],
        Field(description="partitions whose worker has said nothing lately; empty without Kafka"),
    ]
    items: list[LiveGroup]

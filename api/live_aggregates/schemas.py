"""Shapes of live aggregates."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from aggregations.live import CHARGE_BUCKET_PCT, HEALTH_BUCKET_PCT, QUANTILES
from api import flat
from api.flat import Kind
from kernels.sketch_columns import CHARGE_BUCKETS, HEALTH_BUCKETS


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
    """A partition of which nothing was heard lately: its packs are counted as they were then.

    Of one that had no worker yet packs and open alerts are counted as the database has them, and nothing else.
    """

    partition: int
    as_of: Annotated[
        str | None,
        Field(
            description="RFC 3339, the second that its packs are counted as of; null before its first worker"
        ),
    ]


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


def _distribution(measure: str, bucket_pct: float, buckets: int) -> list[flat.Field]:
    """Columns of a distribution; a bucket of the histogram is called by its lower end."""
    histogram = [
        flat.Field(
            (measure, "histogram", "packs", place),
            Kind.WHOLE,
            "1",
            f"{measure}_histogram_{place * bucket_pct:g}_packs",
        )
        for place in range(buckets)
    ]
    return [
        flat.Field((measure, "packs"), Kind.WHOLE, "1"),
        *(flat.Field((measure, figure), Kind.NUMBER, "%") for figure in ("mean", *QUANTILES)),
        *(flat.Field((measure, "histogram", of), Kind.NUMBER, "%") for of in ("from", "width")),
        *histogram,
    ]


def _extremes(measure: str, unit: str) -> list[flat.Field]:
    return [
        flat.Field((measure, end, of), kind, of_unit)
        for end in ("min", "max")
        for of, kind, of_unit in (("value", Kind.NUMBER, unit), ("pack", Kind.TEXT, None))
    ]


COLUMNS = (
    flat.Field(("by",), Kind.TEXT),
    flat.Field(("as_of",), Kind.MOMENT),
    flat.Field(("silent_after_s",), Kind.WHOLE, "s"),
    # The longest skew that is told of a group has the name that this limit has in JSON.
    flat.Field(("clock_skew_s_max",), Kind.WHOLE, "s", "clock_skew_limit_s"),
    flat.Field(("group",), Kind.TEXT),
    *(flat.Field(("packs", state), Kind.WHOLE, "1") for state in Packs.model_fields),
    flat.Field(("readings_per_s",), Kind.NUMBER, "1/s"),
    *_distribution("state_of_charge_pct", CHARGE_BUCKET_PCT, CHARGE_BUCKETS),
    *_distribution("state_of_health_pct", HEALTH_BUCKET_PCT, HEALTH_BUCKETS),
    *_extremes("temperature_c", "°C"),
    *_extremes("cell_voltage_v", "V"),
    *(flat.Field(("open_alerts", kind), Kind.WHOLE, "1") for kind in OpenAlerts.model_fields),
    *(flat.Field(("freshness_s", rank), Kind.WHOLE, "s") for rank in Freshness.model_fields),
    *(flat.Field(("clock_skew_s", rank), Kind.NUMBER, "s") for rank in ("p50", "p95", "max")),
    flat.Field(("clock_skew_s", "packs_beyond_limit"), Kind.WHOLE, "1"),
)
"""A row for each group, as CSV and Arrow."""

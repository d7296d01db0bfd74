"""Shapes of aggregates."""

from typing import Annotated

from pydantic import BaseModel, Field

Column = list[int | float | None]

STEP = (
    "how long a window is: an ISO 8601 duration from `PT1S` to `P1Y`, of whole weeks, days, hours, minutes and seconds,"
    " or of whole years and months. Windows are counted on the zone's clock from Monday 3 January 2000, 00:00, those of"
    " months and years from January 2000"
)


class Aggregate(BaseModel):
    """A pack's windows as columns of one length; gaps are null."""

    pack: str
    columns: Annotated[
        dict[str, Column],
        Field(
            description="`ts`, where a window starts, in milliseconds since 1970; of each measure `…_count`, `…_min`,"
            " `…_max`, `…_mean`, `…_standard_deviation`, `…_first`, `…_first_ts`, `…_last`, `…_last_ts`,"
            " `…_time_weighted_mean`, `…_covered_s`; and of the pack `charged_ah`, `discharged_ah`, `charged_wh`,"
            " `discharged_wh`, `covered_s`"
        ),
    ]
    units: dict[str, str]


class Aggregates(BaseModel):
    """The windows of several packs, in the order in which they were asked for."""

    items: list[Aggregate]


class GroupAggregate(BaseModel):
    """A group's windows as columns of one length; windows without packs are null."""

    group: str
    columns: Annotated[
        dict[str, Column],
        Field(
            description="`ts`, `packs`, and of each measure `…_min_p5` to `…_max_p95`, over the packs' windows"
        ),
    ]
    units: dict[str, str]

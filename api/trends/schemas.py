"""Shapes of trends."""

from typing import Annotated

from pydantic import BaseModel, Field

from aggregations.trends import Method

Column = list[int | float | None]


class Trend(BaseModel):
    """A pack's series as columns of one length; gaps are null."""

    pack: str
    columns: Annotated[
        dict[str, Column],
        Field(
            description="`ts` in milliseconds since 1970, and the measures; with `step` `…_mean`, `…_min` and `…_max`"
            " of each, and with `band` `band_packs` and `…_band_p5`, `…_band_p50`, `…_band_p95`",
            examples=[{"ts": [1_767_225_600_000, 1_767_225_660_000], "voltage_v": [350.4, None]}],
        ),
    ]
    units: Annotated[dict[str, str], Field(examples=[{"ts": "ms", "voltage_v": "V"}])]
    source: Annotated[
        str | None,
        Field(description="with `points`: whether they were chosen from `readings` or from `windows`"),
    ] = None
    method: Annotated[Method | None, Field(description="with `points`: how they were chosen")] = None
    readings: Annotated[
        dict[str, int] | None,
        Field(description="with `points`: how many values each measure has in the range"),
    ] = None
    band: Annotated[
        str | None, Field(description="with `band`: the group it is of", examples=["site:Zurich"])
    ] = None


class Trends(BaseModel):
    """The series of several packs, in the order in which they were asked for."""

    items: list[Trend]

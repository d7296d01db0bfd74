"""Shapes of trends."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from aggregations.trends import Method
from aggregations.trends_analysis import Direction, NoTrend
from api import flat
from api.flat import Kind

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


class Counted(BaseModel):
    """How many points the lines are made of."""

    used: int
    of: Annotated[int, Field(description="as many points there are; crossings are those of all of them")]
    chosen: Annotated[
        Literal["all", "spread"],
        Field(description="`spread`: one of each run of equally many, its place moving on from run to run"),
    ]


class CrossingPoint(BaseModel):
    """The point at which a threshold was crossed."""

    ts: datetime
    value: float
    points_before: Annotated[int, Field(description="points before it; 0: it was across from the start")]


class Threshold(BaseModel):
    """When the series crossed a threshold."""

    value: float
    direction: Direction
    first: Annotated[CrossingPoint | None, Field(description="the first point across; null for none")]
    permanent: Annotated[
        CrossingPoint | None,
        Field(
            description="the first point from which on all are across; null when the last one isn't or for none"
        ),
    ]


class Projection(BaseModel):
    """When a line reaches the threshold, or why that can't be told."""

    crossing: datetime | None
    earliest: Annotated[datetime | None, Field(description="with 95 % confidence; null beyond the horizon")]
    latest: Annotated[datetime | None, Field(description="with 95 % confidence; null beyond the horizon")]
    no_trend: Annotated[NoTrend | None, Field(description="null when a crossing is projected")]


class FittedLine(BaseModel):
    """A line through the points, in the measure's unit; no slope where there are too few of them."""

    slope_per_day: float | None = None
    slope_per_day_low: Annotated[float | None, Field(description="low end of the 95 % interval")] = None
    slope_per_day_high: Annotated[float | None, Field(description="high end of it")] = None
    intercept: Annotated[float | None, Field(description="its value at `origin`")] = None
    projection: Annotated[Projection | None, Field(description="null without a threshold")] = None


class Analysis(BaseModel):
    """Where a pack's measure goes."""

    pack: str
    measure: str
    unit: str
    source: Annotated[
        Literal["readings", "windows"],
        Field(description="the points: readings, or with `step` means of windows"),
    ]
    points: Counted
    origin: Annotated[datetime | None, Field(description="the first point; null without any")]
    last: Annotated[datetime | None, Field(description="the last point")]
    threshold: Threshold | None
    least_squares: FittedLine
    theil_sen: FittedLine


def analysis_columns(unit: str | None) -> list[flat.Field]:
    """A row for the answer, as CSV and Arrow; unit: of the measure."""
    points = [
        flat.Field(("threshold", which, of), kind, of_unit)
        for which in ("first", "permanent")
        for of, kind, of_unit in (
            ("ts", Kind.MOMENT, None),
            ("value", Kind.NUMBER, unit),
            ("points_before", Kind.WHOLE, "1"),
        )
    ]
    per_day = None if unit is None else f"{unit}/d"
    lines = [
        flat.Field((line, *path), kind, of_unit)
        for line in ("least_squares", "theil_sen")
        for path, kind, of_unit in (
            (("slope_per_day",), Kind.NUMBER, per_day),
            (("slope_per_day_low",), Kind.NUMBER, per_day),
            (("slope_per_day_high",), Kind.NUMBER, per_day),
            (("intercept",), Kind.NUMBER, unit),
            (("projection", "crossing"), Kind.MOMENT, None),
            (("projection", "earliest"), Kind.MOMENT, None),
            (("projection", "latest"), Kind.MOMENT, None),
            (("projection", "no_trend"), Kind.TEXT, None),
        )
    ]
    return [
        *(flat.Field((name,), Kind.TEXT) for name in ("pack", "measure", "unit", "source")),
        flat.Field(("points", "used"), Kind.WHOLE, "1"),
        flat.Field(("points", "of"), Kind.WHOLE, "1"),
        flat.Field(("points", "chosen"), Kind.TEXT),
        flat.Field(("origin",), Kind.MOMENT),
        flat.Field(("last",), Kind.MOMENT),
        flat.Field(("threshold", "value"), Kind.NUMBER, unit),
        flat.Field(("threshold", "direction"), Kind.TEXT),
        *points,
        *lines,
    ]

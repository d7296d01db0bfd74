"""How much one answer may hold, and be computed from: live aggregates, trends, aggregates, groups."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Answers(BaseSettings):
    """Live aggregates, trends, aggregates, groups and latest values."""

    silent_after_s: int = Field(
        900,
        ge=60,
        le=7 * 86_400,
        description="a pack whose last live reading arrived longer ago counts as silent",
    )
    live_skew_s_max: int = Field(
        60,
        ge=0,
        description="a pack whose clock differs by more from the arrival of its newest reading is skewed",
    )
    live_groups_max: int = Field(1000, gt=0, description="groups in one answer of live aggregates; then 422")

    trend_points_max: int = Field(
        5_000_000, ge=4, description="readings in one answer of trends, of all packs together; then 422"
    )
    trend_raw_readings_max: int = Field(
        100_000,
        gt=0,
        description="readings, of all packs together, from which the points of a trend are chosen; beyond, they are"
        " chosen from stored windows",
    )
    trend_analysis_points_max: int = Field(
        1_000, ge=10, le=5_000, description="points of which slopes are made; of more, so many are taken"
    )
    trend_horizon_days_max: int = Field(
        3_650, gt=0, description="how far behind the data a crossing is projected; beyond, there is no trend"
    )

    aggregate_readings_max: int = Field(
        1_000_000,
        gt=0,
        description="readings, and for groups also stored quarter-hours and days of packs, that one answer is"
        " computed from; then 422",
    )
    aggregate_windows_max: int = Field(
        100_000, gt=0, description="windows in one answer, of all packs together; then 422"
    )
    aggregate_packs_max: int = Field(
        100, gt=0, description="packs in one answer of aggregates or trends; then 422"
    )
    answers_kept_bytes_max: int = Field(
        64 << 20,
        ge=0,
        description="answers about closed days that are kept; the one asked longest ago goes; 0 keeps none",
    )
    groups_max: int = Field(1000, gt=0, description="saved groups of packs of a tenant; then 409")
    group_packs_max: int = Field(10_000, gt=0, description="packs in a saved group; then 422")
    latest_packs_max: int = Field(
        10_000, gt=0, description="packs whose latest values are looked up in one request; then 422"
    )

"""What is set aside, how long it is kept, and judging it again."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Quarantine(BaseSettings):
    """What is kept of what was set aside."""

    quarantine_raw_bytes_max: int = Field(
        16_384,
        ge=256,
        description="raw text kept of a reading that is set aside; the rest is cut, with a mark",
    )
    quarantine_days_max: int = Field(
        90, gt=0, description="an item of quarantine that didn't come again for so long is dropped"
    )
    quarantine_items_max: int = Field(
        100_000, gt=0, description="items of quarantine of one tenant; beyond, the oldest are dropped"
    )
    quarantine_sweep_s: float = Field(60.0, gt=0, description="time between looks for items to drop")
    quarantine_sweep_items_max: int = Field(10_000, gt=0, description="items dropped at one look")
    quarantine_export_items_max: int = Field(100_000, gt=0, description="items in one export; then 422")


class Redriving(BaseSettings):
    """Judging again."""

    redrive_items_max: int = Field(10_000, gt=0, description="items judged again in one request")

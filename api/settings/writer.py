"""What writes: groups of readings, queues, corrections, and the count of quarter-hours."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Writer(BaseSettings):
    """Queues, groups and corrections."""

    lock_s_max: float = Field(5.0, gt=0, description="a statement waits so long for a lock; then 503")
    stop_s_max: float = Field(
        30.0,
        gt=0,
        description="wait for the last group when stopping; a worker that takes longer for all of its stop ends with 1",
    )
    queue_bytes_max: int = Field(256 << 20, gt=0, description="bodies waiting, live and bulk each; then 429")
    queue_readings_max: int = Field(
        1_000_000, gt=0, description="readings waiting, live and bulk each; then 429"
    )
    bulk_readings_min: int = Field(2_000, gt=0, description="late batches of this size queue with imports")
    bulk_slice_readings: int = Field(
        10_000, gt=0, description="readings of imports committed in one transaction, between live ones"
    )
    group_readings_max: int = Field(250_000, gt=0, description="readings committed in one transaction")
    recover_s_max: float = Field(30.0, gt=0, description="wait for the store after an error; then 503")
    close_after_s: int = Field(
        300,
        ge=0,
        description="a quarter-hour is counted this long after its end, and again when late readings come",
    )
    correction_slice_readings: int = Field(
        10_000, gt=0, description="readings that a correction changes in one transaction, between live ones"
    )
    correction_wait_s: float = Field(
        10.0, ge=0, description="a request waits so long for its correction; then 202, and it goes on"
    )
    save_state_s: float = Field(5.0, gt=0, description="time between savings of the writer's state")
    retry_after_s: int = Field(1, gt=0, description="Retry-After of 429 and 503")


class Counting(BaseSettings):
    """The count of quarter-hours."""

    count_notes_max: int = Field(5_000, gt=0, description="quarter-hours counted again in one transaction")
    count_packs_max: int = Field(
        200_000, gt=0, description="packs whose readings are read at once when a quarter-hour is counted"
    )
    count_wait_s: float = Field(1.0, gt=0, description="time between looks for quarter-hours to count")

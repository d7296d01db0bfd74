"""Limits of a runner: its queues, its groups, and how long it waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """Sizes of the queues and of a group, and how long the runner tries to get the store back.

    queue_readings_max, queue_bytes_max: readings and bodies waiting, of each of live and bulk; at the limit 429.
    bulk_readings_min: live batches at least this large queue with the imports when they are late.
    group_readings_max: readings committed together.
    recover_s_max: how long batches with an unknown outcome wait for the store; then 503.
    stop_s_max: how long `stop` waits for the last group.
    close_after_s: how long after its end a quarter-hour is closed.
    bulk_slice_readings: bulk readings committed together, between live ones.
    correction_slice_readings: stored readings that a correction changes in one transaction.
    silent_after_s, skew_s_max: what the live picture calls silent, and skewed.
    save_state_s: time between savings of the state. retry_after_s: what refused clients are told.
    """

    queue_readings_max: int
    queue_bytes_max: int
    bulk_readings_min: int
    group_readings_max: int
    recover_s_max: float
    close_after_s: int
    bulk_slice_readings: int
    correction_slice_readings: int
    silent_after_s: int
    skew_s_max: int
    save_state_s: float
    stop_s_max: float
    retry_after_s: int

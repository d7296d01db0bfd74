"""Limits of a partition's owner, and of the runner around it: queues, groups, and how long they wait."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """close_after_s: how long after its end a quarter-hour is closed.

    correction_slice_readings: stored readings that a correction changes in one transaction.
    silent_after_s, skew_s_max: what the live picture calls silent, and skewed.
    save_state_s: time between savings of the state. retry_after_s: what refused clients are told.
    """

    close_after_s: int
    correction_slice_readings: int
    silent_after_s: int
    skew_s_max: int
    save_state_s: float
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """Sizes of the queues and of a group, and how long the runner tries to get the store back.

    queue_readings_max, queue_bytes_max: readings and bodies waiting, of each of live and bulk; at the limit 429.
    bulk_readings_min: live batches at least this large queue with the imports when they are late.
    group_readings_max: readings committed together.
    recover_s_max: how long batches with an unknown outcome wait for the store; then 503.
    stop_s_max: how long `stop` waits for the last group.
    bulk_slice_readings: bulk readings committed together, between live ones.
    """

    owner: OwnerLimits
    queue_readings_max: int
    queue_bytes_max: int
    bulk_readings_min: int
    group_readings_max: int
    recover_s_max: float
    bulk_slice_readings: int
    stop_s_max: float

    @property
    def retry_after_s(self) -> int:
        """What refused clients are told."""
        return self.owner.retry_after_s
